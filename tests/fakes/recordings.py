"""What the real programs printed (tests/data/node), with other names."""

from __future__ import annotations

import os

RECORDINGS = f"{os.path.dirname(__file__)}/../data/node"

_NAMES = {
    "iqn": ("iqn.2024-01.lab:t1", "iqn.2024-01.lab:t2", "iqn.2024-01.lab:absent"),
    "portal": ("127.0.0.1,3260", "127.0.0.1,3999"),
    "sid": ("sid: 1",),
    "link": ("/dev/disk/by-path/ip-127.0.0.1:3260-iscsi-iqn.2024-01.lab:nosuch-lun-1", "/dev/disk/by-path/nosuch"),
    "domain": ("nosuch",),
    "vdev": ("xvdb", "xvdd", "51728"),
    "target": ("vdb",),
    "wwid": ("3600140500c0ffee00c0ffee000000000",),
}


def recorded(name: str, **names: object) -> tuple[str, str, int]:
    """stdout, stderr and exit code of a recorded call. ``names``: what to put in the place of the recorded names; their
    keys are those of the table."""
    with open(f"{RECORDINGS}/{name}.txt") as file:
        _, _, text = file.read().partition("--- stdout\n")
    for key, value in names.items():
        assert any(old in text for old in _NAMES[key]), f"{name} tells no {key}"
        for old in _NAMES[key]:
            text = text.replace(old, str(value))
    stdout, _, rest = text.partition("--- stderr\n")
    stderr, _, ended = rest.rpartition("--- rc=")
    return stdout, stderr, int(ended.split()[0])
