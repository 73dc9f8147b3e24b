"""The table of volumes, the journal of operations and the audit, in SQLite or MySQL/MariaDB.

Every change is one short transaction that names what it expects to find; whoever comes second gets LostRace. No
exception of the database leaves this package: it becomes a StoreError of one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from one_iscsi.store.connect import connection
from one_iscsi.store.engine import Engine
from one_iscsi.store.journal import Journal, TargetTaken
from one_iscsi.store.migrations import bring_up_to_date
from one_iscsi.store.schema import SCHEMA_VERSION, Actor

__all__ = ["Actor", "Store", "TargetTaken"]


class Store(Journal):
    """One database. Threads may share a Store, each has its own connection; a forked child opens its own Store."""

    @classmethod
    def open(cls, url: str, migrate: bool = True) -> Store:
        """Open ``sqlite:////absolute/path.db`` or ``mysql://user:password@host:port/database?unix_socket=/path``.

        ``?timeout=SECONDS`` is how long a lock is waited for (10). With ``migrate`` a missing SQLite file is made
        (mode 0600) and the tables are brought up to date. Raises StoreError.
        """
        engine = Engine(connection(url, create=migrate))
        bring_up_to_date(engine, migrate)
        return cls(engine)

    @property
    def file(self) -> Path | None:
        """SQLite's file; None for a server."""
        return self._engine.file

    def probe(self) -> tuple[str, int]:
        """What to call the database, and its schema's version; StoreError if it cannot be written."""
        same = SCHEMA_VERSION.update(applied_at=SCHEMA_VERSION.applied_at)
        self._engine.write(lambda: self._engine.run(same))
        return self._engine.place, len(self._engine.rows(SCHEMA_VERSION.select()))

    def close(self) -> None:
        """Close the calling thread's connection."""
        self._engine.disconnect()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
