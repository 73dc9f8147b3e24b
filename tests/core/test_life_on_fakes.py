"""Register, attach, use, detach, wipe: the life of a volume."""

from __future__ import annotations

import json

import pytest
from cloud import MIB, Cloud, iqn


def test_a_volume_is_attached_used_kept_attached_again_and_wiped(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20)

    said = cloud.ok("attach", "7", "10M")
    assert said == "volume 1 (10M) attached to VM 7 on host node1 as xvdp\n"
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]
    row = cloud.volume(1)
    assert (row["STATUS"], row["UID"], row["HOLDER_KIND"], row["HOLDER_ID"]) == ("in_use", 2, "vm", 7)
    assert row["ATTACHMENT"][0]["TARGET"] == "xvdp"
    with cloud.world.target(iqn("v1")) as target:
        assert target["access"] == ["10.9.0.11"]
        assert len(target["accounts"]) == 1

    said = cloud.ok("detach", "7", "1", "--keep", "--yes")
    assert said == "volume 1 (10M) detached from VM 7, its data is kept\n"
    assert cloud.remains() == {}
    row = cloud.volume(1)
    assert (row["STATUS"], row["UID"], row["ATTACHMENT"]) == ("available", 2, [])

    assert cloud.ok("attach", "db", "--volume", "v1").endswith("attached to VM 8 on host node1 as xvdp\n")
    said = cloud.ok("detach", "db", "v1", "--yes", "--wait")
    assert said.splitlines() == ["volume 1 (10M) detached from VM 8, it is being wiped", "volume 1 is free"]
    assert cloud.remains() == {}
    assert cloud.volume(1)["UID"] == 0
    assert cloud.path("1") == [
        *("creating", "free", "attaching", "in_use", "detaching", "available"),
        *("attaching", "in_use", "detaching", "dirty", "wiping", "free"),
    ]


def test_the_smallest_volume_that_fits_is_taken(cloud: Cloud) -> None:
    cloud.with_volumes(40, 20, 30)
    assert cloud.ok("attach", "7", "15M").startswith("volume 2 (20M)")
    assert cloud.ok("attach", "7", "15M").startswith("volume 3 (30M)")
    assert sorted(cloud.node1.disks("one-7")) == ["xvdo", "xvdp"]


