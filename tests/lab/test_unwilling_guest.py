"""A guest that does not let go of its disk keeps it; one that does not take it never has it."""

from __future__ import annotations

from rig import Desk, Lab


def test_a_guest_that_does_not_let_go_keeps_its_volume(desk: Desk, lab: Lab) -> None:
    desk.with_volume("v", "1M")
    desk.ok("attach", "7", "1M")
    lab.hear("one-7", "dom: xvdp written")
    before = lab.leftovers()

    lab.guest("pause", "one-7")
    assert "the guest does not take or give the disk" in desk.refused(8, "detach", "7", "v", "--keep", "--yes")
    assert desk.status("v") == "in_use"
    assert lab.leftovers() == before

    # Now the guest does what it was asked, and Xen lists what is left of the disk until it is detached once more.
    lab.guest("unpause", "one-7")
    lab.hear("one-7", "dom: xvdp gone")
    desk.ok("detach", "7", "v", "--keep", "--yes")
    assert lab.leftovers() == []


def test_a_disk_that_the_guest_does_not_take_is_not_attached(desk: Desk, lab: Lab) -> None:
    desk.with_volume("v", "1M")
    lab.guest("pause", "one-7")

    error = desk.fails(11, "attach", "7", "1M")

    assert "the guest does not take or give the disk" in error
    assert "mend that, then run onevolume recover 1" in error
    assert desk.status("v") == "attaching"

    lab.guest("unpause", "one-7")
    desk.ok("recover", "v", "--wait")
    assert desk.path("v")[-4:] == ["attaching", "dirty", "wiping", "free"]
    assert lab.leftovers() == []
