"""LIO on a fake configfs: full places, several at once; whatever command fails, wherever a script is killed, with or
without a restart after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from lio_worlds import FakeLio, volume
from worlds import Refused

from one_iscsi.errors import StorageError
from one_iscsi.model import Chap, Volume
from one_iscsi.san import Exposure

MIB = 1 << 20
HERE = "127.0.0.1"
SERIAL, SCSI_ID = "00c0ffee00c0ffee", "0123456789abcdef"
FRIEND = "iqn.2026-01.com.example:friend"

#: A failure is told, and somebody goes on; or the whole server stops.
stumbling = pytest.mark.parametrize(("store", "do", "power"), [("file", "fail", "stays"), ("lvm", "kill", "fails")])


@pytest.fixture
def vol() -> Volume:
    return volume(1, SERIAL, 4 * MIB)


def stumbles(lio: FakeLio, do: str, power: str, act: Callable[[], object]) -> Iterator[str]:
    """``act`` from the state that is now, and its first command as root stumbles, then the second …; yields the error's
    code, empty if there was none. In the end it is done."""
    start = lio.copy()
    for number in range(1, 100):
        lio.at_call(number, do)
        code = ""
        try:
            act()
        except StorageError as error:
            code = error.code
        count = lio.calls()
        lio.at_call()
        if count < number:
            break
        if power == "fails":
            lio.restart()
        yield code
        lio.bring_back(start)


def gets_in(lio: FakeLio, chap: Chap | None, initiator: str) -> bool:
    try:
        with lio.session(1, chap, initiator):
            return True
    except Refused:
        return False


@pytest.mark.parametrize("store", ["file", "lvm"])
def test_where_there_is_no_room_nothing_is_left(fake_lio: FakeLio, vol: Volume, store: str) -> None:
    fake_lio.use(store)
    with pytest.raises(StorageError, match="is full") as caught:
        fake_lio.server.create(replace(vol, size_bytes=65 * MIB), SCSI_ID)
    assert caught.value.code == "no-space"
    assert fake_lio.left() == []
    made = fake_lio.server.create(vol, SCSI_ID)
    with pytest.raises(StorageError, match="is full") as caught:
        fake_lio.server.grow(vol, 65 * MIB)
    assert caught.value.code == "no-space"
    assert fake_lio.server.target(vol) == made


def test_a_logical_volume_in_use_grows(fake_lio: FakeLio, vol: Volume) -> None:
    fake_lio.use("lvm")
    made = fake_lio.server.create(vol, SCSI_ID)
    with fake_lio.session(1, fake_lio.server.open(vol, [HERE], fake_lio.host)) as is_in:
        grown = fake_lio.server.grow(vol, 8 * MIB)
        assert is_in()
    assert replace(grown, addresses=(), sessions=()) == replace(made, size_bytes=8 * MIB)


def test_a_logical_volume_without_our_tag_is_not_ours(fake_lio: FakeLio, vol: Volume) -> None:
    fake_lio.use("lvm")
    made = fake_lio.server.create(vol, SCSI_ID)
    assert fake_lio.server.has_made(made)
    fake_lio.root(f"/bin/rm {made.path}.tag")
    assert not fake_lio.server.has_made(made)


def test_several_at_once(fake_lio: FakeLio) -> None:
    volumes = [volume(number, f"SN{number}", MIB) for number in (1, 2, 3)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda vol: fake_lio.server.create(vol, SCSI_ID), volumes))
    assert {target.serial for target in fake_lio.server.targets()} == {"SN1", "SN2", "SN3"}
    with ThreadPoolExecutor() as pool:
        list(pool.map(fake_lio.server.remove, volumes))
    assert fake_lio.left() == []


def test_a_creation_that_fails_leaves_nothing(fake_lio: FakeLio, vol: Volume) -> None:
    for code in stumbles(fake_lio, "fail", "stays", lambda: fake_lio.server.create(vol, SCSI_ID)):
        if code:  # the last command only looks
            assert fake_lio.left() == []
            fake_lio.restart()
            assert fake_lio.left() == []
    assert fake_lio.server.target(vol).size_bytes == vol.size_bytes


def test_a_killed_creation_can_be_finished(fake_lio: FakeLio, vol: Volume) -> None:
    fake_lio.use("lvm")
    made = []
    for code in stumbles(fake_lio, "kill", "stays", lambda: fake_lio.server.create(vol, SCSI_ID)):
        assert code == "unknown"
        made.append(fake_lio.server.create(vol, SCSI_ID))
        fake_lio.restart()
        made.append(fake_lio.server.target(vol))
    assert set(made) == {fake_lio.server.target(vol)}


def test_a_creation_the_power_failed_in_can_be_removed(fake_lio: FakeLio, vol: Volume) -> None:
    fake_lio.use("lvm")
    for code in stumbles(fake_lio, "kill", "fails", lambda: fake_lio.server.create(vol, SCSI_ID)):
        assert code == "unknown"
        fake_lio.server.remove(vol)
        assert fake_lio.left() == []
        fake_lio.restart()
        assert fake_lio.left() == []


@stumbling
def test_a_removal_that_stumbles_can_be_finished(
    fake_lio: FakeLio, vol: Volume, store: str, do: str, power: str
) -> None:
    fake_lio.use(store)
    fake_lio.server.create(vol, SCSI_ID)
    fake_lio.server.open(vol, [HERE], FRIEND)
    for code in stumbles(fake_lio, do, power, lambda: fake_lio.server.remove(vol)):
        assert code
        fake_lio.server.remove(vol)
        assert fake_lio.left() == []
        fake_lio.restart()
        assert fake_lio.left() == []


@stumbling
def test_a_growth_that_stumbles_can_be_finished(
    fake_lio: FakeLio, vol: Volume, store: str, do: str, power: str
) -> None:
    fake_lio.use(store)
    grown = replace(fake_lio.server.create(vol, SCSI_ID), size_bytes=8 * MIB)
    for _ in stumbles(fake_lio, do, power, lambda: fake_lio.server.grow(vol, 8 * MIB)):
        assert fake_lio.server.grow(vol, 8 * MIB) == grown
        fake_lio.restart()
        assert fake_lio.server.target(vol) == grown


@stumbling
def test_an_open_that_stumbles_lets_in_nobody_else(
    fake_lio: FakeLio, vol: Volume, store: str, do: str, power: str
) -> None:
    fake_lio.use(store)
    fake_lio.server.create(vol, SCSI_ID)
    old = fake_lio.server.open(vol, [HERE], FRIEND)
    for code in stumbles(fake_lio, do, power, lambda: fake_lio.server.open(vol, [HERE], fake_lio.host)):
        assert code
        assert set(fake_lio.server.observe(vol).addresses) <= {FRIEND, fake_lio.host}
        assert not gets_in(fake_lio, None, fake_lio.host)
        assert not gets_in(fake_lio, old, fake_lio.host)
        assert not gets_in(fake_lio, None, FRIEND)
        new = fake_lio.server.open(vol, [HERE], fake_lio.host)
        assert gets_in(fake_lio, new, fake_lio.host)
        fake_lio.restart()
        assert fake_lio.server.observe(vol) == Exposure(True, (fake_lio.host,))
        assert gets_in(fake_lio, new, fake_lio.host)


@stumbling
def test_a_close_that_stumbles_can_be_finished(fake_lio: FakeLio, vol: Volume, store: str, do: str, power: str) -> None:
    fake_lio.use(store)
    fake_lio.server.create(vol, SCSI_ID)
    chap = fake_lio.server.open(vol, [HERE], fake_lio.host)
    fake_lio.put("1", 1, "attrib/generate_node_acls")
    with fake_lio.session(1, chap):
        for code in stumbles(fake_lio, do, power, lambda: fake_lio.server.close(vol)):
            assert code
            assert fake_lio.server.observe(vol).addresses in (("ALL", fake_lio.host), (fake_lio.host,), ())
            fake_lio.server.close(vol)
            assert not gets_in(fake_lio, chap, fake_lio.host)
            fake_lio.restart()
            assert fake_lio.server.observe(vol) == Exposure(True)
            assert not gets_in(fake_lio, chap, fake_lio.host)
