"""New volumes: made where there is room, clean before anybody gets them, and never half made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import test_many_at_once_on_fakes as many
from cloud import MIB, Cloud


def disks(cloud: Cloud) -> list[Path]:
    return sorted((cloud.world.folder / "disks").iterdir())


def ids(cloud: Cloud) -> list[int]:
    return [row["ID"] for row in cloud.rows()["VOLUME_POOL"]["VOLUME"]]


def targets(cloud: Cloud) -> list[dict]:
    with cloud.world.tgt() as state:
        return list(state["targets"].values())


def assert_nothing_is_left(cloud: Cloud) -> None:
    assert ids(cloud) == []
    assert targets(cloud) == disks(cloud) == []


def test_one_in_a_volume_group_is_wiped_before_anybody_gets_it(cloud: Cloud) -> None:
    cloud.with_place("alpha", "lvm:vg0", 100)

    said = cloud.ok("create", "10M", "--wait")

    assert said.splitlines() == [
        "volume 1 (12M) created on storage server alpha, it is being wiped",
        "volume 1 is free",
    ]
    [disk] = disks(cloud)
    assert disk.read_bytes() == bytes(12 * MIB)  # LVM has extents of 4 MiB
    assert cloud.path("1") == ["creating", "dirty", "wiping", "free"]
    assert cloud.remains() == {}


@pytest.mark.parametrize("location", ["thin:vg0/pool0", "file:/srv/volumes"])
def test_one_in_a_thin_pool_or_a_folder_is_zeros_already(cloud: Cloud, location: str) -> None:
    cloud.with_place("alpha", location, 100)
    assert cloud.ok("create", "10M") == "volume 1 (10M) created on storage server alpha, it is free\n"
    assert cloud.path("1") == ["creating", "free"]
    cloud.ok("attach", "7", "10M")
    assert cloud.status(1) == "in_use"


def test_it_has_a_name_and_an_identity_of_its_own(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("create", "10M")
    cloud.ok("create", "10M", "--name", "db data")
    first, second = cloud.volume(1), cloud.volume("db data")
    assert (first["NAME"], second["ID"]) == ("volume-1", 2)
    assert first["SERIAL"] != second["SERIAL"]
    for row, target in zip((first, second), targets(cloud)):
        assert row["IQN"] == f"iqn.2026-11.org.opennebula.one-iscsi:volume-{row['SERIAL']}"
        assert (target["iqn"], target["serial"], target["scsi_id"]) == (row["IQN"], row["SERIAL"], row["SERIAL"])
        assert len(row["SERIAL"]) == 16
        assert row["MADE"]


def test_several_at_once_are_numbered(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    assert len(cloud.ok("create", "10M", "--count", "2", "--name", "db").splitlines()) == 2
    made = json.loads(cloud.ok("create", "10M", "--count", "2", "-j"))["VOLUME_POOL"]["VOLUME"]
    assert [row["NAME"] for row in made] == ["volume-3", "volume-4"]
    assert cloud.volume("db-2")["ID"] == 2
    assert json.loads(cloud.ok("san", "show", "alpha", "-j"))["SAN"]["PROMISED"] == 40 * MIB


def test_what_was_made_before_there_was_no_more_room_stays_and_is_told(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 25)
    result = cloud("create", "10M", "--count", "3", "-j")
    assert result.code == 4
    assert len(json.loads(result.out)["VOLUME_POOL"]["VOLUME"]) == 2
    assert ids(cloud) == [1, 2]


def test_the_server_with_most_room_left_is_taken(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 50)
    cloud.with_place("beta", "thin:vg0/pool1", 45)
    cloud.with_place("gamma", "thin:vg0/pool2", 30, "--pool", "fast")
    taken = [cloud.ok("create", "10M").split()[7].rstrip(",") for _ in range(4)]
    assert taken == ["alpha", "beta", "alpha", "beta"]
    assert "server gamma" in cloud.ok("create", "10M", "--pool", "fast")
    assert "server gamma" in cloud.ok("create", "10M", "--san", "gamma")


def test_a_thin_pool_is_not_promised_twice(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("create", "60M")
    error = cloud.refused(4, "create", "60M")
    assert "no storage server has room for 60M, 40M is the most left: ask for less" in error


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("0",), 2, "is zero"),
        (("10M", "--count", "0"), 2, "give 1 or more"),
        (("10M", "--name", "7"), 2, "would be taken for an id"),
        (("10M", "--name", "3..7"), 2, "would be taken for an id"),
        (("10M", "--name", "a\nb"), 2, "is malformed"),
        (("10M", "--name", "x" * 129), 2, "is malformed"),
        (("10M", "--name", "taken"), 5, "volume 1 is named taken already"),
        (("10M", "--name", "taken", "--count", "2"), 5, "volume 2 is named taken-2 already"),
        (("10M", "--san", "omega"), 3, "there is no storage server omega"),
        (("10M", "--pool", "slow"), 3, "there is no storage server in pool slow"),
        (("10M", "--san", "byhand"), 5, "no volumes are made on storage server byhand"),
        (("1T",), 4, "80M is the most left"),
    ],
)
def test_one_that_cannot_be(cloud: Cloud, words: tuple[str, ...], code: int, says: str) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("san", "create", "byhand", "--kind", "tgt", "--host", "localhost")
    cloud.ok("create", "10M", "--name", "taken")
    cloud.ok("create", "10M", "--name", "taken-2")
    assert says in cloud.refused(code, "create", *words)
    assert len(disks(cloud)) == 2


def test_a_volume_group_somebody_else_filled_meanwhile(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.world.fault("create", code="no-space", stderr="insufficient free space")
    assert "insufficient free space" in cloud.refused(4, "create", "10M")
    assert_nothing_is_left(cloud)


def test_the_next_server_is_tried(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.with_place("beta", "thin:vg0/pool1", 90)
    cloud.world.fault("create", code="no-space", stderr="insufficient free space")
    result = cloud("create", "10M")
    assert "created on storage server beta" in result.out
    assert result.err == "warning: storage server alpha: insufficient free space; trying storage server beta\n"


def test_a_server_that_does_not_answer_is_passed_over(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.with_place("beta", "thin:vg0/pool1", 90)
    cloud.world.fault("capacity", code="unreachable", stderr="No route to host")
    result = cloud("create", "10M", "--name", "db")
    assert result.code == 0
    with cloud.world.tgt() as state:
        state["down"] = True
    assert "no storage server answers that could make the volume" in cloud.refused(9, "create", "10M")


def test_a_server_that_goes_away_in_mid_create_and_comes_back(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.world.fault("create", code="unknown", after=True)
    assert "the connection broke" in cloud.refused(9, "create", "10M")
    assert_nothing_is_left(cloud)


def test_a_server_that_goes_away_in_mid_create_and_stays_away(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.world.fault("create", code="unknown", after=True)
    cloud.world.fault("remove", code="unreachable", stderr="No route to host")
    cloud.world.fault("create", code="unreachable", stderr="No route to host")

    result = cloud("create", "10M")
    assert result.code == 11
    assert "volume 1 is half made" in result.err
    assert "run onevolume recover 1" in result.err
    assert cloud.status(1) == "creating"
    assert "cannot be settled yet" in cloud.refused(11, "recover", "1")

    assert cloud.ok("recover", "1") == "volume 1 recovered, it is free\n"
    assert len(targets(cloud)) == 1


def test_half_made_on_a_server_that_is_full_by_now_is_undone(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.killed("after:making", "create", "10M")
    cloud.world.fault("create", code="no-space", stderr="insufficient free space")
    result = cloud("recover", "1")
    assert result.out == "volume 1 recovered, it is gone\n"
    assert "insufficient free space" in result.err
    assert_nothing_is_left(cloud)


def test_half_made_on_a_server_whose_daemon_is_down_is_not_forgotten(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.killed("before:finish", "create", "10M")
    cloud.world.fault("create", code="daemon-down", stderr="tgtd is not running")
    cloud.world.fault("remove", code="daemon-down", stderr="tgtd is not running")
    assert "tgtd is not running" in cloud.refused(11, "recover", "1")
    assert cloud.status(1) == "creating"
    assert cloud.ok("recover", "1") == "volume 1 recovered, it is free\n"


@pytest.mark.parametrize(
    ("moment", "becomes"),
    [("after:reserved", "gone"), ("before:making", "gone"), ("after:making", "free"), ("before:finish", "free")],
)
def test_killed(cloud: Cloud, moment: str, becomes: str) -> None:
    cloud.with_place("alpha", "lvm:vg0", 100)
    cloud.killed(moment, "create", "10M")
    assert cloud.status(1) == "creating"

    cloud.ok("recover", "--wait")

    if becomes == "gone":
        assert_nothing_is_left(cloud)
    else:
        assert cloud.status(1) == "free"
        [disk] = disks(cloud)
        assert disk.read_bytes() == bytes(12 * MIB)
        assert cloud.remains() == {}


def test_a_creation_whose_process_lives_is_left_to_it(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.world.fault("create", delay=3)
    [create] = start(cloud, 1)
    while not any(call[1] == "create" for call in cloud.world.calls()):
        assert create.poll() is None
    assert "is still being run by pid" in cloud.refused(5, "recover", "1")
    assert cloud.ok("recover") == "nothing to recover\n"
    assert create.wait(timeout=60) == 0


def test_two_at_once_never_get_the_same_room(cloud: Cloud) -> None:
    cloud.with_place("alpha", "lvm:vg0", 30)
    done = [(create.communicate(timeout=120), create.returncode) for create in start(cloud, 3, "12M")]
    assert sorted(code for _, code in done) == [0, 0, 4], done
    assert len(disks(cloud)) == 2
    assert len(ids(cloud)) == 2


@pytest.mark.parametrize("location", ["thin:vg0/pool0", "file:/srv/volumes"])
def test_no_room_is_promised_twice_to_those_who_ask_at_the_same_time(cloud: Cloud, location: str) -> None:
    cloud.with_place("alpha", location, 30)
    done = many.all_at_once(cloud, *[("create", "12M")] * 3)
    assert sorted(code for code, _ in done) == [0, 0, 4], done
    [refusal] = [said for code, said in done if code == 4]
    assert refusal.startswith("onevolume: storage server alpha has only 6M left: ask for less")
    assert len(ids(cloud)) == len(targets(cloud)) == 2
    assert cloud.ok("recover") == "nothing to recover\n"


def test_who_loses_the_room_tries_the_next_server(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 20)
    cloud.with_place("beta", "thin:vg0/pool1", 15)
    done = many.all_at_once(cloud, *[("create", "12M")] * 2)
    assert [code for code, _ in done] == [0, 0], done
    said = "".join(said for _, said in done)
    assert "created on storage server alpha" in said
    assert "created on storage server beta" in said
    assert "storage server alpha has only 8M left; trying storage server beta" in said


def start(cloud: Cloud, count: int, size: str = "10M") -> list[subprocess.Popen[str]]:
    return [many.start(cloud, "create", size) for _ in range(count)]
