"""A database that is away, locked, full or read-only: one line with a fix, and nothing half-changed."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pymysql
import pytest
from pool import ADMIN, Pool, in_child, reserve

import one_iscsi
from one_iscsi.errors import StoreError
from one_iscsi.states import ATTACHING, DIRTY, DISABLED, FREE
from one_iscsi.store import Store, engine, migrations

NOBODY = 65534


def path_of(url: str) -> str:
    return urlsplit(url).path[1:]


def refused(attempt, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        attempt()
    check(caught.value)


def check(error: Exception) -> None:
    assert isinstance(error, StoreError)
    assert error.fix
    assert "\n" not in str(error)
    assert "geheim" not in str(error) + repr(error)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/lib/one/one_iscsi.db",
        "sqlite:///relative.db",
        "sqlite:////a.db?timeout=soon",
        "sqlite:////a.db?colour=red",
        "mysql://oneadmin:geheim@localhost",
        "mysql://oneadmin:geheim@localhost:port/one",
        "mysql://oneadmin:geheim@localhost/one?colour=red",
        "postgresql://oneadmin:geheim@localhost/one",
        "mysql://oneadmin:geheim@[::1/one",
    ],
)
def test_a_malformed_url_is_answered_with_the_form_of_one(url):
    refused(lambda: Store.open(url), r"the database URL in the configuration is malformed: give sqlite:////")


def test_a_transaction_others_always_come_between(store, pool, monkeypatch):
    """No two processes can be timed like that: the store is told at each try that the host was entered just now."""
    monkeypatch.setattr(engine, "_PAUSES", (0.01, 0.01))
    pool.learn_host()
    [host] = store.hosts()
    tries = []
    monkeypatch.setattr(store, "_refuse_shared_initiator", lambda *_: tries.append(1))
    refused(
        lambda: store.learn_host("node2", host.initiator, {}), "other processes kept changing the same rows: repeat"
    )
    assert len(tries) == 3
    assert store.hosts() == [host]


# ----------------------------------------------------------------------------------------------------------- SQLite


@pytest.fixture
def folder():
    """A folder another user can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_missing_folder(tmp_path):
    refused(lambda: Store.open(f"sqlite:///{tmp_path}/missing/one.db"), "cannot be created .No such file or directory.")


def test_a_folder_instead_of_a_file(tmp_path):
    refused(lambda: Store.open(f"sqlite:///{tmp_path}"), "it cannot be opened")


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "one.db").write_text("volumes = 7\n" * 1000)
    refused(lambda: Store.open(f"sqlite:///{tmp_path}/one.db"), "it is not a database: restore the file from a backup")


def test_a_folder_one_may_not_write(folder):
    check(in_child(lambda: Store.open(f"sqlite:///{folder}/one.db"), NOBODY) if is_root() else read_only_folder(folder))


def read_only_folder(folder: Path) -> Exception:
    os.chmod(folder, 0o555)
    try:
        return in_child(lambda: Store.open(f"sqlite:///{folder}/one.db"))
    finally:
        os.chmod(folder, 0o755)


def is_root() -> bool:
    return os.geteuid() == 0


@pytest.mark.parametrize(("mode", "words"), [(0o444, "cannot be written"), (0o000, "cannot be opened")])
def test_a_file_one_may_not_write_or_read(folder, mode, words):
    url = f"sqlite:///{folder}/one.db"
    with Store.open(url) as store:
        Pool(store).add()
    os.chmod(folder / "one.db", mode)

    def disable() -> None:
        with Store.open(url) as store:
            store.change(store.volume(1), DISABLED, ADMIN)

    error = in_child(disable, NOBODY)
    check(error)
    assert words in str(error)
    os.chmod(folder / "one.db", 0o600)
    with Store.open(url) as store:
        assert store.volume(1).status == FREE


