"""Wiping: the shell part that runs where the device is (a storage server or a node), and its answer.

The script that uses it holds the volume's lock, makes sure that nobody else writes, then calls ``wipe_start DEVICE`` or
``wipe_status``.
"""

from __future__ import annotations

from pathlib import Path

from one_iscsi.remote import Answer, common, compact
from one_iscsi.san.base import WipeStatus

SCRIPT = Path(__file__).with_name("scripts") / "wipe.sh"


def values(job: str, start: int = 0, rate: int = 0) -> dict[str, str]:
    """The values of ``wipe.sh``: the job is told its own script, for it runs on after the one that starts it.

    It begins at the byte ``start`` and writes ``rate`` bytes a second (0: as fast as it can).
    """
    script = f"{common()}\n{compact(SCRIPT.read_text())}"
    return {"JOB": job, "FROM": str(start), "RATE": str(rate), "WIPE_SCRIPT": script}


def status(answer: Answer) -> WipeStatus:
    """What ``wipe_status`` answered."""
    return WipeStatus(
        answer.get("STATE"), int(answer.get("OFFSET", "0")), int(answer.get("SIZE", "0")), answer.get("TEXT")
    )
