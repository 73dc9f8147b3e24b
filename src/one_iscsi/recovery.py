"""Recover: bring an operation whose process died to an end, by what is really there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from one_iscsi import attaching, creating, detaching, resizing, states, volumes, wiping
from one_iscsi.core import Core
from one_iscsi.errors import LostRace, NotFound, OneIscsiError, Unfinished, WrongState
from one_iscsi.model import Op, Volume


def _settle_wipe(core: Core, op: Op, volume: Volume) -> Volume:
    wiping.look(core, op)
    return _now(core, volume)


def _now(core: Core, volume: Volume) -> Volume:
    """What a volume has become by a wipe; Unfinished if that failed."""
    try:
        volume = core.store.volume(volume.id)
    except NotFound:
        return replace(volume, status=states.GONE)
    if volume.status == states.ERROR:
        raise Unfinished(f"volume {volume.id}: {volume.reason}", f"mend that, then run onevolume recover {volume.id}")
    return volume


#: How to look at operations that take their time, the status their volume has meanwhile, and seconds between two looks.
_LOOK = {wiping.KIND: wiping.look, resizing.KIND: resizing.look}
_TAKES_TIME = frozenset({states.WIPING, states.RESIZING})
_LOOK_EVERY = 0.5

_SETTLE = {
    attaching.KIND: attaching.settle,
    detaching.KIND: detaching.settle,
    wiping.KIND: _settle_wipe,
    creating.KIND: creating.settle,
    resizing.KIND: resizing.settle,
    volumes.DELETE: volumes.settle_delete,
}


def recover(core: Core, ref: str, by_hand: bool = True, force: bool = False) -> Volume:
    """Finish or undo the open operation of a volume, or lead one in ``error`` back to its wipe.

    ``by_hand``: a wipe that failed or died too often is tried again, for what was wrong may have been mended.
    ``force``: a detach goes on although the host cannot write back what it has of the disk, which is lost.
    WrongState if the process that runs the operation is alive, or if there is nothing to do; Unfinished if a machine
    cannot be asked: the volume then stays as it is, with the reason in the journal.
    """
    volume = core.store.volume(ref)
    open_ops = core.store.ops(volume_id=volume.id)
    if open_ops:
        op = core.store.take_over(open_ops[0])
        if by_hand and "starts" in op.payload:
            op = core.store.advance(op, op.phase, starts=0)
        if force:
            if op.kind != detaching.KIND:
                raise WrongState(f"the {op.kind} of volume {volume.id} cannot be forced", "recover it without --force")
            op = core.store.advance(op, op.phase, **{detaching.FORCED: True})
        core.report(f"recovering the {op.kind} of volume {volume.id}, which stopped in phase {op.phase}")
        try:
            return _SETTLE[op.kind](core, op, volume)
        except Unfinished:
            raise
        except OneIscsiError as error:
            if core.store.op(op.id).open:
                core.store.fail(op, str(error))
                raise Unfinished(
                    f"the {op.kind} of volume {volume.id} cannot be settled yet ({error.what})",
                    error.fix or f"then run onevolume recover {volume.id} again",
                ) from error
            raise
    if volume.status == states.CREATING:
        return _settle_registration(core, volume)
    if volume.status == states.ERROR:
        return _out_of_error(core, volume)
    raise WrongState(f"volume {volume.id} is {volume.status} and no operation of it is open", "nothing to recover")


def _settle_registration(core: Core, volume: Volume) -> Volume:
    core.server(volume).close(volume)
    volume = core.store.change(volume, states.DIRTY, core.who, "registration recovered")
    wiping.start(core, volume)
    return core.store.volume(volume.id)


def _out_of_error(core: Core, volume: Volume) -> Volume:
    """Nobody may be logged in and nobody may get in; then the volume is wiped again."""
    wiping.start_again(core, volumes.out_of_error(core, volume))
    return core.store.volume(volume.id)


def wait(core: Core, volume: Volume, progress: Callable[[int, int], None]) -> Volume:
    """Stay until the wipe of a volume, or of what it has grown by, is over; Unfinished if it failed.

    ``progress`` gets bytes done and bytes in all.
    """
    while volume.status in _TAKES_TIME:
        for op in core.store.ops(volume_id=volume.id):
            if op.kind not in _LOOK:
                continue
            if op.phase == wiping.QUEUED:
                wiping.collect(core)  # the others have to end before it can start
                continue
            try:
                op = core.store.take_over(op)
            except (LostRace, WrongState):
                continue  # another command looks after it
            status = _LOOK[op.kind](core, op)
            if status:
                progress(status.offset, status.size_bytes)
        volume = _now(core, volume)
        if volume.status in _TAKES_TIME:
            time.sleep(_LOOK_EVERY)
    return volume


def candidates(core: Core) -> list[str]:
    """The volumes with something to recover: an open operation whose process is dead, or a half-done registration."""
    ops = core.store.ops()
    found = {op.volume_id for op in ops if not core.store.owner_alive(op)}
    creating_now = {volume.id for volume in core.store.volumes(status=[states.CREATING])}
    found |= creating_now - {op.volume_id for op in ops}
    return [str(volume_id) for volume_id in sorted(found)]
