"""Wiping on real files: with the fake server the tools can be made slow or sick, with the real one all is as it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import lives, wait_for
from worlds import HOST, Fake, Real, volume

from one_iscsi.errors import StorageError
from one_iscsi.model import Volume
from one_iscsi.san import StorageServer, WipeStatus

HERE = "127.0.0.1"
MIB = 1024 * 1024
CHUNK = 128 * MIB


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for one wipe; whatever it left on this machine is removed."""
    name = f"test-{os.getpid()}-{time.monotonic_ns()}"
    yield name
    kill_job(name)
    for left in Path("/var/tmp/one_iscsi/wipe").glob(f"{name}*"):
        left.unlink()


def job_processes(job: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"wipe/{job}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def kill_job(job: str) -> None:
    """Kills the job and all it starts meanwhile, and waits until none of them holds its lock: a process lets go of
    that a moment after it is killed, when the kernel calls it a zombie, or nothing at all."""
    while pids := job_processes(job):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda pids=pids: not any(map(lives, pids)))


def finish(server: StorageServer, vol: Volume, job: str) -> WipeStatus:
    def over() -> WipeStatus | None:
        status = server.wipe_status(vol, job)
        return None if status.state == "running" else status

    status: WipeStatus = wait_for(over, 60)
    return status


def code_of(server: StorageServer, vol: Volume, job: str) -> str:
    with pytest.raises(StorageError) as caught:
        server.start_wipe(vol, job)
    return caught.value.code


def dirty(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for _ in range(0, size, MIB):
            file.write(os.urandom(MIB))
        file.truncate(size)
    return path


def is_zero(path: Path) -> bool:
    size = path.stat().st_size
    return subprocess.run(["cmp", "-s", "-n", str(size), path, "/dev/zero"]).returncode == 0


def tool(fake: Fake, name: str, script: str) -> Path:
    """A tool on the storage server that is not what it was; returns the log of its calls."""
    log = fake.tools / f"{name}.log"
    path = fake.tools / name
    path.write_text(f'#!/bin/sh\necho "$*" >>{log}\n{script}\n')
    path.chmod(0o755)
    return log


NOT_SUPPORTED = "echo 'fallocate: fallocate failed: Operation not supported' >&2; exit 1"


def test_every_byte_becomes_zero(world: Fake | Real, tmp_path: Path, job: str) -> None:
    path = dirty(tmp_path / "disk", 40 * MIB + 1000)
    vol = world.make(1, path)
    assert world.server.wipe_status(vol, job) == WipeStatus("absent")

    world.server.start_wipe(vol, job)

    size = 40 * MIB + 1000  # the file's, not the row's
    assert finish(world.server, vol, job) == WipeStatus("done", size, size)
    assert is_zero(path)
    assert path.stat().st_size == size


def test_only_what_a_volume_has_grown_by_is_wiped(world: Fake | Real, tmp_path: Path, job: str) -> None:
    path = dirty(tmp_path / "disk", 90 * MIB)
    before = path.read_bytes()
    vol = world.make(1, path)
    kept = 90 * MIB - 512 * 1024  # less than what is read back at once

    world.server.start_wipe(vol, job, kept)

    assert finish(world.server, vol, job) == WipeStatus("done", 90 * MIB, 90 * MIB)
    assert path.read_bytes() == before[:kept] + bytes(90 * MIB - kept)


def test_without_zero_ranges_zeros_are_written(fake: Fake, tmp_path: Path, job: str) -> None:
    tool(fake, "fallocate", NOT_SUPPORTED)
    path = dirty(tmp_path / "disk", 10 * MIB + 1000)
    vol = fake.make(1, path)
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).state == "done"
    assert is_zero(path)
    assert path.stat().st_size == 10 * MIB + 1000


def test_a_finished_job_started_again_wipes_again(world: Fake | Real, tmp_path: Path, job: str) -> None:
    path = dirty(tmp_path / "disk", 2 * MIB)
    vol = world.make(1, path)
    world.server.start_wipe(vol, job)
    finish(world.server, vol, job)
    dirty(path, 2 * MIB)

    world.server.start_wipe(vol, job)

    assert finish(world.server, vol, job).state == "done"
    assert is_zero(path)


