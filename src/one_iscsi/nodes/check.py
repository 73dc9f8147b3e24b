"""What a host must have before it can carry volumes, for ``onevolume check``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from one_iscsi.findings import CRITICAL, WARNING, Finding, Meaning, findings
from one_iscsi.iscsi import Portal
from one_iscsi.remote import Answer

#: The portals of volumes, by IQN.
Portals = Mapping[str, Sequence[Portal]]

_MEANINGS = {
    "name": Meaning(
        "it has an initiator name of its own",
        "it has no initiator name of its own",
        "set one in /etc/iscsi/initiatorname.iscsi, or run onevolume host prepare",
    ),
    "daemon": Meaning(
        "iscsid runs, or is started on demand", "iscsid does not run", "enable iscsid (or iscsid.socket)"
    ),
    "module": Meaning(
        "the kernel can speak iSCSI over TCP", "the kernel cannot speak iSCSI over TCP", "load the module iscsi_tcp"
    ),
    "udev": Meaning(
        "udev makes the links in /dev/disk/by-path", "udev does not run: no links in /dev/disk/by-path", "start udev"
    ),
    "portal": Meaning(
        "the portal {} takes connections",
        "the portal {} takes no connection from here",
        "see to the storage server, the network and firewalls between the two",
    ),
    "multipathd": Meaning(
        "multipathd runs, for volumes with several portals",
        "multipathd does not run, and there are volumes with several portals",
        "install multipath-tools and start it, or run onevolume host prepare",
    ),
    "hypervisor": Meaning(
        "the hypervisor answers to oneadmin",
        "the hypervisor does not answer to oneadmin",
        "see what xl or virsh says when oneadmin runs it",
    ),
    "disks": Meaning(
        "oneadmin is in the group disk, so guests that run as oneadmin can open volumes",
        "oneadmin is not in the group disk: guests that run as oneadmin cannot open volumes, unless libvirt makes them "
        "theirs (dynamic_ownership)",
        "usermod -aG disk oneadmin, on the host",
        WARNING,
    ),
}

#: Seconds two clocks may differ before logs and the journal cannot be compared any more.
_SKEW = 5

#: Values of find_multipaths with which multipathd takes a disk that has one path (multipath.conf(5)).
_TAKES_ALL = frozenset({"no", "off", "greedy"})

_LVM_FIX = (
    "put global_filter = [ {} ] into /etc/lvm/lvm.conf, with an accepting pattern before it for iSCSI disks of the "
    "host's own"
)
#: The names of a guest's disk, with the pattern that keeps LVM out of it.
_BY_ONE_PORTAL = (
    ("/dev/sdzz", "/dev/disk/by-path/ip-192.0.2.1:3260-iscsi-iqn.2026-01.com.example:v-lun-1"),
    '"r|^/dev/disk/by-path/.*-iscsi-.*|"',
)
_BY_SEVERAL = (
    ("/dev/dm-99", "/dev/mapper/mpathzz", f"/dev/disk/by-id/dm-uuid-mpath-3{'6' * 32}"),
    '"r|^/dev/disk/by-id/dm-uuid-mpath-.*|"',
)


@dataclass(frozen=True)
class Checked:
    """What was found on a host, and its ``initiator`` name (empty: none), for comparing with other hosts'."""

    findings: list[Finding]
    initiator: str = ""


def judge(where: str, answer: Answer, began: float, ended: float, volumes: Portals, multipath: bool) -> Checked:
    """What ``check.sh`` said; ``began`` and ``ended`` are this machine's clock, ``volumes`` and ``multipath`` as in
    ``Node.check``."""
    found = findings(where, answer, _MEANINGS)
    clock = int(answer.get("CLOCK", "0"))
    skew = max(began - clock - 1, clock - ended, 0)
    if skew > _SKEW:
        what, fix = f"its clock differs from the front end's by {skew:.0f} s", "let chrony or ntpd run on both"
        found.append(Finding(where, what, fix, WARNING))
    else:
        found.append(Finding(where, "its clock is the front end's"))
    found += [
        *_multipath(where, answer),
        *_lvm(where, answer, multipath),
        *_held(where, answer, volumes),
        *_broken_off(where, answer, volumes),
    ]
    return Checked(found, answer.get("INITIATOR"))


