"""A guest that does not let go of its disk keeps it, and the volume stays what it is."""

from __future__ import annotations

from rig import Desk, Lab


def test_a_guest_that_does_not_let_go_keeps_its_volume(desk: Desk, lab: Lab) -> None:
    desk.with_volume("v", "1M")
    desk.ok("attach", "7", "1M")
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