def test_a_database_locked_by_another_process(sqlite_url):
    with Store.open(sqlite_url) as store:
        volume = Pool(store).add()
    with Store.open(sqlite_url + "?timeout=0.3") as store:
        other = sqlite3.connect(path_of(sqlite_url), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        refused(lambda: store.change(volume, DISABLED, ADMIN), "locked by another process: repeat the command")
        assert 0.3 <= time.monotonic() - started < 5
        assert store.volumes() == [volume], "readers never wait"
        other.execute("ROLLBACK")
        assert store.change(volume, DISABLED, ADMIN).status == DISABLED


def test_a_new_database_locked_by_another_process(sqlite_url):
    with sqlite3.connect(path_of(sqlite_url), isolation_level=None) as other:
        other.execute("CREATE TABLE t (id INTEGER)")
        other.execute("BEGIN EXCLUSIVE")
        refused(lambda: Store.open(sqlite_url + "?timeout=0.3"), "locked by another process")


def test_a_lock_that_goes_away_in_time_is_waited_for(sqlite_url):
    with Store.open(sqlite_url) as store:
        volume = Pool(store).add()
        other = sqlite3.connect(path_of(sqlite_url), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.5, other.execute, ["ROLLBACK"])
        release.start()
        assert store.change(volume, DISABLED, ADMIN).status == DISABLED
        release.join()


FILL = """
import json, sys
from one_iscsi.errors import StoreError
from one_iscsi.iscsi import Portal
from one_iscsi.store import Actor, Store

store = Store.open(sys.argv[1])
san = store.add_san("a", "iet", [Portal("10.0.0.1")])
count, error = 0, None
while not error:
    try:
        store.add_volume(f"v{count}", f"iqn.2026-01.com.example:{count}", 0, [], 1, san.id, "free",
                         who=Actor(0, "local"), why="x" * 20000)
        count += 1
    except StoreError as full:
        error = full
print(json.dumps([count, len(store.volumes()), len(store.events()), str(error)]))
"""


def test_a_full_disk(tmp_path):
    """A real one: a file system of 2 MiB in a mount namespace of its own."""
    unshare = ["unshare", "--mount"] if is_root() else ["unshare", "--mount", "--map-root-user"]
    shell = 'mount -t tmpfs -o size=2m full "$1" && exec "$2" -c "$3" "sqlite:///$1/one.db"'
    command = [*unshare, "sh", "-c", shell, "sh", str(tmp_path), sys.executable, FILL]
    answer = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    assert answer.stderr == ""
    assert_nothing_half_written(answer.stdout, "the disk is full: free space on its file system")


def test_a_write_the_kernel_refuses(tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    command = [sys.executable, "-c", FILL, f"sqlite:///{tmp_path}/one.db"]
    answer = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True, preexec_fn=limit)
    assert_nothing_half_written(answer.stdout, "the disk reports an error, or is full")


def assert_nothing_half_written(answer: str, words: str) -> None:
    written, volumes, events, error = json.loads(answer)
    assert written == volumes == events > 10
    assert words in error


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(one_iscsi.__file__).parents[1])}


# ---------------------------------------------------------------------------------------------------- MySQL, MariaDB

on_mariadb = pytest.mark.mariadb


@on_mariadb
def test_a_wrong_password(mariadb, mariadb_url):
    url = mariadb.url(path_of(mariadb_url), password="geheimer")
    refused(lambda: Store.open(url), "refuses the user or the password: correct them")


@on_mariadb
def test_a_database_that_does_not_exist_or_is_not_ours(mariadb):
    refused(lambda: Store.open(mariadb.url("tmissing")), "there is no such database: create it")
    refused(lambda: Store.open(mariadb.url("mysql")), "the user may not use this database: grant")


@on_mariadb
def test_a_way_of_authenticating_that_needs_another_library(mariadb_url, monkeypatch):
    def connect(**_):
        raise RuntimeError("'cryptography' package is required for caching_sha2_password")

    with monkeypatch.context() as patch:
        patch.setattr(pymysql, "connect", connect)
        refused(lambda: Store.open(mariadb_url), "'cryptography' package is required.*: install")


@on_mariadb
def test_an_upgrade_that_another_process_does_not_end(mariadb, mariadb_url, monkeypatch):
    monkeypatch.setattr(migrations, "_PATIENCE", 0.1)
    with mariadb.connect(path_of(mariadb_url)) as other:
        other.cursor().execute("SELECT GET_LOCK(CONCAT('one_iscsi ', DATABASE()), 1)")
        refused(lambda: Store.open(mariadb_url), "is being upgraded by another process")


@on_mariadb
def test_a_server_that_is_read_only(mariadb, mariadb_url):
    with Store.open(mariadb_url) as store:
        volume = Pool(store).add()
        mariadb.sql("SET GLOBAL read_only = 1")
        try:
            refused(lambda: store.change(volume, DISABLED, ADMIN), "the database server is read-only")
        finally:
            mariadb.sql("SET GLOBAL read_only = 0")
        assert store.volumes() == [volume]