def test_a_new_target_is_wiped_before_anybody_gets_it(cloud: Cloud) -> None:
    cloud.ok("san", "create", "alpha", "--kind", "tgt", "--host", "localhost", "--portal", "10.0.0.1:3260")
    cloud.world.add_target(iqn("old"), 4 * MIB, access=("ALL",))
    [disk] = (cloud.world.folder / "disks").iterdir()
    disk.write_bytes(b"somebody's data " * (4 * MIB // 16))

    said = cloud.ok("register", iqn("old"), "--portal", "10.0.0.1:3260", "--wait")

    assert said.splitlines() == ["volume 1 (4M) registered, it is wiping", "volume 1 is free"]
    assert disk.read_bytes() == bytes(4 * MIB)
    assert cloud.remains() == {}


def test_a_wipe_that_nobody_waited_for_is_collected_by_the_next_command(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "1M")
    assert cloud.ok("detach", "7", "1", "--yes").endswith("it is being wiped\n")
    for _ in range(50):
        if "free" in cloud.ok("list", "--csv"):
            break
    assert cloud.status(1) == "free"
    assert cloud.volume(1)["WIPED_AT"]


def test_a_kept_volume_is_only_for_its_owner_and_released_for_everybody(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "1M")
    cloud.ok("detach", "7", "1", "--keep", "--yes")

    error = cloud.refused(6, "attach", "9", "--volume", "1")
    assert "holds data of user 2" in error
    error = cloud.refused(4, "attach", "9", "1M")
    assert "no volume is free" in error

    assert cloud.ok("release", "1", "--yes", "--wait").endswith("volume 1 is free\n")
    cloud.ok("attach", "9", "--volume", "1")


def test_the_guest_may_only_read(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "1M", "--read-only", "--target", "xvde", "--on-terminate", "release")
    assert cloud.node1.disks("one-7")["xvde"]["mode"] == "r"
    [attachment] = cloud.volume(1)["ATTACHMENT"]
    assert (attachment["READONLY"], attachment["ON_TERMINATE"]) == (True, "release")


def test_two_disks_with_one_serial_are_told_apart(cloud: Cloud) -> None:
    cloud.ok("san", "create", "alpha", "--kind", "tgt", "--host", "localhost", "--portal", "10.0.0.1:3260")
    for name in ("v1", "v2"):
        cloud.world.add_target(iqn(name), 10 * MIB, access=())
        with cloud.world.target(iqn(name)) as target:
            target.update(serial="CLONED", scsi_id="0000000000000007")
        cloud.ok("register", iqn(name), "--san", "alpha", "--assume-clean")
    cloud.ok("attach", "7", "--volume", "v1")
    cloud.ok("attach", "8", "--volume", "v2")

    assert [cloud.volume(name)["SERIAL"] for name in ("v1", "v2")] == ["CLONED", "CLONED"]
    for guest, name in (("one-7", "v1"), ("one-8", "v2")):
        link = cloud.node1.root / cloud.node1.disks(guest)["xvdp"]["source"].lstrip("/")
        with cloud.world.target(iqn(name)) as target:
            assert str(link.resolve()) == target["path"]

    # A serial that two volumes have proves nothing: v1 may have another now. One of its own does.
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    with cloud.world.target(iqn("v1")) as target:
        target["serial"] = "OWN"
    cloud.ok("attach", "7", "--volume", "v1")
    assert cloud.volume("v1")["SERIAL"] == "OWN"
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    with cloud.world.target(iqn("v1")) as target:
        target["serial"] = "ANOTHER"
    assert "the disk is not the volume" in cloud.refused(8, "attach", "7", "--volume", "v1")


def test_kvm_is_the_same_with_other_names(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    assert cloud.ok("attach", "kvm", "10M") == "volume 1 (10M) attached to VM 10 on host node3 as vdz\n"
    cloud.ok("detach", "kvm", "1", "--yes", "--wait")
    assert cloud.remains() == {}


@pytest.mark.parametrize("xl_is_there", [False, True], ids=["without xl", "xend runs"])
def test_a_xen_of_2011_is_the_same_with_xm(cloud: Cloud, xl_is_there: bool) -> None:
    cloud.node1.become_older(xl_is_there)
    cloud.with_volumes(10, 20)
    assert cloud.ok("attach", "7", "10M") == "volume 1 (10M) attached to VM 7 on host node1 as xvdp\n"
    assert cloud.ok("attach", "7", "20M", "--read-only").endswith(" as xvdo\n")
    assert {name: disk["mode"] for name, disk in cloud.node1.disks("one-7").items()} == {"xvdp": "w", "xvdo": "r"}
    for volume in ("1", "2"):
        cloud.ok("detach", "7", volume, "--yes", "--wait")
    assert cloud.remains() == {}
    assert cloud.world.calls("xm")
    assert not cloud.world.calls("xl")


def test_a_storage_server_serves_only_its_clusters(cloud: Cloud) -> None:
    arguments = ("--kind", "tgt", "--host", "localhost", "--portal", "10.0.0.1:3260")
    cloud.ok("san", "create", "near", *arguments, "--cluster", "101")
    cloud.world.add_target(iqn("near"), 10 * MIB, access=())
    cloud.ok("register", iqn("near"), "--san", "near", "--assume-clean")

    error = cloud.refused(4, "attach", "7", "1M")
    assert "for cluster 100" in error
    assert "not served to cluster 100" in cloud.refused(5, "attach", "7", "--volume", "1")
    cloud.ok("attach", "kvm", "1M")


@pytest.mark.parametrize("state", [8, 9, 6], ids=["POWEROFF", "UNDEPLOYED", "DONE"])
def test_a_vm_without_a_guest_is_detached_without_it(cloud: Cloud, state: int) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "1M")
    cloud.node1.stop_guest("one-7")
    cloud.oned.set(vm_7_state=state, vm_7_lcm_state=0)
    cloud.ok("detach", "7", "1", "--yes", "--wait")
    assert cloud.remains() == {}


def test_disabled_volumes_are_not_handed_out(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20)
    cloud.ok("disable", "1")
    assert cloud.ok("attach", "7", "1M").startswith("volume 2 ")
    assert "cannot be deleted: run onevolume enable 1 first" in cloud.refused(5, "delete", "1", "--yes")
    assert "can be released: run onevolume enable 1 first" in cloud.refused(5, "release", "1", "--yes")
    assert cloud.ok("enable", "1") == "volume 1 enabled, it is free\n"


def test_a_deleted_volume_leaves_its_target_and_its_history(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("delete", "1", "--yes")
    assert json.loads(cloud.ok("list", "-j")) == {"VOLUME_POOL": {"VOLUME": []}}
    assert "deleted" in cloud.ok("events", "1")
    with cloud.world.target(iqn("v1")) as target:
        assert target["access"] == []
    cloud.ok("register", iqn("v1"), "--san", "alpha", "--assume-clean")
    assert cloud.volume("v1")["ID"] == 2
