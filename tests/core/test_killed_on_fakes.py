"""kill -9 at every phase, then ``recover``: finished or undone by what is there, and never too little."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from cloud import HERE, Cloud, iqn

WIPED = "being wiped, or wiped by now"

# moment → what a volume that was free becomes, and one that was kept
ATTACH = {
    "after:reserved": ("free", "available"),
    "after:opening": ("free", "available"),
    "before:plugging": ("free", "available"),
    "after:plugging": (WIPED, "available"),
    "before:confirming": ("in_use", "in_use"),
    "after:confirming": ("in_use", "in_use"),
    "before:finish": ("in_use", "in_use"),
}
DETACH = ("after:reserved", "after:unplugging", "before:closing", "after:closing", "before:finish")


def assert_became(cloud: Cloud, status: str) -> None:
    if status == WIPED:
        assert cloud.path("1")[-3:] in (["dirty", "wiping", "free"], ["attaching", "dirty", "wiping"])
    else:
        assert cloud.status(1) == status
    if status != "in_use":
        assert cloud.remains() == {}


@pytest.mark.parametrize("moment", ATTACH)
def test_an_attach_of_a_free_volume(cloud: Cloud, moment: str) -> None:
    cloud.with_volumes(10)
    cloud.killed(moment, "attach", "7", "10M")
    assert cloud.status(1) == "attaching"
    assert "is attaching" in cloud.refused(5, "attach", "7", "--volume", "1")

    cloud.ok("recover", "1")

    assert_became(cloud, ATTACH[moment][0])


@pytest.mark.parametrize("moment", ATTACH)
def test_an_attach_of_a_kept_volume(cloud: Cloud, moment: str) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    cloud.killed(moment, "attach", "8", "--volume", "1")

    cloud.ok("recover")

    assert_became(cloud, ATTACH[moment][1])


@pytest.mark.parametrize("keep", [True, False], ids=["keep", "release"])
@pytest.mark.parametrize("moment", DETACH)
def test_a_detach(cloud: Cloud, moment: str, keep: bool) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")
    cloud.killed(moment, "detach", "7", "1", "--yes", *(["--keep"] if keep else []))
    assert cloud.status(1) == "detaching"

    cloud.ok("recover", "1", "--wait")

    assert_became(cloud, "available" if keep else "free")


@pytest.mark.parametrize("moment", ["after:starting", "before:running", "after:running"])
def test_a_wipe_goes_on_with_the_next_command(cloud: Cloud, moment: str) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")
    cloud.killed(moment, "detach", "7", "1", "--yes")
    assert cloud.ok("recover", "--wait")
    assert cloud.status(1) == "free"
    assert cloud.remains() == {}


@pytest.mark.parametrize("moment", ["after:reserved", "after:closing", "before:finish"])
def test_a_delete(cloud: Cloud, moment: str) -> None:
    cloud.with_volumes(10)
    cloud.killed(moment, "delete", "1", "--yes")
    cloud.ok("recover", "1")
    cloud.refused(3, "show", "1")


def test_an_operation_whose_process_lives_is_left_to_it(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.world.fault("xl", "block-attach", delay=4)
    attach = subprocess.Popen(
        [sys.executable, "-m", "one_iscsi.cli", "attach", "7", "10M"], env=cloud.env, stdout=subprocess.DEVNULL
    )
    wait_for_plug(cloud)
    assert "is still being run by pid" in cloud.refused(5, "recover", "1")
    assert attach.wait() == 0
    assert cloud.status(1) == "in_use"


def test_only_the_ssh_client_dies_and_the_command_finds_out_what_the_script_did(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.world.fault("xl", "block-attach", delay=2)
    attach = subprocess.Popen(
        [sys.executable, "-m", "one_iscsi.cli", "attach", "7", "10M"],
        env=cloud.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for_plug(cloud)
    subprocess.run(["pkill", "-9", "-f", f"{cloud.world.folder}/ssh"], check=True)

    out, _ = attach.communicate(timeout=60)

    # The script ran to its end on the node; the observation waited for it and saw the disk in the guest.
    assert attach.returncode == 0
    assert "attached to VM 7 on host node1 as xvdp" in out
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    assert cloud.remains() == {}


def test_the_process_and_its_ssh_client_die_while_the_node_works_and_recover_comes_at_once(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.world.fault("xl", "block-attach", delay=2)
    attach = subprocess.Popen([sys.executable, str(HERE / "killed.py"), "never", "attach", "7", "10M"], env=cloud.env)
    wait_for_plug(cloud)
    attach.kill()
    attach.wait()
    subprocess.run(["pkill", "-9", "-f", f"{cloud.world.folder}/ssh"], check=False)

    cloud.ok("recover", "1")

    assert cloud.status(1) == "in_use"
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]


def test_a_node_that_cannot_be_asked_leaves_the_volume_where_it_is(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.killed("before:confirming", "attach", "7", "10M")
    cloud.node1.go_down()

    error = cloud.refused(11, "recover", "1")

    assert "cannot be settled yet" in error
    [operation] = cloud.volume(1)["OPERATION"]
    assert "no login by ssh" in operation["ERROR"]
    (cloud.node1.folder / "down").unlink()
    cloud.ok("recover", "1")
    assert cloud.status(1) == "in_use"


def test_a_vm_that_was_saved_after_the_plug_keeps_its_volume_where_it_is(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.killed("before:confirming", "attach", "7", "10M")
    cloud.oned.set(vm_7_state=5, vm_7_lcm_state=0)
    cloud.node1.stop_guest("one-7")

    assert "saved memory names this disk" in cloud.refused(11, "recover", "1")
    assert cloud.node1.sessions() == [iqn("v1")]

    cloud.oned.set(vm_7_state=6)
    cloud.ok("recover", "1")
    assert_became(cloud, WIPED)


def wait_for_plug(cloud: Cloud) -> None:
    end = time.monotonic() + 30
    while not any("block-attach" in call for call in cloud.world.calls("xl")):
        assert time.monotonic() < end, "nothing was ever plugged in"
        time.sleep(0.05)
