"""Every story of the store is told on both engines: a test that asks for ``store_url`` or ``store`` runs twice."""

from __future__ import annotations

import os
import tempfile
from urllib.parse import urlsplit

import pytest
from mariadb_server import MariaDB
from pool import Pool, sqlite_sql

from one_iscsi.store import Store


@pytest.fixture(scope="session")
def mariadb_session():
    server = MariaDB()
    try:
        server.install()
        yield server
    finally:
        server.remove()


@pytest.fixture
def mariadb(mariadb_session):
    """The running server; started again if the test before stopped it."""
    yield mariadb_session
    if not mariadb_session._answers():
        mariadb_session.start()


@pytest.fixture
def mariadb_url(mariadb):
    name = mariadb.new_database()
    yield mariadb.url(name)
    if not mariadb._answers():
        mariadb.start()
    mariadb.sql(f"DROP DATABASE {name}")


@pytest.fixture
def sqlite_url():
    """In memory where that can be had: each commit waits for the disk otherwise."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield f"sqlite:///{folder}/one_iscsi.db"


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.mariadb)])
def store_url(request) -> str:
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def store(store_url: str):
    with Store.open(store_url) as store:
        yield store


@pytest.fixture
def pool(store: Store) -> Pool:
    return Pool(store)


@pytest.fixture
def raw(store_url: str, request):
    """Run SQL behind the store's back: ``raw("SELECT …")`` → rows."""
    if store_url.startswith("mysql"):
        server, database = request.getfixturevalue("mariadb"), urlsplit(store_url).path[1:]
        return lambda *statements: server.sql(*statements, database=database)
    return lambda *statements: sqlite_sql(urlsplit(store_url).path[1:], *statements)
