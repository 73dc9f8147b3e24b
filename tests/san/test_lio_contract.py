"""What every storage server with LIO does: told once, for a fake configfs and for Linux on the lab's node."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from lio_worlds import NEW, PORTAL, RECORDED, LioWorld, volume
from worlds import Refused

from one_iscsi.errors import StorageError
from one_iscsi.model import Chap, Volume
from one_iscsi.san import Exposure

MIB = 1 << 20
HERE = "127.0.0.1"
SERIAL, SCSI_ID = "00c0ffee00c0ffee", "0123456789abcdef"
FRIEND = "iqn.2026-01.com.example:friend"


@pytest.fixture
def vol() -> Volume:
    return volume(1, SERIAL, 8 * MIB)


def code_of(call: object, *arguments: object) -> str:
    with pytest.raises(StorageError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return caught.value.code


def neutral(info: str) -> str:
    """What is told of a session, without what differs from one to the next."""
    return re.sub(r"iqn\.\S+|0x\w+( \w\w)*|(?<=Alias: ).*|(?<=ID: )\d+|(?<=TSIH: )\d+", "-", info)


def gets_in(lio: LioWorld, chap: Chap | None, number: int = 1) -> bool:
    try:
        with lio.session(number, chap):
            return True
    except Refused:
        return False


def test_a_new_directory_holds_what_was_recorded(lio: LioWorld) -> None:
    lio.root(NEW)
    assert lio.tree() == (RECORDED / "new.txt").read_text().splitlines()


def test_a_volume_is_made_used_grown_and_removed(lio: LioWorld, vol: Volume) -> None:
    room = lio.server.capacity()
    assert room.total_bytes == 64 * MIB

    made = lio.server.create(vol, SCSI_ID)

    assert (made.iqn, made.lun, made.size_bytes) == (vol.iqn, 1, 8 * MIB)
    assert (made.serial, made.default_identity) == (SERIAL, False)
    assert (made.addresses, made.sessions) == ((), ())
    assert lio.server.has_made(made)
    assert lio.server.capacity().free_bytes == room.free_bytes - 8 * MIB  # now, not when the guest writes
    assert lio.root(f"stat -c '%a %s' {made.path}; tr -d '\\0' <{made.path}").split() == ["600", f"{8 * MIB}"]
    assert not gets_in(lio, None)

    chap = lio.server.open(vol, [HERE], lio.host)

    assert code_of(lio.server.grow, vol, 16 * MIB) == "cannot-grow"  # the host may log in at any time
    before = lio.left()
    with lio.session(1, chap) as is_in:
        assert code_of(lio.server.grow, vol, 16 * MIB) == "cannot-grow"
        assert code_of(lio.server.remove, vol) == "in-use"
        assert code_of(lio.server.start_wipe, vol, "job") == "in-use"
        assert is_in()
    assert lio.left() == before
    assert lio.server.create(vol, SCSI_ID) == replace(made, addresses=(lio.host,))
    lio.server.close(vol)

    lio.root(f"printf kept | dd of={made.path} conv=notrunc status=none")
    assert lio.server.grow(vol, 16 * MIB) == replace(made, size_bytes=16 * MIB)
    assert lio.root(f"head -c 5 {made.path} | tr '\\0' .") == "kept."

    lio.server.remove(vol)

    assert lio.left() == []
    assert lio.server.capacity() == room


def test_only_who_was_let_in_gets_in_even_after_a_restart(lio: LioWorld) -> None:
    vol = lio.make(1, SERIAL)
    old = lio.server.open(vol, [HERE], lio.host)
    lio.let_in(1, FRIEND)
    lio.put("0", 1, f"acls/{lio.host}/attrib/authentication")
    assert gets_in(lio, None)

    chap = lio.server.open(vol, [HERE], lio.host)

    assert chap
    assert not gets_in(lio, None)
    assert not gets_in(lio, old)
    lio.restart()
    with lio.session(1, chap) as is_in:
        seen = lio.server.target(vol)
        assert (seen.serial, seen.addresses) == (SERIAL, (lio.host,))
        assert [(session.initiator, session.address) for session in seen.sessions] == [(lio.host, HERE)]
        told = lio.root(f"cat /sys/kernel/config/target/iscsi/{vol.iqn}/tpgt_1/acls/{lio.host}/info")
        assert neutral(told) == neutral((RECORDED / "session.txt").read_text())
        assert code_of(lio.server.open, vol, [HERE], FRIEND) == "in-use"
        assert is_in()

        lio.server.close(vol)

        assert not is_in()
    lio.restart()
    assert lio.server.observe(vol) == Exposure(True)
    assert not gets_in(lio, chap)


def test_a_target_its_admin_left_open_to_all_is_closed(lio: LioWorld) -> None:
    vol = lio.make(1, SERIAL)
    lio.put("0", 1, "attrib/authentication")
    lio.put("1", 1, "attrib/generate_node_acls")
    with lio.session(1, None) as is_in:
        seen = lio.server.observe(vol)
        assert seen.addresses == ("ALL",)
        assert [session.initiator for session in seen.sessions] == [lio.host]

        lio.server.close(vol)

        assert not is_in()
    assert lio.server.observe(vol) == Exposure(True)
    assert not gets_in(lio, None)
    assert f"iscsi/{vol.iqn}/tpgt_1/enable: 1" in lio.tree()


def test_what_somebody_else_made_is_neither_taken_over_nor_removed(lio: LioWorld) -> None:
    vol = lio.make(1, SERIAL)
    before = lio.left()
    assert code_of(lio.server.create, vol, SCSI_ID) == "foreign"
    assert not lio.server.has_made(lio.server.target(vol))
    assert code_of(lio.server.remove, vol) == "foreign"
    assert code_of(lio.server.grow, vol, 4 * MIB) == "foreign"
    assert lio.left() == before
    assert lio.root(f"tr -d x <{lio.by_hand} | wc -c") == "0\n"


SAVED = "cat /etc/rtslib-fb-target/saveconfig.json"


@pytest.mark.parametrize("late", ["lun/lun_1", f"np/{PORTAL}"])
def test_what_came_up_late_is_not_lost_by_a_step_for_another_volume(lio: LioWorld, vol: Volume, late: str) -> None:
    other, new = volume(2, "SN2", 1 << 20), volume(3, "SN3", 1 << 20)
    for one in (vol, other):
        lio.server.create(one, SCSI_ID)
    chap = lio.server.open(other, [HERE], lio.host)
    offered, saved = lio.server.targets(), lio.root(SAVED)
    lio.lose(1, late)
    left = lio.left()

    for refuses in (
        lio.server.capacity,
        lambda: lio.server.open(other, [HERE], FRIEND),
        lambda: lio.server.open(vol, [HERE], FRIEND),
        lambda: lio.server.create(new, SCSI_ID),
        lambda: lio.server.remove(other),
        lambda: lio.server.grow(vol, 2 << 20),
        lambda: lio.server.close(other),
    ):
        with pytest.raises(StorageError, match=f"lacks {re.escape(vol.iqn)}/tpgt_1/{late}, .* restart") as caught:
            refuses()
        assert caught.value.code == "incomplete"
        assert (chap.password in str(caught.value), lio.left(), lio.root(SAVED)) == (False, left, saved)
    assert not gets_in(lio, chap, 2), "it is closed, although that could not be saved"

    lio.restart()

    assert lio.server.targets() == offered
    assert lio.portals(1) == [str(PORTAL)]
    lio.server.close(other)
    lio.restart()
    assert lio.server.observe(other) == Exposure(True)


def test_what_an_admin_removed_and_saved_is_not_missed(lio: LioWorld, vol: Volume) -> None:
    other = volume(2, "SN2", 1 << 20)
    lio.make(1, SERIAL)
    lio.server.create(other, SCSI_ID)
    lio.lose(1, "lun/lun_1")
    assert code_of(lio.server.open, other, [HERE], lio.host) == "incomplete"

    lio.root("targetctl save")

    assert gets_in(lio, lio.server.open(other, [HERE], lio.host), 2)


def test_a_target_that_is_gone(lio: LioWorld, vol: Volume) -> None:
    assert lio.server.targets() == []
    assert code_of(lio.server.open, vol, [HERE], lio.host) == "no-target"
    assert code_of(lio.server.close, vol) == "no-target"
    assert code_of(lio.server.grow, vol, 9 * MIB) == "no-target"
    assert lio.server.observe(vol) == Exposure(False)


def test_where_lio_does_not_run_nothing_is_made(lio: LioWorld, vol: Volume) -> None:
    lio.stop_daemon()
    assert code_of(lio.server.create, vol, SCSI_ID) == "daemon-down"
    assert code_of(lio.server.remove, vol) == "daemon-down"
    assert code_of(lio.server.close, vol) == "daemon-down"