def test_a_volume_that_is_open_or_in_use_is_not_touched(world: Fake | Real, tmp_path: Path, job: str) -> None:
    path = dirty(tmp_path / "disk", MIB)
    before = path.read_bytes()
    vol = world.make(1, path)
    chap = world.server.open(vol, [HERE], HOST)
    assert code_of(world.server, vol, job) == "in-use"
    with world.session(1, chap):
        assert code_of(world.server, vol, job) == "in-use"
    assert world.server.wipe_status(vol, job).state == "absent"
    assert path.read_bytes() == before


def test_another_disk_behind_the_name_is_not_touched(world: Fake | Real, tmp_path: Path, job: str) -> None:
    path = dirty(tmp_path / "disk", MIB)
    before = path.read_bytes()
    world.make(1, path, serial="SN0002")

    assert code_of(world.server, volume(1, serial="SN0001"), job) == "wrong-device"

    assert path.read_bytes() == before
    world.server.start_wipe(volume(1, serial="beaf91"), job)  # a number of tgt's own says nothing
    assert finish(world.server, volume(1), job).state == "done"


def gate(fake: Fake, at: int) -> Path:
    """The job stops before byte ``at`` until the file returned is there."""
    go = fake.tools / "go"
    wait = f"case $* in *'-o {at} '*) for _ in $(seq 300); do [ -e {go} ] && break; sleep 0.1; done ;; esac"
    tool(fake, "fallocate", f'{wait}\nexec /usr/bin/fallocate "$@"')
    return go


def test_a_killed_job_goes_on_where_it_was(fake: Fake, tmp_path: Path, job: str) -> None:
    go = gate(fake, CHUNK)
    path = dirty(tmp_path / "disk", MIB)
    os.truncate(path, 4 * CHUNK)
    vol = fake.make(1, path)
    fake.server.start_wipe(vol, job)
    wait_for(lambda: fake.server.wipe_status(vol, job).offset == CHUNK)

    kill_job(job)

    assert fake.server.wipe_status(vol, job) == WipeStatus("absent", CHUNK, 4 * CHUNK)
    go.touch()
    (fake.tools / "fallocate.log").unlink()
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).state == "done"
    chunks = portions(fake.tools / "fallocate.log")
    assert chunks[0][0] == CHUNK
    assert sum(length for _, length in chunks) == 3 * CHUNK
    assert is_zero(path)


