"""The records as documents (what ``-j`` and ``-x`` print) and the columns of their tables."""

from __future__ import annotations

from typing import Any

from one_iscsi.cli.output import Column, Document, clock, duration
from one_iscsi.model import Attachment, Event, Host, Op, San, SealedChap, Volume
from one_iscsi.sans import Room
from one_iscsi.scanning import Difference
from one_iscsi.units import format_size
from one_iscsi.wiping import Progress

_PERMISSION_NAMES = ("OWNER", "GROUP", "OTHER")


def volume(row: Volume, san: str, attachments: list[Attachment]) -> dict[str, Any]:
    """A volume with the name of its storage server and where it is attached."""
    return {
        "ID": row.id,
        "NAME": row.name,
        "STATUS": row.status,
        "SIZE": row.size_bytes,
        "IQN": row.iqn,
        "LUN": row.lun,
        "PORTAL": [str(portal) for portal in row.portals],
        "SERIAL": row.serial,
        "WWID": row.wwid,
        "SAN": san,
        "MADE": row.made,
        "UID": row.uid,
        "GID": row.gid,
        "PERMISSIONS": _permissions(row.permissions),
        "HOLDER_KIND": row.holder_kind,
        "HOLDER_ID": row.holder_id,
        "PREVIOUS_STATUS": row.previous_status,
        "REASON": row.reason,
        "WIPED_AT": row.wiped_at,
        "REGTIME": row.created_at,
        "ATTACHMENT": [attachment(one) for one in attachments],
    }


def _permissions(bits: int) -> str:
    """``um-------`` as OpenNebula prints them."""
    return "".join(letter if bits >> shift & 1 else "-" for shift, letter in zip(range(8, -1, -1), "uma" * 3))


def attachment(row: Attachment) -> dict[str, Any]:
    """Where a volume is plugged in."""
    return {
        "VM_ID": row.vm_id,
        "HOST": row.host,
        "TARGET": row.target,
        "DEVICE": row.device,
        "READONLY": row.read_only,
        "ON_TERMINATE": row.on_terminate,
        "STATUS": row.status,
        "SINCE": row.created_at,
    }


def chap(row: SealedChap) -> dict[str, Any]:
    """With whose names host and target log in; TARGET_USER only for mutual CHAP."""
    return {"USER": row.user, "TARGET_USER": row.target_user}


def operation(row: Op) -> dict[str, Any]:
    """An open operation of the journal."""
    return {
        "ID": row.id,
        "KIND": row.kind,
        "PHASE": row.phase,
        "ATTEMPT": row.attempt,
        "ORIGIN_STATUS": row.origin_status,
        "THEN": row.then,
        "PID": row.owner.pid,
        "FRONTEND": row.owner.frontend,
        "HEARTBEAT": row.heartbeat,
        "ERROR": row.error,
    }


def event(row: Event) -> dict[str, Any]:
    """A line of the audit."""
    return {
        "ID": row.id,
        "TIME": row.time,
        "VOLUME_ID": row.volume_id,
        "UID": row.uid,
        "ADDRESS": row.address,
        "WHAT": row.what,
        "FROM": row.from_status,
        "TO": row.to_status,
        "WHY": row.why,
    }


def san(row: San, room: Room | None) -> dict[str, Any]:
    """A storage server, with the room it has if volumes are made there and it answers."""
    return {
        "ID": row.id,
        "NAME": row.name,
        "KIND": row.kind,
        "HOST": row.ssh_host,
        "PORTAL": [str(portal) for portal in row.portals],
        "CLUSTER": list(row.clusters),
        "POOL": row.pool,
        "LOCATION": row.location,
        "TOTAL": room and room.total,
        "USED": room and room.used,
        "FREE": room and room.free,
        "PROMISED": room and room.promised,
        "LAST_SEEN": row.last_seen,
    }


def host(row: Host) -> dict[str, Any]:
    """What was learned of a host."""
    return {
        "ID": row.id,
        "NAME": row.name,
        "INITIATOR": row.initiator,
        "SOURCE": [{"PORTAL": portal, "ADDRESS": address} for portal, address in row.sources.items()],
        "LAST_SEEN": row.last_seen,
    }


