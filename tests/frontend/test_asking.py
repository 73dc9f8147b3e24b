"""The process that asks oned: what becomes of it, and of questions, when something dies."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from one_iscsi.asking import Asker, Late
from one_iscsi.errors import FrontendError

SCRIPT = """
import os, sys, time
from one_iscsi.asking import Asker
asker = Asker()
asker.start()
print(asker._process._id, flush=True)
sys.stdin.read()
"""


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def _wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while not _is_gone(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def _ask(oned, asker: Asker, limit: float = 10.0) -> object:
    return asker.ask(limit, oned.endpoint, oned.session, "whoami")


def test_one_process_answers_all_questions_and_ends_with_its_asker(oned):
    before = set(_children(os.getpid()))
    asker = Asker()
    assert [_ask(oned, asker) for _ in range(3)] == [(0, 0)] * 3
    (process,) = set(_children(os.getpid())) - before
    del asker
    assert _is_gone(process)
    assert process not in _children(os.getpid())


def test_after_a_late_answer_there_is_a_new_process_and_the_old_answer_is_never_read(oned):
    asker = Asker()
    _ask(oned, asker)
    oned.fault("one.user.info", "hang")
    began = time.monotonic()
    with pytest.raises(Late):
        _ask(oned, asker, 0.4)
    assert 0.4 <= time.monotonic() - began < 3
    oned.reset()
    assert asker.ask(10, oned.endpoint, oned.session, "vm", 7).name == "web"


def test_a_killed_process_is_no_silent_oned(oned):
    before = set(_children(os.getpid()))
    asker = Asker()
    _ask(oned, asker)
    (process,) = set(_children(os.getpid())) - before
    os.kill(process, signal.SIGKILL)
    _wait_until_gone(process)
    with pytest.raises(FrontendError, match="ended with code -9"):
        _ask(oned, asker)
    assert _ask(oned, asker) == (0, 0)


def test_a_fork_of_the_program_asks_by_a_process_of_its_own(oned):
    asker = Asker()
    _ask(oned, asker)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if _ask(oned, asker) == (0, 0) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _ask(oned, asker) == (0, 0)


def test_it_ends_when_the_program_is_killed():
    program = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdin
    assert program.stdout
    process = int(program.stdout.readline())
    program.kill()
    program.wait()
    _wait_until_gone(process)
    program.stdin.close()
    program.stdout.close()


def test_whoever_reads_what_the_program_prints_does_not_wait_for_it(oned):
    """oned hangs, the user interrupts: the process still waits, and what is read from the program ends."""
    oned.fault("one.user.info", "hang")
    script = SCRIPT.replace("sys.stdin.read()", f"asker.ask(8, {oned.endpoint!r}, {oned.session!r}, 'whoami')")
    program = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert program.stdout
    process = int(program.stdout.readline())
    program.kill()
    began = time.monotonic()
    assert program.stdout.read() == ""
    assert time.monotonic() - began < 4
    program.wait()
    program.stdout.close()
    os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("call", ["fork", "pipe"])
def test_a_machine_that_has_no_room_for_it(oned, monkeypatch, call):
    """The second pipe, or the fork, is refused; then there is room again."""
    real, calls = getattr(os, call), []

    def refusing():
        calls.append(call)
        if len(calls) == (2 if call == "pipe" else 1):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real()

    frontend = oned.frontend()
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, call, refusing)
    with pytest.raises(FrontendError, match=r"oned cannot be asked \(Resource temporarily unavailable\)"):
        frontend.vm(7)
    assert os.listdir("/proc/self/fd") == before
    assert frontend.vm(7).name == "web"


def test_a_stopped_process_is_given_up(oned, monkeypatch):
    monkeypatch.setattr("one_iscsi.asking._SLACK", 0.5)
    before = set(_children(os.getpid()))
    asker = Asker()
    _ask(oned, asker)
    (process,) = set(_children(os.getpid())) - before
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(Late):
        _ask(oned, asker, 0.5)
    assert _is_gone(process)


def test_it_holds_nothing_open_that_is_its_parents(oned):
    before = set(_children(os.getpid()))
    ours, theirs = socket.socketpair()
    asker = Asker()
    _ask(oned, asker)
    (process,) = set(_children(os.getpid())) - before
    theirs.close()
    ours.settimeout(5)
    assert ours.recv(1) == b""
    ours.close()
    streams = [os.readlink(f"/proc/{process}/fd/{number}") for number in (0, 1, 2)]
    assert streams == ["/dev/null"] * 3
    assert _ask(oned, asker) == (0, 0)
