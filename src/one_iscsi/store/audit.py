"""The append-only record of who changed what, and why."""

from __future__ import annotations

import time

from one_iscsi.model import Event
from one_iscsi.store.engine import Engine
from one_iscsi.store.schema import EVENT, Actor


class Audit:
    """The part of the store every other part writes its events with."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def events(self, volume_id: int | None = None, limit: int | None = None) -> list[Event]:
        """Events oldest first, also those of a forgotten volume; with ``limit`` only the newest so many."""
        query = EVENT.select().order_by(EVENT.id.desc()).limit(limit)
        if volume_id is not None:
            query = query.where(EVENT.volume_id == volume_id)
        return [Event(**row) for row in reversed(self._engine.rows(query))]

    def _record(self, volume_id: int, who: Actor, what: str, from_status: str, to_status: str, why: str) -> None:
        """Write an event inside a write."""
        self._engine.run(
            EVENT.insert(
                time=int(time.time()),
                volume_id=volume_id,
                uid=who.uid,
                address=who.address,
                what=what,
                from_status=from_status,
                to_status=to_status,
                why=why,
            )
        )
