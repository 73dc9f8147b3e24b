"""Several commands at the same time: nobody gets what somebody else has, and losers are told so."""

from __future__ import annotations

import subprocess
import sys
import time

from cloud import HERE, Cloud


def start(cloud: Cloud, *words: str, program: str = "onevolume.py", **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / program), *words],
        env={**cloud.env, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def all_at_once(cloud: Cloud, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Commands none of which enters its operation before all the others are about to do that, too."""
    held = cloud.world.folder / "held"
    held.mkdir()
    started = [start(cloud, "never", *words, program="killed.py", HELD=str(held)) for words in commands]
    end = time.monotonic() + 60
    while len(list(held.iterdir())) < len(started):
        assert time.monotonic() < end
        time.sleep(0.05)
    (held / "go").touch()
    return finish(started)


def finish(commands: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    done = []
    for command in commands:
        out, err = command.communicate(timeout=180)
        assert "Traceback" not in err
        done.append((command.returncode, out + err))
    return done


def test_four_attaches_race_for_two_volumes_and_one_guest(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20)

    done = finish([start(cloud, "attach", "7", "5M") for _ in range(4)])

    won = [said for code, said in done if code == 0]
    lost = [said for code, said in done if code]
    assert sorted(said.split()[1] for said in won) == ["1", "2"]
    assert sorted(said.split()[-1] for said in won) == ["xvdo", "xvdp"]
    assert sorted(cloud.node1.disks("one-7")) == ["xvdo", "xvdp"]
    assert all("no free volume of 5M" in said for said in lost), lost


def test_one_volume_is_detached_once(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "5M")

    done = finish([start(cloud, "detach", "7", "1", "--yes", "--keep") for _ in range(3)])

    assert [code for code, _ in done].count(0) == 1
    assert {code for code, _ in done if code} == {5}
    assert cloud.status(1) == "available"
    assert cloud.remains() == {}


def test_one_dead_operation_is_recovered_once(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.killed("before:confirming", "attach", "7", "5M")

    done = finish([start(cloud, "recover", "1") for _ in range(3)])

    assert [code for code, _ in done].count(0) == 1, done
    assert {code for code, _ in done if code} == {5}, done
    assert cloud.status(1) == "in_use"
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]
