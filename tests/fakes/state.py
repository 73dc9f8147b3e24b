"""The files a world is in, for the programs that read and change them (world.py: for tests).

Fake programs live for a few milliseconds, and a run of the tests starts thousands: what takes as long to import as all
they do (json, re, pathlib, contextlib) is not used here, or imported where it is needed.
"""

from __future__ import annotations

import fcntl
import time

from fakes.kernel import put, show


def load(text: str):
    """The value that ``dump`` made this text of."""
    return eval(text, {"__builtins__": {}})


def dump(value: object) -> str:
    return ascii(value)


class Changing:
    """``with Changing(path) as value``: the value in this file, which nobody else may have meanwhile; what the block
    makes of it is written back."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self):
        self._file = open(self._path, "r+")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._value = load(self._file.read())
        return self._value

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(dump(self._value))
        self._file.close()


class _Target(Changing):
    """The same for one target of a storage server; None if there is none of this name."""

    def __init__(self, path: str, iqn: str) -> None:
        super().__init__(path)
        self._iqn = iqn

    def __enter__(self):
        state = super().__enter__()
        return next((target for target in state["targets"].values() if target["iqn"] == self._iqn), None)


class WorldState:
    """The world in the folder ``path``."""

    def __init__(self, path: str) -> None:
        self.path = path

    def tgt(self) -> Changing:
        """The storage server's state, to be changed: ``down``, ``silent`` (addresses of portals), ``targets`` by tid,
        ``accounts``, ``places`` (the bytes of its volume groups, thin pools and folders, by ``San.location``)."""
        return Changing(f"{self.path}/tgt")

    def target(self, iqn: str) -> Changing:
        """One target, to be changed; None if there is none of this name."""
        return _Target(f"{self.path}/tgt", iqn)

    def faults(self) -> Changing:
        """What goes wrong next, to be changed."""
        return Changing(f"{self.path}/faults")

    def next_fault(self, host: str, program: str, arguments: str) -> dict | None:
        with open(f"{self.path}/faults") as file:
            if file.read() == "[]":
                return None
        import re

        with self.faults() as faults:
            for fault in faults:
                fits = fault["program"] == program and fault["host"] in ("", host)
                if fits and fault["times"] and re.search(fault["arguments"], arguments):
                    fault["times"] -= 1
                    return fault
        return None

    def log_call(self, host: str, program: str, arguments: list[str]) -> None:
        with open(f"{self.path}/calls.log", "a") as log:
            log.write(dump([round(time.time(), 3), host, program, *arguments]) + "\n")


class HostState:
    """A host of a world: ``sessions`` (number → iqn, address, port, device, size…), ``domains`` (name → paused,
    disks: target → source, state, mode), ``lost`` (disks that guests lost by a logout, which must never be),
    ``find_multipaths`` (empty: multipathd does not run), ``wwids`` (what it is to join), ``maps`` (name → number, uuid,
    paths, size, queues), ``shows_states`` (the kernel shows how far Xen's back ends are)."""

    def __init__(self, world: WorldState, name: str) -> None:
        self.world = world
        self.name = name
        self.path = f"{world.path}/hosts/{name}"

    def state(self) -> dict:
        with open(f"{self.path}/state") as file:
            return load(file.read())

    def save(self, state: dict) -> None:
        put(f"{self.path}/state", dump(state))

    def changing(self) -> _Host:
        """The state, to be changed; written back, and shown in /sys and /dev, when the block ends."""
        return _Host(self)

    def openers(self, state: dict, found: dict) -> list[str]:
        """The guests' disks that are this map."""
        link = f"/dev/disk/by-id/dm-uuid-{found['uuid']}"
        guests = [(name, guest["disks"]) for name, guest in state["domains"].items()]
        return [f"{name}:{to}" for name, disks in guests for to, disk in disks.items() if disk["source"] == link]


class _Host:
    def __init__(self, host: HostState) -> None:
        self._host = host

    def __enter__(self) -> dict:
        self._lock = open(f"{self._host.world.path}/lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._state = self._host.state()
        return self._state

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._drop_paths()
            self._host.save(self._state)
            show(f"{self._host.path}/root", self._state)
        self._lock.close()

    def _drop_paths(self) -> None:
        """A disk that is gone is no path any more, a map without one goes unless a guest has it."""
        state = self._state
        disks = {session["device"] for session in state["sessions"].values()}
        for name, found in list(state["maps"].items()):
            found["paths"] = [path for path in found["paths"] if path in disks]
            if not found["paths"]:
                state["lost"] += self._host.openers(state, found)
                if not self._host.openers(state, found):
                    del state["maps"][name]
