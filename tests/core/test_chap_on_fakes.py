"""Targets that somebody else manages and that ask for CHAP: their secrets are kept, encrypted, and shown to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cloud import HERE, MIB, Cloud, Result, iqn

SECRET, OTHER, TARGETS = "hers-and-no-one's", "some-other-secret", "that-of-the-target"
HAND = (iqn("hand"), "--portal", "10.0.0.9:3260", "--size", "10M", "--lun", "1")


@pytest.fixture
def key(cloud: Cloud, tmp_path: Path) -> Path:
    """The front end's key, and a target that lets in only who knows its secret."""
    configuration, key = tmp_path / "one_iscsi.conf", tmp_path / "one_iscsi.key"
    configuration.write_text(f"key_file = {key}\n")
    cloud.env["ONE_ISCSI_CONFIG"] = str(configuration)
    assert setup(cloud, "key", "--file") == f"{key}\n"
    new_key(cloud, key)
    cloud.world.add_target(iqn("hand"), 10 * MIB)
    cloud.world.ask_for_secret(iqn("hand"), "ann", SECRET, ("array", TARGETS))
    return key


def setup(cloud: Cloud, *words: str) -> str:
    command = [sys.executable, "-m", "one_iscsi.cli.setup", *words]
    return subprocess.run(command, env=cloud.env, capture_output=True, text=True, check=True).stdout


def new_key(cloud: Cloud, key: Path) -> None:
    key.write_text(setup(cloud, "key"))
    key.chmod(0o600)


def secrets(cloud: Cloud, *lines: str) -> tuple[str, str]:
    """The option that names a file with these lines."""
    file = cloud.database.with_name("secrets")
    file.write_text("".join(f"{line}\n" for line in lines))
    return "--chap-secret-file", str(file)


def piped(cloud: Cloud, text: str, *words: str) -> Result:
    command = [sys.executable, str(HERE / "onevolume.py"), *words]
    done = subprocess.run(command, env=cloud.env, input=text, capture_output=True, text=True, timeout=60)
    return Result(done.returncode, done.stdout, done.stderr)


def account(cloud: Cloud) -> Any:
    return cloud.volume(1)["CHAP"]


def knows_nothing(cloud: Cloud, *said: str) -> None:
    """No secret in what was said, in the table, or in an argument of any program."""
    shown = "".join(said) + cloud.ok("show", "1") + cloud.ok("show", "1", "-x") + cloud.ok("events", "-j")
    arguments = "".join(word for call in cloud.world.calls() for word in call)
    for secret in (SECRET, OTHER, TARGETS):
        assert secret not in shown + arguments
        assert not any(secret.encode() in path.read_bytes() for path in cloud.database.parent.glob("one_volume.db*"))


def test_a_target_that_asks_for_chap_is_wiped_attached_and_given_back(cloud: Cloud, key: Path) -> None:
    said = cloud.ok("register", *HAND, "--chap-user", "ann", *secrets(cloud, SECRET), "--wait")
    assert said.splitlines()[-1] == "volume 1 is free"
    assert account(cloud) == [{"USER": "ann", "TARGET_USER": ""}]
    said += cloud.ok("attach", "7", "10M")
    assert list(cloud.node1.disks("one-7")) == ["xvdp"]
    knows_nothing(cloud, said)
    cloud.ok("detach", "7", "1", "--yes", "--wait")
    assert not cloud.node1.remains()
    assert cloud.status(1) == "free"


def test_the_target_shows_who_it_is_too(cloud: Cloud, key: Path) -> None:
    both = ("--chap-user", "ann", "--chap-target-user", "array")
    cloud.ok("register", *HAND, *both, *secrets(cloud, SECRET, TARGETS), "--assume-clean")
    assert account(cloud) == [{"USER": "ann", "TARGET_USER": "array"}]
    cloud.ok("attach", "7", "10M")
    cloud.ok("detach", "7", "1", "--keep", "--yes")

    said = cloud.ok("chap", "1", *both, *secrets(cloud, SECRET, OTHER))
    error = cloud.refused(8, "attach", "7", "--volume", "1")
    assert "the target does not show the right CHAP secret" in error
    assert not cloud.node1.remains()
    knows_nothing(cloud, said, error)


