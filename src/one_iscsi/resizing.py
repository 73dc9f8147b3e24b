"""Resize: a volume grows on its storage server, then on the host, then in the guest. It never shrinks."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from one_iscsi import sans, states, wiping
from one_iscsi.core import Core
from one_iscsi.errors import (
    BadInput,
    NodeError,
    NotFound,
    NoVolume,
    StorageError,
    Unfinished,
    WrongState,
)
from one_iscsi.model import Op, Volume
from one_iscsi.units import format_size
from one_iscsi.vmstates import UNPLUG, detach_way

if TYPE_CHECKING:
    from one_iscsi.san import WipeStatus

KIND = "resize"
RESERVED, GROWING, CLEARING, RESCANNING = "reserved", "growing", "clearing", "rescanning"

#: After these the disk is as it was, whatever an earlier try did: it was refused for what it is.
_REFUSED = frozenset({"cannot-grow", "foreign"})

#: After these a first try has done nothing; after any other error nobody knows how far the storage server came.
_NOTHING_GREW = frozenset({"unreachable", "no-target", "lock", "busy", "no-space"})


def resize(core: Core, ref: str, size_bytes: int) -> Volume:
    """Make a volume larger, also while a VM uses it if its storage server can do that.

    It is ``resizing`` for as long as room that may hold old data is wiped: see ``look``. After any error it is as it
    was, except Unfinished: then the journal knows and ``recover`` goes on.
    """
    volume = core.store.volume(ref)
    room = _check(core, volume, size_bytes)
    payload = {"size_bytes": size_bytes, "job": f"volume{volume.id}-{secrets.token_hex(6)}", **_where(core, volume)}
    why = f"from {format_size(volume.size_bytes)} to {format_size(size_bytes)}"
    volume, op = core.store.begin(
        volume, KIND, states.RESIZING, core.who, phase=RESERVED, payload=payload, why=why, room=room
    )
    look(core, core.store.advance(op, GROWING))
    return core.store.volume(volume.id)


def _check(core: Core, volume: Volume, size_bytes: int) -> int | None:
    """Refuse what cannot be. The room of the storage server in bytes, None if it does not tell."""
    if size_bytes <= volume.size_bytes:
        raise BadInput(
            f"volume {volume.id} has {format_size(volume.size_bytes)} and can only grow", "give a larger size"
        )
    if states.RESIZING not in states.TRANSITIONS[volume.status]:
        raise WrongState(
            f"volume {volume.id} is {volume.status} and cannot be resized", f"see onevolume show {volume.id}"
        )
    if not volume.made:
        raise WrongState(
            f"volume {volume.id} was registered, not made by onevolume: its backing store is not ours to change",
            "make a larger one with onevolume create and copy the data",
        )
    if volume.status == states.IN_USE and _may_grow_into_old_data(core, volume):
        raise WrongState(
            f"volume {volume.id} is in a volume group: the room it would get must be wiped before a VM can see it",
            f"detach it with --keep, resize it, attach it again with --volume {volume.id}",
        )
    san = core.store.san(volume.san_id)
    [room] = sans.rooms(core, [san])
    if room and room.left < size_bytes - volume.size_bytes:
        raise NoVolume(f"storage server {san.name} has only {format_size(room.left)} left", "ask for less")
    return room.total if room else None


def _may_grow_into_old_data(core: Core, volume: Volume) -> bool:
    """The extents of a volume group hold what was on them before; thin pools and files grow by zeros."""
    return core.store.san(volume.san_id).location.startswith("lvm:")


def _where(core: Core, volume: Volume) -> dict[str, object]:
    """The host that is logged in to the volume, and its guest if one runs; nothing if it is not attached.

    WrongState for a VM whose guest cannot be told now, or that is elsewhere.
    """
    for attachment in core.store.attachments(volume_id=volume.id):
        vm = core.frontend.vm(attachment.vm_id or 0)
        runs = detach_way(vm) == UNPLUG
        if runs and vm.host != attachment.host:
            raise WrongState(
                f"VM {vm.id} runs on host {vm.host}, but volume {volume.id} is logged in on host {attachment.host}",
                f"power the VM off or move it back to {attachment.host}, then resize",
            )
        domain = vm.deploy_id if runs else ""
        return {"vm_id": vm.id, "host": attachment.host, "vm_mad": vm.vm_mad, "domain": domain}
    return {}


def look(core: Core, op: Op) -> WipeStatus | None:
    """Do what is left of a resize this process owns; every step may be done twice. One that had not begun is undone.

    None when it is over, else how far the wipe of the new part is: look again.
    """
    volume = core.store.volume(op.volume_id)
    if op.phase == RESERVED:
        core.store.finish(op, op.origin_status, core.who, why="resize undone")
        return None
    try:
        if op.phase == GROWING:
            op = _grow(core, op, volume)
        if op.phase == CLEARING:
            status = _clear(core, op, volume)
            if status.state != "done":
                return status
            op = core.store.advance(op, RESCANNING)
        if op.payload.get("host"):
            core.report(f"telling host {op.payload['host']} that volume {volume.id} has grown")
            node = core.node(op.payload["host"], op.payload["vm_mad"])
            node.resize(volume, op.payload["domain"], op.payload["grown"])
    except (StorageError, NodeError) as error:
        if not core.store.op(op.id).open:
            raise
        core.store.fail(op, str(error))
        raise Unfinished(
            f"the resize of volume {volume.id} stopped half-way ({error.what})",
            f"mend that, then run onevolume recover {volume.id}",
        ) from error
    grown = op.payload["grown"]
    why = f"has {format_size(grown)} now"
    core.store.finish(op, op.origin_status, core.who, why=why, size_bytes=grown)
    return None


def _grow(core: Core, op: Op, volume: Volume) -> Op:
    """A refusal of the storage server ends the operation if the disk is as it was, also after an earlier try."""
    core.report(f"growing volume {volume.id} to {format_size(op.payload['size_bytes'])}")
    try:
        grown = core.server(volume).grow(volume, op.payload["size_bytes"]).size_bytes
    except StorageError as error:
        if error.code in (_REFUSED if op.attempt > 1 else _REFUSED | _NOTHING_GREW):
            core.store.finish(op, op.origin_status, core.who, why=f"resize refused: {error.what}")
        raise
    phase = CLEARING if _may_grow_into_old_data(core, volume) else RESCANNING
    return core.store.advance(op, phase, grown=grown)


def _clear(core: Core, op: Op, volume: Volume) -> WipeStatus:
    """Wipe what the volume has grown by: how far that is. The row still has the old size, so nobody can log in to it
    meanwhile."""
    server, job, old = core.server(volume), op.payload["job"], volume.size_bytes
    status = server.wipe_status(volume, job)
    if status.state == "failed" and op.payload.get("starts"):
        raise StorageError(f"the new part cannot be wiped: {status.text}", "see to the storage server", "failed")
    done = max(0, status.offset - old)
    if status.state in ("absent", "failed"):
        core.report(f"wiping what volume {volume.id} has grown by")
        begun = wiping.count_start(op, done)
        server.start_wipe(volume, job, old, core.config.wipe_rate)
        core.store.advance(op, CLEARING, **begun)
    return replace(status, offset=done, size_bytes=op.payload["grown"] - old)


def settle(core: Core, op: Op, volume: Volume) -> Volume:
    """Bring the resize ``op`` of this process to its end, unless a wipe takes its time; the guest may be elsewhere."""
    if op.phase != RESERVED and op.payload.get("host"):
        op = core.store.advance(op, op.phase, **_guest_now(core, op, volume))
    look(core, op)
    return core.store.volume(volume.id)


def _guest_now(core: Core, op: Op, volume: Volume) -> dict[str, object]:
    """Where the guest is now; a VM that is gone has none."""
    try:
        return _where(core, volume)
    except NotFound:
        return {"domain": ""}
