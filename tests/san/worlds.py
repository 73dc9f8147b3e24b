"""Storage servers for the same stories: a fake tgtadm on the PATH, the same with onevolume's stories' fake on top, and
the real tgtd, by ssh as oneadmin."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fakes.maker import Maker
from fakes.state import dump, load
from fakes.world import World, make_program
from waiting import wait_for

from one_iscsi.errors import StorageError
from one_iscsi.iscsi import Portal
from one_iscsi.model import Chap, San, Volume
from one_iscsi.remote import Remote
from one_iscsi.san import KINDS, StorageServer, server

HERE = Path(__file__).parent
OPENNEBULA = HERE.parents[1] / "lab" / "opennebula"


HOST = "iqn.2026-01.com.example:host"


class Refused(Exception):
    """The server did not let the initiator in."""


def volume(number: int, serial: str = "", size_bytes: int = 0) -> Volume:
    return Volume(
        id=number, name=f"v{number}", iqn=f"iqn.2026-01.com.example:v{number}", lun=1, portals=(Portal("127.0.0.1"),),
        size_bytes=size_bytes, serial=serial, wwid="", san_id=1, status="free", version=1,
    )  # fmt: skip


# The server's script sees /etc/tgt as the server has it.
_SSH = """#!/bin/bash
while [[ $1 == -* ]]; do shift 2; done
shift
export PATH={path}
exec unshare --mount sh -c 'mount --bind {etc} /etc/tgt && exec "$@"' - "$@"
"""


# In the process group of the script are the script, its helpers and nobody else. Whoever saves has written half of it.
_SUDO = """#!/bin/sh
shift 3  # -n -T 10
read -r count < {count}
echo $((count + 1)) > {count}
if [ $((count + 1)) = {number} ]; then
    case $1 in targetctl) echo half >"$3" ;; esac
    case {do} in kill) kill -9 0 ;; fail) echo "$1: Input/output error" >&2; exit 5 ;; esac
fi
exec "$@"
"""


def places(directory: Path) -> tuple[Path, Path]:
    """tgt's configuration as Debian installs it, and a folder for volumes with 64 MiB of room."""
    etc, room = directory / "etc-tgt", directory / "room"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "targets.conf").write_text("include /etc/tgt/conf.d/*.conf\n")
    room.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", room], check=True)
    return etc, room


def files(*folders: Path) -> list[str]:
    return [path.name for folder in folders for path in folder.rglob("*") if path.is_file()]


class Stumbling:
    """A server that can be stopped at each command it runs as root. ``tools`` come first on its PATH."""

    def __init__(self, directory: Path) -> None:
        self.tools = directory / "tools"
        self.tools.mkdir()

    def at_call(self, number: int = 0, do: str = "nothing") -> None:
        """Let the ``number``-th call of sudo from now ``kill`` its script or ``fail``; 0: nothing."""
        (self.tools / "sudo").write_text(_SUDO.format(count=self.tools.with_name("calls"), number=number, do=do))
        (self.tools / "sudo").chmod(0o755)
        self.tools.with_name("calls").write_text("0\n")

    def calls(self) -> int:
        """How often sudo was called since ``at_call``."""
        return int(self.tools.with_name("calls").read_text())


