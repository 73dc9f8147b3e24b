"""Detach: unplug from the guest, log the host out, close the volume, then keep its data or have it wiped."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from one_iscsi import states, wiping
from one_iscsi.core import Core
from one_iscsi.errors import NodeError, NotFound, StorageError, Unfinished, WrongState
from one_iscsi.model import Attachment, Op, Volume
from one_iscsi.vmstates import detach_way

KIND = "detach"
RESERVED, UNPLUGGING, CLOSING = "reserved", "unplugging", "closing"

#: In the payload: somebody gave up what a host cannot write back.
FORCED = "forced"

#: After this the guest still has its disk, whatever an earlier try did.
_REFUSED = frozenset({"guest-refused"})

#: After these a first try has done nothing, unless it says that the guest has let go.
_NOTHING_HAPPENED = frozenset({"lock", "busy", "sudo", "missing-tool"})


@dataclass(frozen=True)
class Plan:
    """A detach that is allowed: what would be done to what."""

    volume: Volume
    attachment: Attachment
    vm_name: str
    vm_mad: str
    domain: str
    unplug: bool


def plan(core: Core, vm_ref: str, volume_ref: str) -> Plan:
    """Check a detach before the user is asked; NotFound or WrongState say why it cannot be."""
    volume = core.store.volume(volume_ref)
    attachments = core.store.attachments(volume_id=volume.id)
    try:
        vm = core.frontend.vm(vm_ref)
    except NotFound:
        if [str(attachment.vm_id) for attachment in attachments] == [vm_ref] and volume.status == states.IN_USE:
            return _plan_of_forgotten(core, volume, attachments[0])
        raise
    if not attachments:
        raise WrongState(f"volume {volume.id} is not attached to any VM, it is {volume.status}", "see onevolume list")
    attachment = attachments[0]
    if attachment.vm_id != vm.id:
        raise WrongState(f"volume {volume.id} is attached to VM {attachment.vm_id}, not to VM {vm.id}", "name that VM")
    if volume.status != states.IN_USE:
        raise WrongState(f"volume {volume.id} is {volume.status}", f"see onevolume show {volume.id}")
    way = detach_way(vm)
    if way == "unplug" and vm.host != attachment.host:
        raise WrongState(
            f"VM {vm.id} runs on host {vm.host}, but volume {volume.id} is logged in on host {attachment.host}",
            f"power the VM off or move it back to {attachment.host}, then detach",
        )
    return Plan(volume, attachment, vm.name, vm.vm_mad, vm.deploy_id, way == "unplug")


def _plan_of_forgotten(core: Core, volume: Volume, attachment: Attachment) -> Plan:
    """oned forgets VMs that are done (onedb purge-done): such a VM has no guest."""
    vm_mad = core.frontend.host(attachment.host).vm_mad
    return Plan(volume, attachment, "unknown to oned", vm_mad, "", unplug=False)


def detach(core: Core, plan: Plan, then: str) -> Volume:
    """Carry out ``plan``; ``then`` is states.KEEP or states.RELEASE. The volume as it is afterwards.

    Unfinished when a machine stopped answering half-way; any other error leaves the volume in the guest as it was.
    """
    attachment = plan.attachment
    volume, op = core.store.begin(
        plan.volume,
        KIND,
        states.DETACHING,
        core.who,
        phase=RESERVED,
        then=then,
        payload={
            "vm_id": attachment.vm_id,
            "host": attachment.host,
            "vm_mad": plan.vm_mad,
            "domain": plan.domain if plan.unplug else "",
        },
        why=f"from VM {attachment.vm_id}, then {then}",
    )
    return go_on(core, op, volume)


def go_on(core: Core, op: Op, volume: Volume) -> Volume:
    """Do what is left of a detach; every step may be done twice."""
    attachment = core.store.attachments(volume_id=volume.id)[0]
    host, vm_mad = op.payload["host"], op.payload["vm_mad"]
    op = core.store.advance(op, UNPLUGGING)
    core.report(f"unplugging volume {volume.id} from VM {attachment.vm_id} on host {host}")
    try:
        core.node(host, vm_mad).detach(volume, op.payload["domain"] or None, force=op.payload.get(FORCED, False))
        op = core.store.advance(op, CLOSING)
        core.report(f"closing volume {volume.id}")
        core.close(volume)
    except NodeError as error:
        nothing = error.code in _NOTHING_HAPPENED and op.attempt == 1 and not error.unplugged
        if error.code in _REFUSED or nothing:
            core.store.finish(op, states.IN_USE, core.who, why=f"detach refused: {error.what}", attachment="keep")
            raise
        raise _stopped(core, op, volume, error) from error
    except StorageError as error:
        raise _stopped(core, op, volume, error) from error
    done = core.store.finish(
        op,
        states.AFTER_DETACH[op.then],
        core.who,
        why=f"detached from VM {attachment.vm_id} on host {host}"
        + (", forced: data that was not written back is lost" if op.payload.get(FORCED) else ""),
        attachment="delete",
        holder_kind="",
        holder_id=None,
        disk_id=None,
        wiped_at=None,
        **({"uid": 0, "gid": 0} if op.then == states.RELEASE else {}),
    )
    if done.status == states.DIRTY:
        return wiping.start_or_leave(core, done, host, vm_mad)
    return done


def _stopped(core: Core, op: Op, volume: Volume, error: NodeError | StorageError) -> Unfinished:
    core.store.fail(op, str(error))
    return Unfinished(
        f"the detach of volume {volume.id} stopped half-way ({error.what})",
        f"mend that, then run onevolume recover {volume.id}",
    )


def settle(core: Core, op: Op, volume: Volume) -> Volume:
    """Bring a detach whose process died to its end, unless the VM was saved meanwhile and its memory names the disk."""
    if op.phase != CLOSING and op.payload["domain"]:
        with suppress(NotFound):
            detach_way(core.frontend.vm(op.payload["vm_id"]))
        node = core.node(op.payload["host"], op.payload["vm_mad"])
        if not node.observe(volume, op.payload["domain"]).domain_present:
            op = core.store.advance(op, op.phase, domain="")
    return go_on(core, op, volume)
