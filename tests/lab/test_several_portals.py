"""A volume that LIO offers at two portals, one of which is lost while a guest works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig import MIB, NODE, Desk, Lab

FIRST, SECOND = "127.0.0.1:3261", "10.1.0.2:3261"
_HAVE = "ip addr replace 10.1.0.2/32 dev lo"
_LOSE = "ip addr del 10.1.0.2/32 dev lo"
_PATHS = "multipathd show paths format '%d %t' | grep -c active || :"


@pytest.fixture
def two(storage: Lab, desk: Desk) -> Iterator[Desk]:
    """A desk with a storage server that has two portals, and multipathd on the node."""
    storage.root(
        f"{_HAVE}; modprobe -a dm_multipath dm_service_time scsi_dh_alua; mkdir -p /run/multipath; multipathd;"
        "timeout 20 sh -c 'until multipathd show daemon; do sleep 0.1; done'"
    )
    where = ("--host", NODE, "--thin", "vg0/pool", "--portal", FIRST, "--portal", SECOND)
    desk.ok("san", "create", "lio1", "--kind", "lio", *where)
    yield desk
    storage.root(
        f"{_HAVE}; multipath -F; iscsiadm -m node -u; iscsiadm -m node -o delete; multipathd shutdown; {_LOSE}"
    )


def until_paths(lab: Lab, number: int) -> None:
    there = f'[ "$({_PATHS})" = {number} ]'
    lab.root(f"until {there} || [ $SECONDS -ge 60 ]; do sleep 0.2; done; {there}")


def leftovers(lab: Lab) -> list[str]:
    return lab.leftovers() + lab.root("cat /sys/block/dm-*/dm/uuid | grep ^mpath || :").split()


def test_a_path_is_lost_and_comes_back_while_a_guest_works(two: Desk, lab: Lab) -> None:
    two.ok("create", "12M", "--name", "v", "--san", "lio1")
    assert two.volume("v")["PORTAL"] == [FIRST, SECOND]

    two.ok("attach", "7", "10M")

    lab.hear("one-7", "dom: xvdp written")
    [place] = two.volume("v")["ATTACHMENT"]
    assert place["DEVICE"].startswith("dm-")
    until_paths(lab, 2)

    lab.root(_LOSE)
    lab.guest("write", "one-7", "xvdp")
    lab.hear("one-7", "dom: xvdp written again")
    until_paths(lab, 1)
    lab.guest("write", "one-7", "xvdp")
    lab.hear("one-7", "dom: xvdp written again")

    lab.root(_HAVE)
    until_paths(lab, 2)
    two.ok("resize", "v", "24M")
    lab.hear("one-7", f"dom: xvdp resized size={24 * MIB}")

    lab.root(_LOSE)
    two.ok("detach", "7", "v", "--keep", "--yes")
    assert leftovers(lab) == []

    # one path is enough to begin with, and its data is all there
    result = two("attach", "8", "--volume", "v")
    assert (result.code, f"portal {SECOND} does not answer host {NODE}" in result.err) == (0, True)
    assert "sector1=[from-one-7-xvdp]" in lab.hear("one-8", "dom: xvdp written")[0]
    two.ok("detach", "8", "v", "--yes", "--wait")
    assert leftovers(lab) == []


def test_attaches_that_were_killed_are_settled(two: Desk, lab: Lab) -> None:
    lab.guest("rest", "one-7")
    two.ok("create", "12M", "--name", "v", "--san", "lio1")
    for moment in ("after:plugging", "before:confirming"):
        two.killed(moment, "attach", "7", "--volume", "v")
        two.ok("recover", "v", "--wait")
        if two.status("v") == "in_use":
            two.ok("detach", "7", "v", "--keep", "--yes")
        assert leftovers(lab) == []
