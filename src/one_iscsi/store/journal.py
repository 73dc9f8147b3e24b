"""The journal: at most one open operation per volume, owned by one process; phases are written before side effects."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, Union

import peewee

from one_iscsi.errors import LostRace, NotFound, NoVolume, WrongState
from one_iscsi.model import Attachment, Op, Volume
from one_iscsi.states import ERROR, RESIZING, TRANSITIONS
from one_iscsi.store.process import is_running, this_process
from one_iscsi.store.schema import ATTACHMENT, OP, VOLUME, Actor, Row, encode, op_of, owner_columns
from one_iscsi.store.volumes import Volumes, lost_race, marks, new_version, no_way
from one_iscsi.units import format_size

#: A process on another front end cannot be looked at: it counts as dead when silent for so many seconds.
_SILENCE = 15 * 60

#: What becomes of the attachments when an operation ends: stay, all go, or this one's row changes to what is given.
Ending = Union[Literal["keep", "delete"], Attachment]


class TargetTaken(WrongState):
    """The guest target, or the volume's place for an attachment, is in use by another attachment."""


class Journal(Volumes):
    """Operations on volumes."""

    def begin(
        self,
        volume: Volume,
        kind: str,
        to_status: str,
        who: Actor,
        phase: str = "reserved",
        then: str = "",
        payload: Mapping[str, Any] | None = None,
        attachment: Attachment | None = None,
        why: str = "",
        room: int | None = None,
        **columns: Any,
    ) -> tuple[Volume, Op]:
        """Open an operation owned by this process: status, journal, attachment and event in one transaction.

        ``to_status`` may be the present one; ``room`` is for a resize, see ``enter``. Raises LostRace if the row is not
        what ``volume`` says any more or has an open operation, TargetTaken, NoVolume, and WrongState if there is no way
        to ``to_status``.
        """
        if to_status != volume.status and to_status not in TRANSITIONS[volume.status]:
            raise no_way(volume, to_status)
        version, entry = new_version(), _entry(volume, kind, phase, then, payload)

        def work() -> tuple[Volume, Op]:
            if self._swap(volume, version, to_status, {**marks(volume.status, to_status, why), **columns}):
                if room is not None:
                    self._promise(volume.san_id, (payload or {})["size_bytes"] - volume.size_bytes, room)
                try:
                    self._engine.run(OP.insert(**entry))
                except peewee.IntegrityError:
                    raise lost_race(volume.id) from None
                if attachment:
                    new = replace(attachment, volume_id=volume.id, created_at=entry["created_at"])
                    self._place(new, ATTACHMENT.insert(**encode(asdict(new))))
                self._record(volume.id, who, kind, volume.status, to_status, why)
            return self.volume(volume.id), self._select(OP.open_slot == volume.id)[0]

        return self._engine.write(work)

    def enter(
        self, kind: str, who: Actor, iqn: str, name: str, room: int, phase: str = "reserved", **columns: Any
    ) -> tuple[Volume, Op]:
        """Enter a new volume with an open operation of this process, in one transaction; ``columns`` as ``add_volume``.

        ``iqn`` was never used before. Without a ``name`` it is called after its id. ``room``: bytes that all volumes
        made on the storage server may have together. Raises NotFound (san), and NoVolume if they had more.
        """

        def work() -> tuple[Volume, Op]:
            known = self._rows(VOLUME.iqn == iqn)  # this is the second run of an applied transaction
            if known:
                return known[0], self._select(OP.open_slot == known[0].id)[0]
            self._promise(columns["san_id"], columns["size_bytes"], room)
            volume = self.add_volume(name, iqn, who=who, kind=kind, **columns)
            if not name:
                volume = self.update(volume, name=f"volume-{volume.id}")
            self._engine.run(OP.insert(**_entry(volume, kind, phase)))
            return volume, self._select(OP.open_slot == volume.id)[0]

        return self._engine.write(work)

    def promised(self, san_id: int) -> int:
        """Bytes of all volumes made on a storage server, or being made there; one that grows counts as grown."""
        made_there = (VOLUME.san_id == san_id) & (VOLUME.made == 1)
        # First what is to come: a resize that ends meanwhile is counted twice rather than not at all.
        growth: int = sum(
            op.payload["size_bytes"] - volume.size_bytes
            for volume in self._rows(made_there & (VOLUME.status == RESIZING))
            for op in self.ops(volume_id=volume.id)
        )
        query = VOLUME.select(peewee.fn.SUM(VOLUME.size_bytes).alias("bytes")).where(made_there)
        return int(self._engine.rows(query)[0]["bytes"] or 0) + growth

    def _promise(self, san_id: int, more: int, room: int) -> None:
        """Inside a write: NoVolume if ``more`` bytes are more than what nobody was promised of ``room``."""
        self.seen_san(san_id)  # this locks its row: others look again when this promise is in the table
        left = max(0, room - self.promised(san_id))
        if left < more:
            raise NoVolume(
                f"storage server {self.san(san_id).name} has only {format_size(left)} left",
                "ask for less, or delete volumes (see onevolume san list)",
            )

    def advance(self, op: Op, phase: str, **payload_updates: Any) -> Op:
        """Commit the phase that starts now, before its side effect. Raises LostRace if ``op`` is not ours any more."""
        return self._update_op(op, phase=phase, payload={**op.payload, **payload_updates})

    def fail(self, op: Op, error_text: str) -> Op:
        """Keep the operation open with the error it met. Raises LostRace if ``op`` is not ours any more."""
        return self._update_op(op, error=error_text)

    def finish(
        self, op: Op, to_status: str, who: Actor, why: str = "", attachment: Ending = "keep", **columns: Any
    ) -> Volume:
        """Close the operation: status, journal, attachments and event in one transaction.

        ``to_status`` may be the present one. Raises LostRace if ``op`` is not ours any more, WrongState if there is no
        way to ``to_status``, TargetTaken if a replaced attachment clashes.
        """
        _check_owner(op)
        version = new_version()

        def work() -> Volume:
            # This locks the row: ``update``, which knows of no operation, cannot come between what is read below and
            # what is written. And it is the first one, as in ``begin``, so the two do not wait for each other.
            self._engine.run(VOLUME.update(updated_at=int(time.time())).where(VOLUME.id == op.volume_id))
            if not self._engine.run(OP.update(open_slot=None, heartbeat=int(time.time())).where(_ours(op))):
                applied = self._rows((VOLUME.id == op.volume_id) & (VOLUME.version == version))
                if not applied:
                    raise _not_ours(op)
                return applied[0]
            volume = self.volume(op.volume_id)
            if to_status != volume.status and to_status not in TRANSITIONS[volume.status]:
                raise no_way(volume, to_status)
            self._swap(volume, version, to_status, {**marks(volume.status, to_status, why), **columns})
            if attachment == "delete":
                self._engine.run(ATTACHMENT.delete().where(ATTACHMENT.volume_id == volume.id))
            elif isinstance(attachment, Attachment):
                self._replace(attachment)
            self._record(volume.id, who, op.kind, volume.status, to_status, why)
            return self.volume(volume.id)

        return self._engine.write(work)

    def error(self, op: Op, reason: str, who: Actor) -> Volume:
        """Close the operation and put its volume in ``error``, with the status it had and the reason."""
        return self.finish(op, ERROR, who, why=reason)

    def forget(self, volume: Volume, who: Actor, why: str) -> None:
        """Delete the row of a volume that is no more, closing this process's operation on it; its events stay.

        Raises LostRace if the row is not what ``volume`` says any more, WrongState while it is attached or another
        process works on it.
        """

        def work() -> None:
            unchanged = (VOLUME.id == volume.id) & (VOLUME.version == volume.version)
            if not self._engine.run(VOLUME.delete().where(unchanged)):
                raise lost_race(volume.id)
            mine = [getattr(OP, name) == value for name, value in owner_columns(this_process()).items()]
            self._engine.run(OP.update(open_slot=None).where(OP.open_slot == volume.id, *mine))
            self._refuse_busy(volume.id)
            for attachment in self.attachments(volume_id=volume.id):
                raise WrongState(f"volume {volume.id} is attached on {attachment.host}", "detach it first")
            self._put_chap(volume.id, None)
            self._record(volume.id, who, "forget", volume.status, "", why)

        self._engine.write(work)

    def ops(self, open_only: bool = True, kind: str | None = None, volume_id: int | None = None) -> list[Op]:
        """Operations that match every given filter, oldest first."""
        conditions: list[Any] = []
        if open_only:
            conditions.append(OP.open_slot.is_null(False))
        if kind is not None:
            conditions.append(OP.kind == kind)
        if volume_id is not None:
            conditions.append(OP.volume_id == volume_id)
        return self._select(*conditions)

    def count_ops(self, kind: str, phases: Iterable[str], san_ids: Iterable[int]) -> int:
        """How many open operations of a kind are in one of the phases, on volumes of these storage servers."""
        which = OP.open_slot.is_null(False) & (OP.kind == kind)
        which &= OP.phase.in_(list(phases)) & VOLUME.san_id.in_(list(san_ids))
        query = (
            OP.select(peewee.fn.COUNT(OP.id).alias("count")).join(VOLUME, on=(VOLUME.id == OP.volume_id)).where(which)
        )
        return int(self._engine.rows(query)[0]["count"])

    def op(self, op_id: int) -> Op:
        """An operation by id; NotFound."""
        found = self._select(OP.id == op_id)
        if not found:
            raise NotFound(f"there is no operation {op_id}", "it is over; `onevolume events` tells how it ended")
        return found[0]

    def owner_alive(self, op: Op) -> bool:
        """Whether the process that runs ``op`` lives: looked up here, by its heartbeat if on another front end."""
        if op.owner.frontend == this_process().frontend:
            return is_running(op.owner)
        return time.time() - op.heartbeat < _SILENCE

    def take_over(self, op: Op) -> Op:
        """Make this process the owner of an operation whose owner died, or of its own.

        Raises WrongState while the owner lives, LostRace if the operation went on, ended or was taken over meanwhile.
        """
        me = this_process()
        if op.owner != me and self.owner_alive(op):
            what = f"operation {op.id} is still being run by pid {op.owner.pid} on {op.owner.frontend}"
            raise WrongState(what, "wait for it, or end that process")
        new = replace(op, owner=me, attempt=op.attempt + 1, heartbeat=int(time.time()))
        columns = {**owner_columns(me), "attempt": new.attempt, "heartbeat": new.heartbeat}

        def work() -> Op:
            if not self._engine.run(OP.update(**columns).where(_ours(op) & (OP.heartbeat == op.heartbeat))):
                raise LostRace(f"operation {op.id} is not where it was", "another process took it: look again")
            return new

        return self._engine.write(work)

    def _update_op(self, op: Op, **columns: Any) -> Op:
        """Set columns of an operation of ours; within a write a part of it."""
        _check_owner(op)
        new = replace(op, heartbeat=int(time.time()), **columns)

        def work() -> Op:
            changes = encode({**columns, "heartbeat": new.heartbeat})
            if not self._engine.run(OP.update(**changes).where(_ours(op))):
                raise _not_ours(op)
            return new

        return self._engine.write(work)

    def _replace(self, attachment: Attachment) -> None:
        same = (ATTACHMENT.volume_id == attachment.volume_id) & (ATTACHMENT.slot == attachment.slot)
        if not self._place(attachment, ATTACHMENT.update(**encode(asdict(attachment))).where(same)):
            raise NotFound(f"volume {attachment.volume_id} has no attachment {attachment.slot}", "look at it again")

    def _place(self, attachment: Attachment, query: peewee.Query) -> int:
        try:
            return self._engine.run(query)
        except peewee.IntegrityError:
            taken = f"volume {attachment.volume_id} is attached already"
            for other in self.attachments(vm_id=attachment.vm_id) if attachment.vm_id is not None else []:
                if other.target == attachment.target:
                    taken = f"target {other.target} of VM {other.vm_id} is taken by volume {other.volume_id}"
            raise TargetTaken(taken, "look at it again and repeat the command") from None

    def _select(self, *conditions: Any) -> list[Op]:
        query = OP.select().where(*conditions) if conditions else OP.select()
        return [op_of(row) for row in self._engine.rows(query.order_by(OP.id))]


def _entry(volume: Volume, kind: str, phase: str, then: str = "", payload: Mapping[str, Any] | None = None) -> Row:
    """The columns of a new open operation of this process."""
    now = int(time.time())
    return encode(
        {
            "volume_id": volume.id, "open_slot": volume.id, "kind": kind, "phase": phase,
            "origin_status": volume.status, "then": then, **owner_columns(this_process()), "heartbeat": now,
            "attempt": 1, "payload": dict(payload or {}), "error": "", "created_at": now,
        }
    )  # fmt: skip


def _ours(op: Op) -> Any:
    """The row of ``op`` if it is open and nobody took it over: a take-over counts ``attempt`` up."""
    return (OP.id == op.id) & (OP.attempt == op.attempt) & OP.open_slot.is_null(False)


def _check_owner(op: Op) -> None:
    if op.owner != this_process():
        raise _not_ours(op)


def _not_ours(op: Op) -> LostRace:
    return LostRace(f"operation {op.id} was ended or taken over by another process", "look at the volume again")
