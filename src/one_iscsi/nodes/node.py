"""A host, as the core sees it: attach and detach a volume, and look."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from one_iscsi.errors import BadInput, NodeError
from one_iscsi.findings import CRITICAL, Finding
from one_iscsi.iscsi import Portal
from one_iscsi.model import Chap, Identity, Volume
from one_iscsi.nodes.check import Checked, Portals, judge
from one_iscsi.nodes.hypervisors import hypervisor
from one_iscsi.nodes.troubles import no_answer, refusal
from one_iscsi.remote import LOOKING, Answer, Remote, RemoteFailure

if TYPE_CHECKING:
    from one_iscsi.san import WipeStatus

_SCRIPTS = Path(__file__).with_name("scripts")

# A deploy id comes from oned and goes to xl and virsh: one line, and no option.
_DOMAIN = re.compile(r"[^-\x00-\x1f\x7f][^\x00-\x1f\x7f]*")

# Seconds a script may take: a little more than all its own bounds one after the other.
_VISIT, _CHECK, _WIPE, _OBSERVE, _RESIZE, _DETACH, _ATTACH = 30, 150, 60, 180, 240, 300, 400


@dataclass(frozen=True)
class Visit:
    """What a host says of itself: its initiator name, its address towards each portal's, whether multipathd runs."""

    initiator: str
    sources: dict[str, str]
    multipath: bool


@dataclass(frozen=True)
class Attached:
    """The disk as the host sees it (``device`` is a kernel name such as sdb) and its ``target`` in the guest.

    ``silent``: those of several portals that did not answer.
    """

    device: str
    size_bytes: int
    serial: str
    wwid: str
    target: str
    silent: tuple[str, ...] = ()

    @property
    def learned(self) -> dict[str, Any]:
        """What the volume's row is to know of it."""
        return {"size_bytes": self.size_bytes, "serial": self.serial, "wwid": self.wwid}


@dataclass(frozen=True)
class Seen:
    """What there is of a volume on a host. ``target``: where the guest has it; ``state``: connected, if it works."""

    domain_present: bool
    target: str | None
    state: str
    session: bool
    record: bool
    device: str | None


def _addresses_and_ports(portals: Iterable[Portal]) -> str:
    """For a loop in shell."""
    return " ".join(f"{portal.address}/{portal.port}" for portal in portals)