def test_a_secret_is_typed_and_not_echoed(cloud: Cloud, key: Path) -> None:
    both = ("--chap-user", "ann", "--chap-target-user", "array")
    code, shown = cloud.on_terminal([SECRET, TARGETS], "register", *HAND, *both, "--assume-clean")
    assert code == 0, shown
    assert "CHAP secret of ann: " in shown
    assert "CHAP secret of array: " in shown
    knows_nothing(cloud, shown)
    cloud.ok("attach", "7", "10M")


def test_an_account_is_changed_and_removed(cloud: Cloud, key: Path) -> None:
    cloud.ok("register", *HAND, "--assume-clean")
    assert account(cloud) == []
    error = cloud.refused(8, "attach", "7", "--volume", "1")
    assert "the CHAP login failed" in error
    assert "onevolume chap" in error
    said = piped(cloud, f"{SECRET}\n", "chap", "1", "--chap-user", "ann", "--chap-secret-file", "-")
    assert (said.code, said.out) == (0, "hosts log in to volume 1 as ann\n")
    cloud.ok("attach", "7", "10M")

    result = cloud("chap", "hand", "--remove")
    assert (result.code, result.out) == (0, "volume 1 has no CHAP account any more\n")
    assert "warning: host node1 has volume 1 and logs in again with what it had before" in result.err
    assert account(cloud) == []
    changes = [line for line in cloud.ok("events", "1", "--csv").splitlines() if ",chap," in line]
    assert [line.rpartition(",chap,")[2] for line in changes] == ["free,free,as ann", "in_use,in_use,none"]
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    with cloud.world.tgt() as state:
        for target in state["targets"].values():
            target["accounts"] = []
    cloud.ok("attach", "7", "--volume", "1")


def test_the_secret_of_a_deleted_volume_is_gone(cloud: Cloud, key: Path) -> None:
    cloud.ok("register", *HAND, "--assume-clean", "--chap-user", "ann", *secrets(cloud, SECRET))
    cloud.ok("delete", "1", "--yes")
    key.unlink()
    cloud.ok("register", *HAND, "--assume-clean")
    assert cloud.volume(2)["CHAP"] == []
    assert "key" not in cloud.ok("check", "--san", "static")


def test_an_account_that_cannot_be(cloud: Cloud, key: Path) -> None:
    cloud.with_volumes(20)
    before, ann, both = cloud.rows(), ("--chap-user", "ann"), ("--chap-user", "ann", "--chap-target-user", "array")
    for lines, words, says in (
        ([], ann, "there are 0 CHAP secrets for 1 users"),
        ([SECRET], both, "there are 1 CHAP secrets for 2 users"),
        ([SECRET, TARGETS], ann, "there are 2 CHAP secrets for 1 users"),
        ([""], ann, "a CHAP secret is malformed"),
        (["two words"], ann, "a CHAP secret is malformed"),
        (["x" * 256], ann, "a CHAP secret is malformed"),
        ([SECRET], ("--chap-user", "ann\nnode.startup = automatic"), "CHAP user"),
        ([SECRET, SECRET], both, "have the same CHAP secret"),
        ([SECRET], (), "give --chap-user"),
        ([SECRET], ("--chap-target-user", "array"), "give --chap-user"),
        ([SECRET], (*ann, "--san", "alpha"), "leave --chap-user out"),
    ):
        result = cloud("register", *HAND, *words, *secrets(cloud, *lines))
        assert (result.code, len(result.err.splitlines())) == (2, 1)
        assert says in result.err
        assert SECRET not in result.err
    assert cloud.rows() == before


def test_what_can_be_said_about_an_account(cloud: Cloud, key: Path) -> None:
    cloud.with_volumes(20)
    for words, says in (
        (["1"], "give either --chap-user or --remove"),
        (["1", "--remove", "--chap-user", "ann", *secrets(cloud, SECRET)], "give either --chap-user or --remove"),
        (["1", "--chap-user", "ann"], "there is no terminal to ask for the CHAP secret on"),
        (["1", "--chap-user", "ann", "--chap-secret-file", "/nowhere"], "/nowhere cannot be read"),
        (["1", "--chap-user", "ann", *secrets(cloud, SECRET)], "storage server alpha gets a new CHAP secret"),
    ):
        assert says in cloud.refused(2, "chap", *words)


