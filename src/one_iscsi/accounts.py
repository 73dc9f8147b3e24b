"""CHAP accounts of targets that somebody else manages: checked, kept encrypted, changed, removed."""

from __future__ import annotations

import re

from one_iscsi.core import Core
from one_iscsi.errors import BadInput
from one_iscsi.model import Chap, San, SealedChap, Volume

#: What a line of open-iscsi's node record can hold as it is; 255 bytes are its limit.
_WORD = re.compile(r"[!-~]{1,255}")


def check(chap: Chap) -> None:
    """BadInput unless a host can present ``chap``, and the target answer with what it says."""
    for user in (chap.user, *([chap.target_user] if chap.target_user else [])):
        if not _WORD.fullmatch(user):
            raise BadInput(f"CHAP user {user!r} is malformed", "give 1 to 255 printable ASCII characters, no blank")
    for secret in (chap.password, *([chap.target_password] if chap.target_user else [])):
        if not _WORD.fullmatch(secret):
            raise BadInput("a CHAP secret is malformed", "give 1 to 255 printable ASCII characters, no blank")
    if chap.password == chap.target_password:  # RFC 3720, 8.2.1: else a target's challenge could be sent back to it
        raise BadInput("the user and the target have the same CHAP secret", "give each its own")


def seal(core: Core, san: San, chap: Chap, besides: int = 0) -> SealedChap:
    """``chap`` as it can be kept for a volume of ``san``; BadInput, SetupError.

    No table has secrets of two keys, which no front end could read all: one that is there, other than that of the
    volume ``besides``, has to open.
    """
    check(chap)
    if core.storage(san).can_close:
        what = f"storage server {san.name} gets a new CHAP secret from us at every attach"
        raise BadInput(what, "leave --chap-user out: it is for static ones")
    for volume_id, other in core.store.chaps().items():
        if volume_id != besides:
            core.key.unseal(other, volume_id)
            break
    return core.key.seal(chap)


def change(core: Core, ref: str, chap: Chap | None) -> Volume:
    """Keep ``chap`` for a volume, or none any more. A host that is logged in goes on with what it has."""
    volume = core.store.volume(ref)
    san = core.store.san(volume.san_id)
    sealed = seal(core, san, chap, volume.id) if chap else None
    volume = core.store.keep_chap(volume, sealed, core.who)
    for attachment in core.store.attachments(volume_id=volume.id):
        core.warn(
            f"host {attachment.host} has volume {volume.id} and logs in again with what it had before: "
            "detach it with --keep and attach it again"
        )
    return volume
