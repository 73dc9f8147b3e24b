"""Storage servers that run LIO, the target in Linux: see ``scripts/lio.sh`` for what is done there."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from one_iscsi.iscsi import check_iqn
from one_iscsi.model import Chap, Volume
from one_iscsi.san.scripted import ScriptedServer


class Lio(ScriptedServer):
    """A storage server with LIO. It goes by an initiator's name, not by its address."""

    kind = "lio"
    scripts = ("target.sh", "lio.sh")
    volume_scripts = ("store.sh", "lio_volumes.sh")
    is_mutual = True
    fixes: ClassVar = {
        "daemon-down": "there: systemctl enable --now target (Debian: rtslib-fb-targetctl)",
        "incomplete": "there: activate its volume group or bring up its address, then systemctl restart target (Debian:"
        " rtslib-fb-targetctl); if it was removed on purpose, targetctl save",
        "missing-tool": "install targetcli there",
    }

    def open(self, volume: Volume, addresses: Collection[str], initiator: str) -> Chap:
        """Let the initiator of this name in, nobody else."""
        return super().open(volume, addresses, check_iqn(initiator))
