"""From a database URL to a peewee database: SQLite file or MySQL/MariaDB server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from one_iscsi.errors import StoreError


@contextmanager
def _without(module: str) -> Iterator[None]:
    """What is imported here does not find ``module``, unless it is there already."""
    found = sys.modules.setdefault(module, None)  # type: ignore[arg-type]
    yield
    if not found:
        del sys.modules[module]


with _without("pymysql"):  # peewee imports every driver it finds, and this one takes as long as peewee itself
    import peewee

_FORMS = "give sqlite:////var/lib/one/one_iscsi.db or mysql://user:password@host:3306/database (percent-encoded)"
_TIMEOUT = 10.0
#: A server that stops answering in the middle of a statement is given up after this; beyond any lock wait. Seconds.
_SILENCE = 60


class Connection(NamedTuple):
    """How to talk to one database."""

    database: peewee.Database
    #: What to call it in a message; never holds a password.
    place: str
    #: Arguments of BEGIN: SQLite takes the write lock at once, so a transaction cannot fail half-way for want of it.
    begin: tuple[str, ...] = ()
    #: Statements every new connection starts with.
    session: tuple[str, ...] = ()
    #: How long a lock is waited for, in seconds.
    timeout: float = _TIMEOUT
    #: SQLite's file; None for a server.
    file: Path | None = None


def connection(url: str, create: bool) -> Connection:
    """The connection ``url`` describes, not opened yet; with ``create`` a missing SQLite file is made, mode 0600.

    ``?timeout=SECONDS`` is how long a lock is waited for. Raises StoreError for a malformed URL or a file that cannot
    be made.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        timeout = float(options.pop("timeout", _TIMEOUT))
        socket = options.pop("unix_socket", None)
        if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("//") and not options:
            return _sqlite(Path(unquote(parts.path[1:])), timeout, create)
        if parts.scheme == "mysql" and parts.hostname and parts.path.strip("/") and not options:
            return _mysql(parts, timeout, socket)
    except ValueError:
        pass
    raise StoreError("the database URL in the configuration is malformed", _FORMS)


def _sqlite(path: Path, timeout: float, create: bool) -> Connection:
    if create:
        create_file(path)
    # Write-ahead log: readers never wait. Full synchronous: a committed phase survives a power failure, and only then
    # may its side effect start.
    pragmas = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1}
    # mode=rw: SQLite never makes the file, which it would do with the umask's mode.
    file = f"file:{quote(str(path))}?mode=rw"
    database = peewee.SqliteDatabase(file, uri=True, pragmas=pragmas, timeout=timeout, autoconnect=False)
    return Connection(database, f"database {path}", begin=("IMMEDIATE",), timeout=timeout, file=path)


def create_file(path: Path) -> None:
    """Make an empty file with mode 0600 whatever the umask; SQLite gives its -wal and -shm files the same mode.

    One that is there is left as it is. Raises StoreError.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)
        os.close(fd)
    except FileExistsError:
        pass
    except OSError as error:
        what = f"database {path} cannot be created ({error.strerror})"
        raise StoreError(what, f"check that {path.parent} is a folder oneadmin may write to") from None


def _mysql(parts: SplitResult, timeout: float, socket: str | None) -> Connection:
    import pymysql

    peewee.mysql = pymysql  # type: ignore[attr-defined]
    name = parts.path.strip("/")
    seconds = max(1, round(timeout))
    database = peewee.MySQLDatabase(
        name,
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        connect_timeout=seconds,
        read_timeout=_SILENCE,
        write_timeout=_SILENCE,
        # An UPDATE counts the rows it found, as SQLite does, not the rows it made different (CLIENT_FOUND_ROWS).
        client_flag=2,
        # Too long a value is an error, not cut short in silence.
        sql_mode="STRICT_ALL_TABLES",
        autoconnect=False,
        unix_socket=socket,
    )
    session = (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        # A fifth, because the transaction is run again after it, five times.
        f"SET SESSION innodb_lock_wait_timeout = {max(1, seconds // 5)}",
    )
    where = socket or f"{parts.hostname}:{parts.port or 3306}"
    return Connection(database, f"database {name} on {where}", session=session, timeout=timeout)
