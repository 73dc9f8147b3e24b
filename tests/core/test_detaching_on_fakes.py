"""Detaches that meet trouble: the table says what the guest and the host really have."""

from __future__ import annotations

import json

from cloud import Cloud, iqn

FLUSH = "blockdev: ioctl error on BLKFLSBUF: Input/output error\n"
DENIED = "sudo: a password is required\n"


def last_event(cloud: Cloud) -> str:
    events = json.loads(cloud.ok("events", "1", "-j"))["EVENT_POOL"]["EVENT"]
    return str(events[-1]["WHY"])


def attached(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")


def test_a_guest_that_refuses_keeps_its_disk(cloud: Cloud) -> None:
    attached(cloud)
    cloud.node1.pause_guest("one-7")

    assert "the guest does not take or give the disk" in cloud.refused(8, "detach", "7", "1", "--yes")

    assert cloud.status(1) == "in_use"
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]


def test_what_a_host_cannot_write_back_stays_there_until_somebody_gives_it_up(cloud: Cloud) -> None:
    attached(cloud)
    cloud.world.fault("blockdev", code=1, stderr=FLUSH, times=99)

    stopped = cloud("detach", "7", "1", "--keep", "--yes")

    assert stopped.code == 11
    assert "cached data cannot be written back" in stopped.err
    assert cloud.status(1) == "detaching"  # the guest has lost it: it is not in use
    assert cloud.node1.disks("one-7") == {}
    assert cloud.node1.sessions() == [iqn("v1")]
    assert "cached data" in cloud.refused(11, "recover", "1")

    assert cloud.ok("recover", "1", "--force") == "volume 1 recovered, it is available\n"

    assert cloud.remains() == {}
    assert last_event(cloud).endswith("forced: data that was not written back is lost")


def test_a_host_that_can_write_back_again_loses_nothing(cloud: Cloud) -> None:
    attached(cloud)
    cloud.world.fault("blockdev", code=1, stderr=FLUSH)
    assert cloud("detach", "7", "1", "--keep", "--yes").code == 11

    assert cloud.ok("recover", "1") == "volume 1 recovered, it is available\n"

    assert cloud.remains() == {}
    assert "forced" not in last_event(cloud)


def test_a_host_without_rights_has_done_nothing(cloud: Cloud) -> None:
    attached(cloud)
    cloud.world.fault("sudo", code=1, stderr=DENIED, host="node1", times=9)

    assert "root's rights are missing" in cloud.refused(8, "detach", "7", "1", "--yes")

    assert cloud.status(1) == "in_use"
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]


def test_a_host_without_rights_may_have_done_something_before_it_lost_them(cloud: Cloud) -> None:
    attached(cloud)
    cloud.killed("before:closing", "detach", "7", "1", "--keep", "--yes")
    cloud.world.fault("sudo", code=1, stderr=DENIED, host="node1", times=1)

    assert "root's rights are missing" in cloud.refused(11, "recover", "1")

    assert cloud.status(1) == "detaching"
    cloud.ok("recover", "1")
    assert cloud.remains() == {}


def test_only_a_detach_is_forced_and_one_at_a_time(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.killed("before:plugging", "attach", "7", "10M")

    assert "the attach of volume 1 cannot be forced" in cloud.refused(5, "recover", "1", "--force")
    assert "names no volume" in cloud.refused(2, "recover", "--force")


def test_a_vm_that_oned_has_forgotten_lets_go_of_its_volume(cloud: Cloud) -> None:
    attached(cloud)
    cloud.node1.stop_guest("one-7")
    cloud.oned.set(vm_7=None)
    assert "no VM '8888'" in cloud.refused(3, "detach", "8888", "1", "--yes")

    cloud.ok("detach", "7", "1", "--yes", "--wait")

    assert cloud.status(1) == "free"
    assert cloud.remains() == {}
