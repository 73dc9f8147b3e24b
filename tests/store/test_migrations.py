"""A new database, an upgrade, and a database of another version."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pool import Pool, in_child, processes

from one_iscsi.errors import StoreError
from one_iscsi.store import Store, migrations

KNOWN = len(migrations.MIGRATIONS)


def next_step(mysql: bool) -> list[str]:
    once = "IF NOT EXISTS " if mysql else ""
    return [f"ALTER TABLE one_volume ADD COLUMN {once}colour VARCHAR(8) NOT NULL DEFAULT 'red'"]


def test_many_processes_open_a_new_database_at_once(store_url):
    count = 8
    barrier = processes.Barrier(count)

    def first_visit() -> None:
        barrier.wait(20)
        with Store.open(store_url) as store:
            store.sans()

    visitors = [processes.Process(target=first_visit) for _ in range(count)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(60)
    assert [visitor.exitcode for visitor in visitors] == [0] * count


def test_an_upgrade_keeps_the_rows_and_runs_once(store_url, raw, monkeypatch):
    with Store.open(store_url) as store:
        volume = Pool(store).add()
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, next_step])

    with pytest.raises(StoreError, match=f"has schema {KNOWN}, but {KNOWN + 1} is needed"):
        Store.open(store_url, migrate=False)
    for _ in range(2):
        with Store.open(store_url) as store:
            assert store.volume(volume.id) == volume

    assert raw("SELECT colour FROM one_volume") == [("red",)]
    assert raw("SELECT version FROM schema_version ORDER BY version") == [(number,) for number in range(1, KNOWN + 2)]


def test_an_upgrade_that_was_interrupted_is_run_again(store_url, raw, monkeypatch):
    Store.open(store_url).close()

    def breaks(mysql: bool) -> list[str]:
        return [*next_step(mysql), "ALTER TABLE nowhere ADD COLUMN colour INTEGER"]

    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, breaks])
    with pytest.raises(StoreError):
        Store.open(store_url)
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS[:KNOWN], next_step])
    Store.open(store_url).close()
    assert raw("SELECT MAX(version) FROM schema_version") == [(KNOWN + 1,)]


def test_a_database_of_a_newer_program_is_refused(store_url, raw):
    Store.open(store_url).close()
    raw("INSERT INTO schema_version (version, applied_at) VALUES (99, 0)")
    with pytest.raises(
        StoreError, match=f"has schema 99, made by a newer one_iscsi; this one knows {KNOWN}: upgrade one_iscsi"
    ):
        Store.open(store_url)


def test_a_missing_database_is_made_only_by_a_migration(sqlite_url):
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(sqlite_url, migrate=False)
    assert not Path(urlsplit(sqlite_url).path).exists()


@pytest.mark.parametrize("umask", [0, 0o277])
def test_the_files_are_for_their_owner_only(sqlite_url, umask):
    def modes() -> dict[str, int]:
        os.umask(umask)
        with Store.open(sqlite_url) as store:
            Pool(store).add()
            return {
                file.name: stat.S_IMODE(file.stat().st_mode)
                for file in Path(urlsplit(sqlite_url).path).parent.iterdir()
            }

    assert in_child(modes) == dict.fromkeys(["one_iscsi.db", "one_iscsi.db-wal", "one_iscsi.db-shm"], 0o600)


def test_the_first_version_is_upgraded_and_a_step_that_was_cut_short_is_run_again(store_url, raw, monkeypatch):
    with monkeypatch.context() as old:
        old.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        Store.open(store_url).close()
    columns = "name, kind, portals, ssh_host, location, clusters"
    raw(f"INSERT INTO one_volume_san ({columns}) VALUES ('a', 'tgt', '', '', '', '')")
    if store_url.startswith("mysql"):  # there every ALTER commits
        raw("ALTER TABLE one_volume_san ADD COLUMN pool VARCHAR(255) NOT NULL DEFAULT ''")

    with Store.open(store_url) as store:
        assert store.san("a").pool == ""
        assert not Pool(store).add().made
