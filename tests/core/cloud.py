"""A small cloud on fakes: oned's stand-in, fake hosts, a fake storage server, and ``onevolume`` as a user types it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tty
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.world import World
from forked import Forked
from unmeasured import environment

HERE = Path(__file__).resolve().parent
LAB_ONED = HERE.parents[1] / "lab" / "oned"
MIB = 1 << 20

STATE = {
    "users": {
        "0": {"name": "oneadmin", "password": "secret", "gid": 0},
        "2": {"name": "ann", "password": "hers", "gid": 1},
        "3": {"name": "bob", "password": "his", "gid": 1},
    },
    "hosts": {
        "0": {"name": "node1", "vm_mad": "xen", "cluster_id": 100},
        "1": {"name": "node2", "vm_mad": "xen", "cluster_id": 100},
        "2": {"name": "node3", "vm_mad": "kvm", "cluster_id": 101},
    },
    "vms": {
        "7": {"name": "web", "uid": 2, "gid": 1, "host": "node1", "deploy_id": "one-7", "targets": ["xvda"]},
        "8": {"name": "db", "uid": 2, "gid": 1, "host": "node1", "deploy_id": "one-8", "targets": ["xvda"]},
        "9": {"name": "bobs", "uid": 3, "gid": 1, "host": "node2", "deploy_id": "one-9", "targets": ["xvda"]},
        "10": {"name": "kvm", "uid": 2, "gid": 1, "host": "node3", "deploy_id": "0a-b", "targets": ["vda"]},
    },
}


def iqn(name: str) -> str:
    return f"iqn.2026-01.com.example:{name}"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Oned:
    """The stand-in; one process for all tests, its state is laid anew for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reset()
        exports = self._run("start", f"--state={folder}")
        self.env = dict(word.split("=", 1) for word in shlex.split(exports)[1:])

    def _run(self, *words: str) -> str:
        command = [sys.executable, str(LAB_ONED), *words]
        done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True, timeout=60)
        return done.stdout

    def reset(self) -> None:
        new = self.folder / "reset.json"
        new.write_text(json.dumps(STATE))
        new.replace(self.folder / "state.json")

    def set(self, **fields: Any) -> None:
        """``vm_7_host="node2"`` is ``lab/oned set DIR vm.7.host=node2``; ``fault={…}`` by ``faults``."""
        words = [f"{name.replace('_', '.', 2)}={json.dumps(value)}" for name, value in fields.items()]
        self._run("set", str(self.folder), *words)

    def fault(self, method: str, **plan: Any) -> None:
        self._run("set", str(self.folder), f"fault.{method}={json.dumps(plan)}")

    def stop(self) -> None:
        self._run("stop", f"--state={self.folder}")


