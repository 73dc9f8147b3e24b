"""What people and programs read: tables, pages, XML, JSON, CSV."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from cloud import HERE, MIB, Cloud, iqn


def test_the_list_is_a_table_like_oneimage_list(cloud: Cloud) -> None:
    cloud.with_volumes(10, 1024)
    cloud.ok("attach", "7", "5M")
    heading, first, second = cloud.ok("list").splitlines()
    assert heading.split() == ["ID", "UID", "NAME", "SIZE", "STAT", "VM", "HOST", "TARGET", "SAN", "IQN"]
    assert first.split() == ["1", "2", "v1", "10M", "in_use", "7", "node1", "xvdp", "alpha", iqn("v1")]
    assert second.split() == ["2", "0", "v2", "1G", "free", "-", "-", "-", "alpha", iqn("v2")]
    assert heading.index("IQN") == first.index("iqn")


def test_programs_read_the_same_in_three_forms(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "5M")
    [volume] = json.loads(cloud.ok("list", "-j"))["VOLUME_POOL"]["VOLUME"]
    assert (volume["SIZE"], volume["ATTACHMENT"][0]["VM_ID"]) == (10 * MIB, 7)
    pool = ElementTree.fromstring(cloud.ok("list", "-x"))
    assert pool.findtext("VOLUME/SIZE") == str(10 * MIB)
    assert pool.findtext("VOLUME/ATTACHMENT/READONLY") == "NO"
    [row] = csv.DictReader(cloud.ok("list", "--csv").splitlines())
    assert (row["ID"], row["HOST"]) == ("1", "node1")


def test_attach_answers_programs_too(cloud: Cloud) -> None:
    cloud.with_volumes(10, 10)
    document = json.loads(cloud.ok("attach", "7", "5M", "-j"))["VOLUME"]
    assert (document["ID"], document["ATTACHMENT"][0]["TARGET"]) == (1, "xvdp")
    assert ElementTree.fromstring(cloud.ok("attach", "7", "5M", "-x")).findtext("STATUS") == "in_use"


def test_a_filter_and_a_range(cloud: Cloud) -> None:
    cloud.with_volumes(10, 20, 30)
    cloud.ok("disable", "2..3")
    assert len(cloud.ok("list", "--status", "free").splitlines()) == 2
    assert len(cloud.ok("list", "--status", "disabled", "--san", "alpha").splitlines()) == 3
    said = cloud("enable", "1", "2..3")
    assert said.code == 5
    assert "volume 1 is free, not disabled" in said.err
    assert said.out.splitlines() == ["volume 2 enabled, it is free", "volume 3 enabled, it is free"]


def test_columns_and_conditions_are_chosen_as_with_opennebulas_commands(cloud: Cloud) -> None:
    cloud.with_volumes(10, 200, 1024)
    cloud.ok("attach", "7", "5M")

    def names(condition: str) -> list[str]:
        return cloud.ok("list", "-l", "name", "-f", condition, "--no-header").split()

    assert cloud.ok("list", "-l", "NAME,ID", "-f", "STAT=free").splitlines()[1:] == ["v2    2", "v3    3"]
    assert names("SIZE>=200M") == ["v2", "v3"]
    assert names("SIZE<1G,stat=free") == ["v2"]
    assert names("NAME~3") == ["v3"]
    assert names("ID!=2") == ["v1", "v3"]
    assert names("VM=7") == ["v1"]
    assert names("HOST = node7") == []
    assert cloud.ok("list", "--csv", "-l", "ID,SIZE", "--no-header").splitlines() == ["1,10M", "2,200M", "3,1G"]
    assert len(json.loads(cloud.ok("list", "-j", "-f", "STAT=free"))["VOLUME_POOL"]["VOLUME"]) == 2
    assert "there is no column 'COLOUR': give some of ID,UID,NAME" in cloud.refused(2, "list", "-l", "ID,COLOUR")
    assert "is malformed: give COLUMN=VALUE" in cloud.refused(2, "list", "-f", "free")
    assert "'few' is no number, as ID is" in cloud.refused(2, "list", "-f", "ID<few")
    assert "'big' is not a size" in cloud.refused(2, "list", "-f", "SIZE>big")


def test_a_volume_gets_another_name(cloud: Cloud) -> None:
    cloud.with_volumes(10, 10)
    assert cloud.ok("rename", "v1", "db data") == "volume 1 renamed to db data\n"
    cloud.ok("attach", "7", "--volume", "db data")
    assert "from v1 to db data" in cloud.ok("events", "1")
    assert "volume 1 is named db data already" in cloud.refused(5, "rename", "2", "db data")
    assert "would be taken for an id" in cloud.refused(2, "rename", "2", "17")
    assert "is malformed" in cloud.refused(2, "rename", "2", "")
    assert "99" in cloud.refused(3, "rename", "99", "x")


def test_show_has_everything_and_what_is_under_way(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.killed("before:confirming", "attach", "7", "5M")
    page = cloud.ok("show", "v1")
    for line in (r"STATUS +: attaching", r"KIND +: attach", r"PHASE +: plugging", r"TARGET +: xvdp"):
        assert re.search(line, page), page


def test_storage_servers_and_hosts(cloud: Cloud) -> None:
    cloud.with_volumes(10)
    cloud.ok("attach", "7", "5M")
    assert "10.0.0.1:3260" in cloud.ok("san", "list")
    assert json.loads(cloud.ok("san", "show", "alpha", "-j"))["SAN"]["KIND"] == "tgt"
    assert "10.9.0.11" in cloud.ok("host", "list")
    assert json.loads(cloud.ok("host", "show", "node1", "-j"))["HOST"]["SOURCE"] == [
        {"PORTAL": "10.0.0.1", "ADDRESS": "10.9.0.11"}
    ]
    assert cloud.ok("host", "show", "1") == cloud.ok("host", "show", "node1")
    assert "nothing is known of host node7" in cloud.refused(3, "host", "show", "node7")
    assert "nothing is known of host 2" in cloud.refused(3, "host", "show", "2")
    cloud.refused(5, "san", "delete", "alpha")
    cloud.refused(5, "san", "create", "alpha", "--kind", "static")
    cloud.refused(2, "san", "create", "beta", "--kind", "tgt")
    cloud.ok("san", "create", "beta", "--kind", "static", "--portal", "10.0.0.2")
    cloud.ok("san", "delete", "beta")


def on_a_terminal(cloud: Cloud, *words: str, **env: str) -> list[str]:
    ours, theirs = os.openpty()
    given = {"TERM": "xterm", "COLUMNS": "300", "NO_COLOR": "", **env}
    command = [sys.executable, str(HERE / "onevolume.py"), *words]
    running = subprocess.Popen(command, env={**cloud.env, **given}, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 1 << 16):
            shown += more
    except OSError:  # nobody has the other end any more
        pass
    os.close(ours)
    running.wait(60)
    return shown.decode().splitlines()


def test_what_is_wrong_is_red_on_a_terminal_and_nowhere_else(cloud: Cloud) -> None:
    cloud.with_volumes(10, 10, 10)
    cloud.ok("disable", "2")
    with sqlite3.connect(cloud.database) as table:
        table.execute("UPDATE one_volume SET status = 'error' WHERE id = 3")
    plain = cloud.ok("list").splitlines()
    assert not any("\033" in line for line in plain)

    shown = on_a_terminal(cloud, "list")

    assert [re.findall(r"\033\[(\d+)m(\w+) *\033\[0m", line) for line in shown] == [
        [], [("32", "free")], [("33", "disabled")], [("31", "error")],
    ]  # fmt: skip
    assert [re.sub(r"\033\[\d+m", "", line) for line in shown] == plain
    assert on_a_terminal(cloud, "list", NO_COLOR="1") == on_a_terminal(cloud, "list", TERM="dumb") == plain
    cut = on_a_terminal(cloud, "list", COLUMNS=str(plain[3].index("error") + 2))
    assert cut[3].endswith(" er")
    assert cut[3] == plain[3][: len(cut[3])]
    assert on_a_terminal(cloud, "list", "--csv") == cloud.ok("list", "--csv").splitlines()

    checked = on_a_terminal(cloud, "check", "--san", "alpha", "--san", "omega")
    assert [line for line in checked if line.startswith("\033[31mFAIL\033[0m storage server omega: ")]
    assert [line for line in checked if line.startswith("\033[32mok  \033[0m front end: oned answers")]
    assert "\033" not in cloud("check", "--san", "omega").out


@pytest.mark.parametrize(
    ("goes", "code", "told"),
    [
        (">/dev/full", 12, "onevolume: the disk is full that the output goes to, or /tmp: make room there\n"),
        (">&-", 0, ""),
        ("| true", 0, ""),
        ("2>&-", 0, ""),
    ],
)
def test_output_that_nobody_takes(cloud: Cloud, goes: str, code: int, told: str) -> None:
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m one_iscsi.cli san list {goes}"
    done = subprocess.run(["bash", "-c", command], env=cloud.env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, told)


def test_an_attach_whose_streams_are_closed(cloud: Cloud) -> None:
    """What the program opens itself gets their numbers; it must not be taken for them."""
    cloud.with_volumes(10)
    command = f"{shlex.quote(sys.executable)} -m one_iscsi.cli attach 7 5M <&- >&- 2>&-"
    done = subprocess.run(["bash", "-c", command], env=cloud.env, timeout=60)
    assert done.returncode == 0
    assert cloud.status(1) == "in_use"
