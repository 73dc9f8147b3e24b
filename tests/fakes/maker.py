"""A fake storage server that makes volumes: the tgt of the world (world.py) with volume groups, thin pools and folders.

A place is known by its ``San.location`` and has a size. What is made in a volume group holds what its extents held
before, what is made in a thin pool or a folder reads as zeros and takes no room. A thin volume grows while it is used,
others do not. The world's faults name the method:
``world.fault("create", code="no-space")``; ``after=True`` breaks the connection when it is done.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from fakes.world import World
from one_iscsi.errors import StorageError
from one_iscsi.model import San, Volume
from one_iscsi.remote import Remote
from one_iscsi.san import Capacity, TargetInfo, WipeStatus
from one_iscsi.san.tgt import Tgt

EXTENT = 4 << 20
OLD_DATA = b"somebody's data "


class Maker(Tgt):
    """tgt, and a place where volumes are made."""

    def __init__(self, san: San, remote: Remote) -> None:
        super().__init__(san, remote)
        self.location = san.location
        self.world = World(Path(os.environ["FAKE_TGT"]).parent)

    def capacity(self) -> Capacity:
        self._step("capacity")
        with self.world.tgt() as state:
            if self.location not in state["places"]:
                raise self._error("no-location", f"there is no {self.location}")
            total = state["places"][self.location]
            return Capacity(total, total - self._used(state))

    def create(self, volume: Volume, scsi_id: str) -> TargetInfo:
        fault = self._step("create")
        size = self._whole(volume.size_bytes)
        with self.world.tgt() as state:
            there = [target for target in state["targets"].values() if target["iqn"] == volume.iqn]
            if there and there[0].get("location") != self.location:
                raise self._error("foreign", f"{volume.iqn} is not ours")
            if not there:
                if size > state["places"][self.location] - self._used(state):
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

    def remove(self, volume: Volume) -> None:
        fault = self._step("remove")
        with self.world.tgt() as state:
            for tid, target in list(state["targets"].items()):
                if target["iqn"] == volume.iqn:
                    if target.get("location") != self.location:
                        raise self._error("foreign", f"{volume.iqn} is not ours")
                    if target["sessions"]:
                        raise self._error("in-use", f"somebody is logged in to {volume.iqn}")
                    del state["targets"][tid]
        self._file(volume).unlink(missing_ok=True)
        self._cut(fault)

    def grow(self, volume: Volume, size_bytes: int) -> TargetInfo:
        fault = self._step("grow")
        with self.world.tgt() as state:
            [target] = [target for target in state["targets"].values() if target["iqn"] == volume.iqn]
            if target["sessions"] and not self.location.startswith("thin:"):
                raise self._error("cannot-grow", f"somebody is logged in to {volume.iqn}")
            size_bytes = self._whole(size_bytes)
            more = size_bytes - os.path.getsize(target["path"])
            if more > state["places"][self.location] - self._used(state):
                raise self._error("no-space", f"{self.location} has no room for {more} more bytes")
            if more > 0:
                self._extend(Path(target["path"]), size_bytes)
                target["megabytes"] = size_bytes // 10**6
        self._cut(fault)
        return self.target(volume)

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        self._fault("wipe_status")
        return super().wipe_status(volume, job)

    def _file(self, volume: Volume) -> Path:
        return self.world.folder / "disks" / f"{volume.iqn.rpartition(':')[2]}.img"

    def _extend(self, path: Path, size: int) -> None:
        with path.open("ab") as file:
            if self.location.startswith("lvm:"):
                file.write(OLD_DATA * ((size - file.tell()) // len(OLD_DATA)))
            file.truncate(size)

    def _whole(self, size: int) -> int:
        return -(-size // EXTENT) * EXTENT if self.location.startswith("lvm:") else size

    def _used(self, state: dict) -> int:
        ours = [Path(one["path"]) for one in state["targets"].values() if one.get("location") == self.location]
        thick = self.location.startswith("lvm:")
        return sum(path.stat().st_size if thick else path.stat().st_blocks * 512 for path in ours)

    def _step(self, name: str) -> dict | None:
        fault = self._fault(name)
        with self.world.tgt() as state:
            if state["down"]:
                raise self._error("unreachable", "No route to host")
        return fault

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
