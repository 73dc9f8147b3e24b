"""A volume is open to the host of its VM, with a secret of its own, and to nobody else."""

from __future__ import annotations

from pathlib import Path

from rig import Desk, Lab

# Who goes to 127.0.0.2 comes from 127.0.0.1, the address the volume is open to; who goes to 10.0.2.15 comes from there.
SAME_ADDRESS, OTHER_ADDRESS, OTHER_FAMILY = "127.0.0.2:3260", "10.0.2.15:3260", "[::1]:3260"
LET_IN, NOT_YOU, WRONG_SECRET = 0, 19, 24


def test_only_the_host_of_the_vm_gets_in_and_only_with_its_secret(desk: Desk, lab: Lab, tmp_path: Path) -> None:
    desk.with_volume("v", "1M")
    assert lab.stranger("v", SAME_ADDRESS) == NOT_YOU

    desk.ok("attach", "7", "1M")
    assert "no volume is free" in desk.refused(4, "attach", "8", "1M")
    secret = lab.secret("v")

    assert lab.stranger("v", SAME_ADDRESS) == WRONG_SECRET
    assert lab.stranger("v", SAME_ADDRESS, "this-is-not-it-1") == WRONG_SECRET
    assert lab.stranger("v", SAME_ADDRESS, initiator="iqn.2026-01.com.example:stranger") == WRONG_SECRET
    assert lab.stranger("v", OTHER_ADDRESS, secret) == NOT_YOU
    assert lab.stranger("v", OTHER_FAMILY, secret) == NOT_YOU
    assert lab.stranger("v", SAME_ADDRESS, secret) == LET_IN

    assert not any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
    desk.ok("detach", "7", "v", "--keep", "--yes")
    assert lab.stranger("v", SAME_ADDRESS, secret) == NOT_YOU
    assert lab.leftovers() == []
