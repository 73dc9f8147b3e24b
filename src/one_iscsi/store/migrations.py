"""The tables, made and changed by numbered steps. A released step is never edited: the next one corrects it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import peewee

from one_iscsi.errors import StoreError
from one_iscsi.store import faults
from one_iscsi.store.engine import Engine
from one_iscsi.store.schema import SCHEMA_VERSION

#: Statements of one step; the argument tells whether they are for MySQL/MariaDB. There a step is not a transaction: its
#: statements must be safe to run again after a crash between them.
Migration = Callable[[bool], list[str]]

#: Longest wait for another process that migrates, in seconds.
_PATIENCE = 50


def _table(mysql: bool, name: str, body: str, *indexes: str) -> list[str]:
    """CREATE statements of a table. ``{id}`` in its body is a number that is never used twice.

    Text compares byte by byte in both engines (an IQN differs from another by case).
    """
    body = body.format(id="`id` BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY" if mysql else
                       "`id` INTEGER PRIMARY KEY AUTOINCREMENT")  # fmt: skip
    if mysql:
        keys = "".join(f", KEY ({columns})" for columns in indexes)
        options = "ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        return [f"CREATE TABLE IF NOT EXISTS {name} ({body}{keys}) {options}"]
    return [f"CREATE TABLE {name} ({body})"] + [
        f"CREATE INDEX {name}_{number} ON {name} ({columns})" for number, columns in enumerate(indexes, start=1)
    ]


def _first(mysql: bool) -> list[str]:
    return [
        *_table(mysql, "one_volume_san", """
            {id}, name VARCHAR(255) NOT NULL UNIQUE, kind VARCHAR(32) NOT NULL, portals TEXT NOT NULL,
            ssh_host VARCHAR(255) NOT NULL, location TEXT NOT NULL, clusters TEXT NOT NULL, last_seen BIGINT
            """),
        *_table(mysql, "one_volume", """
            {id}, name VARCHAR(255) NOT NULL, iqn VARCHAR(255) NOT NULL UNIQUE, lun INTEGER NOT NULL,
            portals TEXT NOT NULL, size_bytes BIGINT NOT NULL, serial VARCHAR(255) NOT NULL, wwid VARCHAR(255) NOT NULL,
            san_id BIGINT NOT NULL, status VARCHAR(16) NOT NULL, version BIGINT NOT NULL,
            previous_status VARCHAR(16) NOT NULL, reason MEDIUMTEXT NOT NULL, holder_kind VARCHAR(16) NOT NULL,
            holder_id BIGINT, disk_id BIGINT, uid BIGINT NOT NULL, gid BIGINT NOT NULL, permissions INTEGER NOT NULL,
            wiped_at BIGINT, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
            FOREIGN KEY (san_id) REFERENCES one_volume_san (id)
            """, "status, san_id, size_bytes, id", "san_id", "uid", "name", "serial"),
        *_table(mysql, "one_volume_attachment", """
            volume_id BIGINT NOT NULL, slot VARCHAR(8) NOT NULL, vm_id BIGINT, purpose VARCHAR(16) NOT NULL,
            host VARCHAR(255) NOT NULL, device VARCHAR(255) NOT NULL, target VARCHAR(32) NOT NULL,
            read_only INTEGER NOT NULL, on_terminate VARCHAR(16) NOT NULL, status VARCHAR(16) NOT NULL,
            created_at BIGINT NOT NULL, PRIMARY KEY (volume_id, slot), UNIQUE (vm_id, target)
            """, "host"),
        *_table(mysql, "one_volume_op", """
            {id}, volume_id BIGINT NOT NULL, open_slot BIGINT UNIQUE, kind VARCHAR(32) NOT NULL,
            phase VARCHAR(64) NOT NULL, origin_status VARCHAR(16) NOT NULL, `then` VARCHAR(16) NOT NULL,
            owner_frontend VARCHAR(255) NOT NULL, owner_pid BIGINT NOT NULL, owner_started BIGINT NOT NULL,
            owner_boot VARCHAR(64) NOT NULL, heartbeat BIGINT NOT NULL, attempt INTEGER NOT NULL,
            payload MEDIUMTEXT NOT NULL, error MEDIUMTEXT NOT NULL, created_at BIGINT NOT NULL
            """, "volume_id"),
        *_table(mysql, "one_volume_event", """
            {id}, `time` BIGINT NOT NULL, volume_id BIGINT NOT NULL, uid BIGINT NOT NULL, address VARCHAR(255) NOT NULL,
            what VARCHAR(64) NOT NULL, from_status VARCHAR(16) NOT NULL, to_status VARCHAR(16) NOT NULL,
            why MEDIUMTEXT NOT NULL
            """, "volume_id"),
        *_table(mysql, "one_volume_host", """
            {id}, name VARCHAR(255) NOT NULL UNIQUE, initiator VARCHAR(255) NOT NULL UNIQUE, sources TEXT NOT NULL,
            multipath INTEGER NOT NULL, last_seen BIGINT
            """),
    ]  # fmt: skip


def _second(mysql: bool) -> list[str]:
    return [
        *_add_column(mysql, "one_volume_san", "pool", "VARCHAR(255) NOT NULL DEFAULT ''"),
        *_add_column(mysql, "one_volume", "made", "INTEGER NOT NULL DEFAULT 0"),
    ]


def _third(mysql: bool) -> list[str]:
    return _table(mysql, "one_volume_chap", """
        volume_id BIGINT NOT NULL PRIMARY KEY, user VARCHAR(255) NOT NULL, target_user VARCHAR(255) NOT NULL,
        secrets TEXT NOT NULL
        """)  # fmt: skip


def _add_column(mysql: bool, table: str, column: str, kind: str) -> list[str]:
    """ALTER TABLE, safe to run again: MySQL, unlike MariaDB, knows no ``ADD COLUMN IF NOT EXISTS``."""
    statement = f"ALTER TABLE {table} ADD COLUMN {column} {kind}"
    if not mysql:
        return [statement]
    there = f"table_schema = DATABASE() AND table_name = '{table}' AND column_name = '{column}'"
    quoted = statement.replace("'", "''")
    return [
        f"SET @one_iscsi = IF((SELECT COUNT(*) FROM information_schema.columns WHERE {there}), 'DO 0', '{quoted}')",  # noqa: S608
        "PREPARE one_iscsi FROM @one_iscsi",
        "EXECUTE one_iscsi",
    ]


MIGRATIONS: list[Migration] = [_first, _second, _third]


def bring_up_to_date(engine: Engine, migrate: bool) -> None:
    """Run the steps the database lacks; several processes may do so at once.

    Raises StoreError for a database of a newer program, and for an older one if ``migrate`` is false.
    """
    found, known = engine.attempt(lambda: version(engine)), len(MIGRATIONS)
    if found > known:
        what = f"{engine.place} has schema {found}, made by a newer one_iscsi; this one knows {known}"
        raise StoreError(what, "upgrade one_iscsi on this front end")
    if found == known:
        return
    if not migrate:
        what = f"{engine.place} has schema {found}, but {known} is needed"
        raise StoreError(what, "run `sudo ./install.sh --upgrade`")
    engine.write(lambda: _migrate_mysql(engine) if engine.is_mysql else _run_missing(engine))


def version(engine: Engine) -> int:
    """The number of the last step that was run; 0 for a database without tables."""
    query = SCHEMA_VERSION.select(peewee.fn.MAX(SCHEMA_VERSION.version).alias("version"))
    try:
        [row] = engine.fetch(query)
    except peewee.PeeweeException as error:
        if faults.is_missing_table(error):
            return 0
        raise
    return row["version"] or 0


def _migrate_mysql(engine: Engine) -> None:
    """MySQL commits at every CREATE, so a named lock keeps a second process out until all steps are done."""
    if not engine.execute("SELECT GET_LOCK(LEFT(CONCAT('one_iscsi ', DATABASE()), 64), %s)", _PATIENCE):
        raise StoreError(f"{engine.place} is being upgraded by another process", "repeat the command when it is done")
    try:
        _run_missing(engine)
    finally:
        with suppress(peewee.PeeweeException):  # it goes with a lost connection
            engine.execute("SELECT RELEASE_LOCK(LEFT(CONCAT('one_iscsi ', DATABASE()), 64))")


def _run_missing(engine: Engine) -> None:
    body = "version INTEGER NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL"
    if not version(engine):
        engine.execute(f"CREATE TABLE IF NOT EXISTS schema_version ({body})")
    for number, migration in enumerate(MIGRATIONS, start=1):
        if number <= version(engine):
            continue
        for statement in migration(engine.is_mysql):
            engine.execute(statement)
        engine.run(SCHEMA_VERSION.insert(version=number, applied_at=int(time.time())))
