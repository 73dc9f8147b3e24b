"""Storage servers that run tgt (tgtd): see ``scripts/tgt.sh`` for what is done there and in which order."""

from __future__ import annotations

import ipaddress
import re
import secrets
import string
from collections.abc import Mapping
from pathlib import Path

from one_iscsi.errors import BadInput, StorageError
from one_iscsi.iscsi import is_default_serial
from one_iscsi.model import Chap, San, Volume
from one_iscsi.remote import Answer, Remote, RemoteFailure
from one_iscsi.san import wipe
from one_iscsi.san.base import Capacity, Exposure, Session, TargetInfo, WipeStatus

_SCRIPT = Path(__file__).with_name("scripts") / "tgt.sh"

#: Seconds: the wait for the lock, looking for 3 s that nobody is there, and tgtadm, which is stopped after 10.
_LIMIT = 90

#: RFC 3720 asks for 96 bits, many initiators take 12 to 16 bytes: 16 characters of 62 are 95.3 bits.
_SECRET_LENGTH = 16

#: What an admin can do about a code.
_FIXES = {
    "unreachable": "see that oneadmin can log in there with ssh",
    "sudo": "copy share/one_iscsi.sudoers to /etc/sudoers.d there",
    "daemon-down": "start tgtd there",
    "no-target": "create the target again, or disable the volume",
    "in-use": "log the initiator out first",
    "still-in": "fence the host",
    "wrong-device": "look at the target's configuration before anything else",
    "no-location": "create the targets there and register them",
    "busy": "try again later",
}


class Tgt:
    """A storage server with tgt, reached by ssh. The account of a volume has its IQN as name."""

    kind = "tgt"
    can_close = True
    can_create = False

    def __init__(self, san: San, remote: Remote) -> None:
        self._san = san
        self._remote = remote

    def targets(self) -> list[TargetInfo]:
        """Every disk of every target."""
        return parse(self._run("observe", "list targets", {"IQN": ""}))

    def target(self, volume: Volume) -> TargetInfo:
        """The volume's disk; ``no-target`` if it is gone."""
        for target in parse(self._run("observe", "look at target", {"IQN": volume.iqn})):
            if target.lun == volume.lun:
                return target
        raise self._error("no-target", f"there is no LUN {volume.lun} of {volume.iqn}")

    def open(self, volume: Volume, address: str) -> Chap:
        """Let this address in, nobody else."""
        try:
            address = str(ipaddress.ip_address(address))  # as tgt writes it; and "ALL" must not pass
        except ValueError:
            raise BadInput(f"{address!r} is not an IP address", "look at what the host told about itself") from None
        alphabet = string.ascii_letters + string.digits
        chap = Chap(volume.iqn, "".join(secrets.choice(alphabet) for _ in range(_SECRET_LENGTH)))
        values = {"IQN": volume.iqn, "ADDRESS": address, "CHAP_USER": chap.user, "CHAP_PASSWORD": chap.password}
        self._run("open", "open target", values)
        return chap

    def close(self, volume: Volume) -> None:
        """Let nobody in, drop who is there, see them stay away."""
        self._run("close", "close target", {"IQN": volume.iqn, "CHAP_USER": volume.iqn})

    drop = close

    def observe(self, volume: Volume) -> Exposure:
        """Who may log in and who is logged in."""
        answer = self._run("observe", "look at target", {"IQN": volume.iqn})
        return Exposure(
            bool(answer.get("TARGET")), tuple(answer.all("ACCESS")), tuple(_sessions(answer.all("SESSION")))
        )

    def start_wipe(self, volume: Volume, job: str) -> None:
        """Start or resume a wipe of the file or device that is behind the volume now."""
        # A serial tgt made up from its own numbering changes at every restart.
        serial = "" if is_default_serial(volume.serial) else volume.serial
        values = {"IQN": volume.iqn, "LUN": str(volume.lun), "SERIAL": serial, **wipe.values(job)}
        self._run("start_wipe", "start wipe", values)

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        """How far the wipe is."""
        return wipe.status(self._run("wipe_status", "look at wipe", {"IQN": volume.iqn, **wipe.values(job)}))

    def capacity(self) -> Capacity:
        """Not possible yet."""
        raise self._no_location()

    def create(self, volume: Volume, scsi_id: str) -> TargetInfo:
        """Not possible yet."""
        raise self._no_location()

    def remove(self, volume: Volume) -> None:
        """Not possible yet."""
        raise self._no_location()

    def grow(self, volume: Volume, size_bytes: int) -> TargetInfo:
        """Not possible yet."""
        raise self._no_location()

    def _no_location(self) -> StorageError:
        return self._error("no-location", "no volumes are made on it")

    def _run(self, action: str, label: str, values: Mapping[str, str]) -> Answer:
        if not self._san.ssh_host:
            raise self._error("unreachable", "it has no ssh host")
        scripts = [_SCRIPT.read_text(), wipe.SCRIPT.read_text()]
        values = {"ACTION": action, **values}
        try:
            answer = self._remote.run(self._san.ssh_host, label, *scripts, values=values, limit=_LIMIT)
        except RemoteFailure as failure:
            raise self._error(failure.code, failure.text) from None
        if answer.error:
            raise self._error(*answer.error)
        return answer

    def _error(self, code: str, text: str) -> StorageError:
        return StorageError(f"storage server {self._san.name}: {text}", _FIXES.get(code, ""), code)


def parse(answer: Answer) -> list[TargetInfo]:
    """The targets in what ``observe`` of ``tgt.sh`` said, in its order; the lines of a target follow its TARGET."""
    sizes = {path: int(size) for size, path in (line.split("\t", 1) for line in answer.all("SIZE"))}
    targets = []
    groups: list[tuple[str, dict[str, list[str]]]] = []
    for name, value in answer.lines:
        if name == "TARGET":
            groups.append((value.split("\t")[1], {"DISK": [], "SESSION": [], "ACCESS": []}))
        elif name in ("DISK", "SESSION", "ACCESS"):
            groups[-1][1][name].append(value)
    for iqn, said in groups:
        for disk in said["DISK"]:
            lun, block, scsi_id, serial, path = disk.split("\t", 4)
            size = sizes.get(path, 0)
            targets.append(
                TargetInfo(
                    iqn=iqn,
                    lun=int(lun),
                    path=path,
                    size_bytes=size - size % int(block),
                    serial=serial,
                    scsi_id=scsi_id,
                    default_identity=is_default_serial(serial) or bool(re.fullmatch(r"IET +[0-9a-f]{8}", scsi_id)),
                    addresses=tuple(said["ACCESS"]),
                    sessions=tuple(_sessions(said["SESSION"])),
                )
            )
    return targets


def _sessions(lines: list[str]) -> list[Session]:
    return [Session(initiator, address) for _, _, address, initiator in (line.split("\t") for line in lines)]
