"""Transactions: connected when needed, run whole, run again when that can help, and every error in one line.

A transaction that is run again must be safe to run twice: when the connection breaks while the server answers a COMMIT,
nobody knows whether it was applied. Every change of a volume therefore writes a fresh random ``version``; a second run
that finds its own version in the row knows that the first one was applied, and adds nothing. The few changes that
carry no version (a new storage server, a take-over) report in that case that the thing is already there or taken: the
caller asks again and sees it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import peewee

from one_iscsi.errors import BadInput, StoreError
from one_iscsi.store import faults
from one_iscsi.store.connect import Connection
from one_iscsi.store.schema import Row

Result = TypeVar("Result")

#: Seconds between the tries of a transaction; one more try than pauses.
_PAUSES = (0.02, 0.1, 0.3, 0.6, 1.0)


class Again(Exception):
    """Raised inside a write to have it rolled back and run again: another process came between two statements."""


class Engine:
    """A database, with one connection per thread. A process that forks opens its own Store."""

    def __init__(self, connection: Connection) -> None:
        self._database, self.place, self._begin, self._session, self._timeout, self.file = connection
        self._thread = threading.local()

    @property
    def is_mysql(self) -> bool:
        """Whether this is MySQL or MariaDB; SQLite otherwise."""
        return isinstance(self._database, peewee.MySQLDatabase)

    def rows(self, query: peewee.Query) -> list[Row]:
        """What ``query`` selects, as dictionaries. Within a write it is part of that transaction."""
        return self.attempt(lambda: self.fetch(query))

    def fetch(self, query: peewee.Query) -> list[Row]:
        """As ``rows``, inside an attempt or a write, with peewee's own exceptions."""
        return list(query.dicts().execute(self._database))

    def run(self, query: peewee.Query) -> int:
        """Execute a change inside a write: the id of an inserted row, or the number of rows found by the others.

        The only place where peewee's IntegrityError comes out, for callers that know what a duplicate means.
        """
        result: int = query.execute(self._database)
        return result

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Run a migration's statement inside a write; the first value it answers, or None."""
        row = self._database.execute_sql(sql, parameters).fetchone()  # type: ignore[no-untyped-call]
        return row and row[0]

    def write(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` in one transaction, or as a part of the present one. It may be run more than once."""
        return work() if self._inside else self.attempt(lambda: self._transaction(work))

    def attempt(self, work: Callable[[], Result]) -> Result:
        """Run ``work`` on a live connection, again after a passing error. Raises StoreError."""
        if self._inside:
            return work()  # a part of a write, which is run again as a whole
        pauses = iter(_PAUSES)
        while True:
            try:
                self._connect()
                return work()
            except Again:
                reason = StoreError(f"{self.place}: other processes kept changing the same rows", "repeat the command")
            except (OverflowError, UnicodeEncodeError, peewee.DataError):
                what = "a number is too large, or a text is too long or has broken characters"
                raise BadInput(what, "correct the arguments") from None
            except peewee.PeeweeException as error:
                self.disconnect()
                reason = faults.explain(error, self.place)
                if not faults.is_passing(error):
                    raise reason from None
            pause = next(pauses, None)
            if pause is None:
                raise reason
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311

    def _transaction(self, work: Callable[[], Result]) -> Result:
        self._database.begin(*self._begin)
        self._thread.inside = True
        try:
            result = work()
            self._database.commit()
            return result
        except BaseException:
            try:
                self._database.rollback()
            except peewee.PeeweeException:
                self.disconnect()  # broken, or the engine has rolled back by itself; what counts is the first error
            raise
        finally:
            self._thread.inside = False

    @property
    def _inside(self) -> bool:
        return getattr(self._thread, "inside", False)

    def disconnect(self) -> None:
        """Close the calling thread's connection; the next statement opens another."""
        with suppress(peewee.PeeweeException):
            self._database.close()

    def _connect(self) -> None:
        if not self._database.is_closed():
            return
        try:
            self._open()
            for statement in self._session:
                self.execute(statement)
        except RuntimeError as error:  # PyMySQL lacks a library for the server's way of authenticating
            raise StoreError(f"{self.place}: {error}", "install what it names") from None

    def _open(self) -> None:
        """Connect; wait for the moment in which another process turns a new SQLite file to write-ahead logging.

        SQLite does not apply its own timeout to that.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                self._database.connect()
                return
            except peewee.OperationalError as error:
                if not faults.is_locked(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)