def difference(row: Difference) -> dict[str, Any]:
    """A target that is not what the table says."""
    return {
        "FOUND": row.what,
        "IQN": row.iqn,
        "LUN": row.lun,
        "SIZE": row.size_bytes,
        "INITIATOR": list(row.initiators),
        "VOLUME_ID": row.volume_id,
        "STATUS": row.status,
    }


def wipe(row: Progress, san: str) -> dict[str, Any]:
    """A wipe that is not over. Bytes, bytes a second, seconds."""
    return {
        "VOLUME_ID": row.volume.id,
        "NAME": row.volume.name,
        "SIZE": row.volume.size_bytes,
        "SAN": san,
        "STATE": row.state,
        "DONE": row.done,
        "RATE": round(row.rate),
        "TIME_LEFT": row.left,
        "THEN": row.op.then,
        "ERROR": row.trouble,
    }


def _text(key: str) -> Column:
    return Column(key, lambda document: str(_or_dash(document[key])))


def _number(key: str, heading: str = "") -> Column:
    return Column(heading or key, lambda document: str(_or_dash(document[key])), right=True)


def _or_dash(value: Any) -> Any:
    return "-" if value in (None, "", []) else value


def _of_attachment(key: str, heading: str = "", right: bool = False) -> Column:
    def value(document: Document) -> str:
        return str(document["ATTACHMENT"][0][key]) if document["ATTACHMENT"] else "-"

    return Column(heading or key, value, right)


def _joined(key: str) -> Column:
    return Column(key, lambda document: ",".join(map(str, document[key])) or "-")


def _size(key: str) -> Column:
    def value(document: Document) -> str:
        return "-" if document[key] is None else format_size(document[key])

    return Column(key, value, right=True, size=True)


VOLUMES = (
    _number("ID"),
    _number("UID"),
    _text("NAME"),
    _size("SIZE"),
    Column("STAT", lambda document: str(document["STATUS"]), coloured=True),
    _of_attachment("VM_ID", "VM", right=True),
    _of_attachment("HOST"),
    _of_attachment("TARGET"),
    _text("SAN"),
    _text("IQN"),
)
EVENTS = (
    Column("TIME", lambda document: clock(document["TIME"])),
    _number("VOLUME_ID", "VOLUME"),
    _number("UID"),
    _text("ADDRESS"),
    _text("WHAT"),
    _text("FROM"),
    _text("TO"),
    _text("WHY"),
)
SANS = (
    _number("ID"),
    _text("NAME"),
    _text("KIND"),
    _text("HOST"),
    _joined("PORTAL"),
    _joined("CLUSTER"),
    _text("POOL"),
    *map(_size, ("TOTAL", "USED", "FREE", "PROMISED")),
)
WIPES = (
    _number("VOLUME_ID", "VOLUME"),
    _text("NAME"),
    _size("SIZE"),
    _text("SAN"),
    Column("STAT", lambda document: str(document["STATE"]), coloured=True),
    Column("DONE", lambda document: f"{document['DONE'] * 100 // (document['SIZE'] or 1)}%", right=True),
    Column("RATE", lambda document: f"{format_size(document['RATE'])}/s" if document["RATE"] else "-", right=True),
    Column("LEFT", lambda document: duration(document["TIME_LEFT"]), right=True),
    _text("THEN"),
)
DIFFERENCES = (
    _text("FOUND"),
    _number("VOLUME_ID", "VOLUME"),
    Column("STAT", lambda document: document["STATUS"] or "-", coloured=True),
    _size("SIZE"),
    _number("LUN"),
    _text("IQN"),
    _joined("INITIATOR"),
)
HOSTS = (
    _number("ID"),
    _text("NAME"),
    _text("INITIATOR"),
    Column("SOURCE", lambda document: ",".join(source["ADDRESS"] for source in document["SOURCE"]) or "-"),
    Column("SEEN", lambda document: clock(document["LAST_SEEN"])),
)
