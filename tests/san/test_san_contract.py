"""What every storage server with tgt does: told once, for the fake and for the real tgtd (see worlds.py)."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.world import use_shell
from waiting import wait_for
from worlds import HOST, Fake, Real, Refused, volume

from one_iscsi.errors import BadInput, StorageError
from one_iscsi.model import Chap
from one_iscsi.remote import Remote
from one_iscsi.san import Exposure, Session, server

HERE = "127.0.0.1"
ELSEWHERE = "10.9.9.9"
RECORDED = Path(__file__).parents[1] / "data" / "tgt" / "show.txt"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(b"secrets of a tenant.." * 500_000)
    return path


def code_of(call: object, *arguments: object) -> str:
    with pytest.raises(StorageError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return caught.value.code


def refused(world: Fake | Real, number: int, chap: Chap | None) -> bool:
    try:
        with world.session(number, chap):
            return False
    except Refused:
        return True


def test_the_real_size_and_the_identity_of_every_disk_are_told(world: Fake | Real, disk: Path) -> None:
    world.make(1, disk)
    world.make(2, disk, serial="SN0001", scsi_id="0123456789abcdef")

    first, second = world.server.targets()

    assert (first.iqn, first.lun, first.path) == (volume(1).iqn, 1, str(disk))
    assert first.size_bytes == 10_500_000 // 512 * 512  # tgt tells "10 MB", and no initiator sees half a block
    assert (first.serial, first.default_identity) == ("beaf11", True)
    assert (second.serial, second.scsi_id, second.default_identity) == ("SN0001", "0123456789abcdef", False)
    assert first.addresses == first.sessions == ()
    assert world.server.target(volume(2)) == second


def test_both_worlds_tell_it_as_it_was_recorded(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    world.make(2, disk, serial="SN0001", scsi_id="0123456789abcdef")
    world.let_in(2, "ALL")
    world.let_in(2, "iqn.2026-01.com.example:friend")
    with world.session(1, world.server.open(vol, [HERE], HOST)):
        shown = world.tgtadm("--op", "show", "--mode", "target").replace(str(disk), "/srv/disk.img")
    shown = re.sub(r"I_T nexus: \d+", "I_T nexus: 7", re.sub(r"Initiator: \S+", "Initiator: iqn.host", shown))
    assert shown == RECORDED.read_text()


def test_a_server_without_targets(world: Fake | Real) -> None:
    assert world.server.targets() == []


def test_a_target_whose_file_is_gone_has_no_size(world: Fake | Real, disk: Path) -> None:
    world.make(1, disk)
    disk.unlink()
    assert [target.size_bytes for target in world.server.targets()] == [0]


def test_a_target_that_is_gone(world: Fake | Real, disk: Path) -> None:
    world.make(1, disk)
    gone = world.make(2, disk)
    world.remove(2)

    for call in (world.server.target, world.server.close, world.server.drop):
        assert code_of(call, gone) == "no-target"
    assert code_of(world.server.open, gone, [HERE], HOST) == "no-target"
    assert code_of(world.server.start_wipe, gone, "job") == "no-target"
    assert world.server.observe(gone) == Exposure(False)


def test_nobody_gets_into_a_new_target(world: Fake | Real, disk: Path) -> None:
    world.make(1, disk)
    assert refused(world, 1, None)


def test_only_the_right_secret_gets_in(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)

    chap = world.server.open(vol, [HERE], HOST)

    assert chap is not None
    assert re.fullmatch(r"[A-Za-z0-9]{16}", chap.password)
    assert chap.password not in repr(chap)
    assert refused(world, 1, None)
    assert refused(world, 1, Chap(chap.user, "x" * 16))
    with world.session(1, chap):
        seen = world.server.observe(vol)
        assert seen.present
        assert seen.addresses == (HERE,)
        assert [session.address for session in seen.sessions] == [HERE]
        assert seen.sessions == world.server.target(vol).sessions
        assert isinstance(seen.sessions[0], Session)
        assert seen.sessions[0].initiator.startswith("iqn.")
    assert world.server.observe(vol).sessions == ()


def test_only_the_address_it_is_open_to_gets_in(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    chap = world.server.open(vol, [ELSEWHERE], HOST)
    assert refused(world, 1, chap)


def test_a_host_that_has_several_addresses_gets_in_from_each(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    chap = world.server.open(vol, [ELSEWHERE, HERE], HOST)
    assert sorted(world.server.observe(vol).addresses) == sorted([ELSEWHERE, HERE])
    with world.session(1, chap):
        assert world.server.open(vol, [HERE, ELSEWHERE], HOST) != chap
        assert code_of(world.server.open, vol, [ELSEWHERE], HOST) == "in-use"
    world.server.close(vol)
    assert world.server.observe(vol).addresses == ()


def test_opening_again_voids_the_old_secret_and_every_other_way_in(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    for access in ("ALL", ELSEWHERE, "iqn.2026-01.com.example:friend"):
        world.let_in(1, access)
    old = world.server.open(vol, [ELSEWHERE], HOST)

    new = world.server.open(vol, [HERE], HOST)

    assert world.server.observe(vol).addresses == (HERE,)
    assert refused(world, 1, old)
    with world.session(1, new):
        assert world.server.open(vol, [HERE], HOST) != new  # its own session may stay
        assert world.server.observe(vol).sessions


def test_a_volume_somebody_else_uses_is_not_opened(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    with world.session(1, world.server.open(vol, [HERE], HOST)) as is_in:
        assert code_of(world.server.open, vol, [ELSEWHERE], HOST) == "in-use"
        assert is_in()
    assert world.server.observe(vol).addresses == (HERE,)


def test_nothing_but_an_address_can_be_opened_to(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    for address in ("ALL", "10.0.0.0/8", "", "host1"):
        with pytest.raises(BadInput):
            world.server.open(vol, [address], HOST)
    assert world.server.observe(vol).addresses == ()


def test_addresses_of_the_sixth_version(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    world.server.open(vol, ["FD00:0::1"], HOST)
    assert world.server.observe(vol).addresses == ("fd00::1",)


def test_closing_drops_the_session_and_keeps_it_out(world: Fake | Real, disk: Path) -> None:
    vol, other = world.make(1, disk), world.make(2, disk)
    world.server.open(other, [HERE], HOST)
    chap = world.server.open(vol, [HERE], HOST)
    with world.session(1, chap) as is_in:
        world.server.close(vol)
        assert not is_in()
    assert world.server.observe(vol) == Exposure(True)
    assert refused(world, 1, chap)
    assert world.accounts() == {other.iqn}

    world.server.close(vol)  # again

    assert world.server.observe(other).addresses == (HERE,)


def test_closing_a_target_its_admin_left_open_to_all(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    world.let_in(1, "ALL")
    with world.session(1, None) as is_in:
        world.server.drop(vol)
        assert not is_in()
    assert refused(world, 1, None)


def test_a_daemon_that_is_down(world: Fake | Real, disk: Path) -> None:
    vol = world.make(1, disk)
    world.stop_daemon()
    assert code_of(world.server.targets) == "daemon-down"
    assert code_of(world.server.open, vol, [HERE], HOST) == "daemon-down"
    assert code_of(world.server.close, vol) == "daemon-down"


def test_a_daemon_that_dies_in_its_answer(fake: Fake, disk: Path) -> None:
    """tgtadm ends with 0, and a list may end anywhere: a target that is not in it would be taken for gone."""
    vol = fake.make(1, disk)
    for act in (
        fake.server.targets,
        lambda: fake.server.target(vol),
        lambda: fake.server.open(vol, [HERE], HOST),
        lambda: fake.server.open(vol, [ELSEWHERE], HOST),
        lambda: fake.server.close(vol),
    ):
        assert set(fake.deaths(act)) == {"daemon-down"}


def test_a_daemon_that_is_killed_while_it_is_asked(real: Real, disk: Path) -> None:
    vol = real.make(1, disk)
    for act in (real.server.targets, lambda: real.server.open(vol, [HERE], HOST)):
        real.freeze_daemon()
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(code_of, act)
            wait_for(lambda: real.processes("tgtadm"))
            real.stop_daemon()
            assert asked.result() == "daemon-down"
        real.restart_daemon()
        real.make(1, disk)


def test_a_secret_is_in_no_log_of_the_server(real: Real, disk: Path) -> None:
    chap = real.server.open(real.make(1, disk), [HERE], HOST)
    assert chap is not None
    assert "tgtadm" in (real.directory / "sudo.log").read_text()
    for log in real.directory.glob("*.log"):
        assert chap.password not in log.read_text()


def test_an_initiator_that_comes_back_is_kept_out(fake: Fake, disk: Path) -> None:
    vol = fake.make(1, disk)
    chap = fake.server.open(vol, [HERE], HOST)
    with fake.session(1, chap, returns=True) as is_in:
        fake.server.close(vol)
        assert not is_in()


def test_a_session_that_cannot_be_dropped_is_an_error(fake: Fake, disk: Path) -> None:
    vol = fake.make(1, disk)
    with fake.session(1, fake.server.open(vol, [HERE], HOST), stays=True):
        assert code_of(fake.server.close, vol) == "still-in"
        assert fake.server.observe(vol).addresses == ()


def test_two_steps_for_one_volume_wait_for_each_other(fake: Fake, disk: Path) -> None:
    vol = fake.make(1, disk)
    (fake.tools / "flock").write_text("#!/bin/sh\nexit 1\n")
    (fake.tools / "flock").chmod(0o755)
    assert code_of(fake.server.open, vol, [HERE], HOST) == "busy"


def test_the_scripts_run_in_bash_where_there_is_no_dash(fake: Fake, disk: Path) -> None:
    use_shell(fake.tools, "bash")
    fake.server = server(replace(fake.row, ssh_host="localhost"), Remote())  # OpenNebula's wrappers need bash
    vol = fake.make(1, disk)
    fake.let_in(1, "ALL")
    with fake.session(1, None):
        fake.server.open(vol, [HERE], HOST)
        fake.server.close(vol)
    assert fake.server.target(vol).size_bytes == 10_500_000 // 512 * 512
    job = f"test-{os.getpid()}-bash"
    fake.server.start_wipe(vol, job)
    wait_for(lambda: fake.server.wipe_status(vol, job).state == "done")
    for left in Path("/var/tmp/one_iscsi/wipe").glob(f"{job}*"):
        left.unlink()
