"""With 100,000 rows every question is answered through an index: what the engine says it will do, not a stopwatch."""

from __future__ import annotations

import logging
import sqlite3
from urllib.parse import urlsplit

import pymysql
import pytest
from mariadb_server import MariaDB
from pool import PORTAL, sqlite_sql

from one_iscsi.store import Store

ROWS = 100_000
COLUMNS = """id, name, iqn, lun, portals, size_bytes, serial, wwid, san_id, status, version, previous_status, reason,
    holder_kind, holder_id, disk_id, uid, gid, permissions, wiped_at, created_at, updated_at"""
#: Nine in ten volumes are in use, the others free, on two storage servers.
VALUES = """n, {name}, {iqn}, 0, '10.0.0.1:3260', 1073741824 * (1 + n % 500), {serial}, '', 1 + n % 2,
    CASE WHEN n % 10 = 0 THEN 'free' ELSE 'in_use' END, n, '', '', '', NULL, NULL, n % 1000, 0, 384, NULL, 0, 0"""


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def crowd(request, tmp_path_factory):
    """A store with the rows, and a function that explains a query of it."""
    if request.param == "sqlite":
        path = f"{tmp_path_factory.mktemp('crowd')}/one_iscsi.db"
        with Store.open(f"sqlite:///{path}") as store:
            fill(store)
            values = VALUES.format(name="'v' || n", iqn="'iqn.2026-01.com.example:v' || n", serial="'s' || n")
            numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS})"
            sqlite_sql(path, f"{numbers} INSERT INTO one_volume ({COLUMNS}) SELECT {values} FROM numbers")
            yield store, lambda sql, parameters: explain_sqlite(path, sql, parameters)
    else:
        server: MariaDB = request.getfixturevalue("mariadb_session")
        url = server.url(server.new_database())
        with Store.open(url) as store:
            fill(store)
            database = urlsplit(url).path[1:]
            values = VALUES.format(
                name="CONCAT('v', n)", iqn="CONCAT('iqn.2026-01.com.example:v', n)", serial="CONCAT('s', n)"
            )
            numbers = f"(SELECT seq AS n FROM seq_1_to_{ROWS}) AS numbers"
            insert = f"INSERT INTO one_volume ({COLUMNS}) SELECT {values} FROM {numbers}"
            server.sql(insert, "ANALYZE TABLE one_volume", database=database)
            yield store, lambda sql, parameters: explain_mariadb(server, database, sql, parameters)


def fill(store: Store) -> None:
    for name in ("one", "two"):
        store.add_san(name, "tgt", [PORTAL])


def explain_sqlite(path: str, sql: str, parameters) -> None:
    connection = sqlite3.connect(path)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    connection.close()
    assert not [step for step in plan if step.startswith("SCAN one_volume")], plan
    if "LIMIT" in sql:
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def explain_mariadb(server: MariaDB, database: str, sql: str, parameters) -> None:
    connection = server.connect(database)
    with connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(f"EXPLAIN {sql}", parameters)
        for step in cursor.fetchall():
            assert step["type"] not in ("ALL", "index"), step
            if "LIMIT" in sql:
                assert "filesort" not in (step["Extra"] or ""), step


@pytest.mark.parametrize(
    "question",
    [
        lambda store: store.candidates(1 << 30, 0),
        lambda store: store.candidates(300 << 30, 0),
        lambda store: store.largest_free(0),
        lambda store: store.volumes(status=["dirty", "error"]),
        lambda store: store.volumes(uid=7),
        lambda store: store.volume(70_000),
        lambda store: store.volume("v70000"),
        lambda store: store.volume("iqn.2026-01.com.example:v70000"),
        lambda store: store.serial_count("s70000"),
    ],
    ids=["smallest", "smallest of a size", "largest", "by status", "by owner", "id", "name", "iqn", "serial"],
)
def test_a_question_uses_an_index(crowd, caplog, question):
    store, explain = crowd
    with caplog.at_level(logging.DEBUG, logger="peewee"):
        question(store)
    asked = [
        record.msg for record in caplog.records if record.name == "peewee" and "`one_volume`" in quoted(record.msg)
    ]
    assert asked
    for sql, parameters in asked:
        explain(sql, parameters)


def quoted(message: tuple) -> str:
    return message[0].replace('"', "`")


def test_an_allocation_takes_the_smallest_of_many(crowd):
    store, _ = crowd
    sizes = [volume.size_bytes >> 30 for volume in store.candidates(300 << 30, 0)]
    assert len(sizes) == 50
    assert sizes == sorted(sizes)
    assert sizes[0] == 301
    assert store.largest_free(0) == 491 << 30
