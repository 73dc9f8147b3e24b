"""Volumes that are reached by two portals: made, registered, attached with one path less, recovered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloud import MIB, Cloud, iqn

FIRST, SECOND = "10.0.0.1:3260", "10.0.1.1:3260"
BOTH = ("--portal", FIRST, "--portal", SECOND)


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    """With a storage server that makes volumes and has two portals."""
    with cloud.world.tgt() as state:
        state["places"]["thin:vg0/pool"] = 100 * MIB
    where = ("--host", "localhost", "--thin", "vg0/pool")
    cloud.ok("san", "create", "alpha", "--kind", "lio", *where, *BOTH)
    return cloud


def maps(cloud: Cloud) -> Any:
    return cloud.node1.state()["maps"]


def lose(cloud: Cloud, *addresses: str) -> None:
    with cloud.world.tgt() as state:
        state["silent"] = list(addresses)
    with cloud.node1.changing() as host:
        for session in host["sessions"].values():
            session["state"] = "FREE" if session["address"] in addresses else "LOGGED_IN"


def test_a_volume_is_made_attached_grown_and_kept(cloud: Cloud) -> None:
    cloud.ok("create", "10M", "--name", "v")
    assert cloud.volume("v")["PORTAL"] == [FIRST, SECOND]

    cloud.ok("attach", "7", "10M")

    row = cloud.volume("v")
    [(name, found)] = maps(cloud).items()
    assert row["WWID"] == f"naa.{name[1:]}"
    assert (row["ATTACHMENT"][0]["DEVICE"], len(found["paths"])) == ("dm-0", 2)
    assert cloud.node1.disks("one-7")["xvdp"]["source"] == f"/dev/disk/by-id/dm-uuid-mpath-{name}"
    assert len(json.loads(cloud.ok("host", "show", "node1", "-j"))["HOST"]["SOURCE"]) == 2

    cloud.ok("resize", "v", "20M")
    assert maps(cloud)[name]["size"] == 20 * MIB

    cloud.ok("detach", "7", "v", "--keep", "--yes")
    assert cloud.remains() == {}
    cloud.ok("attach", "8", "--volume", "v")
    cloud.ok("detach", "8", "v", "--yes", "--wait")
    assert cloud.remains() == {}


def test_a_host_without_multipathd_is_refused_before_anything_is_changed(cloud: Cloud) -> None:
    cloud.ok("create", "10M")
    with cloud.node1.changing() as state:
        state["find_multipaths"] = ""
    error = cloud.refused(8, "attach", "7", "10M")
    assert "host node1, volume 1: multipathd does not run, and the volume has several portals: install" in error
    assert cloud.world.calls("iscsiadm") == []
    assert cloud.remains() == {}
    assert cloud.path("1")[-1] == "free"

    with cloud.node1.changing() as state:
        state["find_multipaths"] = "yes"
    cloud.ok("attach", "7", "10M")


def test_a_multipathd_that_stopped_since_the_host_was_visited(cloud: Cloud) -> None:
    cloud.ok("create", "10M")
    cloud.ok("attach", "7", "10M")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    with cloud.node1.changing() as state:
        state["find_multipaths"] = ""
    assert "multipathd does not run" in cloud.refused(8, "attach", "7", "--volume", "1")
    assert cloud.remains() == {}
    assert cloud.status(1) == "available"


def test_one_path_less_is_told_and_goes_on(cloud: Cloud) -> None:
    cloud.ok("create", "10M")
    lose(cloud, "10.0.1.1")

    result = cloud("attach", "7", "10M")

    assert result.code == 0
    assert f"warning: portal {SECOND} does not answer host node1, volume 1 has a path less" in result.err
    assert f"iscsiadm -m node -T {cloud.volume(1)['IQN']} -p {SECOND} --login" in result.err
    found = cloud("check", "--host", "node1").out
    assert f"host node1: {cloud.volume(1)['IQN']} has a path less: there is no session by portal {SECOND}: " in found
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    assert cloud.remains() == {}


def test_paths_lost_in_use_do_not_keep_it_there(cloud: Cloud) -> None:
    cloud.ok("create", "10M")
    cloud.ok("attach", "7", "10M")
    lose(cloud, "10.0.1.1")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    assert cloud.remains() == {}


@pytest.mark.parametrize("moment", ["before:confirming", "after:plugging", "before:plugging"])
def test_an_attach_that_was_killed_is_settled(cloud: Cloud, moment: str) -> None:
    cloud.ok("create", "10M")
    cloud.killed(moment, "attach", "7", "10M")
    cloud.ok("recover", "1")
    if cloud.status(1) == "in_use":
        assert [len(found["paths"]) for found in maps(cloud).values()] == [2]
        cloud.ok("detach", "7", "1", "--keep", "--yes")
    assert cloud.remains() == {}


def test_a_detach_that_was_killed_is_settled(cloud: Cloud) -> None:
    cloud.ok("create", "10M")
    cloud.ok("attach", "7", "10M")
    cloud.world.fault("iscsiadm", r"10\.0\.1\.1.*--logout", code=10)
    assert cloud("detach", "7", "1", "--keep", "--yes").code == 11
    assert maps(cloud) == {}
    assert len(cloud.node1.sessions()) == 1
    cloud.ok("recover", "1")
    assert cloud.remains() == {}
    assert cloud.status(1) == "available"


def test_an_identity_that_others_may_have_is_not_taken_in(cloud: Cloud) -> None:
    cloud.world.add_target(iqn("old"), 10 * MIB, access=())
    with cloud.world.target(iqn("old")) as target:
        target["serial"] = "beaf11"
    error = cloud.refused(2, "register", iqn("old"), "--san", "alpha")
    assert "has several portals, and a serial number that its server made up: give it a scsi_id" in error
    cloud.ok("register", iqn("old"), "--san", "alpha", "--portal", FIRST, "--assume-clean")
    cloud.ok("attach", "7", "--volume", iqn("old"))


def test_two_volumes_with_one_identity_are_not_joined(cloud: Cloud) -> None:
    for name in ("a", "b"):
        cloud.world.add_target(iqn(name), 10 * MIB, access=())
        with cloud.world.target(iqn(name)) as target:
            target["serial"] = target["scsi_id"] = "00c0ffee00c0ffee"
        cloud.ok("register", iqn(name), "--san", "alpha", "--assume-clean")
    error = cloud.refused(5, "attach", "7", "--volume", iqn("a"))
    assert "has several portals, and another disk may have its serial number 00c0ffee00c0ffee" in error


def test_a_static_volume_by_two_portals(cloud: Cloud) -> None:
    cloud.world.add_target(iqn("hand"), 10 * MIB)
    cloud.ok("san", "create", "byhand", "--kind", "static", "--portal", "10.0.0.9", "--portal", "10.0.1.9")
    cloud.ok("register", iqn("hand"), "--san", "byhand", "--size", "10M", "--lun", "1", "--wait")
    assert cloud.status(1) == "free"
    cloud.ok("attach", "7", "--volume", "hand")
    assert [len(found["paths"]) for found in maps(cloud).values()] == [2]
    cloud.ok("detach", "7", "hand", "--yes", "--wait")
    assert cloud.status(1) == "free"
    assert cloud.node1.remains() == {}
