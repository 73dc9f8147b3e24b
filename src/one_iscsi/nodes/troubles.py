"""Node errors: the codes scripts fail with, in words."""

from __future__ import annotations

import re

from one_iscsi.errors import NodeError
from one_iscsi.remote import Answer, RemoteFailure

#: code → what is wrong, and what to do. The script's own text (a tool's last words) follows what is wrong.
TROUBLES: dict[str, tuple[str, str]] = {
    "unreachable": ("no login by ssh", "see that oneadmin can log in to it, then try again"),
    "timeout": ("no answer in time", "look at the host, then run onevolume recover"),
    "unknown": ("the script ended without an answer", "look at the host, then run onevolume recover"),
    "sudo": ("root's rights are missing", "install one_iscsi.sudoers in /etc/sudoers.d of the host"),
    "missing-tool": ("a tool is missing", "run onevolume check --host with the host's name"),
    "lock": ("the lock cannot be taken", "see to the directory on the host"),
    "busy": ("another step for this volume is running there", "wait, then try again"),
    "iscsid-down": ("iscsid does not run", "start iscsid on the host"),
    "no-initiator-name": ("it has no initiator name", "set one in /etc/iscsi/initiatorname.iscsi and start iscsid"),
    "no-route": ("there is no route to the portal", "connect the host to the storage network"),
    "portal-dead": ("the portal does not answer", "see that the storage server and its network are up"),
    "login-auth": ("the CHAP login failed", "see the target's account; of a static one: onevolume chap"),
    "login-refused": ("the target does not let the host in", "see that it exists and is open to the host's address"),
    "login-mutual": ("the target does not show the right CHAP secret, or does not let the host in",
                     "see who answers at the portal, and that the target is open to the host"),
    "login-failed": ("the login failed", "see the host's iscsid and the storage server"),
    "record-failed": ("the node record cannot be written or deleted", "see iscsiadm -m node on the host"),
    "no-multipathd": (
        "multipathd does not run, and the volume has several portals",
        "install multipath-tools there, or run onevolume host prepare",
    ),
    "no-map": ("multipathd does not join the paths", "see the blacklist in its configuration, and its log"),
    "shared-identity": (
        "the disk has an identity that others may have, too",
        "give it a scsi_id and a scsi_sn of its own on the storage server, or register it with one portal",
    ),
    "no-device": ("the disk does not appear", "see that the target has this LUN, and that udev runs on the host"),
    "wrong-size": ("the disk is not the volume", "see which LUN the target offers; nothing was given to the guest"),
    "wrong-serial": ("the disk is not the volume", "see which LUN the target offers; nothing was given to the guest"),
    "no-domain": ("there is no such guest", "see where the VM runs"),
    "target-busy": ("the guest has another disk there", "choose another --target"),
    "already-plugged": ("the guest has the volume already", "unplug it by hand, or run onevolume recover"),
    "guest-refused": ("the guest does not take or give the disk", "see that it runs and does not use the disk"),
    "hypervisor": ("the hypervisor cannot be asked", "see that xl or virsh works there for oneadmin"),
    "not-grown": ("the disk does not grow there", "see the host's kernel log and the storage server"),
    "flush-failed": (
        "cached data cannot be written back",
        "see to the storage and recover; or give that data up: recover --force",
    ),
    "delete-failed": ("the disk does not go away", "see what uses it on the host, or recover --force"),
    "logout-failed": ("the logout failed", "see iscsiadm -m session on the host"),
    "in-use": ("another disk of the same target is in use", "see what uses it on the host"),
}  # fmt: skip

# ssh failed before it ran anything: its own words, and sshd's refusals. A connection that broke later is none of these.
_NEVER_RAN = re.compile(r"ssh: |.*Permission denied|Host key verification failed|kex_exchange_identification")


def trouble(
    host: str,
    about: str,
    code: str,
    text: str,
    *,
    clean: bool = False,
    plug_tried: bool = True,
    unplugged: bool = False,
) -> NodeError:
    """The error for a script's code and text; ``about`` says what it was doing ("volume 7")."""
    what, fix = TROUBLES.get(code, (code, "look at the host"))
    reason = f" ({text})" if text else ""
    said = f"host {host}, {about}: {what}{reason}"
    return NodeError(said, fix, code, clean=clean, plug_tried=plug_tried, unplugged=unplugged)


def no_answer(host: str, about: str, failure: RemoteFailure) -> NodeError:
    """The error when no answer came: nothing is known of the host, unless ssh never got there."""
    never_ran = failure.code == "unreachable" and bool(_NEVER_RAN.match(failure.text))
    return trouble(host, about, failure.code, failure.text, clean=never_ran, plug_tried=not never_ran)


def refusal(host: str, about: str, answer: Answer) -> NodeError:
    """The error a script ended with."""
    code, text = answer.error or ("unknown", "")
    return trouble(
        host,
        about,
        code,
        text,
        clean=answer.get("CLEAN") == "yes",
        plug_tried=answer.get("PLUG_TRIED") != "no",
        unplugged=answer.get("UNPLUGGED") == "yes",
    )
