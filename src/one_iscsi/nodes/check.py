"""What a host must have before it can carry volumes, for ``onevolume check --host``."""

from __future__ import annotations

from dataclasses import dataclass

from one_iscsi.remote import Answer


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: is it all right, what is it, and how to mend it (empty if it is all right)."""

    ok: bool
    what: str
    fix: str = ""


# What the script calls a thing → what is so if it is good, and how to get there. ``{}`` is what comes after the kind.
_MEANING = {
    "tool": ("{} is installed", "install it"),
    "sudo": ("oneadmin may run as root: {}", "install one_iscsi.sudoers as /etc/sudoers.d/one_iscsi"),
    "initiator name": ("the host has an initiator name of its own", "set it in /etc/iscsi/initiatorname.iscsi"),
    "initiator daemon": ("iscsid runs, or is started on demand", "enable iscsid (or iscsid.socket)"),
    "initiator module": ("the kernel can speak iSCSI over TCP", "load the module iscsi_tcp"),
    "udev running": ("udev makes the links in /dev/disk/by-path", "start udev"),
    "hypervisor answers": ("the hypervisor answers to oneadmin", "see what xl or virsh says when oneadmin runs it"),
}  # fmt: skip


def findings(answer: Answer) -> list[Finding]:
    """What ``check.sh`` said, in its order."""
    found = []
    for name, thing in answer.lines:
        if name in ("GOOD", "BAD"):
            kind, _, detail = thing.partition(" ")
            what, fix = _MEANING.get(thing) or _MEANING[kind]
            found.append(Finding(name == "GOOD", what.format(detail), "" if name == "GOOD" else fix))
    return found
