"""``onevolume check``: everything that is wrong, one line each with its fix, for people and for monitoring."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import MIB, Cloud, iqn

from one_iscsi.nodes.check import lvm_rejects


@pytest.fixture
def portal() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def second_portal() -> Iterator[str]:
    with socket.create_server(("127.0.0.2", 0)) as listening:
        yield f"127.0.0.2:{listening.getsockname()[1]}"


@pytest.fixture
def cloud(cloud: Cloud, portal: str) -> Cloud:
    """With a storage server whose portal takes connections."""
    cloud.ok("san", "create", "alpha", "--kind", "tgt", "--host", "localhost", "--portal", portal)
    return cloud


def wrong(cloud: Cloud, *words: str, code: int = 1, **env: str) -> list[str]:
    """What is not ok, as ``LEVEL WHERE: WHAT``; every such finding has a fix."""
    result = cloud("check", "-j", *words, env=env)
    assert result.code == code, result.out + result.err
    found: list[Any] = json.loads(result.out)["CHECK"]["FINDING"]
    lacking = [one for one in found if not one["OK"]]
    assert all(one["FIX"] and one["LEVEL"] in ("warning", "critical") for one in lacking), lacking
    return [f"{one['LEVEL']} {one['WHERE']}: {one['WHAT']}" for one in lacking]


def nagios(cloud: Cloud, code: int, *words: str) -> str:
    result = cloud("check", "--nagios", *words)
    assert result.code == code, result.out
    assert result.err == ""
    [line] = result.out.splitlines()
    assert "|" not in line
    return line


def test_all_is_well_everywhere(cloud: Cloud) -> None:
    lines = cloud("check").out.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    places = {line.split(":")[0] for line in lines}
    where = ("front end", "volumes", "host node1", "host node2", "host node3", "storage server alpha")
    assert places == {f"ok   {one}" for one in where}
    for line in (
        "host node1: iscsiadm 2.1.8 is installed",
        "host node3: virsh 9.0.0 is installed",
        "host node2: multipathd leaves disks with one path alone",
        "storage server alpha: it answers: 0 disks are offered",
        "front end: oned answers",
    ):
        assert f"ok   {line}" in lines
    assert nagios(cloud, 0) == f"ONEVOLUME OK - {len(lines)} things looked at in 6 places"


def test_only_what_is_named_is_looked_at(cloud: Cloud) -> None:
    def places(*words: str) -> set[str]:
        return {line[5:].split(":")[0] for line in cloud.ok("check", *words).splitlines()}

    assert places("--host", "node2") == {"front end", "host node2"}
    assert places("--san", "alpha") == {"front end", "storage server alpha"}
    assert wrong(cloud, "--host", "node7") == ["critical host node7: there is no host 'node7'"]
    assert wrong(cloud, "--san", "omega") == ["critical storage server omega: there is no storage server omega"]


def test_hosts_that_carry_no_volumes_are_not_looked_at(cloud: Cloud, portal: str) -> None:
    cloud.oned.set(host_0_state=4, host_1_vm_mad="lxc")
    cloud.node1.go_down()
    assert "host node3" in cloud.ok("check")
    cloud.ok("san", "delete", "alpha")
    cloud.ok("san", "create", "far", "--kind", "static", "--portal", portal, "--cluster", "100")
    said = cloud.ok("check")
    assert "ok   host" not in said
    assert "ok   storage server far: somebody else manages it: nothing can be asked there" in said


def test_no_iscsid(cloud: Cloud) -> None:
    for host in (cloud.node1, cloud.node3):
        with host.changing() as state:
            state["iscsid"] = False
    assert wrong(cloud) == ["critical host node1: iscsid does not run", "critical host node3: iscsid does not run"]
    line = nagios(cloud, 2)
    assert line == "ONEVOLUME CRITICAL - host node1: iscsid does not run; host node3: iscsid does not run"


def test_two_hosts_with_one_initiator_name(cloud: Cloud) -> None:
    same = (cloud.node1.root / "etc/iscsi/initiatorname.iscsi").read_text()
    name = same.strip().partition("=")[2]
    (cloud.node2.root / "etc/iscsi/initiatorname.iscsi").write_text(same)
    assert wrong(cloud) == [
        f"critical host node1: it has the initiator name of host node2, {name}",
        f"critical host node2: it has the initiator name of host node1, {name}",
    ]
    assert wrong(cloud, "--host", "node2", code=0) == []


def test_a_host_with_the_name_of_one_that_is_known_but_not_asked(cloud: Cloud) -> None:
    cloud.world.add_target(iqn("v1"), 10 * MIB, access=())
    cloud.ok("register", iqn("v1"), "--san", "alpha", "--assume-clean")
    cloud.ok("attach", "7", "1M")
    same = (cloud.node1.root / "etc/iscsi/initiatorname.iscsi").read_text()
    (cloud.node2.root / "etc/iscsi/initiatorname.iscsi").write_text(same)
    [found] = wrong(cloud, "--host", "node2")
    assert "it has the initiator name of host node1" in found


@pytest.mark.parametrize("text", ["GenerateName=yes\n", "", "InitiatorName=iqn.2026-01.com.example:host\n"])
def test_a_host_without_a_name_of_its_own(cloud: Cloud, text: str) -> None:
    (cloud.node1.root / "etc/iscsi/initiatorname.iscsi").write_text(text)
    assert wrong(cloud, "--host", "node1") == ["critical host node1: it has no initiator name of its own"]


def test_a_sudoers_file_that_lacks_a_line(cloud: Cloud) -> None:
    denied = "sudo: a password is required\n"
    cloud.world.fault("sudo", "-l blockdev", host="node1", code=1, stderr=denied)
    assert wrong(cloud, "--host", "node1") == [
        "critical host node1: oneadmin may not run as root: blockdev --flushbufs /dev/sda"
    ]


@pytest.mark.parametrize(("setting", "code"), [("greedy", 1), ("no", 1), ("strict", 0), ("yes", 0), ("", 0)])
def test_multipathd_that_takes_every_disk(cloud: Cloud, setting: str, code: int) -> None:
    with cloud.node1.changing() as state:
        state["find_multipaths"] = setting
    expected = [f"critical host node1: multipathd takes guests' disks (find_multipaths is {setting})"]
    assert wrong(cloud, "--host", "node1", code=code) == (expected if code else [])


@pytest.mark.parametrize(
    ("patterns", "rejected"),
    [
        ('global_filter=["a|.*|"]', False),
        ('global_filter=["r|^/dev/disk/by-path/.*-iscsi-.*|"]', True),
        ('global_filter=["a|^/dev/sda$|","r|.*|"]', True),
        ('global_filter=["a|^/dev/sd|","r|by-path|"]', False),
        ('global_filter=["r|/dev/sd.*|","a|by-path|"]', False),
        ('global_filter=["r/by-path.*iscsi/"]', True),
        ('global_filter=["r|(|"]', False),
        ("", False),
    ],
)
def test_what_lvm_looks_into(patterns: str, rejected: bool) -> None:
    names = ("/dev/sdzz", "/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-iqn.2026-01.com.example:v-lun-1")
    assert lvm_rejects(patterns, names) is rejected


def test_lvm_that_looks_into_guests_disks_and_a_clock_that_is_wrong_are_warnings(cloud: Cloud) -> None:
    with cloud.node1.changing() as state:
        state["lvm"] = 'global_filter=["a|.*|"]\nuse_devicesfile=0\n'
        state["clock"] = -7200
    clock, lvm = wrong(cloud, "--host", "node1", code=0)
    assert clock.startswith("warning host node1: its clock differs from the front end's by 7")
    assert lvm.startswith("warning host node1: LVM looks into guests' disks")
    assert "\nWARN host node1: " in cloud.ok("check", "--host", "node1")
    assert nagios(cloud, 1, "--host", "node1").startswith("ONEVOLUME WARNING - host node1: its clock differs")


def test_a_guests_disk_that_the_host_has_taken(cloud: Cloud) -> None:
    cloud.world.add_target(iqn("v1"), 10 * MIB, access=())
    cloud.ok("register", iqn("v1"), "--san", "alpha", "--assume-clean")
    cloud.ok("attach", "7", "1M")
    assert wrong(cloud, "--host", "node1", code=0) == []
    [block] = (cloud.node1.root / "sys/class/iscsi_session").glob("session*/device/target*/*/block/*")
    (block / "holders/dm-3/dm").mkdir(parents=True)
    (block / "holders/dm-3/dm/uuid").write_text("mpath-36001\n")
    [found] = wrong(cloud, "--host", "node1")
    assert found == f"critical host node1: sda, the disk of {iqn('v1')}, is held by the host itself (mpath-36001)"


def test_a_session_that_is_broken_off(cloud: Cloud) -> None:
    cloud.world.add_target(iqn("v1"), 10 * MIB, access=())
    cloud.ok("register", iqn("v1"), "--san", "alpha", "--assume-clean")
    cloud.ok("attach", "7", "1M")
    with cloud.node1.changing() as state:
        for session in state["sessions"].values():
            session["state"] = "FREE"
    assert wrong(cloud, "--host", "node1") == [f"critical host node1: all sessions of {iqn('v1')} are broken off"]


def test_a_kvm_host_whose_guests_cannot_open_disks(cloud: Cloud) -> None:
    identity = cloud.node3.folder / "bin/id"
    identity.write_text("#!/bin/sh\necho oneadmin kvm libvirt\n")
    identity.chmod(0o755)
    [found] = wrong(cloud, "--host", "node3", code=0)
    assert found.startswith("warning host node3: oneadmin is not in the group disk: guests that run as oneadmin cannot")
    identity.write_text("#!/bin/sh\necho oneadmin disk kvm libvirt\n")
    assert wrong(cloud, "--host", "node3", code=0) == []


def test_volumes_with_several_portals_take_a_multipathd_and_hold_their_disks(
    cloud: Cloud, portal: str, second_portal: str
) -> None:
    cloud.world.add_target(iqn("v1"), 10 * MIB, access=())
    both = ("--portal", portal, "--portal", second_portal)
    cloud.ok("register", iqn("v1"), "--san", "alpha", *both, "--assume-clean")
    [lvm] = wrong(cloud, "--host", "node1", code=0)
    assert lvm.startswith("warning host node1: LVM looks into guests' disks")
    assert "dm-uuid-mpath" in cloud("check", "--host", "node1").out
    with cloud.node1.changing() as state:
        state["lvm"] = 'global_filter=["r|by-path/.*-iscsi-|","r|^/dev/disk/by-id/dm-uuid-mpath-.*|"]\n'
    cloud.ok("attach", "7", "1M")
    assert wrong(cloud, "--host", "node1", code=0) == []
    with cloud.node1.changing() as state:
        state["find_multipaths"] = ""
    [found] = wrong(cloud, "--host", "node1")
    assert found == "critical host node1: multipathd does not run, and there are volumes with several portals"


def test_a_portal_a_host_cannot_reach(cloud: Cloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    cloud.ok("san", "create", "dead", "--kind", "static", "--portal", f"127.0.0.1:{dead}", "--cluster", "101")
    assert wrong(cloud) == [f"critical host node3: the portal 127.0.0.1 port {dead} takes no connection from here"]


def test_a_volume_may_have_another_portal_than_its_storage_server(cloud: Cloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    for name in ("v1", "v2"):
        cloud.world.add_target(iqn(name), 10 * MIB, access=())
    by_hand = ("--portal", f"127.0.0.1:{dead}", "--size", "10M", "--assume-clean")
    cloud.ok("register", iqn("v1"), *by_hand)
    expected = [
        f"critical host node{number}: the portal 127.0.0.1 port {dead} takes no connection from here"
        for number in (1, 2, 3)
    ]
    assert wrong(cloud) == expected
    cloud.ok("delete", "1", "--yes")
    assert wrong(cloud, code=0) == []
    cloud.ok("register", iqn("v2"), "--san", "alpha", "--portal", f"127.0.0.1:{dead}", "--assume-clean")
    assert wrong(cloud) == expected


def test_a_host_that_was_renamed(cloud: Cloud) -> None:
    cloud.world.add_target(iqn("v1"), 10 * MIB, access=())
    cloud.ok("register", iqn("v1"), "--san", "alpha", "--assume-clean")
    cloud.ok("attach", "7", "1M")
    assert "volume 1 is attached on node1: detach it first" in cloud.refused(5, "host", "delete", "node1")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    name = "node1.example.com"
    renamed = cloud.world.add_host(name, address="10.9.0.11")
    same = (cloud.node1.root / "etc/iscsi/initiatorname.iscsi").read_text()
    (renamed.root / "etc/iscsi/initiatorname.iscsi").write_text(same)
    renamed.start_guest("one-7")
    cloud.oned.set(host_0_name=name, vm_7_host=name)
    [found] = wrong(cloud, "--host", name)
    assert f"host {name}: it has the initiator name of host node1" in found
    said = cloud.refused(5, "attach", "7", "--volume", "1")
    assert "run onevolume host delete node1 if there is no such host any more" in said

    assert cloud.ok("host", "delete", "node1") == "host node1 forgotten\n"
    cloud.ok("attach", "7", "--volume", "1")
    assert wrong(cloud, "--host", name, code=0) == []
    assert "nothing is known of host node1" in cloud.refused(3, "host", "delete", "node1")
    assert "volume 1 is attached on node1.example.com" in cloud.refused(5, "host", "delete", "2")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    assert cloud.ok("host", "delete", "2") == "host node1.example.com forgotten\n"


def test_machines_that_do_not_answer(cloud: Cloud) -> None:
    cloud.node1.go_down()
    with cloud.world.tgt() as state:
        state["down"] = True
    server, host = wrong(cloud)
    assert "tgtd is not running" in server
    assert host.startswith("critical host node1: host node1, check: no login by ssh")
    assert nagios(cloud, 2).startswith("ONEVOLUME CRITICAL - storage server alpha: ")


def test_a_storage_server_that_is_down_does_not_hide_what_else_is_wrong_there(cloud: Cloud) -> None:
    cloud.world.forbid("--op bind --mode account", "cmp ")
    with cloud.world.tgt() as state:
        state["down"] = True
    *rights, last = wrong(cloud, "--san", "alpha")
    assert [right.partition(" as root: ")[2].split(" --tid")[0] for right in rights] == [
        "cmp -n 1 -i 0:0 /dev/sda /dev/zero",
        "tgtadm --lld iscsi --op bind --mode account",
    ]
    assert last.startswith("critical storage server alpha: tgtd is not running on ")


def test_a_server_whose_targets_oneadmin_may_not_list(cloud: Cloud) -> None:
    cloud.world.forbid("--op show")
    right, last = wrong(cloud, "--san", "alpha")
    assert right.endswith("oneadmin may not run as root: tgtadm --lld iscsi --op show --mode target")
    assert "may not run tgtadm as root on" in last


def test_a_front_end_that_is_not_right(cloud: Cloud) -> None:
    cloud.database.chmod(0o644)
    assert wrong(cloud, code=0) == [f"warning front end: others may read or write {cloud.database}"]
    first, second = wrong(cloud, ONE_LOCATION="/nowhere", ONE_XMLRPC="http://127.0.0.1:9/RPC2", code=1)[1:3]
    assert "scripts_common.sh is missing" in first
    assert "does not answer" in second
    [found] = wrong(cloud, ONE_ISCSI_DATABASE="sqlite:////nowhere/one.db")
    assert found.startswith("critical front end: database /nowhere/one.db cannot be created")


def test_volumes_nobody_looks_after(cloud: Cloud) -> None:
    for number in (1, 2):
        cloud.world.add_target(iqn(f"v{number}"), 10 * MIB, access=())
        cloud.ok("register", iqn(f"v{number}"), "--san", "alpha", "--assume-clean")
    cloud.killed("after:opening", "attach", "7", "1M")
    assert wrong(cloud, code=0) == [], "the timer has not had its turn yet"
    with sqlite3.connect(cloud.database) as table:
        table.execute("UPDATE one_volume_op SET heartbeat = heartbeat - 3600")
        table.execute("UPDATE one_volume SET status = 'error', reason = 'wipe: disk broken' WHERE id = 2")
    assert wrong(cloud, code=0) == [
        "warning volumes: volume 2 is in error: wipe: disk broken",
        "warning volumes: volume 1: its attach stopped 60 minutes ago",
    ]
    cloud.ok("work")
    assert wrong(cloud, code=0) == ["warning volumes: volume 2 is in error: wipe: disk broken"]


def test_a_mistake_in_the_configuration(cloud: Cloud, tmp_path: Path) -> None:
    file = tmp_path / "one_iscsi.conf"
    file.write_text("colour = red\n")
    cloud.env["ONE_ISCSI_CONFIG"] = str(file)
    assert wrong(cloud) == [f"critical front end: {file}, line 1: there is no key 'colour'"]
    assert nagios(cloud, 2) == f"ONEVOLUME CRITICAL - front end: {file}, line 1: there is no key 'colour'"


def test_a_bug_is_unknown_to_monitoring(cloud: Cloud) -> None:
    code = textwrap.dedent("""
        import sys
        from one_iscsi.cli import main
        from one_iscsi.store import Store
        Store.probe = None
        sys.exit(main(["check", "--nagios"]))
    """)
    done = subprocess.run([sys.executable, "-c", code], env=cloud.env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "ONEVOLUME UNKNOWN - a bug of onevolume: TypeError\n")


def test_a_host_that_lets_nobody_in_as_root_is_prepared_by_hand(cloud: Cloud) -> None:
    line = cloud.refused(8, "host", "prepare", "node1")
    assert "host node1: no login by ssh as root" in line
    assert line.endswith("run on it as root what onevolume host prepare node1 --print prints")
    script = cloud.ok("host", "prepare", "node1", "--print")
    assert script.startswith("#!/bin/sh\n")
    assert script.endswith("\nmain </dev/null\n")
    for more in ([], ["--print"]):
        assert "cannot be used with ssh" in cloud.refused(2, "host", "prepare", "node1\nreboot", *more)