class Node:
    """The host ``name``. ``vm_mad`` chooses the hypervisor; WrongState if it is none of ours.

    Every method is one script and one round trip, can be repeated, and raises NodeError.
    """

    def __init__(self, remote: Remote, name: str, vm_mad: str) -> None:
        self.remote = remote
        self.name = name
        self.hypervisor = hypervisor(vm_mad)

    def visit(self, *portals: Portal) -> Visit:
        """Learn of a host never seen before how it reaches these portals."""
        addresses = " ".join(portal.address for portal in portals)
        answer = self._run("visit", f"portal {', '.join(map(str, portals))}", {"ADDRESSES": addresses}, _VISIT, LOOKING)
        sources = dict(line.split(" ", 1) for line in answer.all("SOURCE"))
        return Visit(answer.get("INITIATOR"), sources, answer.get("MULTIPATH") == "yes")

    def check(self, portals: Iterable[Portal] = (), volumes: Portals | None = None, multipath: bool = False) -> Checked:
        """What the host has and lacks, whether it reaches these ``portals``, and how it is with the ``volumes`` it has.
        With ``multipath`` it may get some with several portals, which takes a multipathd.

        Without an answer that is all there is to find.
        """
        where = f"host {self.name}"
        values = {"PORTALS": _addresses_and_ports(portals), "SEVERAL": "yes" if multipath else ""}
        began = time.time()
        try:
            answer = self._run("check", "check", values, _CHECK + 6 * len(values["PORTALS"].split()), LOOKING)
        except NodeError as error:
            return Checked([Finding(where, error.what, error.fix, CRITICAL)])
        return judge(where, answer, began, time.time(), volumes or {}, multipath)

    def attach(
        self,
        volume: Volume,
        identity: Identity,
        chap: Chap | None,
        domain: str,
        targets: Sequence[str],
        read_only: bool = False,
    ) -> Attached:
        """Log in, see that the disk is the volume, and plug it into ``domain`` at the first free one of ``targets``.

        An error is ``clean`` if the host kept nothing of it. With ``domain`` empty there is no guest: see ``login``.
        """
        values = {
            "CHAP_USER": chap.user if chap else "",
            "CHAP_PASSWORD": chap.password if chap else "",
            "CHAP_TARGET_USER": chap.target_user if chap else "",
            "CHAP_TARGET_PASSWORD": chap.target_password if chap else "",
            "WANTED_SIZE": str(identity.size_bytes),
            "WANTED_SERIAL": identity.serial if identity.trusted else "",
            "WANTED_WWID": volume.wwid if identity.trusted else "",
            "TARGETS": " ".join(targets),
            "MODE": "r" if read_only else "w",
        }
        answer = self._step("attach", volume, domain, values, _ATTACH)
        size_bytes = int(answer.get("SIZE"))
        serial, wwid, target = (answer.get(name) for name in ("SERIAL", "WWID", "TARGET"))
        return Attached(answer.get("DEVICE"), size_bytes, serial, wwid, target, tuple(answer.all("SILENT")))

    def detach(self, volume: Volume, domain: str | None, force: bool = False) -> None:
        """Unplug the volume from ``domain`` (None: no guest has it) and make the host forget it.

        It is unplugged wherever the guest has it; while the guest holds on to it nothing is touched. ``force``: go on
        when cached data cannot be written back.
        """
        self._step("detach", volume, domain or "", {"FORCE": "yes" if force else ""}, _DETACH)

    def resize(self, volume: Volume, domain: str | None, size_bytes: int) -> None:
        """Make the host see that the volume has grown to ``size_bytes``, and let ``domain`` know (None: no guest)."""
        self._step("resize", volume, domain or "", {"WANTED_SIZE": str(size_bytes)}, _RESIZE)

    def observe(self, volume: Volume, domain: str | None) -> Seen:
        """Look at what there is of the volume, once no other step for it is running there."""
        answer = self._step("observe", volume, domain or "", {}, _OBSERVE)
        return Seen(
            domain_present=answer.get("GUEST") == "yes",
            target=answer.get("TARGET") or None,
            state=answer.get("STATE"),
            session=answer.get("SESSION") == "yes",
            record=answer.get("RECORD") == "yes",
            device=answer.get("DEVICE") or None,
        )

    def login(self, volume: Volume, identity: Identity, chap: Chap | None) -> Attached:
        """Attach without a guest: the host itself works on the disk."""
        return self.attach(volume, identity, chap, "", ())

    def logout(self, volume: Volume) -> None:
        """Undo ``login``."""
        self.detach(volume, None)

    def start_wipe(self, volume: Volume, job: str, rate: int = 0) -> None:
        """Start the job ``job`` that writes zeros over the volume this host is logged in to, or resume it.

        ``rate``: at most so many bytes a second (0: no limit), whole MiB. Nothing happens if it runs; it outlives every
        session of ours. For storage servers that cannot do it.
        """
        self._wipe("start", volume, job, rate)

    def wipe_status(self, volume: Volume, job: str) -> WipeStatus:
        """How far the job is."""
        from one_iscsi.san.wipe import status

        return status(self._wipe("status", volume, job))

    def _wipe(self, action: str, volume: Volume, job: str, rate: int = 0) -> Answer:
        from one_iscsi.san.wipe import SCRIPT, values

        return self._step("wipe", volume, "", {"ACTION": action, **values(job, rate=rate)}, _WIPE, SCRIPT)

    def _step(
        self, script: str, volume: Volume, domain: str, values: Mapping[str, str], limit: int, *more: Path
    ) -> Answer:
        if domain and not _DOMAIN.fullmatch(domain):
            raise BadInput(f"deploy id {domain!r} cannot be used", "see the VM's DEPLOY_ID")
        portal = volume.portal
        values = {
            **values,
            "IQN": volume.iqn,
            "LUN": str(volume.lun),
            "ADDRESS": portal.address,
            "PORT": str(portal.port),
            "PORTAL": str(portal),
            "LINK": volume.device_path,
            "DOMAIN": domain,
        }
        about = f"volume {volume.id}"
        if not volume.is_multipath:
            return self._run(script, about, values, limit, *more)
        values["EVERY_PORTAL"] = _addresses_and_ports(volume.portals)
        return self._run(
            script, about, values, limit * len(volume.portals), *more, last=(LOOKING, _SCRIPTS / "multipath.sh")
        )

    def _run(
        self, script: str, about: str, values: Mapping[str, str], limit: int, *more: Path, last: Iterable[Path] = ()
    ) -> Answer:
        words = (_SCRIPTS / "initiator.sh", _SCRIPTS / "guest.sh", self.hypervisor.words, *more)
        parts = [path.read_text() for path in (*words, _SCRIPTS / f"{script}.sh", *last)]
        try:
            answer = self.remote.run(self.name, f"one_iscsi {script} {about}", *parts, values=values, limit=limit)
        except RemoteFailure as failure:
            raise no_answer(self.name, about, failure) from None
        if answer.error:
            raise refusal(self.name, about, answer)
        return answer
