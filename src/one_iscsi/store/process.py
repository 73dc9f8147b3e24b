"""Which process runs an operation, told apart from a later one that got the same pid."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from one_iscsi.model import Owner

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> Owner:
    """The identity of the calling process on this front end."""
    pid = os.getpid()
    started = _started(pid)
    assert started is not None, "a running process has an entry in /proc"  # noqa: S101
    return Owner(frontend=socket.gethostname(), pid=pid, started=started, boot=_boot_id())


def is_running(owner: Owner) -> bool:
    """Whether ``owner``, a process of this front end, still runs: same boot, and its pid has the same start time."""
    return owner.boot == _boot_id() and _started(owner.pid) == owner.started


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, None if there is none or only its zombie (proc(5), stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may hold anything: count from the last parenthesis, field 3.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])
