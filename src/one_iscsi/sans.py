"""Storage servers as an admin sees them: taken in after a test, and how much room they have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from one_iscsi.core import Core
from one_iscsi.errors import BadInput, OneIscsiError, StorageError, WrongState
from one_iscsi.findings import CRITICAL
from one_iscsi.model import San

#: What ``location`` takes, in words.
_PLACES = {
    "lvm": "a volume group, such as vg0",
    "thin": "a volume group and a thin pool in it, such as vg0/pool0",
    "file": "a folder, such as /srv/volumes, whose name needs no quoting",
}
_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class Room:
    """Bytes where a storage server makes volumes; ``promised`` are the sizes of all volumes made there, or to be made.

    In a thin pool a volume takes no room until something is written to it.
    """

    total: int
    free: int
    promised: int

    @property
    def used(self) -> int:
        """What is taken, by volumes and by others."""
        return self.total - self.free

    @property
    def left(self) -> int:
        """What another volume may have. Nothing is promised twice: a guest whose thin pool is full gets I/O errors."""
        return max(0, min(self.free, self.total - self.promised))


def location(kind: str, where: str) -> str:
    """``San.location`` for a folder (``file``), a volume group (``lvm``) or a thin pool (``thin``); BadInput."""
    from one_iscsi.san.location import Location

    try:
        return str(Location.parse(f"{kind}:{where}"))
    except BadInput:
        raise BadInput(f"{where!r} is no place for volumes", f"give {_PLACES[kind]}") from None


def check_pool(label: str) -> str:
    """``label`` if a pool can be called so; BadInput."""
    if not _LABEL.fullmatch(label):
        raise BadInput(f"pool {label!r} is malformed", "give one word of letters, digits, dots, dashes")
    return label


def create(core: Core, wanted: San) -> San:
    """Enter a storage server, whose ``id`` means nothing yet.

    One that can be asked must lack nothing that ``onevolume check`` looks for before it is accepted. StorageError tells
    the first thing it lacks, warnings the others.
    """
    if wanted.name.isdecimal():
        raise BadInput(f"name {wanted.name!r} would be taken for an id", "give one with a letter")
    if wanted.pool:
        check_pool(wanted.pool)
    if wanted.kind == "static":
        _refuse_for_static(wanted)
    else:
        if not wanted.ssh_host:
            raise BadInput(
                f"a {wanted.kind} storage server is managed over ssh", "give --host HOST or --host localhost"
            )
        if wanted.location and not wanted.portals:
            raise BadInput(f"storage server {wanted.name} makes volumes and has no portal", "give --portal IP:PORT")
        _refuse_twice(core, wanted)
        _refuse_unfit(core, wanted)
    san = core.store.add_san(
        wanted.name, wanted.kind, wanted.portals, wanted.ssh_host, wanted.location, wanted.clusters, wanted.pool
    )
    if wanted.kind != "static":
        core.store.seen_san(san.id)
    return core.store.san(san.id)


def _refuse_for_static(wanted: San) -> None:
    if wanted.ssh_host:
        raise BadInput("a static storage server is never logged in to", "leave --host out")
    if wanted.location:
        raise BadInput("no volumes are made on a static storage server", "leave --vg, --thin and --path out")


def _refuse_twice(core: Core, wanted: San) -> None:
    """Two rows that make volumes in one place would both promise its room."""
    for san in core.store.sans():
        if wanted.location and (san.ssh_host, san.location) == (wanted.ssh_host, wanted.location):
            raise WrongState(
                f"storage server {san.name} makes volumes in {san.location} already", "give another place, or none"
            )


def _refuse_unfit(core: Core, wanted: San) -> None:
    """There is no row yet that ``onevolume check`` could be told to look at, so all that is wrong is said here."""
    from one_iscsi.san.check import check

    core.report(f"looking at storage server {wanted.name}")
    wrong = [one for one in check(wanted, core.remote) if not one.ok]
    critical = [one for one in wrong if one.level == CRITICAL]
    for one in wrong:
        if one not in critical[:1]:
            core.warn(f"{one.where}: {one.what}: {one.fix}")
    if critical:
        raise StorageError(f"{critical[0].where}: {critical[0].what}", critical[0].fix)


def rooms(core: Core, sans: Sequence[San]) -> list[Room | None]:
    """The room of each storage server, asked side by side; None if no volumes are made there or it does not answer.

    Why one does not answer is told as a warning.
    """
    from concurrent.futures import ThreadPoolExecutor

    making = [san for san in sans if core.storage(san).can_create]
    if not making:
        return [None] * len(sans)
    with ThreadPoolExecutor(max_workers=8) as pool:
        asked = {san.id: pool.submit(core.storage(san).capacity) for san in making}
    found: dict[int, Room] = {}
    for san in making:
        try:
            capacity = asked[san.id].result()
        except OneIscsiError as error:
            core.warn(str(error))
            continue
        core.store.seen_san(san.id)
        found[san.id] = Room(capacity.total_bytes, capacity.free_bytes, core.store.promised(san.id))
    return [found.get(san.id) for san in sans]
