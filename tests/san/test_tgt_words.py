"""What tgtadm tells, read by the shell: tgt.sh on texts that are recorded, odd or long."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS.parent / "src" / "one_iscsi" / "san" / "scripts" / "tgt.sh"
RECORDED = (TESTS / "data" / "tgt" / "show.txt").read_text()
V1, V2 = "iqn.2026-01.com.example:v1", "iqn.2026-01.com.example:v2"

ODD = """\
Target 7: iqn.2026-01.com.example:odd
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 3
            Initiator: iqn.a:x alias: LUN: 9
            Connection: 0
                IP Address: fd00::1
            Connection: 1
                IP Address: 10.0.0.1
        I_T nexus: 4
            Initiator: iqn.b
            Connection: 0
                IP Address: 10.0.0.2
    LUN information:
        LUN: 1
            Type: disk
            SCSI ID: IET     00010001
            SCSI SN: :Type: tape
            Size: 10 MB, Block size: 4096
            Online: Yes
            Backing store type: rdwr
            Backing store path: /srv/* of, Block size: 1 :LUN: 5
            Backing store flags:
    Account information:
        ann
        target (outgoing)
    ACL information:
        ALL
        255.255.255.255
        iqn.x:255.255.255.255
Target 17: iqn.2026-01.com.example:odd2
    LUN information:
    Account information:
    ACL information:
        10.0.0.9
"""


def shown(shell: str, text: str, iqn: str = "") -> list[str]:
    script = f"""export LC_ALL=C
{SCRIPT.read_text()}
tgt() {{ out=$TEXT; }}
show
printf %s "$shown"
[ "${{IFS-unset}}" = unset ] && set -- /et[c] && [ "$1" = /etc ] || echo the shell is changed
"""
    environment = {"IQN": iqn, "PATH": "/usr/bin:/bin"}
    # by standard input: an argument or a variable of the environment has room for 128 KiB
    command = [shell, "-c", f"TEXT=$(cat)\n{script}"]
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture(params=["bash", "dash"])
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_one_target_and_all_of_them(shell: str) -> None:
    first = [
        f"TARGET=1\t{V1}",
        "SESSION=7\t0\t127.0.0.1\tiqn.host",
        "DISK=1\t512\tIET     00010001\tbeaf11\t/srv/disk.img",
        f"ACCOUNT={V1}",
        "ACCESS=127.0.0.1",
    ]
    assert shown(shell, RECORDED, V1) == first
    assert shown(shell, RECORDED)[: len(first) + 1] == [*first, f"TARGET=2\t{V2}"]
    assert shown(shell, RECORDED, V1[:-1]) == shown(shell, "") == []


def test_values_that_look_like_something_else(shell: str) -> None:
    assert shown(shell, ODD, "iqn.2026-01.com.example:odd") == [
        "TARGET=7\tiqn.2026-01.com.example:odd",
        "SESSION=3\t0\tfd00::1\tiqn.a:x",
        "SESSION=3\t1\t10.0.0.1\tiqn.a:x",
        "SESSION=4\t0\t10.0.0.2\tiqn.b",
        "DISK=1\t4096\tIET     00010001\t:Type: tape\t/srv/* of, Block size: 1 :LUN: 5",
        "ACCOUNT=ann",
        "ACCESS=ALL",
        "ACCESS=iqn.x:255.255.255.255",
    ]
    assert shown(shell, ODD, "iqn.2026-01.com.example:odd2")[1:] == ["ACCESS=10.0.0.9"]


def test_a_thousand_targets(shell: str) -> None:
    """In seconds: what grows with the square of their number takes minutes."""
    one = RECORDED[: RECORDED.index("Target 2")]
    many = "".join(one.replace("Target 1: ", f"Target {n}: ").replace(V1, f"{V1}-{n}") for n in range(1, 1001))
    began = time.monotonic()
    assert len(shown(shell, many)) == 5000
    assert len(shown(shell, many, f"{V1}-1000")) == 5
    assert time.monotonic() - began < 20
