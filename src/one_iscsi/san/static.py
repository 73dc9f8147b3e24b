"""Targets that someone else manages (an Openfiler without ssh, an array): nothing can be asked or changed there."""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from one_iscsi.errors import StorageError
from one_iscsi.model import Chap, San, Volume
from one_iscsi.remote import Remote
from one_iscsi.san.base import Capacity, Exposure, TargetInfo, WipeStatus


class Static:
    """Knows nothing; what it cannot do is a StorageError with the code ``unsupported``."""

    kind = "static"
    can_close = False
    can_create = False

    def __init__(self, san: San, remote: Remote) -> None:
        self._san = san

    def targets(self) -> list[TargetInfo]:
        """Not possible."""
        self._refuse("list its targets", "register each with its IQN, portal and size")

    def target(self, volume: Volume) -> TargetInfo:
        """Not possible."""
        self._refuse("tell about a target", "look at it from a host")

    def open(self, volume: Volume, addresses: Collection[str], initiator: str) -> Chap | None:
        """Nothing: it is always open."""
        return None

    def close(self, volume: Volume) -> None:
        """Nothing: it cannot be closed."""

    def observe(self, volume: Volume) -> Exposure:
        """Not possible."""
        self._refuse("tell who is logged in", "ask the hosts")

    def drop(self, volume: Volume) -> None:
        """Not possible."""
        self._refuse("drop a session", "log the host out, or see that it is off")

    def start_wipe(self, volume: Volume, job: str, start: int = 0, rate: int = 0) -> None:
        """Not possible."""
        self._refuse("wipe a volume", "wipe it from a host")

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        """Not possible."""
        self._refuse("wipe a volume", "wipe it from a host")

    def capacity(self) -> Capacity:
        """Not possible."""
        self._refuse("tell how much room it has", "look there")

    def create(self, volume: Volume, scsi_id: str) -> TargetInfo:
        """Not possible."""
        self._refuse("make a volume", "create a target there, then register it")

    def has_made(self, target: TargetInfo) -> bool:
        """Never."""
        return False

    def remove(self, volume: Volume) -> None:
        """Not possible."""
        self._refuse("remove a volume", "remove its target there")

    def grow(self, volume: Volume, size_bytes: int) -> TargetInfo:
        """Not possible."""
        self._refuse("change the size of a volume", "make a larger one and copy the data")

    def _refuse(self, what: str, fix: str) -> NoReturn:
        raise StorageError(f"storage server {self._san.name} is static: it cannot {what}", fix, "unsupported")
