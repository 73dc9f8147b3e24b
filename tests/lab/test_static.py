"""Targets that somebody else manages: nothing can be asked or closed there, so the node looks, and wipes."""

from __future__ import annotations

from rig import BY_HAND, MIB, Desk, Lab, iqn


def test_a_target_managed_by_hand(desk: Desk, lab: Lab) -> None:
    lab.target("create", "--open", "ALL", "--dirty", "hand", "2M")
    lab.opened_by_hand.add("hand")

    # what the admin believes its size to be is corrected by the node that wipes it
    said = desk.ok("register", iqn("hand"), "--portal", BY_HAND, "--size", "1M", "--lun", "1", "--wait")
    assert said.splitlines()[-1] == "volume 1 is free"
    row = desk.volume("hand")
    assert row["SIZE"] == 2 * MIB
    assert row["SERIAL"]
    assert lab.is_zeros("hand")
    assert lab.leftovers() == []

    desk.ok("attach", "7", "2M")
    lab.hear("one-7", "dom: xvdp written")
    desk.ok("detach", "7", "hand", "--keep", "--yes")
    assert lab.leftovers() == []

    # Another disk by the same name: no guest may see it.
    lab.target("delete", "hand")
    lab.target("create", "--open", "ALL", "hand", "2M")
    error = desk.refused(8, "attach", "7", "--volume", "hand")
    assert "the disk is not the volume" in error
    assert f"instead of '{row['SERIAL']}'" in error
    assert lab.leftovers() == []