def test_a_key_that_is_of_no_use(cloud: Cloud, key: Path) -> None:
    cloud.ok("register", *HAND, "--assume-clean", "--chap-user", "ann", *secrets(cloud, SECRET))
    healthy = f"ok   front end: the key {key} opens all CHAP secrets that are kept: 1"
    assert healthy in cloud.ok("check", "--san", "static").splitlines()
    before, right = cloud.rows(), key.read_text()
    for spoil, says in (
        (key.unlink, "is not there"),
        (lambda: key.chmod(0o640), "others may read or write the key"),
        (lambda: key.write_text("nonsense\n"), "holds no key"),
        (lambda: (key.unlink(), key.mkdir()), "cannot be read"),
        (lambda: new_key(cloud, key), "the CHAP secret of volume 1 was not encrypted with the key"),
    ):
        spoil()
        result = cloud("attach", "7", "10M")
        assert (result.code, len(result.err.splitlines())) == (12, 1)
        assert says in result.err
        assert str(key) in result.err
        checked = cloud("check", "--san", "static")
        assert checked.code == 1
        [line] = [line for line in checked.out.splitlines() if line.startswith("FAIL")]
        assert says in line
        if key.is_dir():
            key.rmdir()
        key.write_text(right)
        key.chmod(0o600)
    assert cloud.rows() == before
    assert cloud.path("1") == ["creating", "free"]
    cloud.ok("attach", "7", "10M")


def test_secrets_of_two_keys_are_not_mixed_and_a_lost_key_is_no_end(cloud: Cloud, key: Path) -> None:
    cloud.world.add_target(iqn("more"), 10 * MIB)
    more = (iqn("more"), *HAND[1:], "--assume-clean", "--chap-user", "bob", *secrets(cloud, OTHER))
    cloud.ok("register", *HAND, "--assume-clean", "--chap-user", "ann", *secrets(cloud, SECRET))
    new_key(cloud, key)
    error = cloud.refused(12, "register", *more)
    assert "the CHAP secret of volume 1 was not encrypted with the key" in error
    cloud.ok("chap", "1", "--remove")
    cloud.ok("register", *more)
    cloud.ok("chap", "1", "--chap-user", "ann", *secrets(cloud, SECRET))
    cloud.ok("attach", "7", "--volume", "1")


def test_a_wipe_waits_for_the_key(cloud: Cloud, key: Path) -> None:
    cloud.ok("register", *HAND, "--assume-clean", "--chap-user", "ann", *secrets(cloud, SECRET))
    cloud.ok("attach", "7", "10M")
    key.rename(key.with_suffix(".away"))
    result = cloud("detach", "7", "1", "--yes")
    assert result.code == 0
    assert "warning: the wipe of volume 1 did not start: the key" in result.err
    [op] = cloud.volume(1)["OPERATION"]
    assert "is not there" in op["ERROR"]
    assert not cloud.node1.remains()
    key.with_suffix(".away").rename(key)
    assert cloud.ok("recover", "1", "--wait").splitlines()[-1] == "volume 1 is free"


@pytest.mark.parametrize(
    "bash", ["#!/bin/sh\ntee /dev/stderr; kill -9 $$\n", "#!/nonexistent\n"], ids=["is killed", "cannot start"]
)
def test_no_secret_is_told_when_bash_fails(cloud: Cloud, key: Path, bash: str) -> None:
    cloud.ok("register", *HAND, "--chap-user", "ann", *secrets(cloud, SECRET), "--assume-clean")
    cloud.ok("attach", "7", "10M")
    cloud.ok("detach", "7", "1", "--keep", "--yes")
    folder = cloud.database.with_name("bad-bash")
    folder.mkdir()
    (folder / "bash").write_text(bash)
    (folder / "bash").chmod(0o755)
    failing = {"PATH": f"{folder}:{os.environ['PATH']}", "ONE_ISCSI_DEBUG": "1"}
    failed = cloud("attach", "7", "--volume", "1", env=failing)
    assert failed.code == 11, failed
    assert cloud.volume(1)["OPERATION"][0]["ERROR"]
    knows_nothing(cloud, failed.out, failed.err)
    assert cloud.ok("recover", "1") == "volume 1 recovered, it is available\n"
    assert not cloud.node1.remains()
