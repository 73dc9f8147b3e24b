"""Making, growing and removing volumes on tgt: told once, for the fakes and for the real tgtd (see worlds.py)."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from worlds import HOST, Fake, Real, Refused, volume

from one_iscsi.errors import BadInput, StorageError
from one_iscsi.model import Chap, Volume
from one_iscsi.remote import Remote
from one_iscsi.san import Exposure, server

MIB = 1 << 20
HERE, ELSEWHERE = "127.0.0.1", "10.9.9.9"
SERIAL, SCSI_ID = "00c0ffee00c0ffee", "0123456789abcdef"


# Whatever makes volumes does so; what is not marked is about tgt's configuration.
on_all = pytest.mark.parametrize("world", ["fake", "making", "real"], indirect=True)


@pytest.fixture
def vol() -> Volume:
    return volume(1, SERIAL, 8 * MIB)


def code_of(call: object, *arguments: object) -> str:
    with pytest.raises(StorageError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return caught.value.code


def gets_in(world: Fake | Real, number: int, chap: Chap | None) -> bool:
    try:
        with world.session(number, chap):
            return True
    except Refused:
        return False


def left(world: Fake | Real) -> list[str]:
    """Everything there is on the server."""
    shown = world.tgtadm("--op", "show", "--mode", "target")
    return [*world.files(), *re.findall(r"^Target \d+: (.*)", shown, re.MULTILINE), *world.accounts()]


@on_all
def test_the_room_is_told(world: Fake | Real) -> None:
    assert world.server.can_create
    capacity = world.server.capacity()
    assert capacity.total_bytes == 64 * MIB
    assert 63 * MIB < capacity.free_bytes <= 64 * MIB


@on_all
def test_a_new_volume_has_the_size_and_the_identity_it_was_given_and_nobody_gets_in(
    world: Fake | Real, vol: Volume
) -> None:
    made = world.server.create(vol, SCSI_ID)

    assert (made.iqn, made.lun, made.size_bytes) == (vol.iqn, 1, 8 * MIB)
    assert (made.serial, made.scsi_id, made.default_identity) == (SERIAL, SCSI_ID, False)
    assert (made.addresses, made.sessions) == ((), ())
    assert made == world.server.target(vol)
    store = Path(made.path)
    assert store.read_bytes() == bytes(8 * MIB)
    assert store.stat().st_blocks * 512 == 8 * MIB  # the room is taken now, not when the guest writes
    assert world.server.capacity().free_bytes <= 56 * MIB
    assert not gets_in(world, 1, None)


def test_its_files_are_roots_alone(world: Fake | Real, vol: Volume) -> None:
    made = world.server.create(vol, SCSI_ID)
    [config] = (world.etc / "conf.d").iterdir()
    assert {oct(path.stat().st_mode & 0o777) for path in (Path(made.path), config)} == {"0o600"}


@on_all
def test_what_is_made_is_not_made_again(world: Fake | Real, vol: Volume) -> None:
    made = world.server.create(vol, SCSI_ID)
    Path(made.path).write_bytes(b"x" * made.size_bytes)
    chap = world.server.open(vol, [HERE], HOST)

    assert world.server.create(vol, SCSI_ID) == replace(made, addresses=(HERE,))

    assert Path(made.path).read_bytes() == b"x" * made.size_bytes
    assert gets_in(world, 1, chap)


@on_all
def test_two_at_once(world: Fake | Real) -> None:
    made = {}
    servers = [server(world.row, Remote(connect_timeout=5)) for _ in range(3)]

    def make(number: int) -> None:
        made[number] = servers[number - 1].create(volume(number, f"SN{number}", MIB), f"{number:016x}")

    threads = [threading.Thread(target=make, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(target.iqn for target in made.values()) == [volume(number).iqn for number in (1, 2, 3)]
    assert {target.serial for target in world.server.targets()} == {"SN1", "SN2", "SN3"}


@on_all
def test_a_removed_volume_leaves_nothing(world: Fake | Real, vol: Volume) -> None:
    world.server.create(vol, SCSI_ID)
    world.server.open(vol, [HERE], HOST)

    world.server.remove(vol)

    assert left(world) == []
    assert world.server.observe(vol) == Exposure(False)
    world.server.remove(vol)  # again


@on_all
def test_a_volume_in_use_is_not_removed(world: Fake | Real, vol: Volume) -> None:
    world.server.create(vol, SCSI_ID)
    before = left(world)
    with world.session(1, world.server.open(vol, [HERE], HOST)) as is_in:
        assert code_of(world.server.remove, vol) == "in-use"
        assert is_in()
    assert left(world) == [*before, vol.iqn]  # its account


@on_all
def test_what_somebody_else_made_is_neither_taken_over_nor_removed(world: Fake | Real, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"x" * MIB)
    vol = replace(world.make(1, disk, "SN1"), size_bytes=2 * MIB)
    for call in (
        lambda: world.server.create(vol, SCSI_ID),
        lambda: world.server.remove(vol),
        lambda: world.server.grow(vol, 4 * MIB),
    ):
        assert code_of(call) == "foreign"
    assert left(world) == [vol.iqn]
    assert disk.read_bytes() == b"x" * MIB


@on_all
def test_a_server_knows_what_was_made_for_us(world: Fake | Real, vol: Volume, tmp_path: Path) -> None:
    made = world.server.create(vol, SCSI_ID)
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"x" * MIB)
    foreign = world.make(2, disk, "SN2")

    assert world.server.has_made(made)
    assert server(replace(world.row, location=""), Remote(connect_timeout=5)).has_made(made)
    assert not world.server.has_made(world.server.target(foreign))


def test_a_store_of_ours_that_is_gone_is_not_confirmed(world: Fake | Real, vol: Volume) -> None:
    made = world.server.create(vol, SCSI_ID)
    Path(made.path).unlink()
    assert code_of(world.server.has_made, made) == "no-target"


@on_all
def test_a_closed_volume_grows_and_keeps_its_data_and_identity(world: Fake | Real, vol: Volume) -> None:
    made = world.server.create(vol, SCSI_ID)
    Path(made.path).write_bytes(b"x" * 8 * MIB)

    grown = world.server.grow(vol, 16 * MIB)

    assert grown == replace(made, size_bytes=16 * MIB)
    assert Path(made.path).read_bytes() == b"x" * 8 * MIB + bytes(8 * MIB)
    assert world.server.grow(vol, 4 * MIB) == grown  # never smaller
    assert gets_in(world, 1, world.server.open(vol, [HERE], HOST))


@on_all
def test_a_volume_in_use_does_not_grow(world: Fake | Real, vol: Volume) -> None:
    made = world.server.create(vol, SCSI_ID)
    with world.session(1, world.server.open(vol, [HERE], HOST)) as is_in:
        with pytest.raises(StorageError, match=f"{HOST[:4]}.* is logged in to .*, and tgt fixes the size") as caught:
            world.server.grow(vol, 16 * MIB)
        assert is_in()
    assert caught.value.code == "cannot-grow"
    assert Path(made.path).stat().st_size == 8 * MIB


@on_all
def test_where_there_is_no_room_nothing_is_left(world: Fake | Real, vol: Volume) -> None:
    assert code_of(world.server.create, replace(vol, size_bytes=65 * MIB), SCSI_ID) == "no-space"
    assert left(world) == []
    world.server.create(vol, SCSI_ID)
    assert code_of(world.server.grow, vol, 65 * MIB) == "no-space"
    assert world.server.target(vol).serial == SERIAL


@on_all
def test_a_place_that_cannot_be_is_told_beforehand(world: Fake | Real, vol: Volume) -> None:
    def at(location: str) -> object:
        return server(replace(world.row, location=location), Remote(connect_timeout=5))

    assert code_of(at("file:/nowhere").capacity) == "no-location"  # type: ignore[attr-defined]
    nowhere = at("")
    assert not nowhere.can_create  # type: ignore[attr-defined]
    assert code_of(nowhere.create, vol, SCSI_ID) == "no-location"  # type: ignore[attr-defined]
    for nonsense in ("vg0", "lvm:", "lvm:a/b", "thin:a", "file:srv", "file:/a b", "file:/a/../b", "lvm:-x", "file:/"):
        with pytest.raises(BadInput, match="is malformed"):
            at(nonsense).capacity()  # type: ignore[attr-defined]


def test_a_tgt_that_would_not_read_our_files_is_told_beforehand(world: Fake | Real) -> None:
    (world.etc / "targets.conf").write_text("# include /etc/tgt/conf.d/*.conf\n")
    with pytest.raises(StorageError, match=r"lacks the line: include /etc/tgt/conf.d/\*.conf"):
        world.server.capacity()


@on_all
def test_a_daemon_that_is_down_makes_and_removes_nothing(world: Fake | Real, vol: Volume) -> None:
    world.stop_daemon()
    assert code_of(world.server.create, vol, SCSI_ID) == "daemon-down"
    assert code_of(world.server.remove, vol) == "daemon-down"
    assert world.files() == []


def test_a_daemon_that_dies_in_its_answer_makes_and_removes_nothing_half(fake: Fake, vol: Volume) -> None:
    for code in fake.deaths(lambda: fake.server.create(vol, SCSI_ID)):
        assert code == "daemon-down"
        assert not list((fake.etc / "conf.d").iterdir())
        assert fake.server.targets() == []
    assert fake.server.target(vol).serial == vol.serial
    assert set(fake.deaths(lambda: fake.server.remove(vol))) == {"daemon-down"}
    assert not list((fake.etc / "conf.d").iterdir())
    assert fake.server.targets() == []


# -- a restart of the daemon --------------------------------------------------------------------------------------


def test_after_a_restart_a_closed_volume_is_closed(real: Real, vol: Volume) -> None:
    made = real.server.create(vol, SCSI_ID)
    real.server.close(vol)
    chap = real.server.open(vol, [HERE], HOST)
    real.server.close(vol)

    real.restart_daemon()

    assert real.server.target(vol) == made
    assert real.server.observe(vol) == Exposure(True)
    assert not gets_in(real, 1, None)
    assert not gets_in(real, 1, chap)


def test_after_a_restart_only_who_was_let_in_gets_in(real: Real, vol: Volume) -> None:
    other = volume(2, "SN2", MIB)
    made = real.server.create(vol, SCSI_ID)
    real.server.create(other, "1" * 16)
    chap = real.server.open(vol, [ELSEWHERE, HERE], HOST)
    real.server.open(other, [ELSEWHERE], HOST)
    assert {oct(path.stat().st_mode & 0o777) for path in (real.etc / "conf.d").iterdir()} == {"0o600"}

    real.restart_daemon()

    assert gets_in(real, 1, chap)
    assert not gets_in(real, 1, None)
    assert not gets_in(real, 1, Chap(vol.iqn, "not-its-password"))
    assert not gets_in(real, 2, chap)
    assert real.server.observe(other).addresses == (ELSEWHERE,)
    assert real.server.target(vol) == replace(made, addresses=(ELSEWHERE, HERE))
    real.server.close(vol)
    assert not gets_in(real, 1, chap)


def test_a_volume_whose_store_was_missing_at_the_restart_can_be_closed(real: Real, vol: Volume) -> None:
    made = real.server.create(vol, SCSI_ID)
    real.server.open(vol, [HERE], HOST)
    os.rename(made.path, made.path + ".away")
    real.restart_daemon()
    assert code_of(real.server.target, vol) == "no-target"

    real.server.close(vol)

    os.rename(made.path + ".away", made.path)
    real.restart_daemon()
    assert real.server.target(vol) == made


def test_a_secret_is_only_where_root_alone_reads_it(real: Real, vol: Volume) -> None:
    real.server.create(vol, SCSI_ID)
    chap = real.server.open(vol, [HERE], HOST)
    assert chap is not None
    log = (real.directory / "sudo.log").read_text()
    assert "install -m 600 /dev/stdin" in log
    assert chap.password not in log
    [config] = (real.etc / "conf.d").iterdir()
    assert chap.password in config.read_text()
    real.server.close(vol)
    assert chap.password not in config.read_text()


# -- whatever fails, wherever it is killed ------------------------------------------------------------------------


def steps(world: Fake, call: object, *arguments: object) -> int:
    """How many commands the call runs as root."""
    world.at_call()
    call(*arguments)  # type: ignore[operator]
    return world.calls()


def test_a_creation_that_fails_leaves_nothing(fake: Fake, vol: Volume) -> None:
    count = steps(fake, fake.server.create, vol, SCSI_ID)
    fake.server.remove(vol)
    for number in range(1, count):  # the last command only looks
        fake.at_call(number, "fail")
        with pytest.raises(StorageError):
            fake.server.create(vol, SCSI_ID)
        fake.at_call()
        assert left(fake) == [], f"after the failure of command {number}"


def test_a_killed_creation_can_be_finished_or_removed(fake: Fake, vol: Volume) -> None:
    count = steps(fake, fake.server.create, vol, SCSI_ID)
    made = fake.server.target(vol)
    fake.server.remove(vol)
    for number in range(1, count + 1):
        for finish in (True, False):
            fake.at_call(number, "kill")
            assert code_of(fake.server.create, vol, SCSI_ID) == "unknown"
            fake.at_call()
            if finish:
                assert fake.server.create(vol, SCSI_ID) == made
                assert not gets_in(fake, 1, None)
            fake.server.remove(vol)
            assert left(fake) == [], f"killed at command {number}"


def test_a_killed_removal_can_be_finished(fake: Fake, vol: Volume) -> None:
    fake.server.create(vol, SCSI_ID)
    count = steps(fake, fake.server.remove, vol)
    for number in range(1, count + 1):
        fake.server.create(vol, SCSI_ID)
        fake.server.open(vol, [ELSEWHERE], HOST)
        fake.at_call(number, "kill")
        assert code_of(fake.server.remove, vol) == "unknown"
        fake.at_call()
        fake.server.remove(vol)
        assert left(fake) == [], f"killed at command {number}"


def test_a_killed_growth_can_be_finished(fake: Fake, vol: Volume) -> None:
    made = fake.server.create(vol, SCSI_ID)
    count = steps(fake, fake.server.grow, vol, 9 * MIB)
    for number in range(1, count + 1):
        size = (9 + number) * MIB
        fake.at_call(number, "kill")
        assert code_of(fake.server.grow, vol, size) == "unknown"
        fake.at_call()
        assert fake.server.grow(vol, size) == replace(made, size_bytes=size), f"killed at command {number}"
