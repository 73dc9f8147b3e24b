"""The guest does not let go, or its host loses power."""

from __future__ import annotations

import pytest
from rig import Desk, Lab, iqn


@pytest.fixture
def attached(desk: Desk) -> Desk:
    desk.with_volume("v", "1M")
    desk.ok("attach", "7", "1M")
    return desk


def test_a_guest_that_does_not_let_go_keeps_its_volume(attached: Desk, lab: Lab) -> None:
    before = lab.leftovers()
    lab.guest("pause", "one-7")
    assert "the guest does not take or give the disk" in attached.refused(8, "detach", "7", "v", "--keep", "--yes")
    assert attached.status("v") == "in_use"
    assert lab.leftovers() == before

    # Now the guest does what it was asked, and Xen lists what is left of the disk until it is detached once more.
    lab.guest("unpause", "one-7")
    lab.hear("one-7", "dom: xvdp gone")
    attached.ok("detach", "7", "v", "--keep", "--yes")
    assert lab.leftovers() == []


def test_a_host_that_lost_power_does_not_log_in_by_itself(attached: Desk, lab: Lab) -> None:
    lab.root("sync")
    lab.reboot()
    assert lab.leftovers() == [f"record {iqn('v')}/127.0.0.1,3260"]

    lab.set(vm_7_state=8, vm_7_lcm_state=0)  # oned saw it: POWEROFF
    attached.ok("detach", "7", "v", "--keep", "--yes")
    assert lab.leftovers() == []
    assert attached.status("v") == "available"
