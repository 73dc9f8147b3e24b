"""Python programs in processes forked from one that has all of one_iscsi: most of a short command is imports."""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import posix
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

LATE = ("cryptography.fernet", "lxml.etree", "peewee", "pymysql", "pyone", "sh")


class Forked:
    """``forked([PROGRAM, WORD…], env)`` is ``subprocess.run([sys.executable, PROGRAM, WORD…], env=env, …)``, without
    input and with its output as text. It may take ``limit`` seconds."""

    def __init__(self, limit: float = 120) -> None:
        self._limit = limit
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def __call__(self, words: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        out, err = (os.memfd_create(name) for name in ("out", "err"))
        answer, theirs = socket.socketpair()
        with open(out, "w+") as stdout, open(err, "w+") as stderr, answer:
            request = json.dumps([list(words), dict(env)]).encode()
            with theirs:
                socket.send_fds(self._requests, [request], [theirs.fileno(), out, err])
            answer.settimeout(self._limit)
            code = int(answer.recv(16))
            stdout.seek(0), stderr.seek(0)
            return subprocess.CompletedProcess(words, code, stdout.read(), stderr.read())

    def stop(self) -> None:
        self._requests.close()
        self._server.wait(60)


def serve(requests: socket.socket) -> None:
    """Fork for each request; returns only in the process that is to be the program, with its words in sys.argv."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        request, received, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not request:
            sys.exit()
        if not os.fork():
            break
        for number in received:
            os.close(number)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    requests.close()
    answer, *streams = received
    program = os.fork()
    if program:
        code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
        os.write(answer, str(code).encode())
        posix._exit(0)  # os._exit is coverage's, which would save what this process did: nothing
    os.close(answer)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv[:], env = json.loads(request)
    os.environ.clear()
    os.environ.update(env)


def import_all() -> None:
    package = importlib.import_module("one_iscsi")
    for module in pkgutil.walk_packages(package.__path__, "one_iscsi."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)
    if coverage := sys.modules.get("coverage"):
        # What was measured so far; else every process would write that once more, which takes half as long as it lives.
        coverage.Coverage.current().save()
    gc.freeze()


if __name__ == "__main__":
    import_all()
    serve(socket.socket(fileno=int(sys.argv[1])))
    sys.path[0] = os.path.dirname(sys.argv[0])
    code: Any = 1
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is taken apart: that costs as much as a short command. coverage saves all the same