def portions(log: Path) -> list[tuple[int, int]]:
    """Where each portion of a wipe began, and how long it was."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(int(words[words.index("-o") + 1]), int(words[words.index("-l") + 1])) for words in lines]


@pytest.mark.parametrize(("slowness", "grow"), [(0, True), (0.6, False)])
def test_a_fast_device_gets_larger_portions(fake: Fake, tmp_path: Path, job: str, slowness: float, grow: bool) -> None:
    log = tool(fake, "fallocate", f'sleep {slowness}; exec /usr/bin/fallocate "$@"')
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 8 * CHUNK)
    vol = fake.make(1, path)
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).state == "done"
    chunks = portions(log)
    assert (max(length for _, length in chunks) > CHUNK) == grow
    assert [begin for begin, _ in chunks[1:]] == [begin + length for begin, length in chunks[:-1]]
    assert sum(chunks[-1]) == 8 * CHUNK


def test_every_portion_is_on_the_medium_before_it_counts(fake: Fake, tmp_path: Path, job: str) -> None:
    """After a power cut the job goes on at its offset, and what is before must be zeros then."""
    log = tool(fake, "sync", f'grep -h OFFSET /var/tmp/one_iscsi/wipe/{job} >>"$0.log"')
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 3 * CHUNK)
    vol = fake.make(1, path)
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).state == "done"
    assert log.read_text().splitlines()[:4] == [str(path), "OFFSET=0", str(path), f"OFFSET={CHUNK}"]


def test_a_file_system_without_direct_io_is_written_through_its_cache(fake: Fake, tmp_path: Path, job: str) -> None:
    tool(fake, "fallocate", NOT_SUPPORTED)
    refuses = "echo \"dd: failed to open 'disk': Invalid argument\" >&2; exit 1"
    log = tool(fake, "dd", f'case $* in *direct*) {refuses} ;; esac; exec /usr/bin/dd "$@"')
    path = dirty(tmp_path / "disk", 10 * MIB + 1000)
    vol = fake.make(1, path)
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).state == "done"
    assert "seek_bytes,nocache" in log.read_text()
    assert is_zero(path)


def test_a_job_has_a_session_of_its_own_and_starting_it_again_is_nothing(fake: Fake, tmp_path: Path, job: str) -> None:
    go = gate(fake, 0)
    vol = fake.make(1, dirty(tmp_path / "disk", MIB))
    for _ in range(3):
        fake.server.start_wipe(vol, job)
    wait_for((fake.tools / "fallocate.log").exists)
    sessions = set()
    for pid in job_processes(job):
        with contextlib.suppress(ProcessLookupError):  # whom the job started to ask for the time, say
            sessions.add(os.getsid(pid))
    assert len(sessions) == 1
    assert os.getsid(0) not in sessions
    assert fake.server.wipe_status(vol, job).state == "running"
    go.touch()
    assert finish(fake.server, vol, job).state == "done"
    assert len((fake.tools / "fallocate.log").read_text().splitlines()) == 1


def test_files_of_wipes_that_are_long_over_go_with_the_next_one(fake: Fake, tmp_path: Path, job: str) -> None:
    folder, month = Path("/var/tmp/one_iscsi/wipe"), 31 * 24 * 3600
    vol = fake.make(1, dirty(tmp_path / "disk", MIB))
    assert fake.server.wipe_status(vol, f"{job}-asked").state == "absent"  # makes the folder
    for name, age in (("old", month), ("young", 0), ("alive", month)):
        for file in (folder / f"{job}-{name}", folder / f"{job}-{name}.lock"):
            file.touch()
            os.utime(file, (time.time() - age,) * 2)
    with (folder / f"{job}-alive.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fake.server.start_wipe(vol, job)
        assert finish(fake.server, vol, job).state == "done"

    left = {path.name.removeprefix(f"{job}-") for path in folder.glob(f"{job}-*")}
    assert left == {"young", "young.lock", "alive", "alive.lock", "asked.lock"}


def test_a_full_file_system_is_a_failure(fake: Fake, tmp_path: Path, job: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        path = small / "disk"
        path.touch()
        os.truncate(path, 16 * MIB)
        vol = fake.make(1, path)
        fake.server.start_wipe(vol, job)
        status = finish(fake.server, vol, job)
        assert status.state == "failed"
        assert "No space left on device" in status.text
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.parametrize("sick", ["dd", "sync"])
def test_an_input_output_error_is_a_failure(fake: Fake, tmp_path: Path, job: str, sick: str) -> None:
    if sick == "dd":
        tool(fake, "fallocate", NOT_SUPPORTED)
    tool(fake, sick, f"echo '{sick}: error: Input/output error' >&2; exit 1")
    vol = fake.make(1, dirty(tmp_path / "disk", MIB))
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).text == f"{sick}: error: Input/output error"


def test_a_device_that_lies_is_found_out(fake: Fake, tmp_path: Path, job: str) -> None:
    tool(fake, "fallocate", "exit 0")
    vol = fake.make(1, dirty(tmp_path / "disk", 3 * MIB))
    fake.server.start_wipe(vol, job)
    status = finish(fake.server, vol, job)
    assert (status.state, status.text[:19]) == ("failed", "read back at byte 0")


def test_the_last_bytes_are_read_back(fake: Fake, tmp_path: Path, job: str) -> None:
    tool(fake, "fallocate", "exit 0")
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 300 * MIB)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    vol = fake.make(1, path)
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).text.startswith(f"read back at byte {299 * MIB}")


def test_a_missing_tool_is_a_failure(fake: Fake, tmp_path: Path, job: str) -> None:
    tool(fake, "cmp", "exit 127")
    vol = fake.make(1, dirty(tmp_path / "disk", MIB))
    fake.server.start_wipe(vol, job)
    status = finish(fake.server, vol, job)
    assert (status.state, status.text[:3]) == ("failed", "cmp")


def test_a_disk_whose_file_is_gone_is_refused(fake: Fake, tmp_path: Path, job: str) -> None:
    path = dirty(tmp_path / "disk", MIB)
    vol = fake.make(1, path)
    path.unlink()
    assert code_of(fake.server, vol, job) == "no-device"
    assert not path.exists()


def took(fake: Fake, vol: Volume, job: str, rate: int) -> float:
    """Seconds of a whole wipe; its job may wait, but not by running round and round."""
    began = time.monotonic()
    fake.server.start_wipe(vol, job, rate=rate)
    [first, *_] = wait_for(lambda: job_processes(job))
    cpu, left = 0, True
    while left:
        with contextlib.suppress(OSError):
            cpu = sum(map(int, Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[11:13]))
        left = fake.server.wipe_status(vol, job).state == "running"
    seconds = time.monotonic() - began
    assert finish(fake.server, vol, job).state == "done"
    assert cpu / os.sysconf("SC_CLK_TCK") < seconds / 10
    return seconds


@pytest.mark.parametrize("medium", ["a file", "a file, by dd", "a device", "a device, by dd"])
def test_no_more_is_written_in_a_second_than_is_allowed(
    fake: Fake, tmp_path: Path, job: str, medium: str, request: pytest.FixtureRequest
) -> None:
    if medium.startswith("a file"):
        path = backing = dirty(tmp_path / "disk", 20 * MIB)
    else:
        path, backing = request.getfixturevalue("loop"), tmp_path / "medium"
    if medium.endswith("dd"):
        for name in ("fallocate", "blkdiscard"):
            tool(fake, name, NOT_SUPPORTED)
    vol = fake.make(1, path)

    seconds = took(fake, vol, job, 6 * MIB)

    assert 20 / 6 <= seconds < 2 * 20 / 6
    assert is_zero(backing)


def test_what_was_lost_is_not_made_up_for(fake: Fake, tmp_path: Path, job: str) -> None:
    """The device stands still for two seconds; after that it is not faster than before."""
    log = tool(
        fake, "fallocate", f'[ "$4" != {4 * MIB} ] || sleep 2; date +%s.%N >>"$0.times"; exec /usr/bin/fallocate "$@"'
    )
    vol = fake.make(1, dirty(tmp_path / "disk", 16 * MIB))
    took(fake, vol, job, 4 * MIB)
    times = list(map(float, Path(f"{fake.tools}/fallocate.times").read_text().split()))
    assert len(times) == len(log.read_text().splitlines()) == 4
    assert times[1] - times[0] > 2
    assert times[3] - times[2] > 0.9


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A block device with a file system that is full of data."""
    path = dirty(tmp_path / "medium", 20 * MIB)
    found = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no loop device")
    device = Path(found.stdout.strip())
    yield device
    subprocess.run(["losetup", "-d", device], check=True)


