"""What a storage server must have before onevolume can manage it, for ``onevolume check``."""

from __future__ import annotations

from pathlib import Path

from one_iscsi.errors import StorageError
from one_iscsi.findings import CRITICAL, Finding, Meaning, findings
from one_iscsi.model import San
from one_iscsi.remote import LOOKING, Remote, RemoteFailure
from one_iscsi.san import server
from one_iscsi.units import format_size

_SCRIPT = Path(__file__).with_name("scripts") / "check.sh"
_LIMIT = 150  # seconds: every right costs a sudo
_MEND = "mend that, then check again"
_MEANINGS = {
    "address": Meaning(
        "{} is an address of its own",
        "{} is no address of its own, and LIO makes the portals of volumes at those only",
        "give onevolume san create a --portal with one of its addresses",
    )
}


def check(san: San, remote: Remote) -> list[Finding]:
    """Look at a storage server. What stops the look is the last finding."""
    where = f"storage server {san.name}"
    there = server(san, remote)
    if not there.can_close:
        return [Finding(where, "somebody else manages it: nothing can be asked there")]
    store_kind, _, store = san.location.partition(":")
    portals = " ".join(portal.address for portal in san.portals)
    values = {"KIND": san.kind, "STORE_KIND": store_kind, "STORE": store, "PORTALS": portals}
    try:
        parts = (LOOKING.read_text(), _SCRIPT.read_text())
        answer = remote.run(san.ssh_host, "one_iscsi check", *parts, values=values, limit=_LIMIT)
    except RemoteFailure as failure:
        return [Finding(where, failure.text, "see that oneadmin can log in there with ssh", CRITICAL)]
    found = findings(where, answer, _MEANINGS)
    if answer.error:
        return [*found, Finding(where, answer.error[1], _MEND, CRITICAL)]
    try:
        found.append(Finding(where, f"it answers: {len(there.targets())} disks are offered"))
        if there.can_create:
            room = there.capacity()
            what = f"{format_size(room.free_bytes)} of {format_size(room.total_bytes)} are free in {san.location}"
            found.append(Finding(where, what))
    except StorageError as error:
        what = error.what.removeprefix(f"{where}: ")
        found.append(Finding(where, what, error.fix or _MEND, CRITICAL))
    return found
