"""What cannot be: one clear line, the right exit code, and nothing changed anywhere."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap

import pytest
from cloud import MIB, Cloud, iqn


@pytest.mark.parametrize(
    ("size", "code", "says"),
    [
        ("0", 2, "is zero"),
        ("-1", 2, "is not a size"),
        ("abc", 2, "is not a size"),
        ("30M", 4, "no free volume of 30M, the largest free one has 20M: ask for less, or"),
    ],
)
def test_a_size_that_cannot_be(cloud: Cloud, size: str, code: int, says: str) -> None:
    cloud.with_volumes(20)
    assert says in cloud.refused(code, "attach", "7", size)


@pytest.mark.parametrize(
    ("vm", "code", "says"),
    [
        ("77", 3, "there is no VM '77'"),
        ("nobody", 3, "there is no VM 'nobody'"),
        ('it\'s; "odd" $(x) ü', 3, "there is no VM"),
        ("--", 2, "give either SIZE or --volume"),
        ("", 3, "there is no VM ''"),
    ],
)
def test_an_unknown_vm(cloud: Cloud, vm: str, code: int, says: str) -> None:
    cloud.with_volumes(20)
    assert says in cloud.refused(code, "attach", vm, "1M")


def test_a_vm_with_an_odd_name_is_found(cloud: Cloud) -> None:
    name = 'it\'s; "odd" $(reboot) ü'
    cloud.with_volumes(20)
    cloud.oned.set(vm_7_name=name)
    assert "attached to VM 7" in cloud.ok("attach", name, "1M")
    cloud.ok("detach", name, "1", "--yes", "--keep")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"vm_7_state": 1, "vm_7_lcm_state": 0, "vm_7_host": None}, "VM 7 is PENDING: wait until it is RUNNING"),
        ({"vm_7_state": 8, "vm_7_lcm_state": 0}, "VM 7 is POWEROFF: start it first with onevm resume 7"),
        ({"vm_7_state": 5, "vm_7_lcm_state": 0}, "VM 7 is SUSPENDED: wake it first with onevm resume 7"),
        ({"vm_7_lcm_state": 4}, "VM 7 is MIGRATE"),
        ({"vm_7_lcm_state": 16}, "VM 7 is UNKNOWN"),
        ({"vm_7_vm_mad": "lxc"}, "lxc"),
    ],
)
def test_a_vm_that_does_not_run_here(cloud: Cloud, fields: dict[str, object], says: str) -> None:
    cloud.with_volumes(20)
    cloud.oned.set(**fields)
    assert says in cloud.refused(5, "attach", "7", "1M")


@pytest.mark.parametrize(
    ("state", "lcm", "says"),
    [
        (5, 0, "saved memory names this disk"),
        (4, 0, "saved memory names this disk"),
        (3, 4, "its memory is on its way"),
        (3, 16, "nobody knows whether its guest still uses the disk"),
    ],
)
def test_a_vm_whose_memory_may_name_the_disk_keeps_it(cloud: Cloud, state: int, lcm: int, says: str) -> None:
    cloud.with_volumes(20)
    cloud.ok("attach", "7", "1M")
    cloud.oned.set(vm_7_state=state, vm_7_lcm_state=lcm)
    assert says in cloud.refused(5, "detach", "7", "1", "--yes")
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]


def test_a_volume_that_is_not_there_or_not_hers(cloud: Cloud) -> None:
    cloud.with_volumes(20, 10)
    cloud.ok("attach", "7", "15M")
    assert "99" in cloud.refused(3, "detach", "7", "99", "--yes")
    assert "99" in cloud.refused(3, "attach", "7", "--volume", "99")
    assert "volume 1 is attached to VM 7, not to VM 8" in cloud.refused(5, "detach", "8", "1", "--yes")
    assert "volume 1 is in_use: detach it first" in cloud.refused(5, "attach", "8", "--volume", "1")
    assert "volume 2 is not attached to any VM, it is free" in cloud.refused(5, "detach", "7", "2", "--yes")
    assert "detach it first" in cloud.refused(5, "release", "1", "--yes")
    assert "detach it first" in cloud.refused(5, "delete", "1", "--yes")
    assert "give either SIZE or --volume" in cloud.refused(2, "attach", "7")
    assert "give either SIZE or --volume" in cloud.refused(2, "attach", "7", "1G", "--volume", "2")


def test_nothing_is_done_that_nobody_confirmed(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.ok("attach", "7", "15M")
    for words in (("detach", "7", "1"), ("release", "1"), ("delete", "1")):
        assert "not confirmed: there is no terminal to ask on: give --yes" in cloud.refused(6, *words)


def test_a_target_that_cannot_be_registered(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.world.add_target(iqn("new"), 10 * MIB)
    static = ("--portal", "10.0.0.9:3260", "--size", "10M")
    for words, code, says in (
        ((iqn("v1"), "--san", "alpha"), 5, "is already registered as volume 1"),
        (("iqn.nonsense", *static), 2, "is malformed"),
        (("--help me", *static), 2, "is malformed"),
        ((iqn("x"), "--portal", "storage1:3260", "--size", "1G"), 2, "portal 'storage1:3260' is malformed"),
        ((iqn("x"), "--portal", "10.0.0.9:3260"), 2, "the size of"),
        ((iqn("x"), "--size", "1G"), 2, "no portal is known"),
        ((iqn("x"), "--san", "alpha"), 3, "has no target"),
        ((iqn("x"), "--san", "omega"), 3, "omega"),
        ((iqn("new"), "--san", "alpha", "--size", "11M"), 2, "leave --size out"),
        ((iqn("new"), "--san", "alpha", "--lun", "5"), 2, "leave --lun out"),
    ):
        assert says in cloud.refused(code, "register", *words)


def test_a_target_somebody_is_logged_in_to_is_not_taken(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.world.add_target(iqn("used"), 10 * MIB)
    with cloud.world.target(iqn("used")) as target:
        target["sessions"]["1"] = {"initiator": "iqn.1993-08.org.debian:01:other", "address": "10.9.9.9"}
    assert "iqn.1993-08.org.debian:01:other is logged in" in cloud.refused(5, "register", iqn("used"), "--san", "alpha")


def test_a_target_name_the_guest_already_has(cloud: Cloud) -> None:
    cloud.with_volumes(20, 10)
    cloud.ok("attach", "7", "15M")
    assert "VM 7 already has a disk at xvdp" in cloud.refused(5, "attach", "7", "1M", "--target", "xvdp")
    assert "give one from xvdb to xvdp" in cloud.refused(2, "attach", "7", "1M", "--target", "xvda")
    assert "is no target of VM 7" in cloud.refused(2, "attach", "7", "1M", "--target", "vdb; reboot")


def test_a_disk_plugged_in_behind_everybodys_back_is_stepped_over(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    with cloud.node1.changing() as state:
        state["domains"]["one-7"]["disks"]["xvdp"] = {"source": "/dev/vg/byhand", "state": 4, "mode": "w"}
    assert cloud.ok("attach", "7", "1M").endswith("as xvdo\n")
    with cloud.node1.changing() as state:
        state["domains"]["one-7"]["disks"]["xvde"] = {"source": "/dev/vg/byhand2", "state": 4, "mode": "w"}


def test_a_guest_the_hypervisor_does_not_know(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.node1.stop_guest("one-7")
    assert "there is no such guest" in cloud.refused(8, "attach", "7", "1M")
    assert cloud.remains() == {}


def test_a_guest_that_does_not_let_go_keeps_its_disk(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.ok("attach", "7", "1M")
    cloud.node1.pause_guest("one-7")
    assert "the guest does not take or give the disk" in cloud.refused(8, "detach", "7", "1", "--yes")
    assert cloud.node1.sessions() == [iqn("v1")]
    cloud.node1.pause_guest("one-7", paused=False)
    cloud.ok("detach", "7", "1", "--yes", "--wait")
    assert cloud.remains() == {}


@pytest.mark.parametrize("shows_states", [True, False], ids=["now", "before-linux-4.19"])
def test_a_disk_that_the_guest_does_not_take_is_not_attached(cloud: Cloud, shows_states: bool) -> None:
    cloud.with_volumes(10)
    with cloud.node1.changing() as state:
        state["shows_states"] = shows_states
    cloud.node1.pause_guest("one-7")

    stopped = cloud("attach", "7", "1M")

    assert (stopped.code, stopped.out) == (11, "")
    assert "the guest does not take or give the disk" in stopped.err
    assert stopped.err.endswith("mend that, then run onevolume recover 1\n")
    assert cloud.status(1) == "attaching"
    assert "does not take or give the disk" in cloud.refused(11, "recover", "1")

    cloud.node1.pause_guest("one-7", paused=False)
    cloud.ok("recover", "1", "--wait")
    assert cloud.status(1) == "free"
    assert cloud.remains() == {}


def test_a_host_that_cannot_be_reached(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.node1.go_down()
    assert "no login by ssh" in cloud.refused(8, "attach", "7", "1M")
    assert cloud.remains() == {}


def test_a_known_host_that_cannot_be_reached_any_more(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.ok("attach", "7", "1M")
    cloud.ok("detach", "7", "1", "--yes", "--wait")
    cloud.node1.go_down()
    assert "no login by ssh" in cloud.refused(8, "attach", "7", "1M")
    assert cloud.remains() == {}


def test_a_host_that_goes_away_in_mid_detach_leaves_the_volume_detaching(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.ok("attach", "7", "1M")
    cloud.node1.go_down()
    result = cloud("detach", "7", "1", "--yes")
    assert result.code == 11
    assert "run onevolume recover 1" in result.err
    assert cloud.status(1) == "detaching"
    (cloud.node1.folder / "down").unlink()
    cloud.ok("recover", "1", "--wait")
    assert cloud.status(1) == "free"
    assert cloud.remains() == {}


def test_a_storage_server_that_is_down(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    with cloud.world.tgt() as state:
        state["down"] = True
    assert "tgtd is not running" in cloud.refused(9, "attach", "7", "1M")
    with cloud.world.tgt() as state:
        state["down"] = False
    cloud.ok("attach", "7", "1M")


def test_a_target_that_is_gone(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    with cloud.world.tgt() as state:
        state["targets"].clear()
    assert "no target" in cloud.refused(9, "attach", "7", "1M")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("http503", "does not answer (HTTP 503)"),
        ("garbage", "answers nonsense"),
        ("refuse-auth", "refuses the session"),
    ],
)
def test_an_oned_that_is_of_no_use(cloud: Cloud, fault: str, says: str) -> None:
    cloud.with_volumes(20)
    cloud.oned.fault("one.vm.info", mode=fault)
    assert says in cloud.refused(7, "attach", "7", "1M")


def test_no_oned_at_all(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    error = cloud.refused(7, "attach", "7", "1M", env={"ONE_XMLRPC": "http://127.0.0.1:9/RPC2"})
    assert "does not answer" in error
    error = cloud.refused(7, "attach", "7", "1M", env={"ONE_AUTH": "/nowhere"})
    assert "no session" in error


def test_a_vm_that_migrates_in_mid_attach(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.oned.fault("one.vm.info", mode="after", calls=1, set={"vm.7.host": "node2", "vm.7.seq": 1})
    result = cloud("attach", "7", "1M")
    assert result.code == 5
    assert "VM 7 moved from host node1 to node2 meanwhile: the attach was undone" in result.err
    assert cloud.remains() == {}
    assert cloud.path("1")[2:5] == ["attaching", "dirty", "wiping"]


def test_oned_that_goes_away_in_mid_attach_leaves_the_volume_to_recover(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    cloud.oned.fault("one.vm.info", mode="after", calls=1, set={"fault.one.vm.info": "http503"})
    result = cloud("attach", "7", "1M")
    assert result.code == 11
    assert "oned cannot confirm" in result.err
    cloud.oned.reset()
    cloud.ok("recover", "1")
    assert cloud.status(1) == "in_use"


def test_no_wrappers(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    error = cloud.refused(12, "attach", "7", "1M", env={"ONE_LOCATION": "/nowhere"})
    assert "scripts_common.sh is missing" in error


def test_a_database_that_cannot_be_written(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    for url, says in (
        ("sqlite:////nowhere/one.db", "/nowhere"),
        ("nonsense", "malformed"),
    ):
        result = cloud("attach", "7", "1M", env={"ONE_ISCSI_DATABASE": url})
        assert result.code == 10
        assert says in result.err
        assert len(result.err.splitlines()) == 1


def test_a_database_that_is_locked(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    other = sqlite3.connect(cloud.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    result = cloud("attach", "7", "1M")
    other.rollback()
    assert result.code == 10
    assert "locked" in result.err
    assert cloud.status(1) == "free"
    assert cloud.remains() == {}


@pytest.mark.parametrize("how", ["read-only", "full"])
def test_a_database_on_a_disk_that_is(cloud: Cloud, how: str) -> None:
    """In a mount namespace: root heeds no permissions."""
    cloud.with_volumes(20)
    mount = {
        "read-only": "mount --bind {0} {0} && mount -o remount,ro,bind {0}",
        "full": "cp {0}/one_volume.db /dev/shm/full.db; mount -t tmpfs -o size=128k x {0}; cp /dev/shm/full.db "
        "{0}/one_volume.db; rm /dev/shm/full.db; cat /dev/zero > {0}/filler 2>/dev/null",
    }[how]
    folder = cloud.database.parent / "disk"
    folder.mkdir()
    source = sqlite3.connect(cloud.database)
    source.execute(f"VACUUM INTO '{folder}/one_volume.db'")
    source.close()
    script = f"{mount.format(folder)}; exec {sys.executable} -m one_iscsi.cli attach 7 1M"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        env={**cloud.env, "ONE_ISCSI_DATABASE": f"sqlite:///{folder}/one_volume.db"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 10, done.stderr
    assert how.split("-")[0] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert cloud.remains() == {}


def test_no_secret_is_shown_or_kept(cloud: Cloud) -> None:
    cloud.with_volumes(20)
    said = cloud("attach", "7", "1M")
    with cloud.world.tgt() as state:
        [secret] = state["accounts"].values()
    shown = said.out + said.err + cloud.ok("show", "1", "-j") + cloud.ok("events", "-j")
    assert secret not in shown
    for path in cloud.database.parent.glob("one_volume.db*"):
        assert secret.encode() not in path.read_bytes()
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    on_nodes = [call for call in cloud.world.calls() if call[0] != "localhost"]
    assert not any(secret in word for call in on_nodes for word in call)


def test_a_bug_is_one_line_too(cloud: Cloud) -> None:
    code = textwrap.dedent("""
        import sys
        from one_iscsi.cli import commands, main
        from one_iscsi.store import Store
        Store.volumes = None
        sys.exit(main(["list"]))
    """)
    done = subprocess.run([sys.executable, "-c", code], env=cloud.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 70
    assert done.stderr.startswith("onevolume: a bug of onevolume, sorry: TypeError")
    assert len(done.stderr.splitlines()) == 1
