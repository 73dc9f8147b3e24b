"""Only so many wipes at a time on one storage server; the others wait, and any later command starts them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import test_many_at_once_on_fakes as many
from cloud import MIB, Cloud, iqn
from waiting import wait_for


class Brake:
    """Holds every wipe on the storage server before it writes anything."""

    def __init__(self, cloud: Cloud) -> None:
        self.hold = cloud.world.folder / "hold"
        self.log = cloud.world.folder / "zeroing.log"
        self.log.touch()
        tool = cloud.world.folder / "bin" / "fallocate"
        wait = f"while [ -e {self.hold} ]; do sleep 0.05; done"
        tool.write_text(f'#!/bin/sh\necho $$ >>{self.log}\n{wait}\nexec /usr/bin/fallocate "$@"\n')
        tool.chmod(0o755)

    def at_work(self) -> int:
        return sum(Path(f"/proc/{pid}").exists() for pid in self.log.read_text().split())


@pytest.fixture
def brake(cloud: Cloud) -> Iterator[Brake]:
    found = Brake(cloud)
    yield found
    found.hold.unlink(missing_ok=True)
    wait_for(lambda: not found.at_work(), 30)


def wipes(cloud: Cloud) -> list[Any]:
    return json.loads(cloud.ok("wipe", "list", "-j"))["WIPE_POOL"]["WIPE"]


def release_five(cloud: Cloud, brake: Brake) -> list[str]:
    cloud.with_volumes(10, 10, 10, 10, 10)
    for number in range(1, 6):
        cloud.ok("attach", "7", "10M")
        cloud.ok("detach", "7", str(number), "--keep", "--yes")
    brake.hold.touch()
    return cloud.ok("release", "1..5", "--yes").splitlines()


def test_two_run_and_three_wait_for_their_turn(cloud: Cloud, brake: Brake) -> None:
    said = release_five(cloud, brake)

    assert [line.rpartition(", ")[2] for line in said] == ["it is being wiped"] * 2 + ["it waits for its wipe"] * 3
    wait_for(lambda: brake.at_work() == 2, 30)
    assert [one["STATE"] for one in wipes(cloud)] == ["running"] * 2 + ["queued"] * 3
    assert brake.at_work() == 2
    assert cloud.refused(4, "attach", "7", "1M")

    brake.hold.unlink()
    wait_for(lambda: len(cloud.ok("list", "--status", "free").splitlines()) == 6, 30)
    assert wipes(cloud) == []


def test_two_places_on_one_machine_are_one_server(cloud: Cloud, brake: Brake) -> None:
    for name in ("alpha", "beta"):
        cloud.with_place(name, f"lvm:vg-{name}", 100)
    brake.hold.touch()
    for name in ("alpha", "beta", "beta"):
        cloud.ok("create", "12M", "--san", name)

    assert [one["STATE"] for one in wipes(cloud)] == ["running", "running", "queued"]

    brake.hold.unlink()
    wait_for(lambda: wipes(cloud) == [], 30)
    assert {cloud.status(number) for number in (1, 2, 3)} == {"free"}


def test_who_waits_for_a_wipe_sees_it_through(cloud: Cloud, brake: Brake) -> None:
    release_five(cloud, brake)
    brake.hold.unlink()
    assert cloud.ok("recover", "--wait").endswith("volume 5 is free\n")


def test_the_configuration_says_how_many(cloud: Cloud, brake: Brake) -> None:
    configuration = cloud.database.parent / "one_iscsi.conf"
    configuration.write_text("wipes_per_server = 1\n")
    cloud.env["ONE_ISCSI_CONFIG"] = str(configuration)
    release_five(cloud, brake)
    assert [one["STATE"] for one in wipes(cloud)] == ["running"] + ["queued"] * 4


def test_the_list_tells_how_far_how_fast_and_how_long(cloud: Cloud, brake: Brake) -> None:
    cloud.with_place("alpha", "lvm:vg0", 1000)
    hold_the_second = f'case "$*" in *"-o 0 "*) ;; *) while [ -e {brake.hold} ]; do sleep 0.05; done ;; esac'
    tool = cloud.world.folder / "bin" / "fallocate"
    tool.write_text(f'#!/bin/sh\necho $$ >>{brake.log}\n{hold_the_second}\nexec /usr/bin/fallocate "$@"\n')
    brake.hold.touch()
    cloud.ok("create", "256M")
    wait_for(lambda: wipes(cloud)[0]["DONE"] == 128 * MIB, 30)  # a chunk

    [one] = wipes(cloud)

    assert (one["VOLUME_ID"], one["SIZE"], one["STATE"], one["THEN"]) == (1, 256 * MIB, "running", "")
    assert one["RATE"] > 0
    assert abs(one["TIME_LEFT"] - 128 * MIB / one["RATE"]) <= 1
    heading, line = cloud.ok("wipe", "list").splitlines()
    assert heading.split() == ["VOLUME", "NAME", "SIZE", "SAN", "STAT", "DONE", "RATE", "LEFT", "THEN"]
    assert line.split()[5] == "50%"


def test_the_configuration_says_how_fast(cloud: Cloud) -> None:
    configuration = cloud.database.parent / "one_iscsi.conf"
    configuration.write_text("wipe_rate = 4M\n")
    cloud.env["ONE_ISCSI_CONFIG"] = str(configuration)
    cloud.with_place("alpha", "lvm:vg0", 100)
    began = time.monotonic()
    cloud.ok("create", "24M")
    wait_for(lambda: wipes(cloud)[0]["DONE"] >= 8 * MIB, 30)

    [one] = wipes(cloud)

    assert 1 * MIB < one["RATE"] <= 4 * MIB
    assert abs(one["TIME_LEFT"] - (24 * MIB - one["DONE"]) / one["RATE"]) <= 1
    cloud.ok("recover", "--wait")
    assert time.monotonic() - began >= 6
    assert cloud.status(1) == "free"


def test_a_rate_bounds_wipes_from_a_host_too(cloud: Cloud) -> None:
    configuration = cloud.database.parent / "one_iscsi.conf"
    configuration.write_text("wipe_rate = 4M\n")
    cloud.env["ONE_ISCSI_CONFIG"] = str(configuration)
    cloud.world.add_target(iqn("hand"), 12 * MIB)
    began = time.monotonic()
    cloud.ok("register", iqn("hand"), "--portal", "10.0.0.9:3260", "--size", "12M", "--lun", "1", "--wait")
    assert time.monotonic() - began >= 3


def deadly(cloud: Cloud) -> Path:
    """On this storage server every job is killed when it begins to write; the log has a line for each."""
    tool, log = cloud.world.folder / "bin" / "fallocate", cloud.world.folder / "killed.log"
    tool.write_text(f'#!/bin/sh\necho x >>{log}\nkill -9 "$(ps -o sid= -p $$ | tr -d " ")"\nsleep 1\n')
    tool.chmod(0o755)
    return log


def test_a_job_that_always_dies_is_not_started_for_ever(cloud: Cloud) -> None:
    log = deadly(cloud)
    cloud.with_place("alpha", "lvm:vg0", 100)
    result = cloud("create", "12M", "--wait")
    assert (result.code, "the wipe of volume 1 died 5 times at byte 0" in result.err) == (9, True), result.err
    assert cloud.status(1) == "error"
    assert len(log.read_text().split()) == 5

    (cloud.world.folder / "bin" / "fallocate").unlink()
    assert cloud.ok("recover", "1", "--wait").endswith("volume 1 is free\n")


def test_one_that_is_waited_for_may_be_collected_by_somebody_else(cloud: Cloud, brake: Brake) -> None:
    cloud.with_place("alpha", "lvm:vg0", 100)
    brake.hold.touch()
    waiter = many.start(cloud, "create", "12M", "--wait")
    wait_for(lambda: brake.at_work() == 1, 30)
    assert "is still being run by pid" in cloud.refused(5, "recover", "1")
    second = many.start(cloud, "recover", "1", "--wait")
    brake.hold.unlink()
    assert many.finish([waiter])[0][0] == 0
    assert many.finish([second])[0][0] == 5
    assert cloud.status(1) == "free"


def test_one_that_cannot_be_asked_is_told(cloud: Cloud, brake: Brake) -> None:
    release_five(cloud, brake)
    cloud.world.fault("wipe_status", code="unreachable", stderr="No route to host")
    result = cloud("wipe", "list", "-j")
    assert result.code == 0
    assert "warning: wipe of volume 1: storage server alpha: No route to host" in result.err
    found = json.loads(result.out)["WIPE_POOL"]["WIPE"]
    assert [one["STATE"] for one in found] == ["stopped", "running"] + ["queued"] * 3
    assert "No route to host" in found[0]["ERROR"]