@on_mariadb
def test_a_server_that_is_not_there(tmp_path):
    url = f"mysql://oneadmin:geheim@localhost/one?unix_socket={tmp_path}/socket"
    refused(lambda: Store.open(url), "database one on .*/socket: the database server cannot be reached: check")
    refused(lambda: Store.open("mysql://oneadmin:geheim@127.0.0.1:1/one"), "on 127.0.0.1:1: .* cannot be reached")


@on_mariadb
@pytest.mark.parametrize("kill", [False, True])
def test_a_server_that_goes_away_and_comes_back(mariadb, mariadb_url, kill):
    with Store.open(mariadb_url) as store:
        volume = Pool(store).add()
        mariadb.stop(kill)
        refused(lambda: store.change(volume, DISABLED, ADMIN), "cannot be reached|was lost")
        refused(store.volumes, "cannot be reached")
        mariadb.start()
        assert store.volumes() == [volume]
        assert store.change(volume, DISABLED, ADMIN).status == DISABLED


@on_mariadb
def test_a_server_restarted_between_two_statements_is_not_even_noticed(mariadb, mariadb_url):
    with Store.open(mariadb_url) as store:
        pool = Pool(store)
        kept, last = pool.add(), pool.add()
        pool.learn_host()
        store.forget(last, ADMIN, "gone")
        for use in (
            lambda: store.volume(kept.id),
            lambda: pool.add(DIRTY).id,
            lambda: reserve(store, 7),
        ):
            mariadb.stop()
            mariadb.start()
            use()
        # The number of the forgotten volume is not used again, not even after a restart.
        assert [volume.id for volume in store.volumes()] == [kept.id, last.id + 1]
        assert [event.what for event in store.events(kept.id)] == ["register", "attach"]


@on_mariadb
def test_connections_the_server_dropped_are_replaced(mariadb, mariadb_url):
    with Store.open(mariadb_url) as store:
        volume = Pool(store).add()
        database = path_of(mariadb_url)
        [(number,)] = mariadb.sql(f"SELECT id FROM information_schema.processlist WHERE db = '{database}'")
        mariadb.sql(f"KILL {number}")
        assert store.change(volume, DISABLED, ADMIN).status == DISABLED


@on_mariadb
def test_a_locked_row_is_waited_for_with_a_bound(mariadb, mariadb_url):
    with Store.open(mariadb_url + "&timeout=1") as store:
        volume = Pool(store).add()
        with lock(mariadb, mariadb_url) as other:
            refused(lambda: store.change(volume, DISABLED, ADMIN), "a row stayed locked by another process: repeat")
            assert store.volumes() == [volume]
            release = threading.Timer(1.5, other.rollback)
            release.start()
            assert store.change(volume, DISABLED, ADMIN).status == DISABLED
            release.join()


def lock(mariadb, url: str) -> pymysql.Connection:
    other = mariadb.connect(path_of(url))
    other.begin()
    other.cursor().execute("SELECT * FROM one_volume FOR UPDATE")
    return other


@on_mariadb
def test_the_loser_of_a_deadlock_runs_again(mariadb, mariadb_url):
    """Another transaction, heavier than ours, locks the same two rows the other way round."""
    with Store.open(mariadb_url) as store:
        pool = Pool(store)
        volume, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN)
        other = mariadb.connect(path_of(mariadb_url))
        with other, other.cursor() as cursor:
            other.begin()
            for number in range(50):
                cursor.execute("INSERT INTO schema_version VALUES (%s, 0)", (-number,))
            cursor.execute("UPDATE one_volume_op SET error = 'seen' WHERE id = %s", (op.id,))
            finished: list = []
            finish = threading.Thread(target=lambda: finished.append(store.finish(op, FREE, ADMIN)))
            finish.start()
            waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
            while mariadb.sql(waiting) == [(0,)]:
                time.sleep(0.2)  # asked more often than every 0.1 s, InnoDB repeats its last answer
            cursor.execute("UPDATE one_volume SET gid = gid WHERE id = %s", (volume.id,))
            other.commit()
            finish.join()
        assert [done.status for done in finished] == [FREE]
        deadlock = mariadb.sql("SHOW ENGINE INNODB STATUS")[0][2]
        assert "LATEST DETECTED DEADLOCK" in deadlock
        assert len(store.events(volume.id)) == 3, "register, attach and its end, once each"
