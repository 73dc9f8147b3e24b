"""Storage servers: tested before they are taken in, and what room they have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloud import MIB, Cloud, iqn

TGT = ("--kind", "tgt", "--host", "localhost", "--portal", "10.0.0.1:3260")


def san(cloud: Cloud, name: str) -> Any:
    return json.loads(cloud.ok("san", "show", name, "-j"))["SAN"]


@pytest.mark.parametrize("location", ["lvm:vg0", "thin:vg0/pool0", "file:/srv/volumes"])
def test_a_server_tells_how_much_room_it_has(cloud: Cloud, location: str) -> None:
    cloud.with_place("alpha", location, 1024, "--pool", "fast")
    found = san(cloud, "alpha")
    assert (found["LOCATION"], found["POOL"]) == (location, "fast")
    assert [found[key] for key in ("TOTAL", "USED", "FREE", "PROMISED")] == [1024 * MIB, 0, 1024 * MIB, 0]
    assert found["LAST_SEEN"]


def test_the_list_shows_the_room_of_those_that_make_volumes(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.with_place("beta", "thin:vg0/pool0", 1024, "--pool", "fast")
    heading, alpha, beta = cloud.ok("san", "list").splitlines()
    assert heading.split()[-5:] == ["POOL", "TOTAL", "USED", "FREE", "PROMISED"]
    assert alpha.split()[-5:] == ["-"] * 5
    assert beta.split()[-5:] == ["fast", "1G", "0", "1G", "0"]


def test_one_that_does_not_answer_is_listed_with_a_warning(cloud: Cloud) -> None:
    cloud.with_place("alpha", "lvm:vg0", 1024)
    cloud.world.fault("capacity", code="unreachable", stderr="No route to host")
    result = cloud("san", "list", "--csv")
    assert result.code == 0
    assert (
        result.err == "warning: storage server alpha: No route to host: see that oneadmin can log in there with ssh\n"
    )
    assert result.out.splitlines()[1].endswith(",-,-,-,-,-")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((*TGT, "--vg", "nothere"), 9, "there is no lvm:nothere"),
        ((*TGT, "--vg", "vg0; reboot"), 2, "'vg0; reboot' is no place for volumes: give a volume group"),
        ((*TGT, "--thin", "vg0"), 2, "give a volume group and a thin pool in it, such as vg0/pool0"),
        ((*TGT, "--path", "srv"), 2, "give a folder"),
        ((*TGT, "--path", "/srv/../etc"), 2, "give a folder"),
        ((*TGT, "--vg", "vg0", "--path", "/srv"), 2, "give one of --vg, --thin and --path"),
        ((*TGT, "--pool", "very fast"), 2, "pool 'very fast' is malformed"),
        (("--kind", "tgt", "--host", "localhost", "--vg", "vg0"), 2, "has no portal: give --portal"),
        (("--kind", "tgt"), 2, "give --host HOST"),
        (("--kind", "static", "--host", "x"), 2, "leave --host out"),
        (("--kind", "static", "--vg", "vg0"), 2, "leave --vg, --thin and --path out"),
        (("--kind", "tgt", "--host", "nowhere"), 9, "No route to host"),
    ],
)
def test_one_that_cannot_be(cloud: Cloud, words: tuple[str, ...], code: int, says: str) -> None:
    with cloud.world.tgt() as state:
        state["places"]["lvm:vg0"] = 1024 * MIB
    assert says in cloud.refused(code, "san", "create", "alpha", *words)
    assert json.loads(cloud.ok("san", "list", "-j")) == {"SAN_POOL": {"SAN": []}}


def test_one_that_lacks_rights_is_not_taken_in_and_all_of_them_are_named(cloud: Cloud) -> None:
    with cloud.world.tgt() as state:
        state["places"]["lvm:vg0"] = 1024 * MIB
    cloud.world.forbid("--op new --mode logicalunit", "lvcreate")
    result = cloud("san", "create", "alpha", *TGT, "--vg", "vg0")
    assert result.code == 9
    warning, error = result.err.splitlines()
    lacks = "storage server alpha: oneadmin may not run as root: "
    assert warning.startswith(f"warning: {lacks}lvcreate --yes --addtag one_iscsi --name v --size 512b vg0: install")
    assert error.startswith(f"onevolume: {lacks}tgtadm --lld iscsi --op new --mode logicalunit")
    assert "install one_iscsi.sudoers" in error
    assert json.loads(cloud.ok("san", "list", "-j")) == {"SAN_POOL": {"SAN": []}}
    cloud.ok("san", "create", "alpha", *TGT)  # where no volumes are made, none of the two is needed


def test_lio_makes_portals_at_its_own_addresses_only(cloud: Cloud) -> None:
    with cloud.world.tgt() as state:
        state["places"]["lvm:vg0"] = 1024 * MIB
    (cloud.world.folder / "bin" / "ip").write_text(
        '#!/bin/sh\n[ "$4" = 10.0.0.1 ] && echo "local 10.0.0.1 dev lo" || echo "$4 via 10.0.0.254 dev eth0"\n'
    )
    where = ("--host", "localhost", "--portal", "10.0.0.1:3260")
    for outside in ("10.0.1.1", "[fd00::1]"):
        error = cloud.refused(9, "san", "create", "alpha", "--kind", "lio", *where, "--portal", outside, "--vg", "vg0")
        assert f"storage server alpha: {outside.strip('[]')} is no address of its own" in error
    cloud.ok("san", "create", "alpha", "--kind", "lio", *where, "--vg", "vg0")
    cloud.ok("san", "create", "byhand", "--kind", "lio", "--host", "localhost", "--portal", "10.0.1.1")
    cloud.ok("san", "create", "beta", "--kind", "tgt", "--host", "localhost", "--portal", "10.0.1.1")


def test_one_place_is_not_promised_twice(cloud: Cloud) -> None:
    cloud.with_place("alpha", "lvm:vg0", 1024)
    error = cloud.refused(5, "san", "create", "beta", *TGT, "--vg", "vg0")
    assert "storage server alpha makes volumes in lvm:vg0 already" in error


def test_a_pool_is_a_label_a_user_can_ask_for(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("san", "create", "beta", *TGT, "--pool", "fast")
    cloud.world.add_target(iqn("fast"), 20 * MIB, access=())
    cloud.ok("register", iqn("fast"), "--san", "beta", "--assume-clean")

    assert cloud.ok("attach", "7", "5M", "--pool", "fast").startswith("volume 2 ")
    assert "no free volume of 5M in pool fast, no volume is free" in cloud.refused(
        4, "attach", "7", "5M", "--pool", "fast"
    )
    assert "leave one of them out" in cloud.refused(2, "attach", "7", "--volume", "1", "--pool", "fast")
    assert cloud.ok("attach", "7", "5M").startswith("volume 1 ")
