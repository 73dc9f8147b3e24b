"""The oned of these tests: the stand-in of ``lab/oned``, put back into the same state before each of them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unmeasured import environment

from one_iscsi.frontend import Frontend

LAB_ONED = Path(__file__).resolve().parents[2] / "lab" / "oned"

STATE = {
    "users": {
        "0": {"name": "oneadmin", "password": "secret", "gid": 0},
        "2": {"name": "ann", "password": "hers", "gid": 1},
        "3": {"name": "bob", "password": "his", "gid": 1},
    },
    "hosts": {
        "0": {"name": "node1", "vm_mad": "xen", "cluster_id": 100},
        "1": {"name": "node2", "vm_mad": "kvm"},
        "4": {"name": "1", "state": 3},
    },
    "vms": {
        "7": {"name": "web", "uid": 2, "gid": 1, "permissions": "640", "host": "node1", "targets": ["xvda"]},
        "8": {"name": "twin", "host": "node2"},
        "9": {"name": "twin", "host": "node2"},
    },
}


class Oned:
    """The stand-in as a test uses it."""

    session = "oneadmin:secret"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reset()
        self.exports = self._run("start", f"--state={folder}").stdout
        self.endpoint = dict(word.split("=", 1) for word in shlex.split(self.exports)[1:])["ONE_XMLRPC"]

    def reset(self) -> None:
        new = self.folder / "reset.json"
        new.write_text(json.dumps(STATE))
        new.replace(self.folder / "state.json")

    def set(self, **fields: Any) -> None:
        """``vm_7_host="node2"`` is ``lab/oned set DIR vm.7.host=node2``."""
        self.assign({"vm." + name.removeprefix("vm_").replace("_", ".", 1): value for name, value in fields.items()})

    def assign(self, fields: dict[str, Any]) -> None:
        self._run("set", str(self.folder), *(f"{path}={json.dumps(value)}" for path, value in fields.items()))

    def fault(self, method: str, mode: str, **details: Any) -> None:
        self.assign({f"fault.{method}": {"mode": mode, **details}})

    def stop(self) -> None:
        self._run("stop", f"--state={self.folder}")

    def frontend(self, session: str = "oneadmin:secret", limit: float = 10.0) -> Frontend:
        return Frontend(self.endpoint, session, limit)

    @staticmethod
    def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, LAB_ONED, *arguments]
        return subprocess.run(command, env=environment(), check=True, text=True, capture_output=True)


@pytest.fixture(scope="session")
def running_oned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oned]:
    oned = Oned(tmp_path_factory.mktemp("oned"))
    yield oned
    oned.stop()


@pytest.fixture
def oned(running_oned: Oned) -> Oned:
    running_oned.reset()
    return running_oned
