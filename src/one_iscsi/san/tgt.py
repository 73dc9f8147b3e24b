"""Storage servers that run tgt (tgtd): see ``scripts/tgt.sh`` for what is done there and in which order."""

from __future__ import annotations

from typing import ClassVar

from one_iscsi.san.scripted import ScriptedServer


class Tgt(ScriptedServer):
    """A storage server with tgt. It goes by an initiator's address, not by its name."""

    kind = "tgt"
    scripts = ("target.sh", "tgt.sh", "tgt_config.sh")
    volume_scripts = ("store.sh", "tgt_volumes.sh")
    fixes: ClassVar = {"daemon-down": "start tgtd there"}
