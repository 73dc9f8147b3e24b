"""Storage servers and hosts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

import peewee

from one_iscsi.errors import NotFound, WrongState
from one_iscsi.iscsi import Portal
from one_iscsi.model import Host, San
from one_iscsi.store.audit import Audit
from one_iscsi.store.engine import Again
from one_iscsi.store.schema import ATTACHMENT, HOST, SAN, encode, host_of, san_of


class Places(Audit):
    """Where volumes come from and where they go to."""

    def add_san(
        self,
        name: str,
        kind: str,
        portals: Iterable[Portal],
        ssh_host: str = "",
        location: str = "",
        clusters: Iterable[int] = (),
        pool: str = "",
    ) -> San:
        """Enter a storage server. Raises WrongState if the name is taken."""
        row = encode(
            {
                "name": name, "kind": kind, "portals": tuple(portals), "ssh_host": ssh_host, "location": location,
                "clusters": tuple(clusters), "last_seen": None, "pool": pool,
            }
        )  # fmt: skip

        def work() -> San:
            try:
                san_id = self._engine.run(SAN.insert(**row))
            except peewee.IntegrityError:
                raise WrongState(f"there is a storage server {name} already", "choose another name") from None
            return self.san(san_id)

        return self._engine.write(work)

    def san(self, ref: int | str) -> San:
        """A storage server by id or name; NotFound."""
        by_id = isinstance(ref, int) or (ref.isascii() and ref.isdecimal())
        rows = self._engine.rows(SAN.select().where(SAN.id == int(ref) if by_id else SAN.name == ref))
        if not rows:
            raise NotFound(f"there is no storage server {ref}", "`onevolume san list` shows them")
        return san_of(rows[0])

    def sans(self) -> list[San]:
        """Every storage server, by id."""
        return [san_of(row) for row in self._engine.rows(SAN.select().order_by(SAN.id))]

    def delete_san(self, san_id: int) -> None:
        """Forget a storage server. Raises WrongState while a volume refers to it, NotFound."""

        def work() -> None:
            try:
                found = self._engine.run(SAN.delete().where(SAN.id == san_id))
            except peewee.IntegrityError:
                what = f"storage server {san_id} still has volumes"
                raise WrongState(what, "delete or forget its volumes first") from None
            if not found:
                raise NotFound(f"there is no storage server {san_id}", "`onevolume san list` shows them")

        self._engine.write(work)

    def seen_san(self, san_id: int) -> None:
        """Note that a storage server answered just now."""
        self._engine.write(lambda: self._engine.run(SAN.update(last_seen=int(time.time())).where(SAN.id == san_id)))

    def host(self, name: str) -> Host | None:
        """What was learned of a host, None if it was never visited."""
        rows = self._engine.rows(HOST.select().where(HOST.name == name))
        return host_of(rows[0]) if rows else None

    def known_host(self, ref: str) -> Host:
        """What was learned of a host, by id or name: a name of digits is an id first. Raises NotFound."""
        number = int(ref) if ref.isascii() and ref.isdecimal() else 0
        found = self._engine.rows(HOST.select().where((HOST.id == number) | (HOST.name == ref)))
        if not found:
            raise NotFound(f"nothing is known of host {ref}", "`onevolume host list` shows them")
        return min(map(host_of, found), key=lambda host: host.id != number)

    def hosts(self) -> list[Host]:
        """Every host that was visited, by id."""
        return [host_of(row) for row in self._engine.rows(HOST.select().order_by(HOST.id))]

    def delete_host(self, ref: str) -> Host:
        """Forget a host; a visit learns it anew. Raises WrongState while a volume is attached there, NotFound."""

        def work() -> Host:
            host = self.known_host(ref)
            for row in self._engine.rows(ATTACHMENT.select().where(ATTACHMENT.host == host.name).limit(1)):
                raise WrongState(f"volume {row['volume_id']} is attached on {host.name}", "detach it first")
            self._engine.run(HOST.delete().where(HOST.id == host.id))
            return host

        return self._engine.write(work)

    def learn_host(self, name: str, initiator: str, sources: Mapping[str, str], multipath: bool = False) -> Host:
        """Enter or refresh a host; ``sources`` (portal's address → the host's own) adds to what is known.

        Raises WrongState if another host has the same initiator name: access could not be told apart.
        """
        columns = encode({"initiator": initiator, "multipath": multipath, "last_seen": int(time.time())})

        def work() -> Host:
            try:
                # The UPDATE comes first: it locks the row, so two processes cannot lose each other's sources.
                if not self._engine.run(HOST.update(**columns).where(HOST.name == name)):
                    self._engine.run(HOST.insert(name=name, sources="{}", **columns))
            except peewee.IntegrityError:
                self._refuse_shared_initiator(name, initiator)
                raise Again from None  # another process entered the same host at this moment
            [row] = self._engine.rows(HOST.select().where(HOST.name == name))
            known = host_of(row)
            host = replace(known, sources={**known.sources, **sources})
            self._engine.run(HOST.update(**encode({"sources": host.sources})).where(HOST.name == name))
            return host

        return self._engine.write(work)

    def _refuse_shared_initiator(self, name: str, initiator: str) -> None:
        for row in self._engine.rows(HOST.select().where((HOST.initiator == initiator) & (HOST.name != name))):
            what = f"hosts {row['name']} and {name} have one initiator name, {initiator}"
            fix = f"run onevolume host delete {row['name']} if there is no such host any more, else give one its own"
            raise WrongState(what, f"{fix}: onevolume host prepare {name} --rename")
