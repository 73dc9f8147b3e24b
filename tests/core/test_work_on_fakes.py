"""``onevolume work``, as a timer runs it: what waits is started, what is done is collected, what is dead is settled."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cloud import MIB, Cloud, iqn


def later(cloud: Cloud, seconds: int = 3600) -> None:
    """Whatever was touched, was touched that long ago."""
    with sqlite3.connect(cloud.database) as table:
        table.execute("UPDATE one_volume SET updated_at = updated_at - ?, created_at = created_at - ?", [seconds] * 2)
        table.execute("UPDATE one_volume_op SET heartbeat = heartbeat - ?", [seconds])


def work(cloud: Cloud, code: int = 0) -> list[Any]:
    result = cloud("work", "-j")
    assert result.code == code, result.err
    return [(deed["VOLUME_ID"], deed["OK"], deed["WHAT"]) for deed in json.loads(result.out)["WORK"]["DEED"]]


def until_free(cloud: Cloud, volume: int) -> None:
    """Work as a timer does, until the wipe is done."""
    for _ in range(100):
        cloud.ok("work")
        if cloud.status(volume) == "free":
            return
        time.sleep(0.1)
    raise AssertionError(cloud.volume(volume))


def test_there_is_nothing_to_do(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    assert cloud.ok("work") == "nothing to do\n"
    assert work(cloud) == []


def test_a_wipe_nobody_waits_for_is_collected(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "1M")
    cloud.ok("detach", "7", "1", "--yes")
    until_free(cloud, 1)
    assert cloud.volume(1)["WIPED_AT"]


def test_a_log_tells_what_was_done_and_when(cloud: Cloud, tmp_path: Path) -> None:
    cloud.with_volumes(10)
    log = tmp_path / "log"
    cloud.ok("attach", "7", "1M")
    cloud.ok("detach", "7", "1", "--yes")
    for _ in range(100):
        cloud.ok("work", "--log", str(log))
        if log.read_text():
            break
        time.sleep(0.1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d volume 1: \w.*\n", log.read_text())
    refused = cloud("work", "--log", str(tmp_path))
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "let --log name a file oneadmin may write" in refused.err


def test_a_wipe_that_could_not_start_is_started(cloud: Cloud) -> None:
    """A target managed by hand is wiped from a host: there was none."""
    for number in range(3):
        cloud.oned.set(**{f"host_{number}_state": 3})
    cloud.world.add_target(iqn("hand"), 10 * MIB)
    cloud.ok("register", iqn("hand"), "--portal", "10.0.0.9:3260", "--size", "10M", "--lun", "1")
    assert cloud.status(1) == "dirty"
    assert work(cloud) == [], "the command that made it dirty may be about to start the wipe"
    later(cloud)
    [(volume, ok, what)] = work(cloud, code=1)
    assert (volume, ok) == (1, False)
    assert "no host is there to wipe volume 1 from" in what
    cloud.oned.reset()
    assert work(cloud) == [(1, True, "its wipe is started")]
    until_free(cloud, 1)
    assert cloud.remains() == {iqn("hand"): {"access": ["ALL"]}}


@pytest.mark.parametrize(
    ("moment", "words", "after"),
    [
        ("after:opening", ("attach", "7", "1M"), "free"),
        ("before:finish", ("attach", "7", "1M"), "in_use"),
        ("after:reserved", ("delete", "1", "--yes"), None),
    ],
)
def test_what_a_dead_process_left_is_settled(cloud: Cloud, moment: str, words: tuple[str, ...], after: str) -> None:
    cloud.with_volumes(10)
    cloud.killed(moment, *words)
    [(volume, ok, what)] = work(cloud)
    assert (volume, ok) == (1, True)
    assert what.startswith("recovered, it is ")
    if after:
        assert cloud.status(1) == after
    else:
        assert cloud("show", "1").code == 3
    assert work(cloud) == []


def test_the_operation_of_a_living_process_is_left_alone(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.world.fault("xl", "block-attach", delay=3)
    command = [sys.executable, "-m", "one_iscsi.cli", "attach", "7", "1M"]
    with subprocess.Popen(command, env=cloud.env, stdout=subprocess.DEVNULL) as attach:
        while cloud.status(1) != "attaching":
            assert attach.poll() is None
        later(cloud)
        assert work(cloud) == []
        assert cloud.status(1) == "attaching"
        assert attach.wait(60) == 0
    assert cloud.status(1) == "in_use"


def test_a_registration_without_a_journal_is_taken_for_dead_after_a_while(cloud: Cloud) -> None:
    cloud.with_volumes()
    cloud.world.add_target(iqn("v1"), 10 * MIB, access=())
    cloud.world.fault("tgtadm", host="localhost")
    script = (
        "import os, signal, sys; from one_iscsi.san.tgt import Tgt; from one_iscsi.cli import main\n"
        "Tgt.close = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"main(['register', '{iqn('v1')}', '--san', 'alpha'])"
    )
    assert subprocess.run([sys.executable, "-c", script], env=cloud.env).returncode == -signal.SIGKILL
    assert cloud.status(1) == "creating"
    assert work(cloud) == []
    later(cloud)
    [(volume, ok, _)] = work(cloud)
    assert (volume, ok) == (1, True)
    until_free(cloud, 1)


def test_a_host_that_does_not_answer_is_a_trouble_and_keeps_nothing_else_waiting(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20)
    cloud.ok("attach", "7", "5M")
    cloud.killed("after:unplugging", "detach", "7", "1", "--yes")
    cloud.node1.go_down()
    cloud.killed("after:opening", "attach", "9", "15M")
    result = cloud("work")
    assert result.code == 1
    assert result.err.startswith("onevolume: volume 1: the detach of volume 1 cannot be settled yet (host node1")
    assert "volume 2: recovered, it is free\n" in result.out
    (cloud.node1.folder / "down").unlink()
    assert work(cloud) == [(1, True, "recovered, it is wiping")]
    until_free(cloud, 1)
    assert cloud.remains() == {}


def test_what_there_is_no_time_for_has_its_turn_the_next_time(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20)
    cloud.killed("after:opening", "attach", "7", "5M")
    cloud.killed("after:opening", "attach", "9", "15M")
    assert cloud.ok("work", "--limit", "0") == "nothing to do\n2 volumes left for the next time\n"
    assert len(work(cloud)) == 2


def test_two_at_once_do_everything_once(cloud: Cloud) -> None:
    cloud.with_volumes(10, 10, 10)
    for _ in range(3):
        cloud.killed("after:opening", "attach", "7", "5M")
    command = [sys.executable, "-m", "one_iscsi.cli", "work", "-j"]
    both = [subprocess.Popen(command, env=cloud.env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    deeds = [deed for one in both for deed in json.loads(one.communicate(timeout=120)[0])["WORK"]["DEED"]]
    assert sorted(deed["VOLUME_ID"] for deed in deeds) == [1, 2, 3]
    assert all(deed["OK"] for deed in deeds)
    assert [cloud.status(number) for number in (1, 2, 3)] == ["free"] * 3