def test_a_block_device_is_zeroed_by_its_driver(world: Fake | Real, loop: Path, tmp_path: Path, job: str) -> None:
    vol = world.make(1, loop)
    assert world.server.target(vol).size_bytes == 20 * MIB
    world.server.start_wipe(vol, job)
    assert finish(world.server, vol, job) == WipeStatus("done", 20 * MIB, 20 * MIB)
    assert is_zero(tmp_path / "medium")
    world.remove(1)


def test_without_the_driver_zeros_are_written_to_it(fake: Fake, loop: Path, tmp_path: Path, job: str) -> None:
    tool(fake, "blkdiscard", "echo 'blkdiscard: BLKZEROOUT ioctl failed: Operation not supported' >&2; exit 1")
    vol = fake.make(1, loop)
    fake.server.start_wipe(vol, job)
    assert finish(fake.server, vol, job).state == "done"
    assert is_zero(tmp_path / "medium")


def test_a_mounted_device_is_not_touched(fake: Fake, loop: Path, tmp_path: Path, job: str) -> None:
    subprocess.run(["mkfs.ext4", "-q", loop], check=True)
    (tmp_path / "mounted").mkdir()
    subprocess.run(["mount", loop, tmp_path / "mounted"], check=True)
    try:
        vol = fake.make(1, loop)
        fake.server.start_wipe(vol, job)
        status = finish(fake.server, vol, job)
    finally:
        subprocess.run(["umount", tmp_path / "mounted"], check=True)
    assert status.state == "failed"
    assert "busy" in status.text
    assert subprocess.run(["e2fsck", "-fn", loop], capture_output=True).returncode == 0