def _multipath(where: str, answer: Answer) -> list[Finding]:
    for setting in answer.all("FIND_MULTIPATHS"):
        if setting in _TAKES_ALL:
            what = f"multipathd takes guests' disks (find_multipaths is {setting})"
            fix = "set find_multipaths to yes in /etc/multipath.conf, or run onevolume host prepare"
            return [Finding(where, what, fix, CRITICAL)]
        return [Finding(where, "multipathd leaves disks with one path alone")]
    return []


def _lvm(where: str, answer: Answer, multipath: bool) -> list[Finding]:
    said = dict(line.split("=", 1) for line in answer.all("LVM") if "=" in line)
    if not said:
        return []
    by_file = said.get("use_devicesfile") == "1" and "devices_file" in said
    disks = (_BY_ONE_PORTAL, _BY_SEVERAL) if multipath else (_BY_ONE_PORTAL,)
    if by_file or all(lvm_rejects(said.get("global_filter", ""), names) for names, _ in disks):
        return [Finding(where, "LVM does not look into guests' disks")]
    what = "LVM looks into guests' disks: a volume group a guest makes on one is activated on the host"
    return [Finding(where, what, _LVM_FIX.format(", ".join(pattern for _, pattern in disks)), WARNING)]


def lvm_rejects(patterns: str, names: Collection[str]) -> bool:
    """Whether LVM leaves a disk with these names alone, as lvm.conf(5) has it: the first pattern that matches a name
    decides on it, one accepted name is enough, and what matches nothing is accepted."""
    rejected = False
    for name in names:
        for pattern in re.findall(r'"([ar].[^"]*)"', patterns):
            try:
                matches = re.search(pattern[2:-1], name)
            except re.error:
                continue
            if matches and pattern[0] == "a":
                return False
            if matches:
                rejected = True
                break
    return rejected


def _held(where: str, answer: Answer, volumes: Portals) -> list[Finding]:
    found = []
    for line in answer.all("HELD"):
        iqn, disk, holder = line.split(" ", 2)
        if len(volumes.get(iqn, ())) == 1:  # the paths of others are held by their map
            what = f"{disk}, the disk of {iqn}, is held by the host itself ({holder})"
            fix = "take it out of multipath (multipath -f) or LVM (vgchange -an) there, and see to their filters"
            found.append(Finding(where, what, fix, CRITICAL))
    return found


def _broken_off(where: str, answer: Answer, volumes: Portals) -> list[Finding]:
    """Volumes that are logged in to by some of their portals, or by one that has gone silent."""
    alive: dict[str, set[Portal]] = {}
    for line in answer.all("SESSION"):
        iqn, address, port, state = line.split(" ", 3)
        alive.setdefault(iqn, set()).update({Portal(address, int(port))} if state == "LOGGED_IN" else ())
    found = []
    for iqn in sorted(set(alive) & set(volumes)):
        lost = [portal for portal in volumes[iqn] if portal not in alive[iqn]]
        if lost and not alive[iqn]:
            # It comes back by itself, but open-iscsi gives up one whose target was not there for a moment.
            fix = "see to its portal and to the storage server; if it stays so, detach the volume and attach it again"
            found.append(Finding(where, f"all sessions of {iqn} are broken off", fix, CRITICAL))
            continue
        for portal in lost:
            what = f"{iqn} has a path less: there is no session by portal {portal}"
            login = f"iscsiadm -m node -T {iqn} -p {portal}"
            fix = f"see to that portal; if none comes back then, run {login} --logout, and the same with --login, there"
            found.append(Finding(where, what, fix, WARNING))
    return found
