"""Sizes, target names, portals and states: the words of every command line."""

from __future__ import annotations

import pytest

from one_iscsi import states
from one_iscsi.errors import BadInput
from one_iscsi.iscsi import Portal, check_iqn, is_default_serial
from one_iscsi.units import GIB, MIB, TIB, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10G", 10 * GIB),
        ("10240M", 10 * GIB),
        ("1.5T", TIB + TIB // 2),
        ("512", 512 * MIB),
        (" 1g ", GIB),
        ("1GiB", GIB),
        ("4K", 4096),
        ("0.5M", MIB // 2),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["0", "0G", "-1", "-1G", "abc", "", "10X", "1e3", "1,5G", "G", "10 0", "0.0001K", "٣G", "9999999T", "1.G"]
)
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_size(text)
    assert "\n" not in str(refused.value)
    assert refused.value.fix


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (100, "100B"), (512 * MIB, "512M"), (10 * GIB, "10G"), (10 * GIB + 1, "10G"), (3 * TIB // 2, "1.5T")],
)
def test_a_size_is_short_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    "iqn",
    [
        "iqn.2026-01.com.example:volume1",
        "iqn.2006-01.com.openfiler:tsn.0123456789ab",
        "iqn.2003-01.org",
        "iqn.2003-01.org.x-y:a_b:c.d",
        "eui.0123456789abcdef",
        "naa.0123456789abcdef0123456789abcdef",
    ],
)
def test_an_iscsi_name_is_taken(iqn: str) -> None:
    assert check_iqn(iqn) == iqn


@pytest.mark.parametrize(
    "iqn",
    [
        "",
        "volume1",
        "iqn.2026-13.com.example:v",
        "iqn.2026-01.com.example:v 1",
        "iqn.2026-01.com.example:../../etc",
        "iqn.2026-01.com.example:v;reboot",
        "iqn.2026-01.com.example:v\n",
        "iqn.2026-01.com.example:" + "v" * 223,
        "iqn.2026-01.com.exämple:v",
        "eui.0123",
        "--help",
    ],
)
def test_anything_else_is_malformed(iqn: str) -> None:
    with pytest.raises(BadInput):
        check_iqn(iqn)


@pytest.mark.parametrize(
    ("text", "printed", "link"),
    [
        ("10.0.0.5:3261", "10.0.0.5:3261", "ip-10.0.0.5:3261-iscsi-iqn.x-lun-1"),
        ("10.0.0.5", "10.0.0.5:3260", "ip-10.0.0.5:3260-iscsi-iqn.x-lun-1"),
        ("[fd00::1]:3260", "[fd00::1]:3260", "ip-fd00::1:3260-iscsi-iqn.x-lun-1"),
        ("[FD00:0::1]", "[fd00::1]:3260", "ip-fd00::1:3260-iscsi-iqn.x-lun-1"),
    ],
)
def test_a_portal_is_an_address_and_a_port(text: str, printed: str, link: str) -> None:
    portal = Portal.parse(text)
    assert str(portal) == printed
    assert portal.by_path("iqn.x", 1) == f"/dev/disk/by-path/{link}"
    assert Portal.parse(str(portal)) == portal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "storage1:3260",
        "10.0.0.5:0",
        "10.0.0.5:99999",
        "10.0.0.256",
        "fd00::1",
        "[fd00::1",
        "10.0.0.5:3260 -x",
        ":1",
    ],
)
def test_a_portal_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Portal.parse(text)


def test_serials_that_tgt_makes_up_are_known() -> None:
    assert is_default_serial("beaf11")
    assert not is_default_serial("a1b2c3d4e5f60718")


def test_every_way_between_states_ends_in_a_state_and_free_is_never_entered_from_a_guest() -> None:
    for come_from, goes_to in states.TRANSITIONS.items():
        assert goes_to <= set(states.TRANSITIONS), come_from
    assert states.FREE not in states.TRANSITIONS[states.IN_USE]
    assert states.FREE not in states.TRANSITIONS[states.DETACHING]
    assert states.FREE not in states.TRANSITIONS[states.AVAILABLE]
    assert states.FREE not in states.TRANSITIONS[states.DIRTY]
    assert states.FREE not in states.AFTER_UNDONE_PLUG.values()
