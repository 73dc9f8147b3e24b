"""The configuration file: what it changes, and what a mistake in it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cloud import Cloud

from one_iscsi import config

SECRET = "s3cret"


@pytest.fixture
def file(cloud: Cloud, tmp_path: Path) -> Path:
    """A configuration file, not there yet, that every command of the cloud reads."""
    path = tmp_path / "one_iscsi.conf"
    cloud.env["ONE_ISCSI_CONFIG"] = str(path)
    return path


def test_without_a_file_everything_has_its_default(cloud: Cloud, file: Path) -> None:
    del cloud.env["ONE_ISCSI_DATABASE"]
    cloud.env["ONE_LOCATION"] = "/opt/one"
    assert "is not there: everything has its default" in cloud.ok("config", "check")
    settings = json.loads(cloud.ok("config", "show", "-j"))["CONFIGURATION"]["SETTING"]
    assert {one["KEY"]: one["VALUE"] for one in settings} == {
        **{key.name: str(key.default) for key in config.SCHEMA},
        "database": "sqlite:////opt/one/var/one_volume.db",
        "key_file": "/opt/one/etc/one_iscsi.key",
    }
    assert {one["FROM"] for one in settings} == {"default"}


def test_the_sample_sets_nothing_and_names_every_default(cloud: Cloud, file: Path) -> None:
    sample = cloud.ok("config", "sample")
    file.write_text(sample)
    assert cloud.ok("config", "check") == f"ok   front end: the configuration {file} is right\n"
    assert "line" not in cloud.ok("config", "show")
    file.write_text(re.sub(r"^#(?=\w)", "", sample, flags=re.MULTILINE))
    cloud.ok("config", "check")
    shown = json.loads(cloud.ok("config", "show", "-j"))["CONFIGURATION"]["SETTING"]
    assert all("line" in one["FROM"] for one in shown if one["KEY"] != "database")
    assert {one["KEY"]: one["VALUE"] for one in shown[1:]} == {key.name: str(key.default) for key in config.SCHEMA[1:]}


def test_what_is_configured_is_done(cloud: Cloud, file: Path) -> None:
    other = file.with_name("other.db")
    file.write_text(f"# ours\ndatabase = sqlite:///{other}\non_terminate = 'release'   # they are scratch\n")
    cloud.with_volumes(10, 10, 10)
    cloud.ok("attach", "7", "1M")
    cloud.ok("attach", "7", "1M", "--on-terminate", "keep")
    found = [cloud.volume(number)["ATTACHMENT"][0]["ON_TERMINATE"] for number in (1, 2)]
    assert found == ["release", "keep"]
    assert not other.exists(), "the environment wins"
    del cloud.env["ONE_ISCSI_DATABASE"]
    assert cloud.ok("list").count("\n") == 1
    assert other.exists()


def test_a_rate_is_shown_as_it_is_written(cloud: Cloud, file: Path) -> None:
    for written, shown in (("200M", "200M"), ("1G", "1024M"), ("0", "0")):
        file.write_text(f"wipe_rate = {written}\n")
        settings = json.loads(cloud.ok("config", "show", "-j"))["CONFIGURATION"]["SETTING"]
        assert next(one["VALUE"] for one in settings if one["KEY"] == "wipe_rate") == shown


def test_an_oned_that_is_slow_is_given_up_when_the_file_says_so(cloud: Cloud, file: Path) -> None:
    cloud.with_volumes(10)
    file.write_text("oned_timeout = 1\n")
    cloud.oned.fault("one.vm.info", mode="hang")
    assert "does not answer in 1 s" in cloud.refused(7, "attach", "7", "1M")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("on_terminat = keep", 1, "there is no key 'on_terminat': did you mean on_terminate?"),
        ("\ncolour = red", 2, "there is no key 'colour': the keys are database, ssh_connect_timeout"),
        ("on_terminate = kept", 1, "on_terminate cannot be 'kept': allowed is keep or release"),
        ("oned_timeout = 0", 1, "cannot be '0': allowed is a whole number of seconds from 1 to 600"),
        ("oned_timeout = ", 1, "cannot be '': allowed is a whole number"),
        ("wipe_rate = fast", 1, "wipe_rate cannot be 'fast': allowed is 0 for no limit, or a size a second"),
        ("wipe_rate = 512K", 1, "in whole megabytes"),
        ("wipe_rate = -1M", 1, "in whole megabytes"),
        ("oned_timeout = ١٢", 1, "allowed is a whole number"),
        ("oned_timeout = 5\n#\noned_timeout = 6", 3, "oned_timeout is given twice, first in line 1"),
        ("[database]", 1, "not a line of the form key = value"),
        (
            f"database = mysql:/user:{SECRET}@host/one",
            1,
            "database cannot be its value: allowed is sqlite:////absolute",
        ),
        (f"databose = mysql://user:{SECRET}@host/one", 1, "did you mean database?"),
        (f"mysql://user:{SECRET}@host/one?timeout=3", 1, "not a line of the form"),
    ],
)
def test_a_mistake_names_its_line_and_what_is_allowed(
    cloud: Cloud, file: Path, text: str, line: int, says: str
) -> None:
    file.write_text(text + "\n")
    for words in (["config", "check"], ["config", "show"], ["list"], ["attach", "7", "1M"]):
        result = cloud(*words)
        assert result.code == 13
        assert f"{file}, line {line}: " in result.out + result.err
        assert says in result.out + result.err
        assert SECRET not in result.out + result.err
    assert not cloud.database.exists()


def test_every_mistake_is_named_at_once(cloud: Cloud, file: Path) -> None:
    file.write_text("on_terminate = no\ncolour = red\noned_timeout = 3\n")
    assert len(cloud("config", "check").out.splitlines()) == 2
    assert "(1 more in onevolume config check)" in cloud("list").err


def test_a_database_url_that_is_none_is_a_mistake_of_the_configuration(cloud: Cloud, file: Path) -> None:
    del cloud.env["ONE_ISCSI_DATABASE"]
    file.write_text(f"database = mysql://one:{SECRET}@/\n")
    result = cloud("config", "check")
    assert result.code == 13
    assert "the database URL in the configuration is malformed" in result.out
    assert SECRET not in result.out + result.err


def test_a_file_that_cannot_be_read(cloud: Cloud, file: Path) -> None:
    file.mkdir()
    assert "cannot be read (Is a directory)" in cloud.refused(13, "attach", "7", "1M")


@pytest.mark.parametrize("password", [SECRET, f"{SECRET}@{SECRET}", f"{SECRET}:{SECRET}/"])
def test_a_password_is_never_shown(cloud: Cloud, file: Path, password: str) -> None:
    del cloud.env["ONE_ISCSI_DATABASE"]
    file.write_text(f"database = mysql://one:{password}@127.0.0.1:9/one?timeout=1\n")
    file.chmod(0o644)
    result = cloud("config", "show")
    assert "mysql://one:***@127.0.0.1:9/one" in result.out
    assert "everybody here can read it: chmod o-r" in result.err
    file.chmod(0o640)
    assert cloud("config", "show").err == ""
    for words in (["config", "show", "-j"], ["config", "check"], ["list"], ["check"]):
        result = cloud(*words)
        assert SECRET not in result.out + result.err, words
