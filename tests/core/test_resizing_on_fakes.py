"""Volumes grow: on their storage server, on the host, in the guest; and never into somebody's old data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cloud import MIB, Cloud
from test_creating_on_fakes import disks
from test_many_at_once_on_fakes import all_at_once

DATA = b"ann's data " * 1000


def made(cloud: Cloud, location: str, kind: str = "tgt") -> None:
    cloud.with_place("alpha", location, 100, kind=kind)
    cloud.ok("create", "12M", "--wait")


def kept(cloud: Cloud, location: str) -> None:
    made(cloud, location)
    cloud.ok("attach", "7", "12M")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    with disks(cloud)[0].open("r+b") as disk:
        disk.write(DATA)


@pytest.mark.parametrize("location", ["lvm:vg0", "thin:vg0/pool0", "file:/srv/volumes"])
def test_a_free_one_grows_and_stays_clean(cloud: Cloud, location: str) -> None:
    made(cloud, location)
    assert cloud.ok("resize", "1", "20M") == "volume 1 resized from 12M to 20M\n"
    row = cloud.volume(1)
    assert (row["SIZE"], row["STATUS"]) == (20 * MIB, "free")
    assert disks(cloud)[0].read_bytes() == bytes(20 * MIB)
    cloud.ok("attach", "7", "20M")


@pytest.mark.parametrize("location", ["lvm:vg0", "thin:vg0/pool0"])
def test_a_kept_one_keeps_its_data_and_gets_nobody_elses(cloud: Cloud, location: str) -> None:
    kept(cloud, location)
    cloud.ok("resize", "1", "20M")
    assert cloud.status(1) == "available"
    disk = disks(cloud)[0].read_bytes()
    assert disk.startswith(DATA)
    assert disk[len(DATA) :] == bytes(20 * MIB - len(DATA))
    cloud.ok("attach", "7", "--volume", "1")


@pytest.mark.parametrize("vm", ["7", "10"], ids=["xen", "kvm"])
def test_one_in_use_grows_in_the_guest(cloud: Cloud, vm: str) -> None:
    made(cloud, "thin:vg0/pool0", "lio")
    cloud.ok("attach", vm, "12M")
    cloud.ok("resize", "1", "20M")
    assert (cloud.volume(1)["SIZE"], cloud.status(1)) == (20 * MIB, "in_use")
    node, guest = (cloud.node1, "one-7") if vm == "7" else (cloud.node3, "0a-b")
    [session] = node.state()["sessions"].values()
    assert session["size"] == 20 * MIB
    if vm == "10":  # Xen's back end finds out by itself
        assert node.disks(guest)["vdz"]["size"] == 20 * MIB
    cloud.ok("detach", vm, "1", "--yes", "--wait")
    assert cloud.remains() == {}


def test_a_vm_that_is_off_sees_it_when_it_is_started(cloud: Cloud) -> None:
    made(cloud, "thin:vg0/pool0", "lio")
    cloud.ok("attach", "7", "12M")
    cloud.node1.stop_guest("one-7")
    cloud.oned.set(vm_7_state=8, vm_7_lcm_state=0)
    cloud.ok("resize", "1", "20M")
    assert next(iter(cloud.node1.state()["sessions"].values()))["size"] == 20 * MIB


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("1", "12M"), 2, "volume 1 has 12M and can only grow: give a larger size"),
        (("1", "4M"), 2, "can only grow"),
        (("1", "big"), 2, "is not a size"),
        (("1", "1G"), 4, "storage server alpha has only 88M left: ask for less"),
        (("9", "1G"), 3, "there is no volume 9"),
    ],
)
def test_a_size_that_cannot_be(cloud: Cloud, words: tuple[str, ...], code: int, says: str) -> None:
    made(cloud, "thin:vg0/pool0")
    assert says in cloud.refused(code, "resize", *words)


def test_what_it_is_to_have_is_promised_from_the_first_moment(cloud: Cloud) -> None:
    made(cloud, "thin:vg0/pool0")
    cloud.killed("after:reserved", "resize", "1", "80M")
    assert json.loads(cloud.ok("san", "show", "alpha", "-j"))["SAN"]["PROMISED"] == 80 * MIB
    assert "20M is the most left" in cloud.refused(4, "create", "24M")
    cloud.ok("recover", "1")
    cloud.ok("create", "24M")


def test_two_that_grow_at_once_are_not_promised_the_same_room(cloud: Cloud) -> None:
    made(cloud, "thin:vg0/pool0")
    cloud.ok("create", "12M")
    done = all_at_once(cloud, ("resize", "1", "60M"), ("resize", "2", "60M"))
    assert sorted(code for code, _ in done) == [0, 4], done
    assert sorted(cloud.volume(number)["SIZE"] for number in (1, 2)) == [12 * MIB, 60 * MIB]
    assert [cloud.status(number) for number in (1, 2)] == ["free", "free"]


def test_one_that_grows_and_a_new_one_are_not_promised_the_same_room(cloud: Cloud) -> None:
    made(cloud, "thin:vg0/pool0")
    done = all_at_once(cloud, ("resize", "1", "60M"), ("create", "50M"))
    assert sorted(code for code, _ in done) == [0, 4], done
    assert json.loads(cloud.ok("san", "show", "alpha", "-j"))["SAN"]["PROMISED"] in (60 * MIB, 62 * MIB)


def test_one_that_cannot_grow_now(cloud: Cloud) -> None:
    made(cloud, "lvm:vg0")
    cloud.ok("attach", "7", "12M")
    error = cloud.refused(5, "resize", "1", "20M")
    assert "the room it would get must be wiped before a VM can see it: detach it with --keep" in error
    with cloud.world.tgt() as state:
        state["places"]["file:/srv"] = 100 * MIB
    cloud.ok("san", "create", "beta", "--kind", "tgt", "--host", "localhost", "--portal", "10.0.0.1", "--path", "/srv")
    cloud.ok("create", "4M", "--san", "beta")
    cloud.ok("attach", "8", "--volume", "2")
    assert "and tgt fixes the size of a disk in use" in cloud.refused(9, "resize", "2", "20M")
    cloud.oned.set(vm_8_state=5, vm_8_lcm_state=0)
    assert "VM 8 is SUSPENDED" in cloud.refused(5, "resize", "2", "20M")


def test_a_registered_one_is_not_ours_to_change(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    assert "was registered, not made by onevolume" in cloud.refused(5, "resize", "1", "20M")


def test_a_full_server(cloud: Cloud) -> None:
    made(cloud, "thin:vg0/pool0")
    cloud.world.fault("grow", code="no-space", stderr="insufficient free space")
    assert "insufficient free space" in cloud.refused(9, "resize", "1", "20M")


def test_a_host_that_goes_away_meanwhile(cloud: Cloud) -> None:
    made(cloud, "thin:vg0/pool0", "lio")
    cloud.ok("attach", "7", "12M")
    cloud.node1.go_down()
    result = cloud("resize", "1", "20M")
    assert result.code == 11
    assert "run onevolume recover 1" in result.err
    assert cloud.status(1) == "resizing"
    assert "is resizing" in cloud.refused(5, "detach", "7", "1", "--yes")
    (cloud.node1.folder / "down").unlink()
    assert cloud.ok("recover", "1") == "volume 1 recovered, it is in_use\n"
    assert cloud.volume(1)["SIZE"] == 20 * MIB


def sick(cloud: Cloud, does: str) -> list[Path]:
    """The storage server's tools for wiping do this instead."""
    tools = [cloud.world.folder / "bin" / name for name in ("fallocate", "dd")]
    for tool in tools:
        tool.write_text(f"#!/bin/sh\n{does}\n")
        tool.chmod(0o755)
    return tools


