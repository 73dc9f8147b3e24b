"""What every kind of storage server can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from one_iscsi.model import Chap, Volume


@dataclass(frozen=True)
class Session:
    """An initiator that is logged in: its name and the address it came from."""

    initiator: str
    address: str


@dataclass(frozen=True)
class TargetInfo:
    """A disk of a target as the server offers it now.

    ``size_bytes``: of the backing store, in whole blocks; 0 if it is missing. ``serial`` is the SCSI unit serial
    number, ``scsi_id`` the server's own text; with ``default_identity`` other servers' disks may have the same.
    ``addresses`` is the server's list of who may log in, which can hold patterns and initiator names, too.
    """

    iqn: str
    lun: int
    path: str
    size_bytes: int
    serial: str
    scsi_id: str
    default_identity: bool
    addresses: tuple[str, ...]
    sessions: tuple[Session, ...]


@dataclass(frozen=True)
class Exposure:
    """Who can reach a volume: ``present`` is False if its target is gone."""

    present: bool
    addresses: tuple[str, ...] = ()
    sessions: tuple[Session, ...] = ()


@dataclass(frozen=True)
class WipeStatus:
    """How far a wipe is. ``state``: ``running``, ``done``, ``failed`` (``text`` says why) or ``absent``: no such job
    lives, start it (one that was killed goes on at ``offset``). Bytes."""

    state: str
    offset: int = 0
    size_bytes: int = 0
    text: str = ""


class StorageServer(Protocol):
    """A storage server. Every method is one round trip, can be repeated, and raises StorageError.

    Codes: ``unreachable``, ``timeout``, ``unknown`` (see RemoteFailure), ``sudo``, ``missing-tool``, ``lock``,
    ``busy`` (another step for the volume runs), ``no-target``, ``in-use``, and those of the kind.
    """

    kind: str
    #: False if access cannot be closed from here: then ``close`` and ``drop`` prove nothing.
    can_close: bool

    def targets(self) -> list[TargetInfo]:
        """Every disk the server offers."""

    def target(self, volume: Volume) -> TargetInfo:
        """The volume's disk; ``no-target`` if it is gone."""

    def open(self, volume: Volume, address: str) -> Chap | None:
        """Let this IP address in, nobody else, with a fresh secret; None if the server asks for none.

        An earlier secret is void, but a session from this address stays. ``in-use``: somebody else is logged in.
        """

    def close(self, volume: Volume) -> None:
        """Let nobody in, drop who is logged in and see them stay away; ``no-target`` if the target is gone."""

    def observe(self, volume: Volume) -> Exposure:
        """Who may log in and who is logged in."""

    def drop(self, volume: Volume) -> None:
        """Throw out an initiator that cannot be asked to leave: as ``close``."""

    def start_wipe(self, volume: Volume, job: str) -> None:
        """Start the job ``job`` (a name no other wipe ever had) that writes zeros over the whole volume, or resume it.

        Nothing happens if it runs. ``in-use`` if the volume is not closed, ``wrong-device`` if the disk is not the
        volume's.
        """

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        """How far the job is."""
