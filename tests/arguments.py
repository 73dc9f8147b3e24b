"""What everybody could see in ps."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


class Arguments:
    """The arguments of every process started meanwhile."""

    def __enter__(self) -> Arguments:
        self.lines: set[str] = set()
        self._old = set(os.listdir("/proc"))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.01):
            for process in set(os.listdir("/proc")) - self._old:
                with contextlib.suppress(OSError):
                    arguments = Path("/proc", process, "cmdline").read_bytes()
                    self.lines.add(arguments.replace(b"\0", b" ").decode(errors="replace"))
