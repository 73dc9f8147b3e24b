"""oned is asked by a process of its own.

pyone takes as long to import as everything else that a short command does before it knows what to ask: here both go on
at once. And only the end of a process ends every wait: pyone hands no timeout to requests (its ``timeout=`` sets a
socket default which urllib3 overrides), a timeout of requests starts anew with every byte of an answer that trickles,
and a name that is looked up cannot be interrupted at all.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO, NoReturn

from one_iscsi.errors import FrontendError

#: Seconds the process may need besides, to start on a busy machine.
_SLACK = 30


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
        """Let it import what it needs meanwhile. OSError if there can be no further process."""
        self._running()

    def _running(self) -> _Process:
        if not self._process or self._process.parent != os.getpid():
            self._process = _Process()
        return self._process

    def ask(self, limit: float, *question: object) -> Any:
        """``oned.answer(*question)``, or what it raises; Late after ``limit`` seconds.

        FrontendError if somebody else ended the process, OSError as for ``start``.
        """
        with self._lock:
            process = self._running()
            try:
                reply = process.ask(limit, question)
            except BaseException:
                self._process = None  # it would give the next question the answer to this one
                raise
        if isinstance(reply, Exception):
            raise reply
        return reply


class _Process:
    def __init__(self) -> None:
        self.parent = os.getpid()
        with ExitStack() as if_it_fails:
            theirs, questions = self._pipe(if_it_fails)
            answers, replies = self._pipe(if_it_fails)
            # Typed for us, not for it: between the fork and the moment it looks away an interrupt has to wait.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._id = os.fork()
                if not self._id:
                    _be_the_process(theirs, replies)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            if_it_fails.pop_all()
        os.close(theirs)
        os.close(replies)
        self._questions: BinaryIO = os.fdopen(questions, "wb", 0)
        self._answers: BinaryIO = os.fdopen(answers, "rb")

    @staticmethod
    def _pipe(if_it_fails: ExitStack) -> tuple[int, int]:
        ends = os.pipe()
        for end in ends:
            if_it_fails.callback(os.close, end)
        return ends

    def ask(self, limit: float, question: tuple[object, ...]) -> Any:
        import pickle
        import select

        try:
            self._questions.write(pickle.dumps((limit, question)))
            answers = select.poll()
            answers.register(self._answers, select.POLLIN)
            if not answers.poll((limit + _SLACK) * 1000):
                raise Late  # it was stopped, or does not come to an end of its import
            return pickle.load(self._answers)  # noqa: S301
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._end()
            if code == -signal.SIGALRM:
                raise Late from None
            raise FrontendError(f"the process that asks oned ended with code {code}", "try again") from None
        except BaseException:
            self._send(signal.SIGKILL)  # it may wait for long
            raise

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._id, number)

    def _end(self) -> int:
        """Its exit code, once it has ended; it ends when nobody can ask it any more."""
        self._questions.close()
        self._answers.close()
        with suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(self._id, 0)[1])
        return -signal.SIGALRM  # most likely: whoever started us has SIGCHLD ignored, and so nobody knows

    def __del__(self) -> None:
        if self.parent == os.getpid() and hasattr(self, "_answers") and not self._answers.closed:
            self._send(signal.SIGCONT)  # or one that was stopped would not see that nobody asks any more
            self._end()


def _be_the_process(questions: int, answers: int) -> NoReturn:
    """Answer until nobody asks any more."""
    try:
        gc.freeze()  # what our parent has is not ours to close: its numbers will mean other files here
        for number in map(int, os.listdir("/proc/self/fd")):
            if number not in (0, 1, 2, questions, answers):
                with suppress(OSError):  # the folder's own
                    os.close(number)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGINT})
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever reads what our parent prints does not wait for us
            os.dup2(nothing, stream)
        _answer_all(os.fdopen(questions, "rb"), os.fdopen(answers, "wb"))
    finally:
        os._exit(0)


def _answer_all(questions: BinaryIO, answers: BinaryIO) -> None:
    import pickle

    gc.disable()  # an import makes no garbage, and looking for it is a tenth of the time
    with suppress(Exception):  # it comes again, for somebody to hear
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
