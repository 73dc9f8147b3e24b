"""A world of fake hosts and targets in one folder, for tests and for the fake programs that live in it.

    tgt                   the storage server, as the fake tgtadm of tests/san keeps it; disks/ are its backing files
    hosts/NAME/           root/ is mounted over a host's real /sys, /dev, /run, /etc/iscsi, /var/tmp; state, bin/
    faults                what goes wrong next; calls.log: every program that ran, and what it was given

Everything is in files and changed under locks, so that programs can be killed at any point, and many run at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from fakes.kernel import make_dev
from fakes.state import HostState, WorldState, dump, load

TESTS = Path(__file__).resolve().parents[1]

COMMON_PROGRAMS = ("sudo", "iscsiadm", "blockdev", "tee", "ip", "lvmconfig", "date", "grep")
MULTIPATH_PROGRAMS = ("multipathd", "multipath", "dmsetup")
PROGRAMS = {"xen": ("xl", "xenstore-read"), "kvm": ("virsh",)}

# A host's programs see only what is theirs; a killed ssh client leaves the script running, as a real one does.
_SSH = """#!/bin/bash
# ssh [OPTION VALUE]… HOST COMMAND…
complaints=/dev/null
while [[ $1 == -* ]]; do [[ $1 != -E ]] || complaints=$2; shift 2; done
host={world}/hosts/$1
if [[ ! -d $host || -e $host/down ]]; then
    echo "ssh: connect to host $1 port 22: No route to host" >> "$complaints"
    exit 255
