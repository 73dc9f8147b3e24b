"""Volumes and their attachments."""

from __future__ import annotations

import heapq
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any

import peewee

from one_iscsi.errors import BadInput, LostRace, NotFound, WrongState
from one_iscsi.iscsi import Portal
from one_iscsi.model import Attachment, SealedChap, Volume
from one_iscsi.states import DISABLED, ERROR, FREE, TRANSITIONS
from one_iscsi.store.places import Places
from one_iscsi.store.schema import ATTACHMENT, CHAP, OP, VOLUME, Actor, Row, attachment_of, encode, volume_of

#: How many free volumes an allocation looks at; whoever loses the race for all of them asks again.
_CANDIDATES = 50


class Volumes(Places):
    """The pool."""

    def add_volume(
        self,
        name: str,
        iqn: str,
        lun: int,
        portals: Iterable[Portal],
        size_bytes: int,
        san_id: int,
        status: str,
        *,
        who: Actor,
        serial: str = "",
        wwid: str = "",
        uid: int = 0,
        gid: int = 0,
        wiped_at: int | None = None,
        made: bool = False,
        chap: SealedChap | None = None,
        kind: str = "register",
        why: str = "",
    ) -> Volume:
        """Enter a volume; its id was never used before. Raises WrongState if the IQN is there, NotFound (san)."""
        now, version = int(time.time()), new_version()
        row = encode(
            {
                "name": name, "iqn": iqn, "lun": lun, "portals": tuple(portals), "size_bytes": size_bytes,
                "serial": serial, "wwid": wwid, "san_id": san_id, "status": status, "version": version,
                "previous_status": "", "reason": "", "holder_kind": "", "holder_id": None, "disk_id": None,
                "uid": uid, "gid": gid, "permissions": 0o600, "wiped_at": wiped_at,
                "created_at": now, "updated_at": now, "made": made,
            }
        )  # fmt: skip

        def work() -> Volume:
            try:
                volume_id = self._engine.run(VOLUME.insert(**row))
            except peewee.IntegrityError:
                there = self._rows(VOLUME.iqn == iqn)
                if not there:
                    raise NotFound(f"there is no storage server {san_id}", "`onevolume san list` shows them") from None
                if there[0].version != version:  # else: this is the second run of an applied transaction
                    what = f"IQN {iqn} belongs to volume {there[0].id} already"
                    raise WrongState(what, f"`onevolume show {there[0].id}` tells more") from None
                return there[0]
            self._put_chap(volume_id, chap)
            self._record(volume_id, who, kind, "", status, why)
            return self.volume(volume_id)

        return self._engine.write(work)

    def volume(self, ref: int | str) -> Volume:
        """A volume by id, IQN or name. Raises NotFound, and BadInput if several have the name."""
        if isinstance(ref, int) or (ref.isascii() and ref.isdecimal()):
            found = self._rows(VOLUME.id == int(ref))
        else:
            found = self._rows(VOLUME.iqn == ref) or self._rows(VOLUME.name == ref)
        if not found:
            raise NotFound(f"there is no volume {ref}", "`onevolume list` shows them")
        if len(found) > 1:
            ids = ", ".join(str(volume.id) for volume in found)
            raise BadInput(f"volumes {ids} are all named {ref}", "give the id")
        return found[0]

    def volumes(
        self,
        status: Iterable[str] | None = None,
        san_id: int | None = None,
        uid: int | None = None,
        name: str | None = None,
    ) -> list[Volume]:
        """The volumes that match every given filter, by id."""
        query = VOLUME.select().order_by(VOLUME.id)
        if status is not None:
            query = query.where(VOLUME.status.in_([status] if isinstance(status, str) else list(status)))
        if san_id is not None:
            query = query.where(VOLUME.san_id == san_id)
        if uid is not None:
            query = query.where(VOLUME.uid == uid)
        if name is not None:
            query = query.where(VOLUME.name == name)
        return [volume_of(row) for row in self._engine.rows(query)]

    def serial_count(self, serial: str) -> int:
        """How many volumes carry ``serial``: more than one, and it proves nothing."""
        query = VOLUME.select(peewee.fn.COUNT(VOLUME.id).alias("count")).where(VOLUME.serial == serial)
        return int(self._engine.rows(query)[0]["count"])

    def candidates(self, size_bytes: int, cluster_id: int | None, pool: str = "") -> list[Volume]:
        """Up to 50 free volumes of ``size_bytes`` or more, smallest first, that hosts of the cluster (None: any) reach.

        With ``pool`` only those of storage servers with this label.
        """
        per_san = [
            self._engine.rows(
                free_of(san_id)
                .where(VOLUME.size_bytes >= size_bytes)
                .order_by(VOLUME.size_bytes, VOLUME.id)
                .limit(_CANDIDATES)
            )
            for san_id in self._serving(cluster_id, pool)
        ]
        merged = heapq.merge(*per_san, key=lambda row: (row["size_bytes"], row["id"]))
        return [volume_of(row) for row in islice(merged, _CANDIDATES)]

    def largest_free(self, cluster_id: int | None, pool: str = "") -> int:
        """Bytes of the largest free volume ``candidates`` could find; 0 if there is none."""
        per_san = [
            self._engine.rows(free_of(san_id).order_by(VOLUME.size_bytes.desc()).limit(1))
            for san_id in self._serving(cluster_id, pool)
        ]
        return max((row["size_bytes"] for rows in per_san for row in rows), default=0)

    def _serving(self, cluster_id: int | None, pool: str) -> list[int]:
        """The storage servers that serve a cluster (None: all), of one pool ("": of any)."""
        return [
            san.id
            for san in self.sans()
            if (not san.clusters or cluster_id is None or cluster_id in san.clusters) and pool in ("", san.pool)
        ]

    def change(self, volume: Volume, to_status: str, who: Actor, why: str = "", **columns: Any) -> Volume:
        """Move ``volume`` to another status, setting ``columns`` with it.

        Raises WrongState if there is no such way or an operation is under way, LostRace if the row is not what
        ``volume`` says any more. Entering ``error`` or ``disabled`` keeps where it came from and ``why``.
        """
        if to_status not in TRANSITIONS[volume.status]:
            raise no_way(volume, to_status)
        version = new_version()

        def work() -> Volume:
            if self._swap(volume, version, to_status, {**marks(volume.status, to_status, why), **columns}):
                self._refuse_busy(volume.id)
                self._record(volume.id, who, "change", volume.status, to_status, why)
            return self.volume(volume.id)

        return self._engine.write(work)

    def update(self, volume: Volume, **columns: Any) -> Volume:
        """Set ``columns`` and leave the status. Raises LostRace if the row is not what ``volume`` says any more."""
        version = new_version()

        def work() -> Volume:
            self._swap(volume, version, volume.status, columns)
            return self.volume(volume.id)

        return self._engine.write(work)

    def rename(self, volume: Volume, name: str, who: Actor) -> Volume:
        """Call a volume ``name``. Raises LostRace if the row is not what ``volume`` says any more."""
        version = new_version()

        def work() -> Volume:
            if self._swap(volume, version, volume.status, {"name": name}):
                self._record(volume.id, who, "rename", volume.status, volume.status, f"from {volume.name} to {name}")
            return self.volume(volume.id)

        return self._engine.write(work)

    def keep_chap(self, volume: Volume, chap: SealedChap | None, who: Actor) -> Volume:
        """Keep what hosts present to the volume's target; None: nothing. LostRace as for ``update``."""
        version = new_version()

        def work() -> Volume:
            if self._swap(volume, version, volume.status, {}):
                self._put_chap(volume.id, chap)
                why = f"as {chap.user}" + (", both ways" if chap.target_user else "") if chap else "none"
                self._record(volume.id, who, "chap", volume.status, volume.status, why)
            return self.volume(volume.id)

        return self._engine.write(work)

    def chaps(self, volume_id: int | None = None) -> dict[int, SealedChap]:
        """What is kept, by volume; of one volume only if ``volume_id`` is given."""
        query = CHAP.select().order_by(CHAP.volume_id)
        if volume_id is not None:
            query = query.where(CHAP.volume_id == volume_id)
        rows = map(dict, self._engine.rows(query))
        return {row.pop("volume_id"): SealedChap(**row) for row in rows}

    def attachments(
        self, volume_id: int | None = None, vm_id: int | None = None, host: str | None = None
    ) -> list[Attachment]:
        """The living attachments that match every given filter, by volume and slot."""
        query = ATTACHMENT.select().order_by(ATTACHMENT.volume_id, ATTACHMENT.slot)
        if volume_id is not None:
            query = query.where(ATTACHMENT.volume_id == volume_id)
        if vm_id is not None:
            query = query.where(ATTACHMENT.vm_id == vm_id)
        if host is not None:
            query = query.where(ATTACHMENT.host == host)
        return [attachment_of(row) for row in self._engine.rows(query)]

    def _rows(self, condition: Any) -> list[Volume]:
        return [volume_of(row) for row in self._engine.rows(VOLUME.select().where(condition).order_by(VOLUME.id))]

    def _put_chap(self, volume_id: int, chap: SealedChap | None) -> None:
        """Inside a write."""
        self._engine.run(CHAP.delete().where(CHAP.volume_id == volume_id))
        if chap:
            self._engine.run(CHAP.insert(volume_id=volume_id, **asdict(chap)))

    def _swap(self, volume: Volume, version: int, status: str, columns: Row) -> bool:
        """Inside a write, set status and columns of the row if it is still ``volume``, else raise LostRace.

        False: an earlier run of this transaction, which chose the same ``version``, was applied after all.
        """
        new = {**encode(columns), "status": status, "version": version, "updated_at": int(time.time())}
        unchanged = (VOLUME.id == volume.id) & (VOLUME.status == volume.status) & (VOLUME.version == volume.version)
        if self._engine.run(VOLUME.update(**new).where(unchanged)):
            return True
        if self._engine.rows(VOLUME.select(VOLUME.id).where((VOLUME.id == volume.id) & (VOLUME.version == version))):
            return False
        raise lost_race(volume.id)

    def _refuse_busy(self, volume_id: int) -> None:
        for op in self._engine.rows(OP.select(OP.id, OP.kind).where(OP.open_slot == volume_id)):
            what = f"volume {volume_id} is busy: operation {op['id']} ({op['kind']}) is not finished"
            raise WrongState(what, "wait for it; if its process died, run `onevolume recover`")


def new_version() -> int:
    """A number no other write has: it names the write (see engine.py)."""
    return secrets.randbits(62)


def free_of(san_id: int) -> Any:
    """The query for the free volumes of a storage server."""
    return VOLUME.select().where((VOLUME.status == FREE) & (VOLUME.san_id == san_id))


def marks(from_status: str, to_status: str, why: str) -> Row:
    """The columns that go with a move into or out of ``error`` and ``disabled``."""
    if from_status == to_status:
        return {}
    if to_status in (ERROR, DISABLED):
        return {"previous_status": from_status, "reason": why}
    return {"previous_status": "", "reason": ""}


def no_way(volume: Volume, to_status: str) -> WrongState:
    """The error for a move that states.py does not list."""
    return WrongState(f"volume {volume.id} is {volume.status} and cannot become {to_status}", "see `onevolume show`")


def lost_race(volume_id: int) -> LostRace:
    """The error for a row that is not what the caller saw."""
    return LostRace(f"volume {volume_id} was changed by another process", "look at it again and repeat the command")
