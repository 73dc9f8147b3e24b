"""What an admin does to volumes: register, release, delete, enable, disable."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from one_iscsi import accounts, creating, states, wiping
from one_iscsi.core import Core
from one_iscsi.errors import BadInput, NotFound, StorageError, Unfinished, WrongState
from one_iscsi.iscsi import Portal, check_iqn
from one_iscsi.model import Chap, Op, San, Volume
from one_iscsi.units import format_size

DELETE = "delete"
ADMIN = "admin"


@dataclass(frozen=True)
class Registration:
    """A target to take in, that asks for ``chap``. ``size_bytes`` 0 and ``lun`` None: as the storage server says."""

    iqn: str
    portals: tuple[Portal, ...] = ()
    size_bytes: int = 0
    lun: int | None = None
    san: str = ""
    name: str = ""
    assume_clean: bool = False
    chap: Chap | None = None


def register(core: Core, wanted: Registration) -> Volume:
    """Take a target in: closed to everybody, then wiped unless the admin says it is clean.

    On a server that can be asked, size, LUN and serial are the server's. BadInput if the admin says otherwise. What
    ``create`` made there, and the table has lost, is ours again as if it had just been made.
    """
    check_iqn(wanted.iqn)
    if wanted.name:
        check_name(core, wanted.name)
    san = _san_for(core, wanted)
    portals = wanted.portals or san.portals
    if not portals:
        raise BadInput(f"no portal is known for {wanted.iqn}", "give --portal IP:PORT")
    try:
        taken = core.store.volume(wanted.iqn)
    except NotFound:
        pass
    else:
        raise WrongState(f"{wanted.iqn} is already registered as volume {taken.id}", f"see onevolume show {taken.id}")

    chap = accounts.seal(core, san, wanted.chap) if wanted.chap else None
    server = core.storage(san)
    size_bytes, lun, serial, made = wanted.size_bytes, wanted.lun, "", False
    if server.can_close:
        target = next((target for target in server.targets() if target.iqn == wanted.iqn), None)
        core.store.seen_san(san.id)
        if not target:
            raise NotFound(f"storage server {san.name} has no target {wanted.iqn}", "create it there first")
        if size_bytes and size_bytes != target.size_bytes:
            raise BadInput(
                f"{wanted.iqn} has {target.size_bytes} bytes ({format_size(target.size_bytes)}), not {size_bytes}",
                "leave --size out",
            )
        if lun is not None and lun != target.lun:
            raise BadInput(f"{wanted.iqn} has its disk at LUN {target.lun}, not {lun}", "leave --lun out")
        if target.sessions:
            raise WrongState(
                f"{target.sessions[0].initiator} is logged in to {wanted.iqn}", "log it out, then register again"
            )
        if len(portals) > 1 and target.default_identity:
            raise BadInput(
                f"{wanted.iqn} has several portals, and a serial number that its server made up",
                "give it a scsi_id and a scsi_sn of its own there, or one --portal",
            )
        size_bytes, lun, serial = target.size_bytes, target.lun, target.serial
        made = target.iqn.startswith(creating.IQN) and server.has_made(target)
    elif not size_bytes:
        raise BadInput(f"the size of {wanted.iqn} is not known", "give --size: this storage server cannot be asked")

    volume = core.store.add_volume(
        name=wanted.name or wanted.iqn.rpartition(":")[2] or wanted.iqn,
        iqn=wanted.iqn,
        lun=lun or 0,
        portals=portals,
        size_bytes=size_bytes,
        san_id=san.id,
        status=states.CREATING,
        serial=serial,
        made=made,
        chap=chap,
        who=core.who,
        why="registered" + (", the admin says it is clean" if wanted.assume_clean else ""),
    )
    try:
        server.close(volume)
    except StorageError:
        core.store.forget(volume, core.who, "could not be closed")
        raise
    if wanted.assume_clean:
        return core.store.change(volume, states.FREE, core.who, "assumed clean")
    volume = core.store.change(volume, states.DIRTY, core.who, "not known to be clean")
    return wiping.start_or_leave(core, volume)


def _san_for(core: Core, wanted: Registration) -> San:
    """The storage server named, else the one that has the portal, else ``static``, made at its first use.

    Without a portal the only storage server there is.
    """
    if wanted.san:
        return core.store.san(wanted.san)
    sans = core.store.sans()
    if not wanted.portals and len(sans) == 1:
        return sans[0]
    for san in sans:
        if set(wanted.portals) & set(san.portals):
            return san
    try:
        return core.store.san("static")
    except NotFound:
        return core.store.add_san("static", "static", ())


def release(core: Core, ref: str) -> Volume:
    """Give a kept volume back: its data is wiped, then anybody may have it. A ``dirty`` one has its wipe started."""
    volume = core.store.volume(ref)
    if volume.status == states.AVAILABLE:
        volume = core.store.change(volume, states.DIRTY, core.who, "released", wiped_at=None, uid=0, gid=0)
    elif volume.status != states.DIRTY:
        raise WrongState(
            f"volume {volume.id} is {volume.status}, only an available or a dirty volume can be released",
            _first(volume),
        )
    wiping.start(core, volume)
    return core.store.volume(volume.id)


def delete(core: Core, ref: str) -> Volume:
    """Take a volume out of the table.

    The target of a registered one stays on the storage server, closed, with its data. One that was made by ``create``
    is removed there. It is wiped first, and the volume returned is ``wiping``, unless it is free: then it reads as
    zeros, because it was wiped, or because it was new in a place that reads as zeros and nobody ever had it. Without
    a target there is nothing to wipe through: what is left of it is removed, and whoever gets its room next gets zeros.
    """
    volume = core.store.volume(ref)
    _needs(volume, states.DELETING, "deleted")
    if volume.made and volume.status != states.FREE and _is_offered(core, volume):
        if volume.status == states.ERROR:
            volume = out_of_error(core, volume)
        wiping.start(core, volume, then=wiping.DELETE)
        return core.store.volume(volume.id)
    volume, op = core.store.begin(volume, DELETE, states.DELETING, core.who, why="delete")
    return settle_delete(core, op, volume)


def _is_offered(core: Core, volume: Volume) -> bool:
    try:
        core.server(volume).target(volume)
    except StorageError as error:
        if error.code != "no-target":
            raise
        return False
    return True


def out_of_error(core: Core, volume: Volume) -> Volume:
    """A volume in ``error`` as a dirty one: nobody is logged in to it and nobody may get in."""
    core.close(volume)
    return core.store.change(volume, states.DIRTY, core.who, "recovered", previous_status="", reason="")


def settle_delete(core: Core, op: Op, volume: Volume) -> Volume:
    """Do what is left of a deletion."""
    op = core.store.advance(op, "closing")
    try:
        if volume.made:
            op = core.store.advance(op, "removing")
            core.server(volume).remove(volume)
        else:
            core.close(volume)
    except StorageError as error:
        core.store.fail(op, str(error))
        raise Unfinished(
            f"volume {volume.id} could not be {'removed' if volume.made else 'closed'} ({error.what})",
            f"mend that, then run onevolume recover {volume.id}",
        ) from error
    core.store.forget(volume, core.who, "deleted")
    return replace(volume, status=states.GONE)


def disable(core: Core, ref: str) -> Volume:
    """Keep a volume from being handed out."""
    volume = core.store.volume(ref)
    _needs(volume, states.DISABLED, "disabled")
    return core.store.change(volume, states.DISABLED, core.who, "disabled", previous_status=volume.status, reason=ADMIN)


def enable(core: Core, ref: str) -> Volume:
    """Put a disabled volume back to what it was."""
    volume = core.store.volume(ref)
    if volume.status != states.DISABLED:
        raise WrongState(f"volume {volume.id} is {volume.status}, not disabled", "nothing to enable")
    return core.store.change(volume, volume.previous_status, core.who, "enabled", previous_status="", reason="")


def rename(core: Core, ref: str, name: str) -> Volume:
    """Call a volume ``name``; its IQN and what is on its storage server keep their names."""
    volume = core.store.volume(ref)
    return core.store.rename(volume, check_name(core, name), core.who)


def check_name(core: Core, name: str) -> str:
    """``name`` if a volume can be called so: nothing that reads as an id or a range, and not taken yet.

    128 characters are OpenNebula's limit. Raises BadInput and WrongState.
    """
    if not 0 < len(name) <= 128 or name != name.strip() or not name.isprintable() or name.startswith("-"):
        raise BadInput(f"name {name!r} is malformed", "give 1 to 128 printable characters")
    if re.fullmatch(r"\d+(\.\.\d+)?", name):
        raise BadInput(f"name {name!r} would be taken for an id", "give one with a letter")
    for volume in core.store.volumes(name=name):
        raise WrongState(f"volume {volume.id} is named {name} already", "choose another name")
    return name


def _needs(volume: Volume, to_status: str, verb: str) -> None:
    """WrongState unless there is a way from the volume's status to ``to_status``."""
    if to_status not in states.TRANSITIONS[volume.status]:
        raise WrongState(
            f"volume {volume.id} is {volume.status} and cannot be {verb}",
            _first(volume),
        )


def _first(volume: Volume) -> str:
    """What to do before anything else can be done to a volume."""
    first = {states.IN_USE: "detach it first", states.DISABLED: f"run onevolume enable {volume.id} first"}
    return first.get(volume.status, f"see onevolume show {volume.id}")
