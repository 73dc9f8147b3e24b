"""Work: what a timer does so that no wipe waits, and nothing a dead process left stays half done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from one_iscsi import recovery, states, wiping
from one_iscsi.core import Core
from one_iscsi.errors import LostRace, NotFound, OneIscsiError, WrongState

#: A volume that became dirty just now belongs to the command that is about to start its wipe; a registration without a
#: journal takes at most two visits to a storage server. Seconds.
_LEAVE_DIRTY = 60
_LEAVE_REGISTRATION = 15 * 60


@dataclass(frozen=True)
class Deed:
    """What was done to a volume, or what went wrong."""

    volume_id: int
    ok: bool
    what: str


@dataclass(frozen=True)
class Report:
    """``running`` wipes need more time; ``left`` volumes were not looked at for want of time."""

    deeds: list[Deed]
    running: int
    left: int


def work(core: Core, limit: int) -> Report:
    """Collect wipes, settle what dead processes left, start wipes that wait.

    ``limit``: nothing new is begun after so many seconds. What has not been looked at for longest comes first, so a
    machine that does not answer never keeps the rest from its turn. An operation whose process is alive is left
    alone. No error of a volume is raised: each is a deed that is not ok.
    """
    end = time.monotonic() + limit
    deeds, left = [], 0
    for volume_id, step in list(_steps(core)):
        if time.monotonic() >= end:
            left += 1
            continue
        try:
            what = step(core, volume_id)
        except (LostRace, NotFound):
            continue  # another command was quicker
        except OneIscsiError as error:
            deeds.append(Deed(volume_id, False, str(error)))
        else:
            deeds += [Deed(volume_id, True, what)] if what else []
    return Report(deeds, len(core.store.volumes(status=[states.WIPING])), left)


def _steps(core: Core) -> Iterator[tuple[int, Callable[[Core, int], str]]]:
    ops = sorted(core.store.ops(), key=lambda op: op.heartbeat)
    dead = [op for op in ops if not core.store.owner_alive(op)]
    yield from ((op.volume_id, _collect if op.kind == wiping.KIND else _recover) for op in dead)
    busy, now = {op.volume_id for op in ops}, time.time()
    for status, age, step in (
        (states.CREATING, _LEAVE_REGISTRATION, _recover),
        (states.DIRTY, _LEAVE_DIRTY, _start),
    ):
        for volume in core.store.volumes(status=[status]):
            if volume.id not in busy and now - volume.updated_at >= age:
                yield volume.id, step


def _collect(core: Core, volume_id: int) -> str:
    for trouble in wiping.collect(core, volume_id):
        raise OneIscsiError(trouble)
    try:
        volume = core.store.volume(volume_id)
    except NotFound:
        return "wiped and removed"
    if volume.status == states.ERROR:
        raise OneIscsiError(volume.reason, f"mend that, then run onevolume recover {volume_id}")
    return "wiped, it is free" if volume.status == states.FREE else ""


def _recover(core: Core, volume_id: int) -> str:
    try:
        return f"recovered, it is {recovery.recover(core, str(volume_id), by_hand=False).status}"
    except WrongState:
        return ""  # somebody took it over


def _start(core: Core, volume_id: int) -> str:
    volume = core.store.volume(volume_id)
    if volume.status != states.DIRTY:
        return ""  # somebody used it meanwhile, and it may hold data
    op = wiping.start_again(core, volume)
    return "its wipe waits for its turn" if op.phase == wiping.QUEUED else "its wipe is started"
