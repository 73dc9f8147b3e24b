"""What every kind of storage server can be asked."""

from __future__ import annotations

from collections.abc import Collection
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


@dataclass(frozen=True)
class Capacity:
    """Bytes in the place where a storage server makes volumes (volume group, thin pool, file system)."""

    total_bytes: int
    free_bytes: int


class StorageServer(Protocol):
    """A storage server. Every method is one round trip, can be repeated, and raises StorageError.

    Codes: ``unreachable``, ``timeout``, ``unknown`` (see RemoteFailure), ``sudo``, ``missing-tool``, ``lock``,
    ``busy`` (another step for the volume runs), ``no-target``, ``in-use``, and those of the kind.
    """

    kind: str
    #: False if access cannot be closed from here: then ``close`` and ``drop`` prove nothing.
    can_close: bool

    @property
    def can_create(self) -> bool:
        """False for a server on which no volumes are made: a kind that cannot, or one without a location."""

    def targets(self) -> list[TargetInfo]:
        """Every disk the server offers."""

    def target(self, volume: Volume) -> TargetInfo:
        """The volume's disk; ``no-target`` if it is gone."""

    def open(self, volume: Volume, addresses: Collection[str], initiator: str) -> Chap | None:
        """Let this initiator in, nobody else, with a fresh secret; None if the server asks for none.

        Some kinds go by the IP addresses it comes from, others by its name: each is told both.
        An earlier secret is void, but a session of this initiator stays. ``in-use``: somebody else is logged in.
        """

    def close(self, volume: Volume) -> None:
        """Let nobody in, drop who is logged in and see them stay away; ``no-target`` if the target is gone."""

    def observe(self, volume: Volume) -> Exposure:
        """Who may log in and who is logged in."""

    def drop(self, volume: Volume) -> None:
        """Throw out an initiator that cannot be asked to leave: as ``close``."""

    def start_wipe(self, volume: Volume, job: str, start: int = 0, rate: int = 0) -> None:
        """Start the job ``job`` (a name no other wipe ever had) that writes zeros over the whole volume, or resume it.

        With ``start`` only what comes after so many bytes is wiped: what the volume has grown by. ``rate``: at most so
        many bytes a second (0: no limit), whole MiB. Nothing happens if it runs. ``in-use`` if the volume is not
        closed, ``wrong-device`` if the disk is not the volume's.
        """

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        """How far the job is."""

    def capacity(self) -> Capacity:
        """The room in the server's location; an error names what keeps volumes from being made there.

        ``no-location``: the server has none, or there is no such volume group, thin pool or folder.
        """

    def create(self, volume: Volume, scsi_id: str) -> TargetInfo:
        """Make a volume's backing store (whole 4 MiB extents on LVM), its target and its LUN ``volume.lun``.

        The disk has ``volume.serial`` and ``scsi_id`` (16 hexadecimal digits) for an identity, comes back with the
        target daemon and the machine, and is closed to all. One that was begun is finished, a finished one stays.
        ``no-space``; ``foreign``: something of this name is there that was not made for the volume. After an error
        nothing that was made here is left, except when nobody knows (``unreachable``, ``timeout``, ``unknown``).
        """

    def has_made(self, target: TargetInfo) -> bool:
        """Whether ``create`` made this target and its backing store, as the marks on the server tell."""

    def remove(self, volume: Volume) -> None:
        """Remove what ``create`` made, with its data; what is gone already is fine.

        ``in-use`` while somebody is logged in; ``foreign`` if the target was not made by ``create``.
        """

    def grow(self, volume: Volume, size_bytes: int) -> TargetInfo:
        """Make the backing store this large (never smaller), then the disk.

        ``cannot-grow`` with the reason where the disk cannot change now; ``no-space``; ``foreign``.
        """
