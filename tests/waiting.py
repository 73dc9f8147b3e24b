"""Waiting for what another process does, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(what: Callable[[], Any], seconds: float = 10) -> Any:
    """What ``what`` gives as soon as that is true."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found or time.monotonic() > end:
            assert found, "it did not happen in time"
            return found
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Whether there is such a process, other than its zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
