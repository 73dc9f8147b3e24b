"""The Debian package of this tree, in a clean root without a network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cleanroot import PACKAGES, PATH, REPOSITORY, CleanRoot, sql

#: What dpkg and its triggers keep for themselves.
DPKG = ("/var/lib/dpkg", "/var/log/dpkg.log", "/var/cache/man", "/var/lib/systemd/deb-systemd-helper")


@pytest.fixture(scope="session")
def deb(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package."""
    environment = {**os.environ, "PATH": PATH, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse)}
    command = [REPOSITORY / "packaging/build-deb", tmp_path_factory.mktemp("deb")]
    return Path(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


@pytest.fixture
def root(clean_root, deb: Path, tmp_path: Path) -> CleanRoot:
    """A front end whose OpenNebula is a package, as far as dpkg can tell."""
    control = tmp_path / "opennebula/DEBIAN/control"
    control.parent.mkdir(parents=True)
    fields = {"Package": "opennebula", "Version": "7.4.0-1", "Architecture": "all", "Maintainer": "nobody"}
    control.write_text("".join(f"{name}: {value}\n" for name, value in (*fields.items(), ("Description", "x"))))
    subprocess.run(["dpkg-deb", "--build", control.parents[1], tmp_path], check=True, stdout=subprocess.DEVNULL)
    made = clean_root(PACKAGES, deb.parent, tmp_path)
    made.run("dpkg", "--install", *tmp_path.glob("opennebula_*.deb"))
    return made


def files(root: CleanRoot) -> dict[str, tuple[object, ...]]:
    return {path: what for path, what in root.differences().items() if not path.startswith(DPKG)}


def test_installed_upgraded_and_removed(root: CleanRoot, deb: Path) -> None:
    before = files(root)
    root.run("dpkg", "--install", deb)
    assert root.run("onevolume", "list", "--csv").startswith("ID,")
    assert "ONE_ISCSI_INITIATOR" in root.run("onevolume", "host", "prepare", "node1", "--print")
    database = root.path(PACKAGES.database).stat()
    key = root.path(PACKAGES.key).stat()
    for secret in (database, key):
        assert (secret.st_uid, secret.st_mode & 0o777) == (9869, 0o600)
    assert root.run("systemctl", "is-enabled", "one_iscsi.timer") == "enabled\n"
    units = [f"/usr/lib/systemd/system/one_iscsi.{kind}" for kind in ("service", "timer")]
    assert root.run("systemd-analyze", "verify", "--man=no", *units) == ""
    # pyone and what it needs are there: it is oned that does not answer.
    root.path("/var/lib/one/.one").mkdir()
    root.path("/var/lib/one/.one/one_auth").write_text("oneadmin:secret\n")
    root.run("chown", "-R", "oneadmin:", "/var/lib/one/.one")
    target = ("iqn.2026-01.com.example:v1", "--portal", "10.0.0.5:3260", "--size", "10G", "--assume-clean")
    root.path("/tmp/secret").write_text("known-to-the-target\n")
    root.run("onevolume", "register", *target, "--chap-user", "ann", "--chap-secret-file", "/tmp/secret")
    assert "oned at http://localhost:2633/RPC2 does not answer" in root.run("onevolume", "attach", "7", "10G", code=7)
    root.run("rm", "-r", "/var/lib/one/.one")

    mine = root.path(PACKAGES.configuration).read_text() + "oned_timeout = 33\n"
    root.path(PACKAGES.configuration).write_text(mine)
    root.run("systemctl", "disable", "-q", "one_iscsi.timer")
    root.run("dpkg", "--install", deb)
    assert root.path(PACKAGES.configuration).read_text() == mine
    [saved] = root.path(PACKAGES.var).glob("one_volume.db.schema*.saved")
    assert root.run("systemctl", "is-enabled", "one_iscsi.timer", code=1) == "disabled\n"
    assert "belongs to the package one-iscsi" in root.install(code=1)

    root.run("dpkg", "--remove", "one-iscsi")
    kept = {PACKAGES.configuration, PACKAGES.database, PACKAGES.key, f"{PACKAGES.var}/{saved.name}"}
    assert set(files(root)) - set(before) == {*kept, "/etc/logrotate.d/one_iscsi"}
    root.run("dpkg", "--purge", "one-iscsi")
    assert set(files(root)) == set(before)


def test_a_purge_keeps_what_somebody_needs(root: CleanRoot, deb: Path) -> None:
    before = files(root)
    kept = {PACKAGES.configuration, PACKAGES.database, PACKAGES.key}

    root.run("dpkg", "--install", deb)
    target = ("iqn.2026-01.com.example:v1", "--portal", "10.0.0.5:3260", "--size", "10G", "--assume-clean")
    root.run("onevolume", "register", *target)
    sql(root, PACKAGES.database, "UPDATE one_volume SET status = 'disabled', previous_status = 'available'")
    assert "a volume is attached or holds somebody's data" in root.run("dpkg", "--purge", "one-iscsi")
    assert set(files(root)) - set(before) == kept - {PACKAGES.configuration}

    root.run("dpkg", "--install", deb)
    with root.path(PACKAGES.configuration).open("a") as file:
        file.write("database = mysql://cloud:secret%40@db.example.com/one_iscsi\n")
    said = root.run("dpkg", "--purge", "one-iscsi")
    assert "mysql://cloud@db.example.com/one_iscsi" in said
    assert "secret" not in said
    assert set(files(root)) - set(before) == kept - {PACKAGES.configuration}

    root.run("dpkg", "--install", deb)
    root.run("dpkg", "--remove", "one-iscsi")
    manifest = root.path(f"{PACKAGES.library}/files")
    manifest.parent.mkdir()
    manifest.touch()
    root.run("dpkg", "--purge", "one-iscsi")
    assert kept <= set(files(root))


def test_what_install_sh_installed_goes_first(root: CleanRoot, deb: Path) -> None:
    manifest = root.path(f"{PACKAGES.library}/files")
    manifest.parent.mkdir()
    manifest.write_text(f"{PACKAGES.command}\n")
    before = files(root)
    assert "run ./install.sh --uninstall first" in root.run("dpkg", "--install", deb, code=1)
    assert files(root) == before
