"""install.sh in clean roots without a network, for both layouts of OpenNebula."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
from pathlib import Path

import pytest
from arguments import Arguments
from cleanroot import LOCATION, PACKAGES, REPOSITORY, CleanRoot, Layout, sql
from store.mariadb_server import MariaDB

from one_iscsi.errors import ConfigError

#: Nobody else's: it is looked for in whatever runs on the machine.
PASSWORD, ESCAPED = "only/here%", "only%2Fhere%25"

both_layouts = pytest.mark.parametrize("layout", [PACKAGES, LOCATION], ids=lambda layout: layout.mode)


def programs(root: CleanRoot) -> list[str]:
    return [path.name for path in root.path(root.layout.library).glob("venv*")]


@both_layouts
def test_installed_and_taken_away(clean_root, wheelhouse, layout: Layout) -> None:
    root = clean_root(layout)
    before = root.differences()

    said = root.install("--dry-run")
    assert "OpenNebula 7.4.0" in said
    assert "Next" not in said
    assert f"would put the command {layout.command} in place" in said
    assert root.differences() == before

    said = root.install("--wheelhouse", wheelhouse)
    assert "installed: onevolume" in said
    assert "onevolume host prepare NODE" in said
    assert "ONE_ISCSI_INITIATOR" in root.run(layout.command, "host", "prepare", "node1", "--print")
    assert root.run(layout.command, "list", "--csv").startswith("ID,")
    assert "onevolume attach" in root.path(f"{layout.share}/man/man1/onevolume.1").read_text().replace("\\", "")
    assert "complete" in root.path(f"{layout.share}/bash-completion/completions/onevolume").read_text()
    assert "visudo" in root.path(f"{layout.library}/one_iscsi.sudoers").read_text()
    database, key, configuration = (
        root.path(path).stat() for path in (layout.database, layout.key, layout.configuration)
    )
    for secret in (database, key):
        assert (secret.st_uid, stat.S_IMODE(secret.st_mode)) == (9869, 0o600)
    assert (configuration.st_uid, configuration.st_gid, stat.S_IMODE(configuration.st_mode)) == (0, 9869, 0o640)

    if layout is PACKAGES:
        systemd_and_logrotate_take_what_is_installed(root)
        data_keeps_the_database(root)

    root.install("--uninstall", "--dry-run")
    assert root.path(layout.command).exists()
    root.install("--uninstall")
    assert set(root.differences()) - set(before) - {"/var/log/one/one_iscsi.log.1"} == {
        layout.database,
        layout.key,
        layout.configuration,
    }
    assert root.install("--uninstall") == "onevolume is not installed\n"


def systemd_and_logrotate_take_what_is_installed(root: CleanRoot) -> None:
    units = [f"/etc/systemd/system/one_iscsi.{kind}" for kind in ("service", "timer")]
    assert root.run("systemd-analyze", "verify", "--man=no", *units) == ""
    assert root.run("systemctl", "is-enabled", "one_iscsi.timer") == "enabled\n"
    log = root.path("/var/log/one/one_iscsi.log")
    [command] = [line for line in root.path(units[0]).read_text().splitlines() if line.startswith("ExecStart=")]
    assert root.run(*command.partition("=")[2].split()) == "nothing to do\n"
    assert (log.read_text(), log.stat().st_uid) == ("", 9869)
    log.write_text("2026-01-01 00:00:00 volume 1: wiped\n")
    root.run("logrotate", "--force", "--state", "/tmp/logrotate", "/etc/logrotate.d/one_iscsi")
    assert (log.exists(), root.path("/var/log/one/one_iscsi.log.1").exists()) == (False, True)


def data_keeps_the_database(root: CleanRoot) -> None:
    root.path("/tmp/secret").write_text("known-to-the-target\n")
    account = ("--chap-user", "ann", "--chap-secret-file", "/tmp/secret")
    root.run(
        "onevolume", "register", "iqn.2026-01.com.example:v1", "--portal", "10.0.0.5:3260", "--size", "10G", *account
    )
    sql(root, PACKAGES.database, "UPDATE one_volume SET status = 'available'")
    before = root.differences()
    said = root.install("--uninstall", "--purge", code=5)
    assert "1 volume is attached or holds somebody's data: volume 1 (v1)" in said
    assert root.differences() == before


@both_layouts
def test_upgraded_from_the_first_version(clean_root, wheelhouse, first_version, layout: Layout) -> None:
    root = clean_root(layout, first_version)
    before = root.differences()
    root.run(first_version / "install.sh", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheelhouse))
    root.run(layout.command, "register", "iqn.2026-01.com.example:v1", "--portal", "10.0.0.5:3260", "--size", "10G")
    if layout is PACKAGES:
        refused_upgrades(root, wheelhouse)

    said = root.install("--upgrade", "--wheelhouse", wheelhouse)
    assert "saved the database as" in said
    assert "v1" in root.run(layout.command, "list")
    assert "venv" not in programs(root)
    [saved] = root.path(layout.var).glob("one_volume.db.*.saved")
    assert sql(root, f"{layout.var}/{saved.name}", "SELECT name FROM one_volume") == "('v1',)\n"
    if layout is LOCATION:
        again_while_it_runs(root, wheelhouse)

    root.install("--uninstall", "--purge")
    assert root.differences() == before


def refused_upgrades(root: CleanRoot, wheelhouse: Path) -> None:
    """An upgrade that fails, early or late, leaves what works."""
    database, old = root.layout.database, root.differences()
    said = root.install("--upgrade", "--wheelhouse", REPOSITORY / "docs", code=1)
    assert "pip could not install the program" in said
    sql(root, database, "INSERT INTO schema_version VALUES (999, 0)")
    said = root.install("--upgrade", "--wheelhouse", wheelhouse, code=10)
    assert "made by a newer one_iscsi" in said
    assert "what was installed before is unchanged" in said
    sql(root, database, "DELETE FROM schema_version WHERE version = 999")
    assert set(root.differences()) == set(old)
    assert "v1" in root.run(root.layout.command, "list")


def again_while_it_runs(root: CleanRoot, wheelhouse: Path) -> None:
    """Installed again, what a running command runs from is left to it, and the configuration is nobody else's."""
    layout = root.layout
    mine = root.path(layout.configuration).read_text() + "oned_timeout = 33\n"
    root.path(layout.configuration).write_text(mine)
    key = root.path(layout.key).read_text()
    [first] = programs(root)
    root.path(f"{layout.library}/venv.dead").mkdir()  # of an installation that was killed
    python = f"{layout.library}/{first}/bin/python"
    command = root.command(python, "-c", "print(1, flush=True); input()")
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stdout
    assert running.stdout.readline()
    assert "onevolume still runs" in root.install("--uninstall", code=1)
    assert "which a running onevolume uses" in root.install("--wheelhouse", wheelhouse)
    running.communicate(b"\n")
    assert len(programs(root)) == 2
    assert {first, "venv.dead"} & set(programs(root)) == {first}
    assert root.path(layout.configuration).read_text() == mine
    assert root.path(layout.key).read_text() == key


