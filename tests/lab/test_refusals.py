"""What cannot be done is refused with a reason, and leaves no session, no record, no access and no changed row."""

from __future__ import annotations

import signal

import pytest
from rig import NODE, Desk, Lab, ended, failure, iqn


def test_nobody_listens_at_the_portal(desk: Desk, lab: Lab) -> None:
    desk.ok("register", iqn("v"), "--portal", "127.0.0.1:3999", "--size", "1M", "--assume-clean")
    error = desk.refused(8, "attach", "7", "1M")
    assert f"host {NODE}, volume 1: the portal does not answer" in error
    assert "see that the storage server and its network are up" in error
    assert lab.leftovers() == []


def test_the_storage_server_hangs(desk: Desk, lab: Lab) -> None:
    desk.with_volume("managed", "1M")
    desk.with_static_volume("static", "1M")
    lab.target("freeze")

    assert "the portal does not answer" in desk.refused(8, "attach", "7", "--volume", "static")
    error = desk.fails(11, "attach", "7", "--volume", "managed")
    assert "tgtadm did not end within 10 s" in error
    assert "run onevolume recover 1" in error

    lab.target("thaw")
    assert desk.ok("recover", "managed") == "volume 1 recovered, it is free\n"
    assert lab.leftovers() == []


def test_no_volume_is_there_or_none_is_large_enough_or_no_guest_is_there(desk: Desk, lab: Lab) -> None:
    assert "no volume is free" in desk.refused(4, "attach", "7", "1M")
    desk.with_volume("v", "1M")
    error = desk.refused(4, "attach", "7", "2M")
    assert "no free volume of 2M, the largest free one has 1M: ask for less" in error
    assert "there is no such guest (one-99 is an invalid domain identifier" in desk.refused(8, "attach", "99", "1M")
    assert lab.leftovers() == []


@pytest.fixture
def disk_of_an_admin(lab: Lab) -> str:
    """Plugged in by hand where the first volume would go; oned does not know of it."""
    lab.root(
        "modprobe loop; truncate -s 1M /srv/theirs; device=$(losetup --find --show /srv/theirs);"
        "xl block-attach one-7 format=raw,vdev=xvdp,access=r,target=$device"
    )
    return lab.leftovers()[0]


def test_over_ipv6_and_beside_a_disk_that_nobody_told_us_of(desk: Desk, lab: Lab, disk_of_an_admin: str) -> None:
    desk.with_volume("v", "1M", portal="[::1]:3260")
    desk.with_volume("w", "2M", portal="[::1]:3260")

    assert desk.ok("attach", "7", "1M") == f"volume 1 (1M) attached to VM 7 on host {NODE} as xvdo\n"
    lab.hear("one-7", "dom: xvdo written")
    assert f"access for ::1 to {iqn('v')}" in lab.leftovers()

    error = desk.refused(5, "attach", "7", "1M", "--target", "xvdo")
    assert "VM 7 already has a disk at xvdo: choose another --target" in error
    desk.ok("detach", "7", "v", "--keep", "--yes")
    assert lab.leftovers() == [disk_of_an_admin]


def test_the_vm_moves_to_another_host_in_the_middle(desk: Desk, lab: Lab) -> None:
    lab.guest("rest", "one-7")
    desk.with_volume("v", "1M")
    lab.fault("one.vm.info", mode="after", calls=1, set={"vm.7.host": "node2", "vm.7.seq": 1})

    attach = desk.start("attach", "7", "1M")
    lab.until_logged_in()
    attach.send_signal(signal.SIGSTOP)  # until the guest, which looks once a second, has seen the disk
    try:
        lab.hear("one-7", "dom: xvdp size")
    finally:
        attach.send_signal(signal.SIGCONT)
    error = failure(5, ended(attach))

    assert f"VM 7 moved from host {NODE} to node2 meanwhile: the attach was undone, try again" in error
    lab.hear("one-7", "dom: xvdp gone")
    desk.ok("recover", "v", "--wait")
    # the guest saw it: it is never simply free again
    assert desk.path("v")[-4:] == ["attaching", "dirty", "wiping", "free"]
    assert lab.is_zeros("v")
    assert lab.leftovers() == []
