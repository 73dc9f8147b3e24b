"""What a storage server has and the table does not know, and the other way round."""

from __future__ import annotations

import json
from typing import Any

from cloud import MIB, Cloud, iqn


def scan(cloud: Cloud) -> list[Any]:
    return json.loads(cloud.ok("san", "scan", "alpha", "-j"))["SCAN"]["TARGET"]


def test_what_is_the_same_on_both_sides_is_not_listed(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20)
    assert scan(cloud) == []


def test_every_difference_is_listed_and_nothing_changed(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20, 30)
    cloud.world.add_target(iqn("new"), 5 * MIB)
    with cloud.world.target(iqn("new")) as target:
        target["sessions"]["1"] = {"initiator": "iqn.1993-08.org.debian:01:other", "address": "10.9.9.9"}
    with cloud.world.tgt() as state:
        del state["targets"]["2"]
    (cloud.world.folder / "disks" / "3.img").write_bytes(bytes(31 * MIB))
    before = cloud.rows()

    found = scan(cloud)

    assert [(one["FOUND"], one["IQN"], one["SIZE"], one["VOLUME_ID"]) for one in found] == [
        ("only on the server", iqn("new"), 5 * MIB, None),
        ("only in the table", iqn("v2"), 20 * MIB, 2),
        ("other size", iqn("v3"), 31 * MIB, 3),
    ]
    assert found[0]["INITIATOR"] == ["iqn.1993-08.org.debian:01:other"]
    assert cloud.rows() == before
    heading, first, *_ = cloud.ok("san", "scan", "alpha").splitlines()
    assert heading.split() == ["FOUND", "VOLUME", "STAT", "SIZE", "LUN", "IQN", "INITIATOR"]
    assert iqn("new") in first


def test_new_targets_are_registered_and_wiped_once_somebody_agreed(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    for name in ("a", "b", "used"):
        cloud.world.add_target(iqn(name), 4 * MIB)
    with cloud.world.target(iqn("used")) as target:
        target["sessions"]["1"] = {"initiator": "iqn.1993-08.org.debian:01:other", "address": "10.9.9.9"}

    assert "not confirmed" in cloud.refused(6, "san", "scan", "alpha", "--register")
    result = cloud("san", "scan", "alpha", "--register", "--yes")

    assert result.code == 5
    assert "iqn.1993-08.org.debian:01:other is logged in" in result.err
    assert [line.partition(" registered from ")[0] for line in result.out.splitlines()] == [
        "volume 2 (4M)",
        "volume 3 (4M)",
    ]
    cloud.ok("recover", "--wait")
    assert [cloud.status(name) for name in "ab"] == ["free", "free"]
    assert [one["IQN"] for one in scan(cloud)] == [iqn("used")]


def test_what_was_made_here_and_what_was_not_once_the_table_is_lost(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("create", "10M")
    cloud.world.add_target(iqn("byhand"), 4 * MIB)
    cloud.world.add_target("iqn.2026-11.org.opennebula.one-iscsi:volume-0", 4 * MIB)  # somebody gave it a name of ours
    for file in cloud.database.parent.glob("one_volume.db*"):
        file.unlink()
    cloud.with_place("alpha", "thin:vg0/pool0", 100)

    cloud.ok("san", "scan", "alpha", "--register", "--yes")
    cloud.ok("recover", "--wait")

    assert json.loads(cloud.ok("san", "show", "alpha", "-j"))["SAN"]["PROMISED"] == 10 * MIB
    cloud.ok("resize", "3", "20M")
    for ref in ("1", "2"):
        assert "registered, not made by onevolume" in cloud.refused(5, "resize", ref, "20M")
    cloud.ok("delete", "1..3", "--yes")
    with cloud.world.tgt() as state:
        left = [target["iqn"].rpartition(":")[2] for target in state["targets"].values()]
    assert left == ["byhand", "volume-0"]


def test_a_server_that_cannot_be_asked(cloud: Cloud) -> None:
    cloud.ok("san", "create", "byhand", "--kind", "static", "--portal", "10.0.0.9")
    assert "it cannot list its targets: register each" in cloud.refused(9, "san", "scan", "byhand")
    assert "there is no storage server omega" in cloud.refused(3, "san", "scan", "omega")
    cloud.with_volumes(10)
    with cloud.world.tgt() as state:
        state["down"] = True
    assert "tgtd is not running" in cloud.refused(9, "san", "scan", "alpha")


def test_what_is_being_made_is_not_lost(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.killed("after:making", "create", "10M")
    assert scan(cloud) == []
    cloud.ok("recover", "1")
    assert scan(cloud) == []
