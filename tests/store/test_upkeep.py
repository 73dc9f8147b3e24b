"""What an installation does to a database: made, saved before it is changed, taken away."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pool import Pool, sqlite_sql

from one_iscsi.errors import StoreError, WrongState
from one_iscsi.store import Store, migrations, upkeep


def next_step(mysql: bool) -> list[str]:
    once = "IF NOT EXISTS " if mysql else ""
    return [f"ALTER TABLE one_volume ADD COLUMN {once}colour VARCHAR(8) NOT NULL DEFAULT 'red'"]


def step_that_breaks(mysql: bool) -> list[str]:
    return ["ALTER TABLE nowhere ADD COLUMN colour INTEGER"]


@pytest.fixture
def prepare(store_url: str, tmp_path: Path):
    """What prepare says, line by line."""

    def prepared(save: bool = False) -> list[str]:
        said: list[str] = []
        upkeep.prepare(store_url, tmp_path, save, said.append)
        return said

    return prepared


def saved_file(line: str) -> Path:
    return Path(line.removeprefix("saved the database as "))


def test_made_once(prepare, store_url):
    schema = len(migrations.MIGRATIONS)
    assert [line.startswith(f"made the tables: schema {schema} in database ") for line in prepare()] == [True]
    assert prepare() == []
    with Store.open(store_url, migrate=False) as store:
        assert store.volumes() == []


def test_saved_before_it_is_changed(prepare, store_url, monkeypatch, request):
    prepare()
    with Store.open(store_url) as store:
        Pool(store).add(name="mine")
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, next_step])

    saved, upgraded = prepare()
    assert upgraded.startswith(f"upgraded the tables: schema {len(migrations.MIGRATIONS)} ")
    file = saved_file(saved)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if store_url.startswith("sqlite"):
        assert sqlite_sql(str(file), "SELECT name FROM one_volume") == [("mine",)]
        assert [path.name for path in file.parent.iterdir() if path.is_dir()] == []
    else:
        server = request.getfixturevalue("mariadb")
        database = server.new_database()
        server.sql(f"USE {database}", *[statement for statement in file.read_text().split(";\n") if statement.strip()])
        assert server.sql("SELECT name FROM one_volume", database=database) == [("mine",)]
        server.sql(f"DROP DATABASE {database}")


def test_an_upgrade_that_cannot_work_changes_nothing(prepare, raw, monkeypatch):
    prepare()
    before = raw("SELECT * FROM schema_version")
    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, step_that_breaks])
    with pytest.raises(StoreError):
        prepare()
    assert raw("SELECT * FROM schema_version") == before


def test_always_saved_when_asked(prepare):
    prepare()
    [saved] = prepare(save=True)
    assert saved_file(saved).stat().st_size > 1000


def test_taken_away(prepare, store_url, tmp_path, raw):
    prepare()
    [saved] = prepare(save=True)
    with Store.open(store_url) as store:
        volume = Pool(store).add()
    raw("UPDATE one_volume SET status = 'error', previous_status = 'in_use'")
    with pytest.raises(WrongState, match=f"volume {volume.id} "):
        upkeep.remove(store_url, tmp_path, print)

    raw("UPDATE one_volume SET status = 'free', previous_status = ''")
    for _ in range(2):
        upkeep.remove(store_url, tmp_path, print)
    assert not saved_file(saved).exists()
    if store_url.startswith("sqlite"):
        assert list(Path(urlsplit(store_url).path[1:]).parent.iterdir()) == []
    else:
        assert raw("SHOW TABLES") == []