def test_a_failure_tells_what_is_there(clean_root, wheelhouse) -> None:
    root = clean_root(PACKAGES)
    before = root.differences()
    said = root.install("--wheelhouse", REPOSITORY / "docs", code=1)
    assert said.endswith("install.sh: failed; onevolume is not installed\n")
    assert root.differences() == before

    def fails_for(obstacle: str) -> str:
        """A folder is where a file should be."""
        root.path(obstacle).mkdir()
        said = root.install("--wheelhouse", wheelhouse, code=1)
        root.path(obstacle).rmdir()
        return said.splitlines()[-1]

    said = fails_for(f"{PACKAGES.command}.new")
    assert said.startswith("install.sh: failed; onevolume is not installed; what was made of configuration, key and")
    assert root.path(PACKAGES.database).exists()

    said = fails_for(f"{PACKAGES.share}/man/man1/onevolume.1.new")
    assert said.startswith(f"install.sh: failed; {PACKAGES.command} is installed and works, but not all")
    assert root.run("onevolume", "list", "--csv").startswith("ID,")


def test_what_it_refuses(clean_root) -> None:
    root = clean_root(PACKAGES)
    before = root.differences()

    def refuses(*options: str, because: str) -> None:
        said = root.install(*options, code=1)
        assert because in said
        assert "Traceback" not in said

    refuses("--frobnicate", because="there is no option --frobnicate")
    refuses("--purge", because="--purge goes with --uninstall")
    refuses("--upgrade", because="nothing to upgrade")
    refuses("--wheelhouse", "/nowhere", because="there is no folder /nowhere")
    refuses("--database", "postgres://db/x", because="--database must be like mysql://")
    refuses("--database", "mysql://oneadmin:secret@db/x", because="leave the password out")
    refuses("--database", "mysql://oneadmin@db/x", because="use --password-file")
    assert root.differences() == before

    version = root.path("/var/lib/one/remotes/VERSION")
    version.write_text("4.14.2\n")
    refuses(because="OpenNebula 4.14.2 is too old")
    version.unlink()
    assert "OpenNebula of an unknown version from packages" in root.install("--dry-run")
    wrappers = root.path("/usr/lib/one/sh/scripts_common.sh")
    text = wrappers.read_text()
    wrappers.write_text(text.replace("ssh_monitor_and_log", "ssh_nothing"))
    refuses(because="too old")
    wrappers.unlink()
    refuses(because="no OpenNebula front end here")
    wrappers.write_text(text)
    pip = root.run("python3", "-c", "import ensurepip; print(ensurepip.__path__[0])").strip()
    root.run("mv", pip, f"{pip}.away")
    refuses(because="python3-venv is needed: apt-get install python3-venv")
    root.run("sed", "-i", "/^oneadmin:/d", "/etc/passwd")
    refuses(because="there is no user oneadmin")
    sees = "dac_read_search"  # the project may be in a home that is root's alone
    nobody = ("setpriv", "--reuid=65534", "--clear-groups", f"--inh-caps=+{sees}", f"--ambient-caps=+{sees}")
    assert "run it as root" in root.run(*nobody, REPOSITORY / "install.sh", code=1)


