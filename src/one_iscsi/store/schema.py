"""The tables as queries see them, and the way between a row and the record the other layers know."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from peewee import Table

from one_iscsi.iscsi import Portal
from one_iscsi.model import Attachment, Event, Host, Op, Owner, San, SealedChap, Volume

Row = dict[str, Any]


@dataclass(frozen=True)
class Actor:
    """Who asked for a change, for the audit: OpenNebula's user id and the address the request came from."""

    uid: int
    address: str


def _table(name: str, record: type) -> Any:
    return Table(name, [field.name for field in fields(record)])


VOLUME = _table("one_volume", Volume)
ATTACHMENT = _table("one_volume_attachment", Attachment)
EVENT = _table("one_volume_event", Event)
SAN = _table("one_volume_san", San)
HOST = _table("one_volume_host", Host)
OP: Any = Table(
    "one_volume_op",
    ["id", "volume_id", "open_slot", "kind", "phase", "origin_status", "then", "owner_frontend", "owner_pid",
     "owner_started", "owner_boot", "heartbeat", "attempt", "payload", "error", "created_at"],
)  # fmt: skip
CHAP: Any = Table("one_volume_chap", ["volume_id", *(field.name for field in fields(SealedChap))])
SCHEMA_VERSION: Any = Table("schema_version", ["version", "applied_at"])


def encode(columns: Row) -> Row:
    """Columns as the database keeps them: tuples as comma-separated text, dictionaries as JSON, booleans as 0 and 1."""
    return {name: _encode(value) for name, value in columns.items()}


def _encode(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return value


@lru_cache(maxsize=256)  # the volumes of a storage server share them
def _portals(text: str) -> tuple[Portal, ...]:
    return tuple(Portal.parse(portal) for portal in text.split(",") if portal)


def volume_of(row: Row) -> Volume:
    """The record of a row of ``one_volume``."""
    return Volume(**{**row, "portals": _portals(row["portals"]), "made": bool(row["made"])})


def attachment_of(row: Row) -> Attachment:
    """The record of a row of ``one_volume_attachment``."""
    return Attachment(**{**row, "read_only": bool(row["read_only"])})


def san_of(row: Row) -> San:
    """The record of a row of ``one_volume_san``."""
    clusters = tuple(int(cluster) for cluster in row["clusters"].split(",") if cluster)
    return San(**{**row, "portals": _portals(row["portals"]), "clusters": clusters})


def host_of(row: Row) -> Host:
    """The record of a row of ``one_volume_host``."""
    return Host(**{**row, "sources": json.loads(row["sources"]), "multipath": bool(row["multipath"])})


def op_of(row: Row) -> Op:
    """The record of a row of ``one_volume_op``."""
    row = dict(row)
    owner = Owner(**{field.name: row.pop(f"owner_{field.name}") for field in fields(Owner)})
    is_open = row.pop("open_slot") is not None
    return Op(**{**row, "owner": owner, "payload": json.loads(row["payload"]), "open": is_open})


def owner_columns(owner: Owner) -> Row:
    """The columns of ``one_volume_op`` that name a process."""
    return {f"owner_{name}": value for name, value in asdict(owner).items()}
