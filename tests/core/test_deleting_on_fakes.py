"""What was made is removed from its storage server, and never with somebody's data on it."""

from __future__ import annotations

import pytest
from cloud import Cloud, iqn
from test_creating_on_fakes import assert_nothing_is_left, disks, ids
from test_work_on_fakes import later


def kept(cloud: Cloud, location: str = "thin:vg0/pool0") -> None:
    """A volume we made, with data somebody kept."""
    cloud.with_place("alpha", location, 100)
    cloud.ok("create", "10M", "--wait")
    cloud.ok("attach", "7", "10M")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    disks(cloud)[0].write_bytes(b"ann's secret" * 1000)


def test_a_free_one_is_removed_at_once(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("create", "10M")
    assert cloud.ok("delete", "1", "--yes") == "volume 1 deleted, its storage server has room for another\n"
    assert_nothing_is_left(cloud)
    assert not cloud.world.calls("fallocate")
    assert cloud.path("1") == ["creating", "free", "deleting", ""]


@pytest.mark.parametrize("location", ["lvm:vg0", "thin:vg0/pool0"])
def test_one_with_data_is_wiped_first(cloud: Cloud, location: str) -> None:
    kept(cloud, location)
    said = cloud.ok("delete", "1", "--yes", "--wait").splitlines()
    assert said[0].endswith("will be deleted, it is being wiped")
    assert said[1] == "volume 1 is gone"
    assert_nothing_is_left(cloud)
    assert cloud.path("1")[-3:] == ["available", "wiping", ""]


def test_its_wipe_is_collected_by_any_later_command(cloud: Cloud) -> None:
    kept(cloud)
    cloud.ok("delete", "1", "--yes")
    while ids(cloud):
        assert cloud.status(1) == "wiping"
    assert_nothing_is_left(cloud)


def test_while_it_is_wiped_nobody_gets_it(cloud: Cloud) -> None:
    kept(cloud)
    cloud.world.fault("remove", code="unreachable", stderr="No route to host", times=2)
    assert cloud("delete", "1", "--yes", "--wait").code == 9
    assert "it is being wiped" in cloud.refused(5, "attach", "7", "--volume", "1")
    assert cloud("recover", "1").code == 11
    assert cloud.ok("recover", "1") == "volume 1 recovered, it is gone\n"
    assert_nothing_is_left(cloud)


def failed(cloud: Cloud) -> None:
    """A volume that is to be deleted, on a storage server whose disk was sick for a while."""
    kept(cloud)
    tools = cloud.world.folder / "bin"
    for name in ("fallocate", "dd"):
        (tools / name).write_text("#!/bin/sh\necho 'Input/output error' >&2\nexit 1\n")
        (tools / name).chmod(0o755)
    assert "Input/output error" in cloud("delete", "1", "--yes", "--wait").err
    assert cloud.status(1) == "error"
    for name in ("fallocate", "dd"):
        (tools / name).unlink()


def test_one_whose_wipe_failed_is_still_deleted(cloud: Cloud) -> None:
    failed(cloud)
    cloud.ok("recover", "1", "--wait")
    assert_nothing_is_left(cloud)


def test_one_whose_wipe_failed_is_still_deleted_if_recover_was_killed(cloud: Cloud) -> None:
    failed(cloud)
    cloud.killed("before:reserved", "recover", "1")
    assert cloud.status(1) == "dirty"
    later(cloud)
    for _ in range(100):
        cloud.ok("work")
        if not ids(cloud):
            break
    assert_nothing_is_left(cloud)


def test_one_whose_wipe_failed_can_be_released_instead(cloud: Cloud) -> None:
    failed(cloud)
    cloud.killed("before:reserved", "recover", "1")
    cloud.ok("release", "1", "--yes", "--wait")
    assert cloud.status(1) == "free"


def test_a_registered_target_stays(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    assert cloud.ok("delete", "1", "--yes") == f"volume 1 deleted, its target {iqn('v1')} stays on the storage server\n"
    assert len(disks(cloud)) == 1


def test_one_that_is_used_stays(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("create", "10M")
    cloud.ok("attach", "7", "10M")
    assert "detach it first" in cloud.refused(5, "delete", "1", "--yes")
    assert len(disks(cloud)) == 1


def test_a_server_that_is_away(cloud: Cloud) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("create", "10M")
    cloud.world.fault("remove", code="unreachable", stderr="No route to host")
    result = cloud("delete", "1", "--yes")
    assert result.code == 11
    assert "volume 1 could not be removed" in result.err
    assert cloud.ok("recover", "1") == "volume 1 recovered, it is gone\n"
    assert_nothing_is_left(cloud)


@pytest.mark.parametrize(
    "moment", ["after:reserved", "after:closing", "before:removing", "after:removing", "before:finish"]
)
def test_killed_when_it_was_free(cloud: Cloud, moment: str) -> None:
    cloud.with_place("alpha", "thin:vg0/pool0", 100)
    cloud.ok("create", "10M")
    cloud.killed(moment, "delete", "1", "--yes")
    assert cloud.ok("recover") == "volume 1 recovered, it is gone\n"
    assert_nothing_is_left(cloud)


@pytest.mark.parametrize(
    "moment", ["after:reserved", "after:starting", "after:running", "before:removing", "before:finish"]
)
def test_killed_when_it_had_data(cloud: Cloud, moment: str) -> None:
    kept(cloud)
    cloud.killed(moment, "delete", "1", "--yes", "--wait")
    cloud.ok("recover", "1", "--wait")
    assert_nothing_is_left(cloud)
