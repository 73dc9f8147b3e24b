"""``onevolume host prepare --print``: what an admin runs as root, on hosts in namespaces of their own."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from one_iscsi import preparing
from one_iscsi.core import Core
from one_iscsi.iscsi import Portal
from one_iscsi.store import Actor, Store

HERE = Path(__file__).parent
SUDOERS = HERE.parents[1] / "share" / "one_iscsi.sudoers"
OWN = "iqn.1993-08.org.debian:01:own"
FROM_ETC = ("passwd", "group", "shadow", "nsswitch.conf", "ld.so.cache", "alternatives", "pam.d", "login.defs")

INSTALL = """
cp {bin}/later/* {bin}/
case $* in *multipath*) cp {bin}/multipath-tools/* {bin}/ ;; esac
case $* in *iscsi*) mkdir -p /etc/iscsi; echo GenerateName=yes >/etc/iscsi/initiatorname.iscsi ;; esac
"""
PROGRAMS = {
    "apt-get": INSTALL,
    "dnf": INSTALL,
    "systemctl": """
case "$*" in
    "-q is-enabled iscsid.socket") [ -e {dir}/enabled ] ;;
    "enable --now iscsid.socket") touch {dir}/enabled; {bin}/iscsid ;;
    "enable --now multipathd.service") {bin}/multipathd ;;
    stop*) {bin}/iscsiadm -k 0 ;;
    *) exit 1 ;;
esac
""",
    "multipathd": """
[ "$*" != "" ] || exec touch {dir}/multipath
[ -e {dir}/multipath ] || exit 1
case "$*" in "show daemon") echo "pid 1 idle"; exit ;; esac
case $1 in show) echo defaults "{{"; cat {dir}/multipath; echo "}}"; [ -e {dir}/stubborn ] || {{
    ! [ -e {dir}/reconfigured ] || cat /etc/multipath/conf.d/*; }} | tac ;;
    reconfigure) touch {dir}/reconfigured
        [ -e {dir}/stubborn ] || grep find_multipaths /etc/multipath/conf.d/one_iscsi.conf >{dir}/multipath ;;
esac
""",
}
LATER = {
    "iscsiadm": 'case "$*" in "-k 0") kill $(cat {dir}/pid); rm {dir}/pid ;; esac',
    "iscsi-iname": "echo iqn.1993-08.org.debian:01:fresh",
    "iscsid": """
[ ! -e {dir}/broken ] || exit 1
echo "$(cat /etc/iscsi/initiatorname.iscsi)" >{dir}/runs-as
exec {python} -c '
import os, socket
here = socket.socket(socket.AF_UNIX)
here.bind("\\0ISCSIADM_ABSTRACT_NAMESPACE")
here.listen()
child = os.fork()
if child:
    open("{dir}/pid", "w").write(str(child))
else:
    os.setsid()
    [os.dup2(os.open(os.devnull, os.O_RDWR), stream) for stream in range(3)]
    here.accept()
'
""",
}


class BareHost:
    def __init__(self, folder: Path, family: str, init: str) -> None:
        self.folder, self.bin = folder, folder / "bin"
        etc = folder / "etc"
        (self.bin / "later").mkdir(parents=True)
        etc.mkdir()
        for name in FROM_ETC:
            subprocess.run(["cp", "-a", f"/etc/{name}", etc], check=False, stderr=subprocess.DEVNULL)
        (etc / "sudoers.d").mkdir()
        (etc / "sudoers").write_text("root ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n")
        if "oneadmin:" not in (etc / "passwd").read_text():
            with (etc / "passwd").open("a") as passwd:
                passwd.write("oneadmin:x:9869:9869::/var/lib/one:/bin/bash\n")
        absent = {"debian": ["dnf"], "redhat": ["apt-get"]}[family]
        (folder / "absent").write_text(" ".join([*absent, "multipathd"]))
        for programs, place in ((PROGRAMS, self.bin), (LATER, self.bin / "later")):
            for name, text in programs.items():
                if name not in absent and not (name == "systemctl" and init != "systemd"):
                    self.program(place / name, text)
        if init == "systemd":
            (folder / "systemd").touch()
        self.store = Store.open(f"sqlite:///{folder}/one_volume.db")

    def program(self, path: Path, text: str) -> None:
        log = f'echo "{path.name} $*" >>{self.folder}/calls\n'
        body = text.format(dir=self.folder, bin=self.bin, python=shlex.quote(sys.executable))
        path.write_text(f"#!/bin/sh\n{log}{body}\n")
        path.chmod(0o755)

    def installed(self, name: str = OWN) -> None:
        """As if open-iscsi had been there before, with this initiator name; iscsid runs."""
        for program in LATER:
            shutil.copy(self.bin / "later" / program, self.bin / program)
        (self.folder / "etc/iscsi").mkdir()
        self.name_file.write_text(f"InitiatorName={name}\n" if name else "GenerateName=yes\n")
        (self.folder / "runs").touch()
        (self.folder / "enabled").touch()

    @property
    def name_file(self) -> Path:
        return self.folder / "etc/iscsi/initiatorname.iscsi"

    def logged_in(self) -> None:
        (self.folder / "sys/class/iscsi_session/session1").mkdir(parents=True)

    def script(self, rename: bool = False) -> str:
        return preparing.script(Core(self.store, Actor(0, "test")), "node1", rename)

    def run(self, times: int = 1, text: str = "") -> subprocess.CompletedProcess[str]:
        script = self.folder / "prepare.sh"
        script.write_text(text or self.script())
        namespaces = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
        again = " && ".join(["/bin/sh prepare.sh"] * times)
        return subprocess.run(
            ["unshare", *namespaces, str(HERE / "bare-host"), str(self.folder), "/bin/sh", "-c", again],
            cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def calls(self) -> str:
        return (self.folder / "calls").read_text()

    def sudoers(self) -> Any:
        return self.folder / "etc/sudoers.d/one_iscsi"


@pytest.fixture
def host(tmp_path: Path) -> BareHost:
    return BareHost(tmp_path, "debian", "systemd")


@pytest.mark.parametrize("family", ["debian", "redhat"])
@pytest.mark.parametrize("init", ["systemd", "none"])
def test_a_host_without_anything(tmp_path: Path, family: str, init: str) -> None:
    host = BareHost(tmp_path, family, init)
    done = host.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["done", "done", "done", "done", "ok"]
    assert {"debian": "apt-get -qq -y install", "redhat": "dnf -qy install iscsi-initiator-utils"}[
        family
    ] in host.calls()
    assert host.name_file.read_text() == "InitiatorName=iqn.1993-08.org.debian:01:fresh\n"
    assert stat.S_IMODE(host.name_file.stat().st_mode) == 0o600
    assert (host.folder / "runs-as").read_text() == host.name_file.read_text()
    assert host.sudoers().read_text() == SUDOERS.read_text()
    assert stat.S_IMODE(host.sudoers().stat().st_mode) == 0o440
    assert os.listdir(host.sudoers().parent) == ["one_iscsi"]


def test_twice_changes_nothing_more(host: BareHost) -> None:
    done = host.run(times=2)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[5:]] == ["ok"] * 5


def test_a_name_of_its_own_is_kept(host: BareHost) -> None:
    host.installed()
    host.logged_in()
    done = host.run()
    assert f"ok   the initiator name is {OWN}" in done.stdout
    assert "iscsid" not in host.calls().replace("is-enabled iscsid", "").partition("\n")[2]


@pytest.mark.parametrize("name", ["", OWN, "iqn.2026-01.com.example:host"])
def test_a_name_that_is_none_or_another_hosts_is_changed(host: BareHost, name: str) -> None:
    host.store.learn_host("node2", OWN, {})
    host.installed(name)
    done = host.run()
    assert done.returncode == 0, done.stderr
    assert "it is iqn.1993-08.org.debian:01:fresh now" in done.stdout
    assert "systemctl stop" in host.calls()
    assert (host.folder / "runs-as").read_text() == "InitiatorName=iqn.1993-08.org.debian:01:fresh\n"


def test_the_name_is_never_changed_while_there_are_sessions(host: BareHost) -> None:
    host.store.learn_host("node2", OWN, {})
    host.installed()
    host.logged_in()
    done = host.run()
    assert done.returncode == 1
    assert done.stderr.startswith(f"ERROR another host has the initiator name {OWN}, too, but there are iSCSI sessions")
    assert host.name_file.read_text() == f"InitiatorName={OWN}\n"
    assert not host.sudoers().exists()


def test_a_new_name_is_given_to_whoever_shall_not_keep_it(host: BareHost) -> None:
    """Nobody has been on the other host yet, so the table does not know that it has the same."""
    host.installed()
    done = host.run(text=host.script(rename=True))
    assert done.returncode == 0, done.stderr
    said = f"the host shall not keep the initiator name {OWN}: it is iqn.1993-08.org.debian:01:fresh now"
    assert f"done {said}" in done.stdout.splitlines()
    assert (host.folder / "runs-as").read_text() == "InitiatorName=iqn.1993-08.org.debian:01:fresh\n"


def test_its_own_name_in_the_table_is_not_anothers(host: BareHost) -> None:
    host.store.learn_host("node1", OWN, {})
    host.installed()
    assert f"ok   the initiator name is {OWN}" in host.run().stdout


def test_multipathd_that_takes_every_disk_is_told_otherwise(host: BareHost) -> None:
    host.installed()
    (host.folder / "multipath").write_text('\tfind_multipaths "greedy"\n')
    done = host.run(times=2)
    assert "done /etc/multipath/conf.d/one_iscsi.conf sets find_multipaths to yes" in done.stdout
    assert done.stdout.endswith("ok   multipathd does not take guests' disks\n")
    assert "find_multipaths yes" in (host.folder / "etc/multipath/conf.d/one_iscsi.conf").read_text()


@pytest.mark.parametrize("init", ["systemd", "none"])
@pytest.mark.parametrize(("family", "package"), [("debian", "multipath-tools"), ("redhat", "device-mapper-multipath")])
def test_volumes_with_several_portals_take_a_multipathd(tmp_path: Path, family: str, init: str, package: str) -> None:
    host = BareHost(tmp_path, family, init)
    host.store.add_san("tgt1", "static", [Portal("10.0.0.1"), Portal("10.0.1.1")])
    (host.bin / "multipath-tools").mkdir()
    (host.bin / "multipathd").rename(host.bin / "multipath-tools" / "multipathd")

    done = host.run(times=2)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "done multipathd started" in done.stdout
    assert "\nok   multipathd runs\n" in done.stdout
    assert package in host.calls()
    assert "find_multipaths yes" in (host.folder / "etc/multipath.conf").read_text()


def test_multipathd_that_does_not_start(host: BareHost) -> None:
    host.store.add_san("tgt1", "static", [Portal("10.0.0.1"), Portal("10.0.1.1")])
    host.program(host.bin / "multipathd", "exit 1")
    assert "ERROR multipathd does not start" in host.run().stderr


def test_multipathd_that_does_not_listen(host: BareHost) -> None:
    host.installed()
    (host.folder / "multipath").write_text("\tfind_multipaths no\n")
    (host.folder / "stubborn").touch()
    assert "ERROR find_multipaths is still no" in host.run().stderr


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("sed -i /oneadmin/d etc/passwd", "there is no user oneadmin"),
        ("echo 'root ALL=(ALL) ALL' >etc/sudoers", "/etc/sudoers does not read /etc/sudoers.d"),
        ("echo 'echo no network >&2; exit 100' >bin/apt-get", "apt-get: no network"),
        ("echo '#!/bin/sh' >bin/apt-get", "iscsiadm is still missing"),
        ("rm bin/apt-get; echo apt-get dnf >absent", "neither apt-get nor dnf nor yum is here"),
        ("touch broken", "iscsid does not start"),
    ],
)
def test_what_cannot_be_done_is_one_line(host: BareHost, spoil: str, says: str) -> None:
    subprocess.run(["sh", "-c", spoil], cwd=host.folder, check=True)
    done = host.run()
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("ERROR ")
    assert says in line


def test_a_sudoers_file_that_sudo_would_refuse_is_not_installed(host: BareHost) -> None:
    host.installed()
    done = host.run(text=host.script().replace("Cmnd_Alias ONE_ISCSI_XEN", "Cmnd_Alias one iscsi xen"))
    assert "ERROR visudo refuses the sudoers file" in done.stderr
    assert os.listdir(host.sudoers().parent) == []


def test_a_script_cut_anywhere_does_nothing(host: BareHost) -> None:
    whole = host.script()
    for length in range(0, len(whole) - 20, 1733):
        assert host.run(text=whole[:length] or "\n").stdout == ""
    assert not (host.folder / "calls").exists()


def test_it_is_for_any_posix_shell(host: BareHost, tmp_path: Path) -> None:
    path = tmp_path / "whole.sh"
    path.write_text(host.script())
    done = subprocess.run(["shellcheck", "-s", "sh", "-e", "SC2317", path], capture_output=True, text=True, check=False)
    assert done.stdout == ""
