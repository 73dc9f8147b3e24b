"""What oned answers and how we read it: recordings of a real oned 7.4.0, then the same questions to any oned.

ONE_ISCSI_REAL_ONED=http://localhost:2633/RPC2 asks a real one too, with the session of ONE_AUTH (an administrator's).
Nothing there is changed.
"""

from __future__ import annotations

import os
import xmlrpc.client
from pathlib import Path
from typing import Any

import pyone
import pytest

from one_iscsi.errors import BadInput, FrontendError, NotFound
from one_iscsi.frontend import Frontend
from one_iscsi.vmstates import state_name

REAL_ONED = os.environ.get("ONE_ISCSI_REAL_ONED", "")

# recording: (name, state, host, host id, seq, VM_MAD, deploy id, targets)
FIRST, SECOND = "one-probe-28356", "one-probe-22379"
DISKS = "sda sdb sdc sdd vda vdb vdd"
RECORDED_VMS = {
    "vm-0-hold.xml": ("vmA", "HOLD", "", None, -1, "", "", "sda sdb sdc vda vdb"),
    "vm-0-running.xml": ("vmA", "RUNNING", "lab-host1", 0, 0, "kvm", FIRST, "sda sdb sdc vda vdb"),
    "vm-0-running-attached3.xml": ("vmA", "RUNNING", "lab-host1", 0, 3, "kvm", FIRST, DISKS + " vdc"),
    "vm-0-livemigrated.xml": ("vmA", "RUNNING", "lab-host2", 1, 7, "kvm", FIRST, DISKS + " vdc"),
    "vm-0-poweroff.xml": ("vmA", "POWEROFF", "lab-host1", 0, 13, "kvm", SECOND, DISKS),
    "vm-0-suspended.xml": ("vmA", "SUSPENDED", "lab-host1", 0, 11, "kvm", SECOND, DISKS),
    "vm-0-stopped.xml": ("vmA", "STOPPED", "lab-host1", 0, 12, "kvm", SECOND, DISKS),
    "vm-0-undeployed.xml": ("vmA", "UNDEPLOYED", "lab-host2", 1, 21, "kvm", "one-probe-31825", DISKS),
    "vm-0-done.xml": ("vmA", "DONE", "lab-host1", 0, 22, "kvm", "one-probe-30903", DISKS),
    "vm-2-prologmigrate-failure.xml": (
        *("vmF", "PROLOG_MIGRATE_FAILURE", "lab-host1", 0, 12, "kvm", "one-probe-19166", "sda vda vdb vdc"),
    ),
    "vm-10-attach-lnfail.xml": ("vmP", "POWEROFF", "lab-host1", 0, 6, "kvm", "one-probe-27575", ""),
    "vm-1016-dummy-running.xml": ("vmDummy", "RUNNING", "lab-dummy1", 2, 0, "dummy", "lab-dummy1:vmDummy:dummy", "vda"),
}


@pytest.mark.parametrize("recording", RECORDED_VMS)
def test_a_recorded_vm(oned, recording):
    oned.fault("one.vm.info", "replay", file=recording)
    vm = oned.frontend().vm(0)
    name, state, host, host_id, seq, vm_mad, deploy_id, targets = RECORDED_VMS[recording]
    assert (vm.name, state_name(vm.state, vm.lcm_state)) == (name, state)
    assert (vm.host, vm.host_id, vm.seq, vm.vm_mad) == (host, host_id, seq, vm_mad)
    assert vm.cluster_id == (0 if host else None)
    assert (vm.uid, vm.gid, vm.uname, vm.gname, vm.permissions) == (0, 0, "oneadmin", "oneadmin", 0o600)
    assert vm.deploy_id == deploy_id
    assert vm.targets == frozenset(targets.split())


def test_the_recorded_pool(oned):
    oned.fault("one.vmpool.info", "replay", file="vmpool-info-5.xml")
    with pytest.raises(NotFound, match="there is no VM 1011"):
        oned.frontend().vm("bulk-0997")  # found in the pool; the stand-in has no such VM
    with pytest.raises(NotFound, match="there is no VM 'bulk-0001'"):
        oned.frontend().vm("bulk-0001")


@pytest.mark.parametrize("recording", ["vmpool-info-5.xml", "vmpool-infoextended-5.xml"])
def test_the_stand_ins_pools_have_the_recorded_elements(oned, recording):
    oned.set(vm_7_host="", vm_7_state=2)  # as the recorded ones: never placed
    method = recording.rsplit("-", 1)[0].replace("-", ".")
    played = _raw(oned, f"one.{method}", -2, -1, -1, -1)[1]
    oned.fault(f"one.{method}", "replay", file=recording)
    recorded = _raw(oned, f"one.{method}", -2, -1, -1, -1)[1]

    def vm(document: str) -> Any:
        return next(vm for vm in pyone.bindings.parsexmlstring_(document) if vm.findtext("STATE") == "2")

    assert {element.tag for element in vm(played)} == {element.tag for element in vm(recorded)}


