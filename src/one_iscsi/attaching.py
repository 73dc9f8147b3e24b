"""Attach: reserve a volume, open it to the VM's host, plug it into the guest. And settle one that stopped half-way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from one_iscsi import states, wiping
from one_iscsi.core import Core
from one_iscsi.errors import (
    BadInput,
    FrontendError,
    LostRace,
    NodeError,
    NotAllowed,
    NotFound,
    NoVolume,
    OneIscsiError,
    StorageError,
    Unfinished,
    WrongState,
)
from one_iscsi.model import Attachment, Op, Volume
from one_iscsi.store import TargetTaken
from one_iscsi.units import format_size

if TYPE_CHECKING:
    from one_iscsi.frontend import Vm
    from one_iscsi.nodes import Attached

KIND = "attach"

# The phases, each committed before the side effect it names.
RESERVED, OPENING, PLUGGING, CONFIRMING = "reserved", "opening", "plugging", "confirming"

#: After these the storage server has done nothing at all, unless it says that it began.
_NOTHING_OPENED = frozenset({"unreachable", "daemon-down", "no-target", "sudo", "missing-tool", "lock", "busy"})

_NOT_ATTACHABLE = {
    states.CREATING: "it is being made",
    states.DIRTY: "it waits for its wipe",
    states.WIPING: "it is being wiped",
    states.ATTACHING: "it is being attached",
    states.IN_USE: "detach it first",
    states.DETACHING: "it is being detached",
    states.RESIZING: "it is being resized",
    states.DELETING: "it is being deleted",
    states.DISABLED: "enable it first",
}


@dataclass(frozen=True)
class Request:
    """What the user asked for: a size in bytes, and the pool if it matters; or the volume (id or name) to take."""

    vm: str
    size_bytes: int = 0
    volume: str = ""
    pool: str = ""
    target: str = ""
    read_only: bool = False
    on_terminate: str = states.KEEP


def attach(core: Core, request: Request) -> tuple[Volume, Attachment]:
    """Attach a volume to a running VM; the volume and its attachment as they are then.

    After any error nothing is left behind, except Unfinished: then the journal knows and ``recover`` goes on.
    """
    _look_for_a_volume(core, request)
    from one_iscsi.vmstates import attach_refusal

    vm = core.frontend.vm(request.vm)
    refusal = attach_refusal(vm)
    if refusal:
        raise WrongState(refusal)
    busy: set[str] = set()
    while True:
        op, volume, attachment = reserve(core, request, vm, busy)
        try:
            return _carry_out(core, op, volume, attachment)
        except NodeError as error:
            if error.code != "target-busy" or request.target:
                raise
            busy.add(attachment.target)  # a disk that was plugged in behind everybody's back


# -- before the first side effect: choose and reserve -----------------------------------------------------------------


def _look_for_a_volume(core: Core, request: Request) -> None:
    """Refuse before oned is asked when no volume could do."""
    if request.volume:
        _check_named(core.store.volume(request.volume))
    elif not core.store.candidates(request.size_bytes, None, request.pool):
        wiping.collect(core)
        if not core.store.candidates(request.size_bytes, None, request.pool):
            raise _no_volume(core, request, None)


def _no_volume(core: Core, request: Request, cluster_id: int | None) -> NoVolume:
    largest = core.store.largest_free(cluster_id, request.pool)
    where = f" in pool {request.pool}" if request.pool else ""
    where += "" if cluster_id is None else f" for cluster {cluster_id}"
    return NoVolume(
        f"no free volume of {format_size(request.size_bytes)}{where}, "
        + (f"the largest free one has {format_size(largest)}" if largest else "no volume is free"),
        ("ask for less, or " if largest else "") + "have one registered, released or wiped (see onevolume list)",
    )


def _check_named(volume: Volume) -> None:
    if volume.status not in (states.FREE, states.AVAILABLE):
        why = _NOT_ATTACHABLE.get(volume.status, f"see onevolume show {volume.id}")
        raise WrongState(f"volume {volume.id} is {volume.status}", why)


def _choices(core: Core, request: Request, vm: Vm) -> Iterator[Volume]:
    """The volumes to try, best first; asks again as long as others take what it offered."""
    if request.volume:
        volume = core.store.volume(request.volume)
        _check_named(volume)
        if volume.status == states.AVAILABLE and volume.uid != vm.uid:
            raise NotAllowed(
                f"volume {volume.id} holds data of user {volume.uid}, VM {vm.id} belongs to user {vm.uid}",
                "attach it to a VM of its owner, or release it",
            )
        clusters = core.store.san(volume.san_id).clusters
        if clusters and vm.cluster_id not in clusters:
            raise WrongState(
                f"volume {volume.id} is not served to cluster {vm.cluster_id} of VM {vm.id}", "choose another volume"
            )
        yield volume
        return
    while offered := core.store.candidates(request.size_bytes, vm.cluster_id, request.pool):
        yield from offered
    raise _no_volume(core, request, vm.cluster_id)


def reserve(core: Core, request: Request, vm: Vm, busy: set[str]) -> tuple[Op, Volume, Attachment]:
    """Take a volume and a guest target that is not ``busy``: from then on nobody else gets either.

    Raises NoVolume, and what keeps the volume from this VM; then nothing is taken.
    """
    for volume in _choices(core, request, vm):
        _refuse_shared_identity(core, volume)
        core.sources(vm.host, vm.vm_mad, volume)
        core.chap(volume)  # can it be read? Now nothing has to be undone yet
        try:
            return _take(core, request, vm, volume, busy)
        except LostRace:
            continue
    raise LostRace(f"volume {request.volume} was taken by another command", "look again with onevolume list")


def _refuse_shared_identity(core: Core, volume: Volume) -> None:
    """multipathd would take the disks of two volumes with one identity for paths to one."""
    if volume.is_multipath and volume.serial and not core.identity(volume).trusted:
        raise WrongState(
            f"volume {volume.id} has several portals, and another disk may have its serial number {volume.serial}",
            "give it one of its own on the storage server, or register it with one portal",
        )


def _take(core: Core, request: Request, vm: Vm, volume: Volume, busy: set[str]) -> tuple[Op, Volume, Attachment]:
    """Reserve ``volume`` and a guest target in one transaction; LostRace if somebody else has the volume now."""
    payload = {"vm_id": vm.id, "host": vm.host, "seq": vm.seq, "vm_mad": vm.vm_mad, "domain": vm.deploy_id}
    payload |= {"uid": vm.uid, "gid": vm.gid, "size_bytes": request.size_bytes}
    while True:
        attachment = Attachment(
            volume_id=volume.id,
            vm_id=vm.id,
            host=vm.host,
            target=_free_target(core, request, vm, busy),
            read_only=request.read_only,
            on_terminate=request.on_terminate,
        )
        try:
            taken, op = core.store.begin(
                volume,
                KIND,
                states.ATTACHING,
                core.who,
                phase=RESERVED,
                payload=payload,
                attachment=attachment,
                why=f"for VM {vm.id}",
            )
        except TargetTaken:
            continue  # another attach to this VM was first: its target is in the table now
        return op, taken, attachment


def _free_target(core: Core, request: Request, vm: Vm, busy: set[str]) -> str:
    """The wished target, or the free one nearest the top: oned gives its own disks the lowest free letter."""
    from one_iscsi.nodes import target_names

    taken = busy | vm.targets | {attachment.target for attachment in core.store.attachments(vm_id=vm.id)}
    names = target_names(vm.vm_mad)
    if request.target:
        if request.target not in names:
            raise BadInput(f"{request.target!r} is no target of VM {vm.id}", f"give one from {names[-1]} to {names[0]}")
        if request.target in taken:
            raise WrongState(f"VM {vm.id} already has a disk at {request.target}", "choose another --target")
        return request.target
    for name in names:
        if name not in taken:
            return name
    raise WrongState(f"VM {vm.id} has no free target for another disk", "detach one first")


# -- the side effects -------------------------------------------------------------------------------------------------


def _carry_out(core: Core, op: Op, volume: Volume, attachment: Attachment) -> tuple[Volume, Attachment]:
    host, vm_mad, domain = op.payload["host"], op.payload["vm_mad"], op.payload["domain"]
    try:
        addresses = core.sources(host, vm_mad, volume)
        op = core.store.advance(op, OPENING)
        core.report(f"opening volume {volume.id} to host {host}")
        chap = core.server(volume).open(volume, addresses, core.initiator(host)) or core.chap(volume)
        op = core.store.advance(op, PLUGGING)
        core.report(f"plugging volume {volume.id} into VM {attachment.vm_id} on host {host}")
        attached = core.node(host, vm_mad).attach(
            volume, core.identity(volume), chap, domain, [attachment.target], attachment.read_only
        )
        op = core.store.advance(op, CONFIRMING, device=attached.device)
        _warn_of_silent_portals(core, host, volume, attached)
    except StorageError as error:
        if error.code in _NOTHING_OPENED and not error.began:
            _give_back(core, op, guest_saw_it=False)
        else:
            _undo(core, op, volume, guest_saw_it=False)
        raise
    except NodeError as error:
        if not error.clean:
            return _settle_after(core, op, volume, error)
        _undo(core, op, volume, guest_saw_it=error.plug_tried)
        if error.code in ("login-refused", "login-mutual"):
            core.sources(host, vm_mad, volume, again=True)  # perhaps it has another address now: right next time
        raise
    return _confirm(core, op, volume, attachment, attached)


def _warn_of_silent_portals(core: Core, host: str, volume: Volume, attached: Attached) -> None:
    for portal in attached.silent:
        core.warn(
            f"portal {portal} does not answer host {host}, volume {volume.id} has a path less: when it answers again, "
            f"run iscsiadm -m node -T {volume.iqn} -p {portal} --login there"
        )


def _confirm(
    core: Core, op: Op, volume: Volume, attachment: Attachment, attached: Attached
) -> tuple[Volume, Attachment]:
    """Is the VM still where it was when the attach began? Only then the volume is in use."""
    wrong = _no_longer_there(core, op)
    if not wrong and attached.size_bytes < op.payload["size_bytes"]:
        wrong = f"volume {volume.id} has only {format_size(attached.size_bytes)}"
        volume = core.store.update(volume, **attached.learned)
    if wrong:
        _undo(core, op, volume, guest_saw_it=True, unplug=attachment)
        raise WrongState(wrong, "the attach was undone, try again")
    return _in_use(core, op, volume, replace(attachment, device=attached.device), attached)


def _no_longer_there(core: Core, op: Op) -> str:
    """Why the guest is not on the attach's host any more; empty if it is. Unfinished if oned cannot be asked."""
    from one_iscsi.vmstates import attach_refusal

    try:
        vm = core.frontend.vm(op.payload["vm_id"])
    except NotFound as error:
        return error.what
    except FrontendError as error:
        core.store.fail(op, str(error))
        raise Unfinished(
            f"volume {op.volume_id} is plugged in, but oned cannot confirm where the VM is now ({error.what})",
            f"when it answers again, run onevolume recover {op.volume_id}",
        ) from None
    if (vm.host, vm.seq) != (op.payload["host"], op.payload["seq"]):
        return f"VM {vm.id} moved from host {op.payload['host']} to {vm.host} meanwhile"
    return attach_refusal(vm) or ""