fi
shift
setsid --wait unshare --mount "$host/enter" "$@"
code=$?
if [[ -e $host/cut ]]; then echo "Connection to host closed by remote host." >> "$complaints"; exit 255; fi
exit $code
"""
_ENTER = """#!/bin/bash
set -e
mount -aT {host}/fstab
export PATH={host}/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec "$@"
"""
_PROGRAM = """#!{python} -IS
import sys
sys.path.insert(0, {tests!r})
from fakes.programs import run
run({world!r}, {host!r})
"""

# What is imported need not be compiled each time.
_SERVER_PROGRAM = """#!{python} -IS
import sys
sys.path[:0] = {folder!r}, {tests!r}
import {name}
sys.exit({name}.main())
"""


def use_shell(folder: Path, shell: str) -> None:
    """Let scripts be run by ``bash``, as where there is no dash, or by ``dash`` where ``folder`` is on the PATH."""
    if shell == "dash":
        return
    program = folder / "dash"
    program.write_text("#!/bin/sh\nexec /bin/bash -c 'eval \"$(cat)\"'\n")
    program.chmod(0o755)


def make_program(folder: Path, name: str) -> None:
    """Put a program of a storage server, a module of tests/san/fake, into this folder."""
    places = {"folder": str(TESTS / "san" / "fake"), "tests": str(TESTS)}
    _executable(folder / name, _SERVER_PROGRAM.format(python=sys.executable, name=name, **places))


class World(WorldState):
    """The world in ``folder``. ``env`` is what a process of the front end needs to live in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> World:
        world = cls(folder)
        (world.folder / "hosts").mkdir(parents=True)
        (world.folder / "disks").mkdir()
        state = {"down": False, "silent": [], "targets": {}, "accounts": {}, "places": {}}
        (world.folder / "tgt").write_text(dump(state))
        (world.folder / "faults").write_text(dump([]))
        _executable(world.folder / "ssh", _SSH.format(world=world.folder))
        (world.folder / "bin").mkdir()
        for name in ("tgtadm", "targetctl"):
            make_program(world.folder / "bin", name)
        _executable(world.folder / "bin" / "ip", '#!/bin/sh\necho "local $4 dev lo"\n')  # every address is its own
        for tool in ("vgs", "lvs", "lvcreate", "lvextend", "lvremove"):
            (world.folder / "bin" / tool).symlink_to(TESTS / "san" / "fake" / "lvm")
        return world

    @property
    def env(self) -> dict[str, str]:
        """``localhost`` is the storage server: see tests/san/fake."""
        return {
            "SSH": str(self.folder / "ssh"),
            "ONE_LOCATION": str(TESTS.parent / "lab" / "opennebula"),
            "FAKE_TGT": str(self.folder / "tgt"),
            "PATH": f"{self.folder / 'bin'}:{TESTS / 'san' / 'fake'}:{os.environ['PATH']}",
        }

    # -- the storage server ------------------------------------------------------------------------------------------

    def add_target(self, iqn: str, size: int, access: tuple[str, ...] = ("ALL",), **more: object) -> None:
        """Offer a target with an identity of its own. ``more``: ``appears=SECONDS`` until an initiator has the disk."""
        with self.tgt() as state:
            tid = str(len(state["targets"]) + 1)
            path = self.folder / "disks" / f"{tid}.img"
            with path.open("wb") as file:
                file.truncate(size)
            identity = {"serial": f"{int(tid):016x}", "scsi_id": f"{int(tid):016x}"}
            basics = {"iqn": iqn, "path": str(path), "megabytes": size // 10**6, **identity}
            state["targets"][tid] = {**basics, "sessions": {}, "accounts": [], "access": list(access), **more}

    def forbid(self, *commands: str) -> None:
        """Let the storage server's sudoers file lack these commands."""
        lacks = "".join(f"*'{command}'*) echo 'sudo: a password is required' >&2; exit 1 ;; " for command in commands)
        sudo = TESTS / "san" / "fake" / "sudo"
        _executable(self.folder / "bin" / "sudo", f'#!/bin/sh\ncase "$*" in {lacks}esac\nexec {sudo} "$@"\n')

    def ask_for_secret(self, iqn: str, user: str, password: str, shows: tuple[str, ...] = ()) -> None:
        """Let in only who knows this; to whom asks, the target ``shows`` user and secret of its own (mutual CHAP)."""
        with self.tgt() as state:
            state["accounts"][user] = password
        with self.target(iqn) as target:
            target["accounts"] = [user]
            target["shows"] = list(shows)

    # -- hosts -----------------------------------------------------------------------------------------------------

    def add_host(self, name: str, kind: str = "xen", address: str = "10.9.0.11") -> Host:
        host = Host(self, name)
        folders = ("class/iscsi_session", "class/iscsi_connection", "block", "module/iscsi_tcp")
        for part in (*(f"sys/{folder}" for folder in folders), "etc/iscsi", "var/tmp", "run/udev"):
            (host.root / part).mkdir(parents=True)
        (host.root / "run/udev/control").touch()
        make_dev(f"{host.root}/dev")
        (host.root / "etc/iscsi/initiatorname.iscsi").write_text(f"InitiatorName=iqn.1993-08.org.debian:01:{name}\n")
        (host.folder / "bin").mkdir()
        for program in COMMON_PROGRAMS + MULTIPATH_PROGRAMS + PROGRAMS[kind]:
            text = _PROGRAM.format(python=sys.executable, tests=str(TESTS), world=str(self.folder), host=name)
            _executable(host.folder / "bin" / program, text)
        _executable(host.folder / "enter", _ENTER.format(host=host.folder))
        parts = ("sys", "dev", "etc/iscsi", "var/tmp", "run")
        (host.folder / "fstab").write_text("".join(f"{host.root}/{part} /{part} none bind\n" for part in parts))
        basics = {"kind": kind, "address": address, "next_sid": 1, "sessions": {}, "domains": {}, "lost": []}
        lvm = 'global_filter=["r|^/dev/disk/by-path/.*-iscsi-.*|"]\nuse_devicesfile=0\n'
        multipath = {"find_multipaths": "strict", "wwids": [], "maps": {}, "blacklist": False}
        host.save({**basics, **multipath, "lvm": lvm, "clock": 0, "iscsid": True, "shows_states": True})
        return host

    def host(self, name: str) -> Host:
        return Host(self, name)

    def hosts(self) -> list[Host]:
        return [Host(self, path.name) for path in sorted((self.folder / "hosts").iterdir())]

    # -- faults and calls ------------------------------------------------------------------------------------------

    def fault(
        self,
        program: str,
        arguments: str = "",
        *,
        host: str = "",
        times: int = 1,
        code: int | str | None = None,
        stderr: str = "",
        delay: float = 0,
        after: bool = False,
    ) -> None:
        """The next ``times`` calls of ``program`` whose arguments match: wait ``delay`` seconds; with a ``code``, fail
        with it instead of doing anything (``after``: having done everything)."""
        which = {"program": program, "arguments": arguments, "host": host, "times": times}
        fault = {**which, "code": code, "stderr": stderr, "delay": delay, "after": after}
        with self.faults() as faults:
            faults.append(fault)

    def calls(self, program: str = "") -> list[list[str]]:
        """``[host, program, argument…]`` of every call so far, or of those of one program."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "calls.log").read_text().splitlines()
            return [call for _, *call in map(load, lines) if program in ("", call[1])]
        return []


class Host(HostState):
    """A fake host."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.folder = world.folder / "hosts" / name
        self.root = self.folder / "root"

    # -- what tests do and ask ---------------------------------------------------------------------------------------

    def start_guest(self, name: str) -> None:
        with self.changing() as state:
            state["domains"][name] = {"paused": False, "disks": {}}

    def stop_guest(self, name: str) -> None:
        with self.changing() as state:
            del state["domains"][name]

    def pause_guest(self, name: str, paused: bool = True) -> None:
        with self.changing() as state:
            state["domains"][name]["paused"] = paused

    def become_older(self, xl_is_there: bool = False) -> None:
        """As Xen was in 2011: xm in the place of xl, or beside it with xend, and a kernel of before Linux 4.19, which
        does not show the state of back ends."""
        xl, xm = self.folder / "bin/xl", self.folder / "bin/xm"
        _executable(xm, xl.read_text())
        if xl_is_there:
            (self.root / "run/lock").mkdir()
            (self.root / "run/lock/xend").touch()
        else:
            xl.unlink()
        with self.changing() as state:
            state["shows_states"] = False

    def go_down(self) -> None:
        """Nobody can log in by ssh any more."""
        (self.folder / "down").touch()

    def cut_connections(self, cut: bool = True) -> None:
        """ssh connections break before the answer comes; the scripts run to their end."""
        (self.folder / "cut").touch() if cut else (self.folder / "cut").unlink()

    def reboot(self) -> None:
        """Sessions, guests and locks are gone; node records stay."""
        (self.folder / "down").unlink(missing_ok=True)
        with self.changing() as state:
            state["sessions"] = {}
            state["domains"] = {}
            state["maps"] = {}

    def sessions(self) -> list[str]:
        return [session["iqn"] for session in self.state()["sessions"].values()]

    def records(self) -> list[Path]:
        return [path for path in (self.root / "etc/iscsi").glob("nodes/*/*") if path.is_file()]

    def devices(self) -> list[str]:
        return sorted(path.name for path in (self.root / "sys/block").iterdir())

    def disks(self, guest: str) -> dict[str, dict]:
        return self.state()["domains"][guest]["disks"]

    def remains(self) -> dict[str, list]:
        """Whatever a finished detach must not leave; empty if all is well."""
        state = self.state()
        found = {
            "sessions": self.sessions(),
            "records": [str(path) for path in self.records()],
            "devices": self.devices(),
            "maps": list(state["maps"]),
            "disks": [f"{name}:{target}" for name, domain in state["domains"].items() for target in domain["disks"]],
            "lost": state["lost"],
        }
        return {what: left for what, left in found.items() if left}


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
