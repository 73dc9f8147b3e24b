"""What the program learns from oned, and whom it lets ask."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import pytest

from one_iscsi.errors import BadInput, FrontendError, NotAllowed, NotFound
from one_iscsi.frontend import Frontend, FrontendHost, Vm


def test_a_vm_is_where_its_last_history_record_says(oned):
    oned.set(vm_7_host="node2", vm_7_seq=4, vm_7_vm_mad="kvm", vm_7_deploy_id="1c8d24ca-3902-4c9a-8f74-419e50f02bda")

    assert oned.frontend().vm(7) == Vm(
        id=7,
        name="web",
        uid=2,
        gid=1,
        uname="ann",
        gname="users",
        permissions=0o640,
        state=3,
        lcm_state=3,
        host="node2",
        host_id=1,
        seq=4,
        cluster_id=0,
        vm_mad="kvm",
        deploy_id="1c8d24ca-3902-4c9a-8f74-419e50f02bda",
        targets=frozenset({"xvda"}),
    )


def test_a_vm_that_was_never_placed_has_no_host(oned):
    oned.set(vm_7_state=2, vm_7_lcm_state=0, vm_7_host="", vm_7_deploy_id="")
    vm = oned.frontend().vm(7)
    assert (vm.host, vm.host_id, vm.cluster_id, vm.seq, vm.vm_mad, vm.deploy_id) == ("", None, None, -1, "", "")


@pytest.mark.parametrize("targets", [[], ["vda"], ["vda", "vdb", "sda"]])
def test_no_disk_one_disk_or_many(oned, targets):
    oned.set(vm_7_targets=targets)
    assert oned.frontend().vm(7).targets == frozenset(targets)


@pytest.mark.parametrize(
    "name", ["web", "my web server", 'the "best"', "it's", "a;b", "$(reboot)", "größe 10 €", "<VM>&amp;", "a\nb", "-2"]
)
def test_a_vm_by_name_however_odd(oned, name):
    oned.set(vm_7_name=name)
    assert oned.frontend().vm(name).id == 7


def test_a_part_of_a_name_or_another_case_is_not_the_name(oned):
    for name in ("we", "webb", "WEB", "", " web"):
        with pytest.raises(NotFound, match="there is no VM"):
            oned.frontend().vm(name)


def test_a_name_that_several_vms_have_is_refused_with_their_ids(oned):
    with pytest.raises(BadInput, match="several VMs are called 'twin': give one of the ids 8, 9"):
        oned.frontend().vm("twin")


def test_digits_are_an_id_first_and_a_name_second(oned):
    oned.set(vm_8_name="7", vm_9_name="12345678901234567890")
    assert oned.frontend().vm("7").id == 7
    assert oned.frontend().vm("12345678901234567890").id == 9
    oned.assign({"vm.7": None})
    assert oned.frontend().vm("7").id == 8
    with pytest.raises(NotFound, match="there is no VM 7"):
        oned.frontend().vm(7)


def test_a_vm_that_is_done_is_found_by_id_only(oned):
    oned.set(vm_7_state=6, vm_7_lcm_state=0)
    assert oned.frontend().vm(7).state == 6
    with pytest.raises(NotFound, match="there is no VM 'web'"):
        oned.frontend().vm("web")


def test_a_state_newer_than_pyone_is_only_a_number(oned):
    oned.set(vm_7_lcm_state=71, vm_8_state=42)
    assert oned.frontend().vm(7).lcm_state == 71
    assert oned.frontend().vm(8).state == 42


def test_a_vm_that_migrates_between_two_questions(oned):
    oned.fault("one.vm.info", "after", calls=2, set={"vm.7.host": "node2", "vm.7.seq": 1})
    frontend = oned.frontend()
    assert [(vm.host, vm.seq) for vm in (frontend.vm(7), frontend.vm(7), frontend.vm(7))] == [
        ("node1", 0),
        ("node1", 0),
        ("node2", 1),
    ]


def test_hosts_by_id_and_by_name(oned):
    frontend = oned.frontend()
    node1 = FrontendHost(0, "node1", 2, 100, "xen")
    assert [host.name for host in frontend.hosts()] == ["node1", "node2", "1"]
    assert frontend.host("node1") == frontend.host(0) == frontend.host("0") == node1
    assert frontend.host("1").name == "node2"
    assert frontend.host(4).state == 3
    with pytest.raises(NotFound, match="there is no host 'node3'"):
        frontend.host("node3")
    assert oned.frontend("ann:hers").hosts() == []  # hosts are not her business


def test_who_am_i(oned):
    assert oned.frontend().whoami() == (0, 0)
    assert oned.frontend("ann:hers").whoami() == (2, 1)


def test_a_vm_one_may_not_see(oned):
    oned.set(vm_7_permissions="600")
    with pytest.raises(NotAllowed, match=r"User \[3\] : Not authorized to perform USE VM \[7\]"):
        oned.frontend("bob:his").vm(7)
    with pytest.raises(NotFound):
        oned.frontend("bob:his").vm("web")


def test_threads_share_a_frontend(oned):
    frontend = oned.frontend()
    with ThreadPoolExecutor(8) as threads:
        assert [vm.id for vm in threads.map(frontend.vm, [7, 8] * 40)] == [7, 8] * 40


def test_a_thousand_vms_are_searched_quickly_enough(oned):
    oned.assign({f"vm.{n}": {"name": f"bulk-{n}"} for n in range(1000, 2000)})
    assert oned.frontend().vm("bulk-1999").id == 1999


class TestFromEnvironment:
    """The endpoint and the session as OpenNebula's own commands find them."""

    @pytest.fixture(autouse=True)
    def home(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        for name in ("ONE_XMLRPC", "ONE_AUTH"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr("one_iscsi.frontend._HOMES", ("~/.one",))  # not the machine's own /var/lib/one
        (tmp_path / ".one").mkdir()
        return tmp_path

    def test_from_variables(self, oned, monkeypatch):
        monkeypatch.setenv("ONE_XMLRPC", oned.endpoint + "\n")
        monkeypatch.setenv("ONE_AUTH", str(oned.folder / "one_auth"))
        assert Frontend.from_environment().whoami() == (0, 0)

    def test_from_files(self, oned, home):
        (home / ".one" / "one_endpoint").write_text(oned.endpoint + "\n")
        (home / ".one" / "one_auth").write_text("ann:hers\n")
        assert Frontend.from_environment().whoami() == (2, 1)

    def test_the_endpoint_is_localhost_unless_told(self, home):
        (home / ".one" / "one_auth").write_text("ann:hers\n")
        assert Frontend.from_environment().endpoint == "http://localhost:2633/RPC2"

    def test_no_session_anywhere(self):
        with pytest.raises(FrontendError, match="there is no one_auth file: log in with oneuser login"):
            Frontend.from_environment()

    def test_a_session_file_that_is_named_but_missing_is_not_replaced_by_another(self, home, monkeypatch):
        (home / ".one" / "one_auth").write_text("oneadmin:secret\n")
        monkeypatch.setenv("ONE_AUTH", "/nowhere/one_auth")
        with pytest.raises(FrontendError, match="there is no session in /nowhere/one_auth"):
            Frontend.from_environment()


def test_pyone_is_imported_only_when_oned_is_asked():
    script = (
        "import sys; from one_iscsi import frontend, vmstates; "
        "frontend.Frontend('http://localhost:1/RPC2', 'a:b'); print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", script], check=True, text=True, capture_output=True).stdout.split()
    assert not {"pyone", "requests", "lxml", "xmlrpc.client"} & set(modules)


@pytest.mark.parametrize("make", [repr, str])
def test_the_session_is_not_shown(make: Callable[[object], str]):
    assert "secret" not in make(Frontend("http://localhost:1/RPC2", "oneadmin:secret"))
