"""What detach explains and asks, and how a wipe that is waited for shows: on a terminal and without one."""

from __future__ import annotations

import pytest
from cloud import Cloud

from one_iscsi.cli.output import ProgressBar

QUESTION = (
    "Volume 1 (v1, 10M) will be detached from VM 7 (web) on host node1.\r\n"
    "The guest loses its disk xvdp: unmount it there first.\r\n"
    "ALL DATA ON IT WILL BE ERASED (see --keep).\r\n"
    "Go on? [y/N] "
)


@pytest.mark.parametrize("answer", ["n", "", "yess"])
def test_whoever_does_not_say_yes_keeps_everything(cloud: Cloud, answer: str) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")
    before, attached = cloud.rows(), cloud.remains()

    code, shown = cloud.on_terminal([answer], "detach", "7", "1")

    assert code == 6
    assert shown.startswith(QUESTION)
    assert shown.endswith("onevolume: not confirmed: nothing was changed\r\n")
    assert (cloud.rows(), cloud.remains()) == (before, attached)


def test_whoever_says_yes_sees_it_done_up_to_the_last_byte(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")

    code, shown = cloud.on_terminal(["y"], "detach", "7", "1", "--wait")

    assert code == 0, shown
    assert shown.startswith(QUESTION)
    assert "unplugging volume 1 from VM 7 on host node1 …\r\n" in shown
    assert f"\rwiping volume 1 [{'#' * 30}] 100% 10M of 10M \r\nvolume 1 is free\r\n" in shown
    assert cloud.status(1) == "free"
    assert cloud.remains() == {}


def test_what_is_kept_is_asked_for_in_other_words(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")
    code, shown = cloud.on_terminal(["y"], "detach", "7", "1", "--keep")
    assert code == 0, shown
    assert "Its data stays; only VMs of its owner can get it.\r\nGo on? [y/N] " in shown
    assert cloud.status(1) == "available"


def test_without_a_terminal_nobody_is_asked_and_progress_is_a_line(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "10M")
    error = cloud.refused(6, "detach", "7", "1")
    assert error == "onevolume: not confirmed: there is no terminal to ask on: give --yes"
    done = cloud("detach", "7", "1", "--yes", "--wait")
    assert (done.code, done.out.splitlines()[-1]) == (0, "volume 1 is free")
    assert done.err.splitlines()[-1] == "wiping volume 1 100%"


def test_without_a_terminal_there_is_a_line_at_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar("wiping volume 1")
    for done in (0, 1, 9, 10, 11, 55, 59, 60, 100, 100):
        bar(done, 100)
    bar.end()
    assert capsys.readouterr().err.split("wiping volume 1 ")[1:] == ["0%\n", "10%\n", "55%\n", "60%\n", "100%\n"]