class Cloud:
    """Everything a story needs."""

    def __init__(self, folder: Path, oned: Oned, forked: Forked) -> None:
        self.oned = oned
        self.forked = forked
        self.database = folder / "one_volume.db"
        self.world = World.create(folder / "world")
        self.node1 = self.world.add_host("node1", address="10.9.0.11")
        self.node2 = self.world.add_host("node2", address="10.9.0.12")
        self.node3 = self.world.add_host("node3", "kvm", address="10.9.0.13")
        self.node1.start_guest("one-7")
        self.node1.start_guest("one-8")
        self.node2.start_guest("one-9")
        self.node3.start_guest("0a-b")
        self.env = {
            **os.environ,
            **self.world.env,
            **oned.env,
            "ONE_ISCSI_DATABASE": f"sqlite:///{self.database}?timeout=3",
            "HOME": str(folder),
        }

    # -- what a user does ------------------------------------------------------------------------------------------

    def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        """``onevolume WORDS``; no command may ever show a traceback, or more than one line of error."""
        done = self.forked([str(HERE / "onevolume.py"), *words], {**self.env, **(env or {})})
        assert "Traceback" not in done.stderr
        assert done.returncode != 70, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str) -> str:
        """The same for a command that must work; what it printed."""
        result = self(*words)
        assert result.code == 0, result.err
        return result.out

    def refused(self, code: int, *words: str, env: Mapping[str, str] | None = None) -> str:
        """The same for a command that must fail with ``code``, having changed nothing; its one line of error."""
        before = self.rows()
        result = self(*words, env=env)
        assert result.code == code, (result.out, result.err)
        lines = [line for line in result.err.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1, result.err
        assert lines[0].startswith("onevolume: ")
        assert self.rows() == before
        return lines[0]

    def on_terminal(self, lines: Sequence[str], *words: str) -> tuple[int, str]:
        """``onevolume WORDS`` on a terminal of its own, where ``lines`` are typed, one at each prompt: its exit code,
        and what the terminal shows."""
        ours, theirs = os.openpty()
        tty.setcbreak(ours)
        command = ["setsid", "--ctty", "--wait", sys.executable, str(HERE / "onevolume.py"), *words]
        running = subprocess.Popen(command, env=self.env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        for line in lines:
            while not shown.endswith((b": ", b"] ")):
                shown += os.read(ours, 1000)
            os.write(ours, f"{line}\n".encode())
            shown += os.read(ours, 1)
        while True:
            try:
                shown += os.read(ours, 1000)
            except OSError:  # the terminal hung up
                break
        os.close(ours)
        return running.wait(60), shown.decode()

    def killed(self, when: str, *words: str) -> Result:
        """``onevolume`` that dies by kill -9 at a moment of ``killed.py``."""
        done = self.forked([str(HERE / "killed.py"), when, *words], self.env)
        assert done.returncode == -9, (when, done.stdout, done.stderr)
        return Result(done.returncode, done.stdout, done.stderr)

    def with_volumes(self, *sizes_mib: int, clean: bool = True) -> None:
        """A storage server ``alpha`` and volumes v1, v2 … of these sizes, all free."""
        self.ok("san", "create", "alpha", "--kind", "tgt", "--host", "localhost", "--portal", "10.0.0.1:3260")
        for number, size in enumerate(sizes_mib, 1):
            self.world.add_target(iqn(f"v{number}"), size * MIB, access=())
            self.ok("register", iqn(f"v{number}"), "--san", "alpha", *(["--assume-clean"] if clean else ["--wait"]))

    def with_place(self, name: str, location: str, size_mib: int, *more: str, kind: str = "tgt") -> None:
        """A storage server that makes volumes in ``location``, which has this size."""
        option = {"lvm": "--vg", "thin": "--thin", "file": "--path"}[location.partition(":")[0]]
        with self.world.tgt() as state:
            state["places"][location] = size_mib * MIB
        where = ("--host", "localhost", "--portal", "10.0.0.1:3260", option, location.partition(":")[2])
        self.ok("san", "create", name, "--kind", kind, *where, *more)

    # -- what a story looks at -------------------------------------------------------------------------------------

    def rows(self) -> Any:
        """The table, without what changes with every touch."""
        result = self("list", "-j")
        if result.code:
            return result.err
        return json.loads(result.out)

    def volume(self, ref: str | int) -> Any:
        return json.loads(self.ok("show", str(ref), "-j"))["VOLUME"]

    def status(self, ref: str | int) -> str:
        return str(self.volume(ref)["STATUS"])

    def path(self, ref: str) -> list[str]:
        """The statuses a volume went through, as the audit has them."""
        events = json.loads(self.ok("events", ref, "-j"))["EVENT_POOL"]["EVENT"]
        return [event["TO"] for event in events]

    def remains(self) -> Any:
        """Sessions, records, devices, disks of guests on any host; access and accounts on the storage server."""
        found: dict[str, Any] = {host.name: host.remains() for host in self.world.hosts() if host.remains()}
        with self.world.tgt() as state:
            for target in state["targets"].values():
                left = {key: target[key] for key in ("access", "sessions", "accounts") if target[key]}
                if left:
                    found[target["iqn"]] = left
            if state["accounts"]:
                found["accounts"] = list(state["accounts"])
        return found
