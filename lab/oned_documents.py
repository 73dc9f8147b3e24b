"""The XML documents of the oned stand-in: real oned 7.4.0's, recorded, with fields changed to what the state says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import oned_template
from oned_state import State

GROUPS = {0: "oneadmin", 1: "users"}
RIGHTS = ("OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A")
#: The elements of a VM and of its last history record that vmpool.info leaves out (VirtualMachine::to_xml_short).
NOT_SHORT = ("PERMISSIONS", "PREV_STATE", "PREV_LCM_STATE", "SCHED_ACTIONS", "BACKUPS")
SHORT_HISTORY = ("OID", "SEQ", "HOSTNAME", "HID", "CID", "DS_ID", "VM_MAD", "TM_MAD", "ACTION")
#: What User::to_xml (src/um/User.cc) writes, without tokens and quotas: no user was recorded.
USER = """<USER><ID/><GID/><GROUPS><ID/></GROUPS><GNAME/><NAME/><PASSWORD>x</PASSWORD><AUTH_DRIVER>core</AUTH_DRIVER>
<ENABLED>1</ENABLED><TEMPLATE><TOKEN_PASSWORD>x</TOKEN_PASSWORD></TEMPLATE></USER>"""


class Documents:
    """Documents made from the recordings in a folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._vm = ElementTree.parse(data / "vm-1016-dummy-running.xml").getroot()
        self._host = ElementTree.parse(data / "host-5-final.xml").getroot()

    def recorded(self, name: str) -> str:
        """A recording, word for word."""
        return (self._data / name).read_text()

    def vm(self, state: State, vm_id: str) -> Element:
        """The VM as one.vm.info and one.vmpool.infoextended show it."""
        spec = state["vms"][vm_id]
        seq = spec.get("seq", 0)
        host_id, host = _host_named(state, spec.get("host", ""))
        vm = copy.deepcopy(self._vm)
        _set(
            vm,
            ID=vm_id,
            NAME=spec.get("name", f"vm-{vm_id}"),
            **_owner(state, spec),
            STATE=spec.get("state", 3),
            LCM_STATE=spec.get("lcm_state", 3),
            DEPLOY_ID=spec.get("deploy_id", f"one-{vm_id}"),
        )
        _set(_child(vm, "PERMISSIONS"), **dict(zip(RIGHTS, permission_bits(spec))))
        template = _child(vm, "TEMPLATE")
        _set(template, VMID=vm_id)
        _repeat(template, "DISK", [{"DISK_ID": n, "TARGET": t} for n, t in enumerate(spec.get("targets", []))])
        oned_template.show(spec.get("user_template", {}), _child(vm, "USER_TEMPLATE"))
        record = {
            "OID": vm_id,
            "HOSTNAME": spec.get("host", ""),
            "HID": host_id,
            "CID": host.get("cluster_id", 0),
            "VM_MAD": spec.get("vm_mad", host.get("vm_mad", "kvm")),
        }
        placed = range(seq + 1) if spec.get("host") else []
        _repeat(_child(vm, "HISTORY_RECORDS"), "HISTORY", [{**record, "SEQ": n} for n in placed])
        return vm

    def short_vm(self, state: State, vm_id: str) -> Element:
        """The VM as one.vmpool.info shows it."""
        vm = self.vm(state, vm_id)
        for tag in NOT_SHORT:
            vm.remove(_child(vm, tag))
        history = _child(vm, "HISTORY_RECORDS")
        history[:] = history[-1:]
        for record in history:
            record[:] = [element for element in record if element.tag in SHORT_HISTORY]
        return vm

    def host(self, state: State, host_id: str) -> Element:
        """The host as one.host.info and one.hostpool.info show it."""
        spec = state["hosts"][host_id]
        host = copy.deepcopy(self._host)
        _set(
            host,
            ID=host_id,
            NAME=spec.get("name", f"host-{host_id}"),
            STATE=spec.get("state", 2),
            VM_MAD=spec.get("vm_mad", "kvm"),
            CLUSTER_ID=spec.get("cluster_id", 0),
        )
        return host

    def user(self, state: State, uid: str) -> Element:
        """The user as one.user.info and one.userpool.info show it."""
        spec = state["users"][uid]
        gid = spec.get("gid", 1)
        user = ElementTree.fromstring(USER)
        _set(user, ID=uid, GID=gid, GNAME=group_name(gid), NAME=spec["name"])
        _set(_child(user, "GROUPS"), ID=gid)
        return user


def permission_bits(spec: dict[str, Any]) -> list[int]:
    """Nine zeros and ones in the order of RIGHTS, from ``permissions`` as in chmod."""
    return [int(bit) for bit in f"{int(spec.get('permissions', '600'), 8):09b}"]


def group_name(gid: int) -> str:
    """The stand-in has no groups of its own."""
    return GROUPS.get(gid, f"group-{gid}")


def _owner(state: State, spec: dict[str, Any]) -> dict[str, object]:
    uid, gid = spec.get("uid", 0), spec.get("gid", 0)
    return {"UID": uid, "GID": gid, "UNAME": state["users"][str(uid)]["name"], "GNAME": group_name(gid)}


def _host_named(state: State, name: str) -> tuple[str, dict[str, Any]]:
    found = ((host_id, host) for host_id, host in state["hosts"].items() if host.get("name") == name)
    return next(found, ("-1", {}))


def _child(parent: Element, tag: str) -> Element:
    child = parent.find(tag)
    assert child is not None, tag
    return child


def _set(parent: Element, **texts: object) -> None:
    for tag, text in texts.items():
        _child(parent, tag).text = str(text)


def _repeat(parent: Element, tag: str, rows: list[dict[str, object]]) -> None:
    """One copy of the recorded element for each row, at its place."""
    pattern = _child(parent, tag)
    place = list(parent).index(pattern)
    parent.remove(pattern)
    for row in reversed(rows):
        element = copy.deepcopy(pattern)
        _set(element, **row)
        parent.insert(place, element)
