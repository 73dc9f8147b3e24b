"""Create: a new volume in the room of a storage server. And settle a creation that stopped half-way."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from one_iscsi import sans, states, wiping
from one_iscsi.core import Core
from one_iscsi.errors import NotFound, NoVolume, StorageError, Unfinished, WrongState
from one_iscsi.model import Op, San, Volume
from one_iscsi.units import format_size

if TYPE_CHECKING:
    from one_iscsi.san import TargetInfo

KIND = "create"
RESERVED, MAKING = "reserved", "making"

#: Every volume we make is called so, and a number that nobody else has; its backing store after the last colon.
IQN = "iqn.2026-11.org.opennebula.one-iscsi:volume-"
#: tgt has its controller at LUN 0, LIO allows any.
LUN = 1

#: Places where a new volume reads as zeros although nobody wiped it. A thin pool maps nothing until it is written to,
#: and zeroes a block before it maps it (lvmthin(7), "Zeroing"; a pool that does not is refused); a file reads as zeros
#: wherever nothing was written to it (fallocate(2)).
#: In a volume group the extents still hold what was on them before, somebody's data.
_FRESH_ZEROS = frozenset({"thin", "file"})

#: After these nobody knows what is there; after any other error nothing is.
_UNKNOWN = frozenset({"timeout", "unknown"})


@dataclass(frozen=True)
class Order:
    """A volume of so many bytes, on the storage server or in the pool named, if one is."""

    size_bytes: int
    name: str = ""
    san: str = ""
    pool: str = ""


def create(core: Core, order: Order) -> Volume:
    """Make a volume where the most room is left, and have it wiped if its place may hold old data.

    If a storage server cannot do it after all the next one is tried. NoVolume when none has the room. After any error
    nothing is left behind, except Unfinished: then the journal knows and ``recover`` goes on.
    """
    refusal: StorageError | NoVolume | None = None
    for san, room in _places(core, order):
        if refusal:
            core.warn(f"{refusal.what}; trying storage server {san.name}")
        try:
            return _carry_out(core, *_reserve(core, order, san, room))
        except (StorageError, NoVolume) as error:
            refusal = error
    assert refusal  # noqa: S101  # there is one place at least
    if isinstance(refusal, StorageError) and refusal.code == "no-space":
        raise NoVolume(refusal.what, refusal.fix)
    raise refusal


def _places(core: Core, order: Order) -> Iterator[tuple[San, sans.Room]]:
    """The storage servers with room for it, the one with most room first."""
    asked = [core.store.san(order.san)] if order.san else core.store.sans()
    asked = [san for san in asked if order.pool in ("", san.pool)]
    if not asked:
        of_pool = f" in pool {order.pool}" if order.pool else ""
        raise NotFound(f"there is no storage server{of_pool}", "see onevolume san list")
    making = [san for san in asked if core.storage(san).can_create]
    if not making:
        names = ", ".join(san.name for san in asked)
        raise WrongState(f"no volumes are made on storage server {names}", "see onevolume san create --help")
    rooms = [(room, san) for san, room in zip(making, sans.rooms(core, making)) if room]
    if not rooms:
        raise StorageError("no storage server answers that could make the volume", "see onevolume san list", "unknown")
    most = max(room.left for room, _ in rooms)
    if most < order.size_bytes:
        raise NoVolume(
            f"no storage server has room for {format_size(order.size_bytes)}, {format_size(most)} is the most left",
            "ask for less, or delete volumes (see onevolume san list)",
        )
    for room, san in sorted(rooms, key=lambda one: (-one[0].left, one[1].id)):
        if room.left >= order.size_bytes:
            yield san, room


def _reserve(core: Core, order: Order, san: San, room: sans.Room) -> tuple[Op, Volume]:
    """Enter the row, whose size is promised from now on. NoVolume if others were promised the room meanwhile."""
    number = secrets.token_hex(8)
    volume, op = core.store.enter(
        KIND,
        core.who,
        IQN + number,
        order.name,
        room.total,
        phase=RESERVED,
        lun=LUN,
        portals=san.portals,
        size_bytes=order.size_bytes,
        san_id=san.id,
        status=states.CREATING,
        serial=number,
        made=True,
        why=f"{format_size(order.size_bytes)} on storage server {san.name}",
    )
    return op, volume


def _carry_out(core: Core, op: Op, volume: Volume) -> Volume:
    op = core.store.advance(op, MAKING)
    core.report(f"making volume {volume.id} ({format_size(volume.size_bytes)})")
    server = core.server(volume)
    try:
        made = server.create(volume, volume.serial)
    except StorageError as error:
        if error.code in _UNKNOWN:
            try:
                server.remove(volume)
            except StorageError as second:
                core.store.fail(op, str(second))
                raise Unfinished(
                    f"volume {volume.id} is half made ({error.what})",
                    f"when its storage server answers, run onevolume recover {volume.id}",
                ) from error
        core.store.forget(volume, core.who, f"could not be made: {error.what}")
        raise
    return _made(core, op, volume, made)


def _made(core: Core, op: Op, volume: Volume, made: TargetInfo) -> Volume:
    fresh = core.store.san(volume.san_id).location.partition(":")[0] in _FRESH_ZEROS
    volume = core.store.finish(
        op, states.FREE if fresh else states.DIRTY, core.who, why="made", size_bytes=made.size_bytes, lun=made.lun
    )
    return volume if fresh else wiping.start_or_leave(core, volume)


def settle(core: Core, op: Op, volume: Volume) -> Volume:
    """Finish the creation ``op`` of this process; it is undone if it had not begun, or if the server refuses.

    StorageError if nobody knows what is there: what refuses now may have been half made before.
    """
    if op.phase == MAKING:
        server = core.server(volume)
        try:
            return _made(core, op, volume, server.create(volume, volume.serial))
        except StorageError as error:
            if error.code in {*_UNKNOWN, "unreachable"}:
                raise
            server.remove(volume)
            core.warn(f"volume {volume.id} cannot be made: {error}")
    core.store.forget(volume, core.who, "creation undone")
    return replace(volume, status=states.GONE)
