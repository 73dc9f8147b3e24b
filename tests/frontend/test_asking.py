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
from waiting import lives, wait_for

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


def _children() -> set[int]:
    return {int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def _ask(oned, asker: Asker, limit: float = 10.0) -> object:
    return asker.ask(limit, oned.endpoint, oned.session, "whoami")


def _started(oned) -> tuple[Asker, int]:
    """One that has answered, and the number of its process."""
    before = _children()
    asker = Asker()
    assert _ask(oned, asker) == (0, 0)
    (process,) = _children() - before
    return asker, process


def test_one_process_answers_all_questions_and_ends_with_its_asker(oned):
    before = _children()
    asker, process = _started(oned)
    assert [_ask(oned, asker) for _ in range(2)] == [(0, 0)] * 2
    assert _children() - before == {process}
    del asker
    assert not lives(process)
    assert process not in _children()


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
    asker, process = _started(oned)
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: not lives(process))
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
    wait_for(lambda: not lives(process))
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
    asker, process = _started(oned)
    os.kill(process, signal.SIGSTOP)
    with pytest.raises(Late):
        _ask(oned, asker, 0.5)
    assert not lives(process)


def test_it_holds_nothing_open_that_is_its_parents(oned):
    ours, theirs = socket.socketpair()
    asker, process = _started(oned)
    theirs.close()
    ours.settimeout(5)
    assert ours.recv(1) == b""
    ours.close()
    streams = [os.readlink(f"/proc/{process}/fd/{number}") for number in (0, 1, 2)]
    assert streams == ["/dev/null"] * 3
    assert _ask(oned, asker) == (0, 0)