class Fake(Stumbling):
    """The server's state is a file; "initiators" write into it. Only root can keep /etc/tgt to itself."""

    def __init__(self, directory: Path, patch: Any) -> None:
        super().__init__(directory)
        self.state = directory / "tgt"
        self.write({"down": False, "targets": {}, "accounts": {}})
        make_program(self.tools, "tgtadm")
        self.etc, self.room = places(directory)
        path = f"{self.tools}:{HERE / 'fake'}:{os.environ['PATH']}"
        (self.tools / "ssh").write_text(_SSH.format(etc=self.etc, path=path))
        (self.tools / "ssh").chmod(0o755)
        patch.setenv("FAKE_TGT", str(self.state))
        patch.setenv("ONE_LOCATION", str(OPENNEBULA))
        patch.setenv("SSH", str(self.tools / "ssh"))
        patch.setenv("PATH", path)
        self.row = San(1, "alpha", "tgt", (), "server", f"file:{self.room}")
        self.server: StorageServer = server(self.row, Remote())

    def files(self) -> list[str]:
        """The names of all it has made, volumes and configuration."""
        return files(self.room, self.etc / "conf.d")

    def read(self) -> Any:
        return load(self.state.read_text())

    def write(self, state: Any) -> None:
        self.state.write_text(dump(state))

    @contextlib.contextmanager
    def target(self, number: int) -> Iterator[Any]:
        state = self.read()
        yield state["targets"].setdefault(str(number), {})
        self.write(state)

    def tgtadm(self, *arguments: str) -> str:
        command = [self.tools / "tgtadm", "--lld", "iscsi", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def make(self, number: int, path: Path, serial: str = "", scsi_id: str = "") -> Volume:
        with self.target(number) as target:
            target.update(
                iqn=volume(number).iqn, path=str(path), megabytes=path.stat().st_size // 10**6, serial=serial,
                scsi_id=scsi_id, sessions={}, accounts=[], access=[],
            )  # fmt: skip
        return volume(number, serial)

    def remove(self, number: int) -> None:
        state = self.read()
        del state["targets"][str(number)]
        self.write(state)

    def let_in(self, number: int, access: str) -> None:
        with self.target(number) as target:
            target["access"].append(access)

    def accounts(self) -> set[str]:
        return set(self.read()["accounts"])

    @contextlib.contextmanager
    def session(self, number: int, chap: Chap | None, **manners: bool) -> Iterator[Callable[[], bool]]:
        """Log in from 127.0.0.1; yields whether the session is still there."""
        state = self.read()
        with self.target(number) as target:
            secrets = [state["accounts"][user] for user in target["accounts"]]
            if not {"ALL", "127.0.0.1"} & set(target["access"]) or (
                secrets and (not chap or chap.password not in secrets)
            ):
                raise Refused
            target["sessions"]["7"] = {"initiator": HOST, "address": "127.0.0.1", **manners}
        yield lambda: bool(self.read()["targets"][str(number)]["sessions"])
        with self.target(number) as target:
            target["sessions"] = {}

    def stop_daemon(self) -> None:
        self.write({**self.read(), "down": True})

    def deaths(self, act: Callable[[], Any]) -> Iterator[str]:
        """The code ``act`` fails with when the daemon dies in its answer to the first call, the second … and is back at
        once; until it does not fail, for there was no such call."""
        for number in range(1, 100):
            self.write({**self.read(), "dies_at": number, "died": False})
            try:
                act()
            except StorageError as error:
                yield error.code
            else:
                break
        assert not self.read()["died"]
        self.write({**self.read(), "dies_at": 0})

    def stop(self) -> None:
        subprocess.run(["umount", "--lazy", self.room], check=True)


class Making(Fake):
    """The fake of onevolume's stories (tests/fakes/maker.py): no script makes, grows and removes its volumes."""

    def __init__(self, directory: Path, patch: Any) -> None:
        super().__init__(directory, patch)
        patch.setitem(KINDS, "tgt", Maker)
        self.world = World.create(directory)
        with self.world.tgt() as state:
            state["places"][self.row.location] = 64 << 20  # as the others' room
        self.server = server(self.row, Remote())

    def files(self) -> list[str]:
        return files(self.world.folder / "disks")


class Real:
    """tgtd and sshd in name spaces of their own; initiators are libiscsi's (a kernel one needs a kernel module)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ssh_port, self.port = _free_port(), _free_port()
        self.etc, self.room = places(directory)
        for key in ("key", "hostkey"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True)
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
             HERE / "storage-server", directory, str(self.ssh_port), str(self.port)],
        )  # fmt: skip
        self.row = San(1, "alpha", "tgt", (), "127.0.0.1", f"file:{self.room}")
        self.server: StorageServer = server(self.row, Remote(connect_timeout=5))
        wait_for(lambda: _listens(self.ssh_port) and _listens(self.port))

    def environment(self, patch: Any) -> None:
        patch.setenv("ONE_LOCATION", str(OPENNEBULA))
        patch.setenv(
            "SSH",
            f"ssh -F none -p {self.ssh_port} -i {self.directory}/key -l oneadmin -o IdentitiesOnly=yes"
            " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        )

    def files(self) -> list[str]:
        return files(self.room, self.etc / "conf.d")

    @property
    def first(self) -> int:
        """The first process inside, as seen from here."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())

    def processes(self, command: str) -> list[int]:
        """Those inside, and only those, whose command line begins so."""
        space, found = os.readlink(f"/proc/{self.first}/ns/pid"), []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if os.readlink(entry / "ns" / "pid") == space and line.startswith(command):
                    found.append(int(entry.name))
        return found

    def tgtadm(self, *arguments: str) -> str:
        command = ["nsenter", "--mount", "--pid", "-t", str(self.first), "tgtadm", "--lld", "iscsi", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def make(self, number: int, path: Path, serial: str = "", scsi_id: str = "") -> Volume:
        tid = str(number)
        self.tgtadm("--op", "new", "--mode", "target", "--tid", tid, "-T", volume(number).iqn)
        lun = ("--mode", "logicalunit", "--tid", tid, "--lun", "1")
        self.tgtadm("--op", "new", *lun, "-b", str(path))
        if serial:
            self.tgtadm("--op", "update", *lun, "--params", f"scsi_sn={serial},scsi_id={scsi_id or serial}")
        return volume(number, serial)

    def remove(self, number: int) -> None:
        self.tgtadm("--op", "delete", "--mode", "target", "--tid", str(number), "--force")

    def let_in(self, number: int, access: str) -> None:
        how = "--initiator-name" if access.startswith("iqn.") else "--initiator-address"
        self.tgtadm("--op", "bind", "--mode", "target", "--tid", str(number), how, access)

    def accounts(self) -> set[str]:
        return set(self.tgtadm("--op", "show", "--mode", "account").split()[2:])

    @contextlib.contextmanager
    def session(self, number: int, chap: Chap | None) -> Iterator[Callable[[], bool]]:
        iqn = volume(number).iqn
        login = f"{chap.user}%{chap.password}@" if chap else ""
        url = f"iscsi://{login}127.0.0.1:{self.port}/{iqn}/1"
        process = subprocess.Popen(
            ["qemu-io", "-f", "raw", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        shown = lambda: "Connection: 0" in self.tgtadm("--op", "show", "--mode", "conn", "--tid", str(number))  # noqa: E731
        try:
            wait_for(lambda: process.poll() is not None or shown())
            if process.poll() is not None:
                raise Refused
            yield shown
        finally:
            process.kill()
            process.communicate()
            with contextlib.suppress(subprocess.CalledProcessError):
                wait_for(lambda: not shown())

    def restart_daemon(self) -> None:
        """It dies, comes back, and gets its configuration as tgt.service of Debian gives it."""
        self.stop_daemon()
        inside = ["nsenter", "--mount", "--pid", "-t", str(self.first)]
        subprocess.run([*inside, "/usr/sbin/tgtd", "--iscsi", f"portal=127.0.0.1:{self.port}"], check=True)
        wait_for(lambda: _listens(self.port))
        subprocess.run([*inside, "tgt-admin", "-e", "-c", "/etc/tgt/targets.conf"], check=True)

    def freeze_daemon(self) -> None:
        for pid in self.processes("/usr/sbin/tgtd"):
            os.kill(pid, signal.SIGSTOP)

    def stop_daemon(self) -> None:
        for pid in self.processes("/usr/sbin/tgtd"):
            with contextlib.suppress(ProcessLookupError):  # one of them ends with the other
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _listens(self.port))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "--lazy", self.room], check=True)


def missing_for_real() -> str:
    """What this machine lacks for the real server; empty if nothing."""
    tools = [tool for tool in ("tgtd", "sshd", "unshare", "qemu-io", "sudo") if not shutil.which(tool, path=_PATH)]
    if tools:
        return f"{', '.join(tools)} not installed"
    allowed = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode == 0
    return "" if os.getuid() == 0 and allowed else "needs root and name spaces"


_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
