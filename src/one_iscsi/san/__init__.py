"""Storage servers: who may reach a volume, who is logged in to it, and the wiping of it. One module for each kind."""

from __future__ import annotations

from collections.abc import Callable

from one_iscsi.errors import SetupError
from one_iscsi.model import San
from one_iscsi.remote import Remote
from one_iscsi.san.base import Capacity, Exposure, Session, StorageServer, TargetInfo, WipeStatus
from one_iscsi.san.lio import Lio
from one_iscsi.san.static import Static
from one_iscsi.san.tgt import Tgt

__all__ = ["KINDS", "Capacity", "Exposure", "Session", "StorageServer", "TargetInfo", "WipeStatus", "server"]

#: ``San.kind`` → what speaks to such a server.
KINDS: dict[str, Callable[[San, Remote], StorageServer]] = {"lio": Lio, "static": Static, "tgt": Tgt}


def server(san: San, remote: Remote) -> StorageServer:
    """The storage server of a row; SetupError for a kind this version does not know."""
    if san.kind not in KINDS:
        raise SetupError(f"storage server {san.name} is of the unknown kind {san.kind!r}", f"kinds: {', '.join(KINDS)}")
    return KINDS[san.kind](san, remote)
