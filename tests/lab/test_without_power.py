"""The host of a VM loses its power."""

from __future__ import annotations

from rig import BY_HAND, Desk, Lab, iqn

_LOG_IN_AT_EVERY_BOOT = f"""
iscsiadm -m node -o new -T {iqn("theirs")} -p {BY_HAND}
iscsiadm -m node -o update -T {iqn("theirs")} -p {BY_HAND} -n node.startup -v automatic
sync # both records shall be there
"""
_LOG_OUT = f"iscsiadm -m node -u -T {iqn('theirs')} && iscsiadm -m node -o delete -T {iqn('theirs')}"


def test_a_host_that_comes_back_does_not_log_in_by_itself(desk: Desk, lab: Lab) -> None:
    desk.with_static_volume("ours", "1M")
    lab.target("create", "--open", "ALL", "theirs", "1M")
    lab.opened_by_hand.add("theirs")
    desk.ok("attach", "7", "1M")
    lab.root(_LOG_IN_AT_EVERY_BOOT)

    lab.reboot()
    left = lab.leftovers()
    assert [line for line in left if "ours" in line] == [f"record {iqn('ours')}/127.0.0.2,3260"]
    assert any(line.startswith("session of ") and "theirs" in line for line in left), left

    lab.root(_LOG_OUT)
    lab.set(vm_7_state=8, vm_7_lcm_state=0)  # oned saw it: POWEROFF
    desk.ok("detach", "7", "ours", "--keep", "--yes")
    assert lab.leftovers() == []
    assert desk.status("ours") == "available"
