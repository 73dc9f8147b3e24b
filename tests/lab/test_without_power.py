"""The host of a VM loses its power."""

from __future__ import annotations

from rig import Desk, Lab, iqn


def test_a_host_that_comes_back_does_not_log_in_by_itself(desk: Desk, lab: Lab) -> None:
    desk.with_volume("v", "1M")
    desk.ok("attach", "7", "1M")

    lab.root("sync")  # the node record shall be there, and do nothing
    lab.reboot()
    assert lab.leftovers() == [f"record {iqn('v')}/127.0.0.1,3260"]

    lab.set(vm_7_state=8, vm_7_lcm_state=0)  # oned saw it: POWEROFF
    desk.ok("detach", "7", "v", "--keep", "--yes")
    assert lab.leftovers() == []
    assert desk.status("v") == "available"
