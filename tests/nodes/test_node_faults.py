"""What goes wrong on a host is named and leaves nothing: on fake hosts, where things can be made to fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sites import MIB, OTHER_GUEST, FakeSite

from one_iscsi.errors import BadInput, NodeError, WrongState
from one_iscsi.model import Chap
from one_iscsi.nodes import Node, target_names
from one_iscsi.remote import Remote

DENIED = "sudo: a password is required\n"


def trouble(call: object, *arguments: object, **more: object) -> NodeError:
    with pytest.raises(NodeError) as caught:
        call(*arguments, **more)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return caught.value


# -- the initiator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [4, 6, 18, 20, 28, 29, 33])
def test_what_passes_is_tried_again(xen: FakeSite, code: int) -> None:
    volume = xen.volume("v1")
    xen.world.fault("iscsiadm", "--login", code=code, times=2)

    xen.attach(volume)

    assert len([call for call in xen.world.calls("iscsiadm") if call[-1] == "--login"]) == 3


@pytest.mark.parametrize("code", [7, 8, 11, 13, 19, 24, 255])
def test_what_does_not_pass_is_not_tried_again(xen: FakeSite, code: int) -> None:
    volume = xen.volume("v1")
    xen.world.fault("iscsiadm", "--login", code=code, times=9)

    error = trouble(xen.attach, volume)

    assert error.code == {8: "portal-dead", 11: "portal-dead", 19: "login-refused", 24: "login-auth"}.get(
        code, "login-failed"
    )
    assert (error.clean, error.plug_tried) == (True, False)
    assert len([call for call in xen.world.calls("iscsiadm") if call[-1] == "--login"]) == 1
    assert xen.host.remains() == {}


def test_a_database_that_stays_locked(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.world.fault("iscsiadm", "--login", code=6, times=9, stderr="iscsiadm: Could not lock the database\n")

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean) == ("login-failed", True)
    assert "Could not lock the database" in str(error)


def test_iscsid_does_not_run(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.world.fault(
        "iscsiadm", "--login", code=20, times=9, stderr="iscsiadm: can not connect to iSCSI daemon (111)!\n"
    )

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean) == ("iscsid-down", True)
    assert xen.host.remains() == {}


def test_a_session_that_came_in_between_is_as_good(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.world.fault("iscsiadm", "--login", code=15, after=True)

    assert xen.attach(volume).device == "sda"


def test_a_record_that_was_left_over_does_not_count(xen: FakeSite) -> None:
    volume, chap = xen.volume("v1"), Chap("user1", "secretpass12")
    xen.world.fault("iscsiadm", "--login", code=255)
    xen.world.fault("iscsiadm", "-o delete", code=6, times=4)
    error = trouble(xen.attach, volume, chap=Chap("user1", "of-the-first-try"))
    assert not error.clean
    assert len(xen.host.records()) == 1
    xen.ask_for_secret("v1", chap)

    xen.attach(volume, chap=chap)

    (record,) = xen.host.records()
    assert record.stat().st_mode & 0o777 == 0o600
    assert "of-the-first-try" not in record.read_text()
    for line in ("node.startup = manual", "node.session.initial_login_retry_max = 1"):
        assert line in record.read_text()


def test_rules_of_sudo_that_are_broken(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    complaint = "/etc/sudoers.d/local:13:1: syntax error\n\n^\n"
    xen.world.fault("sudo", code=0, stderr=complaint)

    error = trouble(xen.attach, volume)

    assert error.code == "sudo"
    assert "complains: /etc/sudoers.d/local:13:1: syntax error" in str(error)


def test_a_secret_is_in_no_list_of_arguments_and_in_no_error(xen: FakeSite) -> None:
    volume, chap = xen.volume("v1"), Chap("user1", "secretpass12")
    xen.ask_for_secret("v1", chap)
    xen.attach(volume, chap=chap)
    xen.detach(volume)
    xen.world.fault("tee", "-a", code=1, stderr="tee: no space left on device\n", after=True)

    error = trouble(xen.attach, volume, chap=chap)

    assert error.code == "record-failed"
    assert "secretpass12" not in str(error)
    assert "secretpass12" not in (xen.world.folder / "calls.log").read_text()


def test_a_disk_that_comes_late(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    with xen.world.target(volume.iqn) as target:
        target["appears"] = 1.5

    assert xen.attach(volume).device == "sda"


def test_a_disk_that_never_comes(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    with xen.world.target(volume.iqn) as target:
        target["appears"] = 600

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("no-device", True, False)
    assert xen.host.remains() == {}


def test_another_disk_behind_the_link(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    stale = xen.host.root / "dev" / "stale"
    stale.touch()
    link = xen.host.root / volume.device_path[1:]
    link.symlink_to("../../stale")

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("no-device", True, False)


def test_flush_fails_and_nothing_else_is_touched(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.attach(volume)
    xen.world.fault("blockdev", code=1, stderr="blockdev: ioctl error on BLKFLSBUF: Input/output error\n", times=2)

    error = trouble(xen.detach, volume)

    assert (error.code, error.unplugged) == ("flush-failed", True)
    assert "Input/output error" in str(error)
    assert xen.host.sessions() == [volume.iqn]
    assert xen.host.devices() == ["sda"]

    xen.detach(volume, force=True)
    assert xen.host.remains() == {}


def test_a_logout_that_fails(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.attach(volume)
    xen.world.fault("iscsiadm", "--logout", code=10, stderr="iscsiadm: initiator reported error (10 - logout failed)\n")

    error = trouble(xen.detach, volume)

    assert error.code == "logout-failed"
    assert xen.host.sessions() == [volume.iqn]
    xen.detach(volume)
    assert xen.host.remains() == {}


def test_a_target_of_several_disks_one_of_which_is_in_use(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.attach(volume)
    root = xen.host.root
    (root / "sys/class/iscsi_session/session1/device/target1:0:0/1:0:0:2/block/sdz").mkdir(parents=True)
    (root / "sys/block/sdz/holders/dm-0").mkdir(parents=True)
    (root / "dev/sdz").touch()

    error = trouble(xen.detach, volume)

    assert error.code == "in-use"
    assert "sdz" in str(error)
    assert xen.host.sessions() == [volume.iqn]


# -- hypervisors ------------------------------------------------------------------------------------------------------


def test_what_a_refused_attach_leaves_behind_is_removed(xen: FakeSite) -> None:
    mounted = (Path(__file__).parents[1] / "data/node/xl_block-attach_device_mounted.txt").read_text()
    volume = xen.volume("v1")
    xen.world.fault("xl", "block-attach", code=1, stderr=mounted.split("--- stderr\n")[1].split("---")[0], after=True)

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("guest-refused", True, True)
    assert "mounted in the privileged domain" in str(error)
    assert xen.host.remains() == {}


def test_an_attach_that_cannot_clean_up_says_so(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.world.fault("xl", "block-attach", code=1, after=True)
    xen.world.fault("xl", "block-detach", code=1, times=9)

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("guest-refused", False, True)
    assert xen.host.sessions() == [volume.iqn]  # what a guest may have is not logged out


def test_the_next_attach_removes_what_a_killed_one_left_behind(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.log_in_by_hand(volume)
    xen.plug_by_hand(volume, "xvdo")
    with xen.host.changing() as state:
        state["domains"][xen.guest]["disks"]["xvdo"]["state"] = 3

    assert xen.attach(volume).target == "xvdp"
    assert list(xen.host.disks(xen.guest)) == ["xvdp"]


def test_the_same_device_twice_in_one_guest_is_taken_out_twice(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.attach(volume)
    xen.plug_by_hand(volume, "xvdc")

    xen.detach(volume)

    assert xen.host.remains() == {}


def test_disks_of_others_stay(xen: FakeSite) -> None:
    volume, another = xen.volume("v1"), xen.volume("v22")
    xen.attach(another, ["xvdp"])
    xen.attach(volume, ["xvdo"])
    xen.node.detach(volume, xen.guest)

    assert list(xen.host.disks(xen.guest)) == ["xvdp"]


@pytest.mark.parametrize("site", ["xen", "kvm"])
def test_a_hypervisor_that_does_not_answer_is_no_absent_guest(site: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(site)
    volume = found.volume("v1")
    found.attach(volume)
    for program in ("xl", "virsh"):
        found.world.fault(program, code=1, stderr="error: failed to connect to the hypervisor\n", times=9)

    assert trouble(found.node.observe, volume, found.guest).code == "hypervisor"
    assert trouble(found.detach, volume).code in ("hypervisor", "guest-refused")
    assert found.host.sessions() == [volume.iqn]


def test_names_of_guests_are_never_commands_or_options(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    name = 'it\'s $(touch /tmp/x); a "guest"'
    xen.host.start_guest(name)

    xen.attach(volume, guest=name)
    xen.detach(volume, name)

    for refused in ("-x", "one\n7", "\t"):
        with pytest.raises(BadInput):
            xen.attach(volume, guest=refused)


def test_the_targets_begin_at_the_top() -> None:
    assert target_names("kvm")[:2] == ["vdz", "vdy"]
    assert target_names("qemu")[-1] == "vdb"
    assert target_names("xen4") == [f"xvd{letter}" for letter in "ponmlkjihgfedcb"]
    with pytest.raises(WrongState, match="'vcenter'"):
        target_names("vcenter")


# -- the way there ----------------------------------------------------------------------------------------------------


def test_rights_are_missing(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.world.fault("sudo", code=1, stderr=DENIED, times=9)

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("sudo", True, False)
    assert "iscsiadm" in str(error)
    assert trouble(xen.detach, volume).code == "sudo"


def test_a_tool_is_missing(kvm: FakeSite) -> None:
    volume = kvm.volume("v1")
    kvm.world.fault("sudo", code=1, stderr="sudo: iscsiadm: command not found\n")

    error = trouble(kvm.attach, volume)

    assert (error.code, error.clean) == ("missing-tool", True)
    assert "iscsiadm" in str(error)


def test_a_host_that_is_down(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.host.go_down()

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("unreachable", True, False)
    assert "No route to host" in str(error)


def test_a_connection_that_breaks_is_no_proof_of_anything(xen: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.host.cut_connections()

    error = trouble(xen.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("unreachable", False, True)
    xen.host.cut_connections(False)
    assert xen.node.observe(volume, xen.guest).target == "xvdp"


def test_killing_the_front_end_stops_no_script_and_observing_waits_for_it(xen: FakeSite, tmp_path: Path) -> None:
    volume = xen.volume("v1")
    xen.world.fault("iscsiadm", "--login", delay=2)
    program = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from sites import *\n"
        "n = Node(Remote(), 'node1', 'xen')\n"
        f"v = Volume(id=1, name='', iqn='{volume.iqn}', lun=1, portals=(Portal('10.9.0.1'),), size_bytes={8 * MIB},"
        " serial='', wwid='', san_id=1, status='', version=1)\n"
        "n.attach(v, Identity(0, '', False), None, 'one-7', ['xvdp'])"
    )
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    front_end = subprocess.Popen([sys.executable, "-c", program, *places], start_new_session=True)
    while not xen.world.calls("iscsiadm"):
        time.sleep(0.05)
    time.sleep(0.3)

    os.killpg(front_end.pid, signal.SIGKILL)
    front_end.wait()
    seen = xen.node.observe(volume, xen.guest)

    assert (seen.target, seen.state, seen.session) == ("xvdp", "connected", True)


def test_twenty_volumes_at_once_on_a_host_in_trouble(xen: FakeSite) -> None:
    volumes = [xen.volume("v" * number) for number in range(1, 16)]
    for code in (6, 15, 20):
        xen.world.fault("iscsiadm", "--login", code=code, times=5, after=code == 15)
    lock = threading.Lock()

    def there_and_back(volume: object) -> None:
        guest = (xen.guest, OTHER_GUEST)[volume.id % 2]  # type: ignore[attr-defined]
        xen.attach(volume, guest=guest)  # type: ignore[arg-type]
        with lock:
            assert volume.iqn in xen.host.sessions()  # type: ignore[attr-defined]
        xen.detach(volume, guest)  # type: ignore[arg-type]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(there_and_back, volumes))

    assert xen.host.remains() == {}


# -- check ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["xen", "kvm", pytest.param("lab", marks=pytest.mark.lab)])
def test_a_host_that_has_everything(site: str, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(site)

    findings = found.node.check().findings

    # The lab's LVM is as Debian ships it.
    assert [one for one in findings if not one.ok and not one.what.startswith("LVM looks into guests' disks")] == []
    assert len(findings) > 13


def test_a_host_that_lacks_something(xen: FakeSite) -> None:
    (xen.host.folder / "bin" / "xenstore-read").unlink()
    (xen.host.root / "etc/iscsi/initiatorname.iscsi").write_text("GenerateName=yes\n")
    xen.world.fault("sudo", "-l xl block-attach", code=1, stderr=DENIED)

    lacking = [finding for finding in xen.node.check().findings if not finding.ok]

    assert [finding.what for finding in lacking] == [
        "it has no initiator name of its own",
        "xenstore-read is not installed",
        "oneadmin may not run as root: xl block-attach one-0 x",
    ]
    assert all(finding.fix for finding in lacking)
    assert trouble(xen.node.visit, xen.portal).code == "no-initiator-name"


def test_a_host_that_cannot_be_reached(xen: FakeSite) -> None:
    (finding,) = Node(Remote(), "nowhere", "xen").check().findings

    assert not finding.ok
    assert "ssh" in finding.what


@pytest.mark.parametrize("kind", ["xen", "kvm"])
def test_a_disk_in_use_grows_in_the_guest(kind: str, request: pytest.FixtureRequest) -> None:
    site: FakeSite = request.getfixturevalue(kind)
    volume = site.volume("v1")
    attached = site.attach(volume)
    site.grow("v1", 2 * volume.size_bytes)

    for _ in range(2):
        site.node.resize(volume, site.guest, 2 * volume.size_bytes)

    assert site.size_in_guest(attached.target) == 2 * volume.size_bytes
    error = trouble(site.node.resize, volume, site.guest, 3 * volume.size_bytes)
    assert error.code == "not-grown"
    site.detach(volume)
    assert site.nothing_left(volume)
    site.node.resize(volume, None, 2 * volume.size_bytes)  # nobody is logged in: nothing to do
    assert trouble(site.node.resize, volume, site.guest, 2 * volume.size_bytes).code == "no-device"
