"""The records the layers hand to each other. Rows of the companion tables are read-only here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from one_iscsi.iscsi import Portal, multipath_link


@dataclass(frozen=True)
class Volume:
    """A row of ``one_volume``. Times are Unix seconds, sizes bytes, ``permissions`` OpenNebula's ugo bits as 0o600."""

    id: int
    name: str
    iqn: str
    lun: int
    portals: tuple[Portal, ...]
    size_bytes: int
    serial: str
    wwid: str
    san_id: int
    status: str
    version: int
    previous_status: str = ""
    reason: str = ""
    holder_kind: str = ""
    holder_id: int | None = None
    disk_id: int | None = None
    uid: int = 0
    gid: int = 0
    permissions: int = 0o600
    wiped_at: int | None = None
    created_at: int = 0
    updated_at: int = 0
    #: Its backing store and target were made by ``create``, and go with it.
    made: bool = False

    @property
    def portal(self) -> Portal:
        """The first portal; most volumes have one."""
        return self.portals[0]

    @property
    def is_multipath(self) -> bool:
        """Whether hosts reach it by several paths, which multipathd joins there."""
        return len(self.portals) > 1

    @property
    def device_path(self) -> str:
        """The path every host gives the hypervisor: a stable symlink, the same everywhere.

        Empty for a volume with several portals that no host has logged in to yet: its WWID is not known.
        """
        return multipath_link(self.wwid) if self.is_multipath else self.portal.by_path(self.iqn, self.lun)


@dataclass(frozen=True)
class Attachment:
    """A row of ``one_volume_attachment``; only living attachments have one."""

    volume_id: int
    vm_id: int | None
    host: str
    target: str
    slot: str = "a"
    purpose: str = "vm"
    device: str = ""
    read_only: bool = False
    on_terminate: str = "keep"
    status: str = "active"
    created_at: int = 0


@dataclass(frozen=True)
class Owner:
    """The process that runs an operation: dead if the boot differs or no process has this pid and start time."""

    frontend: str
    pid: int
    started: int
    boot: str


@dataclass(frozen=True)
class Op:
    """A row of ``one_volume_op``, the journal. ``phase`` was committed before the side effect it names."""

    id: int
    volume_id: int
    kind: str
    phase: str
    origin_status: str
    then: str
    owner: Owner
    heartbeat: int
    attempt: int
    payload: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    open: bool = True
    created_at: int = 0


@dataclass(frozen=True)
class Event:
    """A row of ``one_volume_event``, the audit."""

    id: int
    time: int
    volume_id: int
    uid: int
    address: str
    what: str
    from_status: str
    to_status: str
    why: str


@dataclass(frozen=True)
class San:
    """A row of ``one_volume_san``: a storage server. ``clusters`` empty: serves every cluster.

    ``ssh_host`` is where its commands run: ``localhost`` is the front end itself, empty is nowhere. ``location`` is
    where volumes are made: ``lvm:VG``, ``thin:VG/POOL``, ``file:/FOLDER``; empty: they are not. ``pool`` is a label
    users can ask for.
    """

    id: int
    name: str
    kind: str
    portals: tuple[Portal, ...]
    ssh_host: str = ""
    location: str = ""
    clusters: tuple[int, ...] = ()
    last_seen: int | None = None
    pool: str = ""


@dataclass(frozen=True)
class Host:
    """A row of ``one_volume_host``: what was learned of a node. ``sources`` maps a portal's address to the node's own
    address towards it (the storage NIC is not the management address)."""

    id: int
    name: str
    initiator: str
    sources: dict[str, str]
    multipath: bool = False
    last_seen: int | None = None


@dataclass(frozen=True)
class Chap:
    """What an initiator must present, and with a ``target_user`` what the target must present to it (mutual CHAP).

    Never logged or put into an argument list of a node, and stored only as a SealedChap.
    """

    user: str
    password: str = field(repr=False)
    target_user: str = ""
    target_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class SealedChap:
    """The Chap of a target that somebody else manages, as ``one_volume_chap`` has it: ``secrets`` is encrypted."""

    user: str
    target_user: str
    secrets: str


@dataclass(frozen=True)
class Identity:
    """What a device must be before a guest may see it. Empty serial: not known yet (it is learned)."""

    size_bytes: int
    serial: str
    #: False for an identity several volumes share (tgt's default): then the serial proves nothing.
    trusted: bool
