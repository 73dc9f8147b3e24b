"""What the real programs printed (tests/data/node), with other names."""

from __future__ import annotations

import re
from pathlib import Path

RECORDINGS = Path(__file__).resolve().parents[1] / "data" / "node"


def recorded(name: str, **names: object) -> tuple[str, str, int]:
    """stdout, stderr and exit code of a recorded call. ``names``: what to put in the place of the recorded names; their
    keys are those of the table."""
    table = {
        "iqn": r"iqn\.2024-01\.(?:org\.)?lab:\w+",
        "portal": r"127\.0\.0\.1,\d+",
        "sid": r"(?<=sid: )\d+",
        "link": r"/dev/disk/by-path/\S+?(?=:? |:|$)",
        "domain": r"\b(?:one-\d|nosuch)\b",
        "vdev": r"\bxvd\w\b|(?<=id )\d{5}\b|(?<=vbd/1/)\d{5}\b",
        "target": r"\bvd\w\b",
        "wwid": r"\b36001\w+",
    }
    text = (RECORDINGS / f"{name}.txt").read_text()
    match = re.fullmatch(r"\$ .*?\n--- stdout\n(.*)--- stderr\n(.*)--- rc=(\d+) .*\n", text, re.DOTALL)
    assert match, f"{name} is no recording"
    stdout, stderr = match[1], match[2]
    for key, value in names.items():
        stdout, stderr = (re.sub(table[key], lambda _: str(value), part) for part in (stdout, stderr))  # noqa: B023
    return stdout, stderr, int(match[3])
