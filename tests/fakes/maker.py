"""A fake storage server that makes volumes: the tgt of the world (world.py) with volume groups, thin pools and folders.

It keeps the contract of the real one (tests/san/test_provisioning_contract.py). A place is known by its
``San.location`` and has a size. What is made in a volume group holds what its extents held before; what is made in a
thin pool or a folder reads as zeros, and takes no room in a thin pool. The world's faults name the method:
``world.fault("create", code="no-space")``; ``after=True`` breaks the connection when it is done.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from fakes.world import World
from one_iscsi.errors import StorageError
from one_iscsi.model import San, Volume
from one_iscsi.remote import Remote
from one_iscsi.san import Capacity, TargetInfo, WipeStatus
from one_iscsi.san.location import Location
from one_iscsi.san.tgt import Tgt

EXTENT = 4 << 20
OLD_DATA = b"somebody's data "


class Maker(Tgt):
    """tgt, and a place where volumes are made."""

    #: In which kinds of places a volume grows while somebody is logged in.
    grows_in_use: ClassVar[tuple[str, ...]] = ()

    def __init__(self, san: San, remote: Remote) -> None:
        super().__init__(san, remote)
        self.location = san.location
        self.world = World(Path(os.environ["FAKE_TGT"]).parent)

    def capacity(self) -> Capacity:
        self._fault("capacity")
        with self._state() as state:
            return self._room(state)

    def create(self, volume: Volume, scsi_id: str) -> TargetInfo:
        fault = self._fault("create")
        size = self._whole(volume.size_bytes)
        with self._state() as state:
            room = self._room(state)
            if not self._ours(state, volume):
                if size > room.free_bytes:
                    raise self._error("no-space", f"{self.location} has no room for {size} bytes")
                tid = str(max(map(int, state["targets"]), default=0) + 1)
                path = self._file(volume)
                self._extend(path, size)
                state["targets"][tid] = {
                    "iqn": volume.iqn, "path": str(path), "megabytes": size // 10**6, "serial": volume.serial,
                    "scsi_id": scsi_id, "sessions": {}, "accounts": [], "access": [], "location": self.location,
                }  # fmt: skip
        self._cut(fault)
        return self.target(volume)

    def has_made(self, target: TargetInfo) -> bool:
        self._fault("has_made")
        with self._state() as state:
            return any(one["iqn"] == target.iqn and "location" in one for one in state["targets"].values())

    def remove(self, volume: Volume) -> None:
        fault = self._fault("remove")
        with self._state() as state:
            ours = self._ours(state, volume)
            if ours:
                self._nobody_in(ours, "in-use")
            state["targets"] = {tid: target for tid, target in state["targets"].items() if target is not ours}
            state["accounts"].pop(volume.iqn, None)
            self._file(volume).unlink(missing_ok=True)
        self._cut(fault)

    def grow(self, volume: Volume, size_bytes: int) -> TargetInfo:
        fault = self._fault("grow")
        size = self._whole(size_bytes)
        with self._state() as state:
            target = self._ours(state, volume)
            if not target:
                raise self._error("no-target", f"there is no target {volume.iqn}")
            if self.location.partition(":")[0] not in self.grows_in_use:
                self._nobody_in(target, "cannot-grow", f", and {self.kind} fixes the size of a disk in use")
            more = size - os.path.getsize(target["path"])
            if more > self._room(state).free_bytes:
                raise self._error("no-space", f"{self.location} has no room for {more} more bytes")
            if more > 0:
                self._extend(Path(target["path"]), size)
                target["megabytes"] = size // 10**6
        self._cut(fault)
        return self.target(volume)

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        self._fault("wipe_status")
        return super().wipe_status(volume, job)

    def _file(self, volume: Volume) -> Path:
        return self.world.folder / "disks" / f"{volume.iqn.rpartition(':')[2]}.img"

    def _extend(self, path: Path, size: int) -> None:
        with path.open("ab") as file:
            more = size - file.tell()
            if self.location.startswith("lvm:"):
                file.write(OLD_DATA * (more // len(OLD_DATA)))
            elif self.location.startswith("file:"):
                os.posix_fallocate(file.fileno(), file.tell(), more)
            file.truncate(size)

    def _whole(self, size: int) -> int:
        return -(-size // EXTENT) * EXTENT if self.location.startswith("lvm:") else size

    def _room(self, state: dict) -> Capacity:
        if self.location:
            Location.parse(self.location)
        if self.location not in state["places"]:
            raise self._error("no-location", f"there is no {self.location or 'place'}")
        total = state["places"][self.location]
        ours = [Path(one["path"]) for one in state["targets"].values() if one.get("location") == self.location]
        thick = self.location.startswith("lvm:")
        used = sum(path.stat().st_size if thick else path.stat().st_blocks * 512 for path in ours)
        return Capacity(total, total - used)

    def _ours(self, state: dict, volume: Volume) -> dict | None:
        for target in state["targets"].values():
            if target["iqn"] == volume.iqn:
                if target.get("location") != self.location:
                    raise self._error("foreign", f"{volume.iqn} is not ours")
                return target
        return None

    def _nobody_in(self, target: dict, code: str, why: str = "") -> None:
        for session in target["sessions"].values():
            raise self._error(code, f"{session['initiator']} is logged in to {target['iqn']}{why}")

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict]:
        with self.world.tgt() as state:
            if state["down"]:
                raise self._error("daemon-down", "tgtd is not running")
            yield state

    def _fault(self, name: str) -> dict | None:
        self.world.log_call(self._san.name, name, [])
        fault = self.world.next_fault(self._san.name, name, "")
        if fault:
            time.sleep(fault["delay"])
            if fault["code"] and not fault["after"]:
                raise self._error(fault["code"], fault["stderr"] or "as the test wanted it")
        return fault

    def _cut(self, fault: dict | None) -> None:
        if fault and fault["code"]:
            raise StorageError(f"storage server {self._san.name}: the connection broke", "", fault["code"])


class LioMaker(Maker):
    """The same with LIO's ways: the kernel asks a block device for its size all the time."""

    kind = "lio"
    grows_in_use = ("lvm", "thin")
