"""Scan: what a storage server offers that the table does not know, and the other way round."""

from __future__ import annotations

from dataclasses import dataclass

from one_iscsi import states
from one_iscsi.core import Core
from one_iscsi.model import San

#: What is different about a target.
ON_SERVER, IN_TABLE, OTHER_SIZE = "only on the server", "only in the table", "other size"

#: On the way in or out: the operation knows more than a scan.
_UNSETTLED = frozenset({states.CREATING, states.DELETING, states.RESIZING})


@dataclass(frozen=True)
class Difference:
    """A target that is not what the table says. ``size_bytes`` is the server's, if it has it, else the table's."""

    what: str
    iqn: str
    lun: int
    size_bytes: int
    initiators: tuple[str, ...] = ()
    volume_id: int | None = None
    status: str = ""


def scan(core: Core, ref: str) -> tuple[San, list[Difference]]:
    """Compare a storage server with the table, by IQN; nothing is changed. StorageError if it cannot be asked."""
    san = core.store.san(ref)
    core.report(f"asking storage server {san.name}")
    offered = {target.iqn: target for target in reversed(core.storage(san).targets())}  # of several disks the first
    core.store.seen_san(san.id)
    known = {volume.iqn: volume for volume in core.store.volumes()}
    found = []
    for iqn in sorted(offered.keys() | known.keys()):
        target, volume = offered.get(iqn), known.get(iqn)
        # One machine can be two storage servers, with two places for volumes: theirs are not ours.
        if volume and (volume.san_id != san.id or volume.status in _UNSETTLED):
            continue
        if target and not volume:
            initiators = tuple(session.initiator for session in target.sessions)
            found.append(Difference(ON_SERVER, iqn, target.lun, target.size_bytes, initiators))
        elif volume and not target:
            found.append(Difference(IN_TABLE, iqn, volume.lun, volume.size_bytes, (), volume.id, volume.status))
        elif volume and target and target.size_bytes != volume.size_bytes:
            found.append(Difference(OTHER_SIZE, iqn, target.lun, target.size_bytes, (), volume.id, volume.status))
    return san, found
