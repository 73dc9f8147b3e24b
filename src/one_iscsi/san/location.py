"""Where a storage server makes volumes: ``lvm:VG``, ``thin:VG/POOL`` or ``file:/FOLDER``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from one_iscsi.errors import BadInput

# lvm(8): names have letters, digits and + _ . -, and do not begin with a hyphen. Folders are kept to names that need no
# quoting anywhere: in sudoers, in a configuration file of tgt, in configfs.
_NAME = r"[A-Za-z0-9+_.][A-Za-z0-9+_.-]*"
_FORMS = {
    "lvm": re.compile(_NAME),
    "thin": re.compile(rf"{_NAME}/{_NAME}"),
    "file": re.compile(r"(/[A-Za-z0-9+_-][A-Za-z0-9+_.-]*)+"),
}


@dataclass(frozen=True)
class Location:
    """``kind``: ``lvm`` (a volume group), ``thin`` (a thin pool) or ``file`` (a folder); ``place``: its name there."""

    kind: str
    place: str

    @classmethod
    def parse(cls, text: str) -> Location:
        """BadInput for what is no place where volumes can be made."""
        kind, _, place = text.partition(":")
        if kind not in _FORMS or not _FORMS[kind].fullmatch(place):
            raise BadInput(f"location {text!r} is malformed", "give lvm:VG, thin:VG/POOL or file:/FOLDER")
        return cls(kind, place)

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}"
