"""What storage servers have in common that are reached by ssh and run scripts of ours: see ``scripts/``."""

from __future__ import annotations

import ipaddress
import re
import secrets
import string
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from one_iscsi.errors import BadInput, StorageError
from one_iscsi.iscsi import is_default_serial
from one_iscsi.model import Chap, San, Volume
from one_iscsi.remote import Answer, Remote, RemoteFailure
from one_iscsi.san import wipe
from one_iscsi.san.base import Capacity, Exposure, Session, TargetInfo, WipeStatus
from one_iscsi.san.location import Location

SCRIPTS = Path(__file__).with_name("scripts")

#: Seconds: the wait for the lock, looking for 3 s that nobody is there, and tgtadm, which is stopped after 10.
_LIMIT = 90

#: Seconds for making and removing: LVM may take a minute for each of its steps.
_LONG_LIMIT = 300

#: RFC 3720 asks for 96 bits, many initiators take 12 to 16 bytes: 16 characters of 62 are 95.3 bits.
_SECRET_LENGTH = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")

#: What an admin can do about a code.
_FIXES = {
    "unreachable": "see that oneadmin can log in there with ssh",
    "sudo": "copy share/one_iscsi.sudoers to /etc/sudoers.d there",
    "no-target": "create the target again, or delete the volume",
    "in-use": "log the initiator out first",
    "still-in": "fence the host",
    "wrong-device": "look at the target's configuration before anything else",
    "no-location": "see docs/storage-servers.md for what a server needs",
    "no-space": "ask for less, or give it more room",
    "foreign": "look at it there: only what one_iscsi made is removed or changed",
    "cannot-grow": "detach the volume first",
    "busy": "try again later",
}


