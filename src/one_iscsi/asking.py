"""oned is asked by a process of its own.

pyone takes as long to import as everything else that a short command does before it knows what to ask: here both go on
at once. And only the end of a process ends every wait: pyone hands no timeout to requests (its ``timeout=`` sets a
socket default which urllib3 overrides), a timeout of requests starts anew with every byte of an answer that trickles,
and a name that is looked up cannot be interrupted at all.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any, BinaryIO


class Late(Exception):
    """A question took longer than its limit."""


class Asker:
    """The process; it is started by ``start`` or the first question, and anew after one that was late.

    Can be shared by threads, whose questions then wait for each other. It ends with whoever has started it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def start(self) -> None:
        """Let it import what it needs meanwhile."""
        if not self._process or self._process.parent != os.getpid():
            self._process = _Process()

    def ask(self, limit: float, *question: object) -> Any:
        """``oned.answer(*question)``, or what it raises; Late after ``limit`` seconds."""
        with self._lock:
            self.start()
            assert self._process  # noqa: S101
            try:
                reply = self._process.ask(limit, question)
            except BaseException:
                self._process = None  # it would give the next question the answer to this one
                raise
        if isinstance(reply, Exception):
            raise reply
        return reply


class _Process:
    def __init__(self) -> None:
        self.parent = os.getpid()
        theirs, questions = os.pipe()
        answers, replies = os.pipe()
        self._id = os.fork()
        if not self._id:
            os.close(questions)
            os.close(answers)
            _be_the_process(theirs, replies)
        os.close(theirs)
        os.close(replies)
        self._questions: BinaryIO = os.fdopen(questions, "wb", 0)
        self._answers: BinaryIO = os.fdopen(answers, "rb")

    def ask(self, limit: float, question: tuple[object, ...]) -> Any:
        import pickle

        try:
            self._questions.write(pickle.dumps((limit, question)))
            return pickle.load(self._answers)  # noqa: S301
        except (EOFError, BrokenPipeError):
            code = self._end()
            if code == -signal.SIGALRM:
                raise Late from None
            raise RuntimeError(f"the process that asks oned ended with code {code}") from None

    def _end(self) -> int:
        """Its exit code, once it has ended; it ends when nobody can ask it any more."""
        self._questions.close()
        self._answers.close()
        with suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(self._id, 0)[1])
        return -signal.SIGALRM  # most likely: whoever started us has SIGCHLD ignored, and so nobody knows

    def __del__(self) -> None:
        if self.parent == os.getpid() and not self._questions.closed:
            os.kill(self._id, signal.SIGKILL)
            self._end()


def _be_the_process(questions: int, answers: int) -> None:
    """Answer until nobody asks any more. Never returns."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # typed for our parent
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever reads what our parent prints does not wait for us
            os.dup2(nothing, stream)
        _answer_all(os.fdopen(questions, "rb"), os.fdopen(answers, "wb"))
    finally:
        os._exit(0)


def _answer_all(questions: BinaryIO, answers: BinaryIO) -> None:
    import gc
    import pickle

    gc.disable()  # an import makes no garbage, and looking for it is a tenth of the time
    with suppress(ImportError):  # it comes again, for somebody to hear
        import one_iscsi.oned  # noqa: F401
    gc.enable()
    while True:
        limit, question = pickle.load(questions)  # noqa: S301
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            from one_iscsi.oned import answer

            reply: object = answer(*question)
        except Exception as error:
            reply = error
        signal.setitimer(signal.ITIMER_REAL, 0)
        pickle.dump(reply, answers)
        answers.flush()
