"""``onevolume`` on a storage server that makes volumes, the fake and the real one: created, grown, wiped, removed."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from worlds import Fake, Real

MIB = 1 << 20


class Desk:
    """A user's terminal, with the server as ``alpha``."""

    def __init__(self, world: Fake | Real, folder: Path) -> None:
        self.world = world
        self.env = {**os.environ, "ONE_ISCSI_DATABASE": f"sqlite:///{folder}/one_volume.db"}
        self.begin()

    def begin(self) -> None:
        row = self.world.row
        where = ("--host", row.ssh_host, "--portal", "127.0.0.1", "--path", row.location.partition(":")[2])
        self.ok("san", "create", "alpha", "--kind", "tgt", *where)

    def lose_database(self) -> None:
        """An old one is back, in which there is the storage server and nothing else."""
        file = Path(self.env["ONE_ISCSI_DATABASE"].partition(":///")[2])
        for left in file.parent.glob(f"{file.name}*"):
            left.unlink()
        self.begin()

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "one_iscsi.cli", *words]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120)

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, what: str, pool: str, *words: str) -> list[Any]:
        return json.loads(self.ok(*words, "-j"))[pool][what]

    def make_dirty(self) -> None:
        """As if somebody had used volume 1 and given it back, and its wipe had not begun."""
        with sqlite3.connect(self.env["ONE_ISCSI_DATABASE"].partition(":///")[2]) as table:
            table.execute("UPDATE one_volume SET status = 'dirty'")

    def files(self) -> list[Path]:
        return sorted(path for path in self.world.room.rglob("*") if path.is_file())


@pytest.fixture
def desk(world: Fake | Real, tmp_path: Path) -> Desk:
    return Desk(world, tmp_path)


def test_a_volume_is_created_grown_and_deleted(desk: Desk) -> None:
    [san] = desk.rows("SAN", "SAN_POOL", "san", "list")
    assert (san["TOTAL"], san["PROMISED"]) == (64 * MIB, 0)

    assert desk.ok("create", "8M", "--name", "db") == "volume 1 (8M) created on storage server alpha, it is free\n"

    [row] = desk.rows("VOLUME", "VOLUME_POOL", "list")
    [target] = [target for target in desk.world.server.targets() if target.iqn == row["IQN"]]
    assert (target.lun, target.size_bytes, target.serial, target.addresses) == (1, 8 * MIB, row["SERIAL"], ())
    assert not target.default_identity
    assert desk.rows("TARGET", "SCAN", "san", "scan", "alpha") == []

    assert desk.ok("resize", "db", "16M") == "volume 1 resized from 8M to 16M\n"

    assert desk.world.server.targets()[0].size_bytes == 16 * MIB
    [san] = desk.rows("SAN", "SAN_POOL", "san", "list")
    assert san["PROMISED"] == 16 * MIB
    assert 15 * MIB < san["USED"] < 18 * MIB

    desk.ok("delete", "db", "--yes")

    assert desk.world.server.targets() == []
    assert desk.files() == []


def test_a_dirty_one_is_wiped_before_it_is_removed(desk: Desk) -> None:
    desk.ok("create", "8M")
    [file] = desk.files()
    file.write_bytes(b"ann's data" * (MIB // 10))
    with file.open("rb") as still_open:  # the removal takes the name only
        desk.make_dirty()
        said = desk.ok("delete", "1", "--yes", "--wait").splitlines()
        assert said == ["volume 1 (8M) will be deleted, it is being wiped", "volume 1 is gone"]
        assert not still_open.read().strip(b"\0")
    assert desk.files() == desk.world.server.targets() == []


def test_one_that_the_database_has_lost_is_ours_again(desk: Desk) -> None:
    desk.ok("create", "8M")
    [file] = desk.files()
    with file.open("r+b") as written:
        written.write(b"ann's data" * (MIB // 10))
    desk.lose_database()

    assert desk.ok("san", "scan", "alpha", "--register", "--yes").startswith("volume 1 (8M) registered from ")
    desk.ok("recover", "--wait")

    assert not file.read_bytes().strip(b"\0")
    [san] = desk.rows("SAN", "SAN_POOL", "san", "list")
    assert san["PROMISED"] == 8 * MIB
    assert desk.ok("resize", "1", "16M") == "volume 1 resized from 8M to 16M\n"
    desk.ok("delete", "1", "--yes")
    assert desk.files() == desk.world.server.targets() == []


def test_a_full_folder(desk: Desk) -> None:
    desk.ok("create", "40M")
    done = desk("create", "40M")
    assert done.returncode == 4
    assert re.search(r"no storage server has room for 40M, \S+ is the most left", done.stderr)
    assert len(desk.files()) == 1