def test_the_recorded_host(oned):
    oned.fault("one.host.info", "replay", file="host-0-on.xml")
    host = pyone.bindings.parseString(_raw(oned, "one.host.info", 0)[1].encode())
    assert (host.ID, host.NAME, host.STATE, host.CLUSTER_ID, host.VM_MAD) == (0, "lab-host1", 2, 0, "kvm")


def _raw(oned: Any, method: str, *arguments: object, session: str = "") -> list[Any]:
    """oned's whole answer, as XML-RPC has it."""
    ask = getattr(xmlrpc.client.ServerProxy(oned.endpoint), method)
    answer: list[Any] = ask(session or oned.session, *arguments)
    return answer


class RealOned:
    """A real oned in the place of the stand-in."""

    endpoint = REAL_ONED

    def __init__(self) -> None:
        auth = os.environ.get("ONE_AUTH", os.path.expanduser("~/.one/one_auth"))
        self.session = Path(auth).read_text().strip()

    def frontend(self, session: str = "") -> Frontend:
        return Frontend(self.endpoint, session or self.session)


@pytest.fixture(params=["stand-in", *(["real"] if REAL_ONED else [])])
def any_oned(request: pytest.FixtureRequest) -> Any:
    return RealOned() if request.param == "real" else request.getfixturevalue("oned")


def test_every_vm_is_found_by_id_and_by_name(any_oned):
    frontend = any_oned.frontend()
    vms = pyone.OneServer(any_oned.endpoint, any_oned.session).vmpool.info(-2, -1, -1, -1).VM
    names = [vm.NAME for vm in vms]
    hosts = {host.name: host.id for host in frontend.hosts()}
    assert vms, "the contract needs a VM"
    for vm in vms[:10]:
        seen = frontend.vm(vm.ID)
        assert (seen.id, seen.name, seen.state, seen.lcm_state) == (vm.ID, vm.NAME, vm.STATE, vm.LCM_STATE)
        assert not state_name(seen.state, seen.lcm_state).isdigit()
        assert (seen.host == "") == (seen.seq == -1) == (seen.host_id is None)
        assert hosts.get(seen.host, seen.host_id) == seen.host_id
        if names.count(vm.NAME) == 1:
            assert frontend.vm(vm.NAME) == seen
        else:
            with pytest.raises(BadInput, match=str(vm.ID)):
                frontend.vm(vm.NAME)


def test_every_host_is_found_by_id_and_by_name(any_oned):
    frontend = any_oned.frontend()
    hosts = frontend.hosts()
    assert hosts, "the contract needs a host"
    for host in hosts:
        assert frontend.host(host.id) == host
        assert frontend.host(host.name).name == host.name or host.name.isdigit()


def test_the_session_is_somebody(any_oned):
    uid, gid = any_oned.frontend().whoami()
    assert gid == 0
    server = pyone.OneServer(any_oned.endpoint, any_oned.session)
    assert any_oned.session.partition(":")[0] == server.user.info(uid).NAME


def test_what_is_not_there(any_oned):
    frontend = any_oned.frontend()
    with pytest.raises(NotFound, match="there is no VM 2147483647"):
        frontend.vm(2**31 - 1)
    for ask in (frontend.vm, frontend.host):
        with pytest.raises(NotFound, match="no such; 'name'"):
            ask("no such; 'name'")


def test_a_session_that_is_none(any_oned):
    for session in ("nobody:x", "oneadmin", "", ":"):
        with pytest.raises(FrontendError, match="refuses the session"):
            any_oned.frontend(session or " ").whoami()


@pytest.mark.parametrize(
    ("method", "arguments", "code", "text"),
    [
        ("one.vm.info", [2**31 - 1], 0x0400, "[one.vm.info] Error getting virtual machine [2147483647]."),
        ("one.vm.update", [2**31 - 1, "", 1], 0x0400, "[one.vm.update] Error getting virtual machine [2147483647]."),
        ("one.host.info", [2**31 - 1], 0x0400, "[one.host.info] Error getting host [2147483647]."),
        ("one.user.info", [2**31 - 1], 0x0400, "[one.user.info] Error getting user [2147483647]."),
    ],
)
def test_refusals_to_the_letter(any_oned, method, arguments, code, text):
    answer = _raw(any_oned, method, *arguments)
    assert answer[:4] == [False, text, code, 2**31 - 1]
    assert len(answer) == 5


def test_a_refused_session_to_the_letter(any_oned):
    answer = _raw(any_oned, "one.vm.info", 0, session="nobody:x")
    assert answer[:4] == [False, "[one.vm.info] User couldn't be authenticated, aborting call.", 0x0100, -1]


@pytest.mark.parametrize(
    ("method", "arguments"), [("one.vm.info", ["7"]), ("one.no.such", []), ("one.vm.update", [7, "", "1"])]
)
def test_calls_oned_does_not_understand_are_faults(any_oned, method, arguments):
    with pytest.raises(xmlrpc.client.Fault) as caught:
        _raw(any_oned, method, *arguments)
    assert caught.value.faultCode in (-501, -506)


def test_the_version(any_oned):
    assert _raw(any_oned, "one.system.version")[1].startswith(("6.", "7."))