def assert_grown_and_clean(cloud: Cloud) -> None:
    assert (cloud.volume(1)["SIZE"], cloud.status(1)) == (20 * MIB, "available")
    disk = disks(cloud)[0].read_bytes()
    assert disk == DATA + bytes(20 * MIB - len(DATA))


def test_the_new_part_cannot_be_wiped(cloud: Cloud) -> None:
    kept(cloud, "lvm:vg0")
    tools = sick(cloud, "echo 'Input/output error' >&2; exit 1")
    result = cloud("resize", "1", "20M")
    assert (result.code, cloud.status(1)) == (11, "resizing")
    assert "the new part cannot be wiped: Input/output error" in result.err
    assert cloud("recover", "1", "--wait").code == 11
    assert "cannot be wiped" in cloud("work").err
    for tool in tools:
        tool.unlink()
    assert cloud.ok("recover", "1", "--wait").endswith("volume 1 is available\n")
    assert_grown_and_clean(cloud)


def test_a_job_that_always_dies_is_not_started_for_ever(cloud: Cloud) -> None:
    kept(cloud, "lvm:vg0")
    log = cloud.world.folder / "killed.log"
    tools = sick(cloud, f'echo x >>{log}; kill -9 "$(ps -o sid= -p $$ | tr -d " ")"; sleep 1')
    result = cloud("resize", "1", "20M")
    assert (result.code, cloud.status(1)) == (11, "resizing")
    assert "the wipe of volume 1 died 5 times at byte 0" in result.err
    for _ in range(3):
        assert "died 5 times" in cloud("work").err
    assert len(log.read_text().split()) == 5, "the timer does not begin again"
    for tool in tools:
        tool.unlink()
    cloud.ok("recover", "1", "--wait")
    assert_grown_and_clean(cloud)


def test_a_server_that_goes_away_meanwhile(cloud: Cloud) -> None:
    kept(cloud, "lvm:vg0")
    cloud.world.fault("grow", code="unknown", after=True)
    assert cloud("resize", "1", "20M").code == 11
    cloud.ok("recover", "1", "--wait")
    assert (cloud.volume(1)["SIZE"], cloud.status(1)) == (20 * MIB, "available")
    assert disks(cloud)[0].read_bytes()[len(DATA) :] == bytes(20 * MIB - len(DATA))


@pytest.mark.parametrize(
    "moment",
    ["after:reserved", "after:growing", "before:clearing", "after:clearing", "before:rescanning", "before:finish"],
)
def test_killed(cloud: Cloud, moment: str) -> None:
    kept(cloud, "lvm:vg0")
    cloud.killed(moment, "resize", "1", "20M")
    assert cloud.status(1) == "resizing"
    assert "is resizing" in cloud.refused(5, "attach", "7", "--volume", "1")

    cloud.ok("recover", "--wait")

    size = 12 if moment == "after:reserved" else 20
    assert (cloud.volume(1)["SIZE"], cloud.status(1)) == (size * MIB, "available")
    disk = disks(cloud)[0].read_bytes()
    assert disk == DATA + bytes(size * MIB - len(DATA))


@pytest.mark.parametrize("moment", ["after:growing", "after:rescanning", "before:finish"])
def test_killed_while_it_is_used(cloud: Cloud, moment: str) -> None:
    made(cloud, "thin:vg0/pool0", "lio")
    cloud.ok("attach", "kvm", "12M")
    cloud.killed(moment, "resize", "1", "20M")
    cloud.ok("recover")
    assert (cloud.volume(1)["SIZE"], cloud.status(1)) == (20 * MIB, "in_use")
    assert cloud.node3.disks("0a-b")["vdz"]["size"] == 20 * MIB
