"""What a database error means: worth another try or not, and one line for the person who reads it."""

from __future__ import annotations

import peewee

from one_iscsi.errors import StoreError

#: MySQL's and MariaDB's error numbers for a lost connection (0 is PyMySQL's own), for a row that changed under a
#: snapshot (1020, MariaDB 11), a lock wait timeout and a deadlock: the transaction may well succeed the next time.
_PASSING = frozenset({0, 1053, 1927, 2006, 2013, 2014, 2055, 4031}) | {1020, 1205, 1213}
_NO_TABLE = 1146

_RETRY = "repeat the command"
_SERVER = "check that the database server runs and that its address in the configuration is right"
_DISK = "free space on its file system and repeat the command"
_READ_ONLY = "mount the file system read-write and give the file and its folder to oneadmin"
_BACKUP = "restore the file from a backup"

_MYSQL = {
    0: ("the connection was lost", _SERVER),
    1020: ("another process kept changing the same rows", _RETRY),
    1021: ("the disk of the database server is full", _DISK),
    1040: ("the database server has too many connections", _RETRY),
    1044: ("the user may not use this database", "grant the user all rights on it"),
    1045: ("the database server refuses the user or the password", "correct them in the configuration"),
    1049: ("there is no such database", "create it and grant the user all rights on it"),
    1114: ("a table cannot grow, the disk of the database server may be full", _DISK),
    1142: ("the user lacks a right on this database", "grant the user all rights on it"),
    1205: ("a row stayed locked by another process", _RETRY),
    1213: ("another process kept changing the same rows", _RETRY),
    1290: ("the database server is read-only", "let the configuration name the server that takes writes"),
    1698: ("the database server refuses the user or the password", "correct them in the configuration"),
    1836: ("the database server is read-only", "let the configuration name the server that takes writes"),
    2002: ("the database server cannot be reached", _SERVER),
    2003: ("the database server cannot be reached", _SERVER),
    2006: ("the connection was lost", _SERVER),
    2013: ("the connection was lost", _SERVER),
}

#: SQLite's words (Python tells the error code from 3.11 on only).
_SQLITE = {
    "database is locked": ("it is locked by another process", "repeat the command; `fuser -v FILE` shows who holds it"),
    "attempt to write a readonly database": ("it cannot be written", _READ_ONLY),
    "unable to open database file": ("it cannot be opened", "check that the folder exists and belongs to oneadmin"),
    "database or disk is full": ("the disk is full", _DISK),
    "disk I/O error": ("the disk reports an error, or is full", "check the disk and the kernel's log"),
    "file is not a database": ("it is not a database", _BACKUP),
    "database disk image is malformed": ("it is damaged", _BACKUP),
}


def is_passing(error: peewee.PeeweeException) -> bool:
    """Whether the same transaction may well succeed when it is run again from its start."""
    return _code(error) in _PASSING


def is_locked(error: peewee.PeeweeException) -> bool:
    """Whether SQLite found the file locked."""
    return _text(error) == "database is locked"


def is_missing_table(error: peewee.PeeweeException) -> bool:
    """Whether a query named a table that was not made yet."""
    return _code(error) == _NO_TABLE or _text(error).startswith("no such table")


def explain(error: peewee.PeeweeException, place: str) -> StoreError:
    """One line about ``error`` in the database called ``place``, with what to do; never with a password."""
    code, text = _code(error), _text(error)
    known = _SQLITE.get(text) if code is None else _MYSQL.get(code)
    what, fix = known or (text, "if it stays, report it with this line")
    return StoreError(f"{place}: {what}", fix)


def _code(error: peewee.PeeweeException) -> int | None:
    """The server's error number, its first argument; None for SQLite."""
    code = error.args[0] if error.args else None
    return code if isinstance(code, int) else None


def _text(error: peewee.PeeweeException) -> str:
    return " ".join(str(error.args[-1] if error.args else error).split())
