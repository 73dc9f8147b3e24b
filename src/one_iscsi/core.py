"""What every operation needs at hand: the table, oned, the storage servers, the nodes, and who is asking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from one_iscsi.config import Config
from one_iscsi.errors import NotFound, StorageError
from one_iscsi.iscsi import is_default_serial
from one_iscsi.model import Chap, Identity, San, Volume
from one_iscsi.remote import Remote
from one_iscsi.store import Actor, Store

if TYPE_CHECKING:  # imported where they are needed: a listing must not pay for them
    from one_iscsi.asking import Asker
    from one_iscsi.frontend import Frontend
    from one_iscsi.nodes import Node
    from one_iscsi.san import StorageServer
    from one_iscsi.sealing import Key


def _silent(_: str) -> None:
    pass


@dataclass
class Core:
    """One command's view of the world.

    ``report`` gets a line for every step that takes time, ``warn`` one for what went wrong beside the command's work.
    ``asker`` is who asks oned, if that was started already.
    """

    store: Store
    who: Actor
    report: Callable[[str], None] = _silent
    warn: Callable[[str], None] = _silent
    config: Config = field(default_factory=Config)
    asker: Asker | None = None

    @cached_property
    def remote(self) -> Remote:
        """How scripts reach other machines."""
        return Remote(self.config.ssh_connect_timeout)

    @cached_property
    def frontend(self) -> Frontend:
        """oned; FrontendError if this user has no OpenNebula session."""
        from one_iscsi.frontend import Frontend

        return Frontend.from_environment(self.config.oned_timeout, self.asker)

    @cached_property
    def key(self) -> Key:
        """With which kept secrets are encrypted; SetupError if there is none that can be used."""
        from one_iscsi.sealing import Key

        return Key(Path(self.config.key_file))

    def node(self, host: str, vm_mad: str) -> Node:
        """The host ``host`` with the hypervisor of ``vm_mad``."""
        from one_iscsi.nodes import Node

        return Node(self.remote, host, vm_mad)

    def server(self, volume: Volume) -> StorageServer:
        """The storage server that offers ``volume``."""
        return self.storage(self.store.san(volume.san_id))

    def storage(self, san: San) -> StorageServer:
        """What speaks to the storage server ``san``."""
        from one_iscsi.san import server

        return server(san, self.remote)

    def chap(self, volume: Volume) -> Chap | None:
        """What is kept for a target that somebody else manages; None: it asks for nothing. SetupError (the key)."""
        for sealed in self.store.chaps(volume.id).values():
            return self.key.unseal(sealed, volume.id)
        return None

    def close(self, volume: Volume) -> None:
        """Let nobody reach ``volume`` and see nobody there; StorageError.

        A target that is gone lets nobody in. One that we made is not believed to be gone: after a restart its server
        would make it again as it was.
        """
        try:
            self.server(volume).close(volume)
        except StorageError as error:
            if error.code != "no-target" or volume.made:
                raise

    def sources(self, host: str, vm_mad: str, volume: Volume, *, again: bool = False) -> list[str]:
        """The addresses ``host`` reaches the portals of ``volume`` from; ``again``, or what was not seen before, costs
        a visit. NodeError for a volume with several portals if multipathd does not run there."""
        known = self.store.host(host)
        if (
            not known
            or again
            or any(portal.address not in known.sources for portal in volume.portals)
            or (volume.is_multipath and not known.multipath)
        ):
            self.report(f"learning how host {host} reaches {', '.join(map(str, volume.portals))}")
            visit = self.node(host, vm_mad).visit(*volume.portals)
            known = self.store.learn_host(host, visit.initiator, visit.sources, visit.multipath)
        if volume.is_multipath and not known.multipath:
            from one_iscsi.nodes.troubles import trouble

            raise trouble(host, f"volume {volume.id}", "no-multipathd", "", clean=True, plug_tried=False)
        return sorted({known.sources[portal.address] for portal in volume.portals})

    def sans_with_several_portals(self) -> frozenset[int]:
        """The ids of storage servers whose volumes take a multipathd on the hosts, some of them at least."""
        makers = {san.id for san in self.store.sans() if len(san.portals) > 1}
        return frozenset(makers | {volume.san_id for volume in self.store.volumes() if volume.is_multipath})

    def initiator(self, host: str) -> str:
        """The initiator name of a host that ``sources`` was asked about."""
        known = self.store.host(host)
        if not known:
            raise NotFound(f"nothing is known of host {host}", "attach a volume there")
        return known.initiator

    def identity(self, volume: Volume) -> Identity:
        """What the volume's device must look like.

        A serial that several volumes share, or that a storage server made up from its own numbering, proves nothing.
        The size of a volume nobody has logged in to and no server could be asked about is not known yet: 0.
        """
        unseen = not volume.serial and not volume.wwid and not self.server(volume).can_close
        trusted = (
            bool(volume.serial) and not is_default_serial(volume.serial) and self.store.serial_count(volume.serial) == 1
        )
        return Identity(0 if unseen else volume.size_bytes, volume.serial, trusted)