class ScriptedServer:
    """A storage server whose kind is a set of scripts. The account of a volume has its IQN as name."""

    kind: str
    #: Scripts for what happens to a target, and those beside them for making and removing volumes.
    scripts: tuple[str, ...]
    volume_scripts: tuple[str, ...]
    #: More fixes, by code.
    fixes: ClassVar[Mapping[str, str]] = {}
    can_close = True
    #: Whether a host sees from a secret of the target that it has reached the right one (mutual CHAP).
    is_mutual = False

    def __init__(self, san: San, remote: Remote) -> None:
        self._san = san
        self._remote = remote

    @property
    def can_create(self) -> bool:
        """Whether volumes can be made on it."""
        return bool(self._san.location)

    def targets(self) -> list[TargetInfo]:
        """Every disk of every target."""
        return parse(self._run("observe", "list targets", {"IQN": ""}))

    def target(self, volume: Volume) -> TargetInfo:
        """The volume's disk; ``no-target`` if it is gone."""
        return self._disk(self._run("observe", "look at target", {"IQN": volume.iqn}), volume)

    def open(self, volume: Volume, addresses: Collection[str], initiator: str) -> Chap:
        """Let this initiator in from these addresses, nobody else."""
        given = " ".join(map(_address, addresses))
        chap = Chap(volume.iqn, _new_secret())
        if self.is_mutual:
            chap = replace(chap, target_user=volume.iqn, target_password=_new_secret())
        who = {
            "ADDRESSES": given, "INITIATOR": initiator, "CHAP_USER": chap.user, "CHAP_PASSWORD": chap.password,
            "CHAP_TARGET_USER": chap.target_user, "CHAP_TARGET_PASSWORD": chap.target_password,
        }  # fmt: skip
        self._run("open", "open target", {"IQN": volume.iqn, "LUN": str(volume.lun), **who})
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

    def start_wipe(self, volume: Volume, job: str, start: int = 0, rate: int = 0) -> None:
        """Start or resume a wipe of the file or device that is behind the volume now."""
        # A serial tgt made up from its own numbering changes at every restart.
        serial = "" if is_default_serial(volume.serial) else volume.serial
        values = {"IQN": volume.iqn, "LUN": str(volume.lun), "SERIAL": serial, **wipe.values(job, start, rate)}
        self._run("start_wipe", "start wipe", values, wipe.SCRIPT)

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        """How far the wipe is."""
        values = {"IQN": volume.iqn, **wipe.values(job)}
        return wipe.status(self._run("wipe_status", "look at wipe", values, wipe.SCRIPT))

    def capacity(self) -> Capacity:
        """The room where volumes are made, and whether they can be."""
        answer = self._provision("capacity", "look at room", {})
        return Capacity(int(answer.get("TOTAL")), int(answer.get("FREE")))

    def create(self, volume: Volume, scsi_id: str) -> TargetInfo:
        """Make backing store, target and disk, closed to all."""
        values = {"SIZE": str(volume.size_bytes), "SERIAL": volume.serial, "SCSI_ID": scsi_id}
        values["PORTALS"] = " ".join(str(portal) for portal in volume.portals)
        return self._disk(self._provision("create", "create volume", values, volume.iqn, volume.lun), volume)

    def has_made(self, target: TargetInfo) -> bool:
        """Whether target and backing store are ours."""
        try:
            self._provision("confirm", "look whose volume it is", {}, target.iqn, target.lun)
        except StorageError as error:
            if error.code != "foreign":
                raise
            return False
        return True

    def remove(self, volume: Volume) -> None:
        """Remove what ``create`` made."""
        self._provision("remove", "remove volume", {}, volume.iqn, volume.lun)

    def grow(self, volume: Volume, size_bytes: int) -> TargetInfo:
        """Make backing store and disk larger."""
        values = {"SIZE": str(size_bytes), "SERIAL": volume.serial}
        return self._disk(self._provision("grow", "grow volume", values, volume.iqn, volume.lun), volume)

    def _provision(self, action: str, label: str, values: Mapping[str, str], iqn: str = "", lun: int = 0) -> Answer:
        where = Location.parse(self._san.location) if self._san.location else Location("", "")
        values = {**values, "STORE_KIND": where.kind, "STORE": where.place, "IQN": iqn, "LUN": str(lun)}
        if iqn and not _NAME.fullmatch(iqn.rpartition(":")[2]):
            raise self._error("foreign", f"{iqn} is not the name of a volume made by one_iscsi")
        scripts = [SCRIPTS / name for name in self.volume_scripts]
        return self._run(action, label, values, *scripts, limit=_LONG_LIMIT)

    def _run(self, action: str, label: str, values: Mapping[str, str], *scripts: Path, limit: int = _LIMIT) -> Answer:
        if not self._san.ssh_host:
            raise self._error("unreachable", "it has no ssh host")
        texts = [script.read_text() for script in (*(SCRIPTS / name for name in self.scripts), *scripts)]
        values = {"ACTION": action, **values}
        try:
            answer = self._remote.run(self._san.ssh_host, label, *texts, values=values, limit=limit)
        except RemoteFailure as failure:
            raise self._error(failure.code, failure.text) from None
        if answer.error:
            error = self._error(*answer.error)
            error.began = answer.get("BEGAN") == "yes"
            raise error
        return answer

    def _disk(self, answer: Answer, volume: Volume) -> TargetInfo:
        for target in parse(answer):
            if target.lun == volume.lun:
                return target
        raise self._error("no-target", f"there is no LUN {volume.lun} of {volume.iqn}")

    def _error(self, code: str, text: str) -> StorageError:
        fix = self.fixes.get(code) or _FIXES.get(code, "")
        return StorageError(f"storage server {self._san.name}: {text}", fix, code)


def _address(text: str) -> str:
    """As tgt writes it; and "ALL" must not pass."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadInput(f"{text!r} is not an IP address", "look at what the host told about itself") from None


def _new_secret() -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(secrets.choice(alphabet) for _ in range(_SECRET_LENGTH))


def parse(answer: Answer) -> list[TargetInfo]:
    """The targets in what ``observe`` of a script said, in its order; the lines of a target follow its TARGET."""
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
