"""What a VM's state is called and what it allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from one_iscsi.errors import WrongState
from one_iscsi.frontend import Vm
from one_iscsi.vmstates import ACTIVE, LCM_STATES, VM_STATES, attach_refusal, detach_way, state_name

RUNNING = Vm(7, "web", 2, 1, "ann", "users", 0o600, ACTIVE, 3, "node1", 0, 0, 0, "xen", "one-7", frozenset())
EVERY_STATE = [(state, 0) for state in VM_STATES if state != ACTIVE] + [(ACTIVE, lcm) for lcm in (*LCM_STATES, 99)]


def _in(name: str) -> Vm:
    state, lcm_state = next(pair for pair in EVERY_STATE if state_name(*pair) == name)
    return replace(RUNNING, state=state, lcm_state=lcm_state)


def test_names():
    assert state_name(3, 3) == "RUNNING"
    assert state_name(8, 0) == "POWEROFF"
    assert state_name(8, 3) == "POWEROFF"
    assert state_name(3, 71) == "RESTORE"


def test_numbers_nobody_knows_yet_stay_numbers():
    assert state_name(3, 99) == "99"
    assert state_name(42, 0) == "42"


def test_the_numbers_are_pyones():
    pyone = pytest.importorskip("pyone")
    theirs = {state.value: state.name for state in pyone.VM_STATE} | {7: None}
    assert {number: theirs.get(number) for number in VM_STATES} == VM_STATES
    newer = {69: "BACKUP", 70: "BACKUP_POWEROFF", 71: "RESTORE"}
    theirs = newer | {state.value: state.name for state in pyone.LCM_STATE}
    assert {number: theirs.get(number) for number in LCM_STATES} == LCM_STATES
    assert set(theirs) - set(LCM_STATES) == {13, 14, 55, 58}  # no longer used


@pytest.mark.parametrize(("state", "lcm_state"), EVERY_STATE)
def test_only_a_running_vm_takes_a_disk_and_every_other_is_told_what_to_do(state, lcm_state):
    refusal = attach_refusal(replace(RUNNING, state=state, lcm_state=lcm_state))
    if (state, lcm_state) == (3, 3):
        assert refusal is None
    else:
        assert refusal.startswith(f"VM 7 is {state_name(state, lcm_state)}: ")
        assert "{" not in refusal


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("POWEROFF", "start it first with onevm resume 7"),
        ("SUSPENDED", "wake it first with onevm resume 7"),
        ("PENDING", "wait until it is RUNNING and try again"),
        ("HOTPLUG", "wait until it is RUNNING and try again"),
        ("BOOT_FAILURE", "repair it first with onevm recover 7"),
        ("UNKNOWN", "its host node1 does not report it; see why with onehost show node1"),
        ("DONE", "it is gone; choose another VM"),
    ],
)
def test_advice_before_an_attach(name, advice):
    assert attach_refusal(_in(name)) == f"VM 7 is {name}: {advice}"


@pytest.mark.parametrize(("state", "lcm_state"), EVERY_STATE)
def test_a_disk_leaves_a_running_guest_or_none_at_all(state, lcm_state):
    vm = replace(RUNNING, state=state, lcm_state=lcm_state)
    ways = {"RUNNING": "unplug", "POWEROFF": "no-guest", "UNDEPLOYED": "no-guest", "DONE": "no-guest"}
    name = state_name(state, lcm_state)
    if name in ways:
        assert detach_way(vm) == ways[name]
    else:
        with pytest.raises(WrongState, match=f"VM 7 is {name}: ") as caught:
            detach_way(vm)
        assert caught.value.fix
        assert "{" not in str(caught.value)


@pytest.mark.parametrize("name", ["SUSPENDED", "STOPPED", "SAVE_STOP", "SAVE_SUSPEND", "SAVE_MIGRATE", "MIGRATE"])
def test_a_saved_guest_keeps_its_disk_because_its_memory_names_it(name):
    with pytest.raises(WrongState, match=r"memory .*names this disk"):
        detach_way(_in(name))