def _in_use(
    core: Core, op: Op, volume: Volume, attachment: Attachment, attached: Attached | None = None
) -> tuple[Volume, Attachment]:
    done = core.store.finish(
        op,
        states.IN_USE,
        core.who,
        why=f"attached to VM {attachment.vm_id} on host {attachment.host} as {attachment.target}",
        attachment=attachment,
        holder_kind="vm",
        holder_id=attachment.vm_id,
        uid=op.payload["uid"],
        gid=op.payload["gid"],
        **(attached.learned if attached else {}),
    )
    return done, attachment


# -- undo and settle --------------------------------------------------------------------------------------------------


def _undo(core: Core, op: Op, volume: Volume, *, guest_saw_it: bool, unplug: Attachment | None = None) -> None:
    """Take back what was done, last step first; Unfinished (and the journal row stays open) if a machine cannot.

    Once the guest may have seen the device, the volume is never ``free`` again without a wipe.
    """
    core.report(f"undoing the attach of volume {volume.id}")
    host, vm_mad = op.payload["host"], op.payload["vm_mad"]
    try:
        if unplug:
            core.node(host, vm_mad).detach(volume, op.payload["domain"])
        core.close(volume)
    except (NodeError, StorageError) as error:
        core.store.fail(op, str(error))
        raise Unfinished(
            f"the attach of volume {volume.id} failed and could not be undone ({error.what})",
            f"mend that, then run onevolume recover {volume.id}",
        ) from error
    _give_back(core, op, guest_saw_it)