def test_tables_in_mariadb(clean_root, wheelhouse, tmp_path: Path) -> None:
    """The password is asked for, or in a file; it is in the configuration afterwards and nowhere else."""
    server = MariaDB()
    try:
        server.install()
        server.folder.chmod(0o755)  # for oneadmin
        grant = "GRANT ALL ON `t%`.* TO cloud@localhost"
        server.sql(f"CREATE USER cloud@localhost IDENTIFIED BY '{PASSWORD}'", grant)
        url = f"mysql://cloud@localhost/{server.new_database()}?unix_socket={server.socket}"
        root = clean_root(PACKAGES, server.folder, tmp_path)
        before = root.differences()
        options = ("--wheelhouse", wheelhouse, "--database", url)
        (tmp_path / "password").write_text(f"{PASSWORD}\n")
        dump = root.path("/usr/bin/mariadb-dump")
        root.run("mv", "/usr/bin/mariadb-dump", "/usr/bin/mariadb-dump.real")
        dump.write_text('#!/bin/sh\necho "$@" >> /tmp/dumped\nexec mariadb-dump.real "$@"\n')
        dump.chmod(0o755)
        with Arguments() as seen:
            said = typed_password(root.command(REPOSITORY / "install.sh", *options))
            said += root.install("--upgrade", *options, "--password-file", tmp_path / "password")
        assert "made the tables: schema" in said
        assert "if it names this database" in said
        assert "saved the database as /var/lib/one/one_volume.schema" in said
        assert f"database = mysql://cloud:{ESCAPED}@" in root.path(PACKAGES.configuration).read_text()
        assert any("one_iscsi.cli.setup" in line for line in seen.lines)
        seen.lines.add(root.path("/tmp/dumped").read_text())
        assert not any(word in line for word in (PASSWORD, ESCAPED) for line in [said, *seen.lines])

        other = url.replace("@localhost/", "@localhost:3307/")
        [program] = programs(root)
        setup = (f"{PACKAGES.library}/{program}/bin/python", "-I", "-m", "one_iscsi.cli.setup")
        assert root.run(*setup, "config", url) == ""
        said = root.run(*setup, "config", other, code=ConfigError.exit_code)
        assert "names another database" in said
        root.install("--uninstall", "--purge")
        assert set(root.differences()) - set(before) == {"/usr/bin/mariadb-dump", "/usr/bin/mariadb-dump.real"}
        assert server.sql("SHOW TABLES", database=url.partition("?")[0].rpartition("/")[2]) == []
    finally:
        server.remove()


def typed_password(command: list[str]) -> str:
    """What ``command`` prints when it is run on a terminal and asks for a password."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.close(theirs)
    os.write(ours, f"{PASSWORD}\n".encode())
    said = running.communicate(timeout=120)[0].decode()
    os.close(ours)
    assert running.returncode == 0, said
    assert "Password for mysql://" in said
    return said