def _give_back(core: Core, op: Op, guest_saw_it: bool) -> Volume:
    status = states.AFTER_UNDONE_PLUG[op.origin_status] if guest_saw_it else op.origin_status
    volume = core.store.finish(op, status, core.who, why="attach undone", attachment="delete")
    if status == states.DIRTY:
        return wiping.start_or_leave(core, volume, op.payload["host"], op.payload["vm_mad"])
    return volume


def _settle_after(core: Core, op: Op, volume: Volume, error: NodeError) -> tuple[Volume, Attachment]:
    """The node's answer is missing or it could not clean up: look at what is there and go by that."""
    try:
        settled = settle(core, core.store.op(op.id), volume)
    except OneIscsiError as second:
        core.store.fail(op, f"{error.what}; {second.what}")
        raise Unfinished(
            f"the attach of volume {volume.id} stopped half-way ({error.what})",
            f"mend that, then run onevolume recover {volume.id}",
        ) from second
    if settled.status != states.IN_USE:
        raise error
    return settled, core.store.attachments(volume_id=volume.id)[0]


def settle(core: Core, op: Op, volume: Volume) -> Volume:
    """Finish or undo the attach ``op`` of this process by what is really there; the volume as it is then.

    The observation waits for a node script that is still running. Raises what keeps it from knowing: nothing is
    guessed.
    """
    if op.phase == RESERVED:
        return _give_back(core, op, guest_saw_it=False)
    if op.phase == OPENING:
        core.close(volume)
        return _give_back(core, op, guest_saw_it=False)

    from one_iscsi.vmstates import detach_way

    attachment = core.store.attachments(volume_id=volume.id)[0]
    host, domain = op.payload["host"], op.payload["domain"]
    node = core.node(host, op.payload["vm_mad"])
    seen = node.observe(volume, domain)
    # a disk that Xen lists and the guest did not take is not attached
    if seen.target and seen.state == "connected" and seen.session and not _no_longer_there(core, op):
        return _in_use(core, op, volume, replace(attachment, target=seen.target, device=seen.device or ""))[0]
    with suppress(NotFound):  # a VM that is gone holds nothing; a saved one's memory may name the disk: nothing moves
        detach_way(core.frontend.vm(op.payload["vm_id"]))
    node.detach(volume, domain if seen.domain_present else None)
    core.close(volume)
    return _give_back(core, op, guest_saw_it=True)
