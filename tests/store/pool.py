"""Words of the stories: a pool of volumes, what an attach takes of it, and what a child process came to."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from collections.abc import Callable
from typing import Any

from one_iscsi import attaching
from one_iscsi.core import Core
from one_iscsi.frontend import Vm
from one_iscsi.iscsi import Portal
from one_iscsi.model import Attachment, Op, San, Volume
from one_iscsi.states import FREE
from one_iscsi.store import Actor, Store
from one_iscsi.units import GIB
from one_iscsi.vmstates import ACTIVE

ADMIN = Actor(0, "local")
PORTAL = Portal("10.0.0.1")
processes = multiprocessing.get_context("fork")


class Pool:
    """Volumes on one storage server (or on the one given)."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.san = store.add_san("openfiler", "iet", [PORTAL])
        self._count = 0

    def add(self, status: str = FREE, size: int = 10 * GIB, san: San | None = None, **columns: Any) -> Volume:
        self._count += 1
        name, iqn = f"volume{self._count}", f"iqn.2026-01.com.example:volume{self._count}"
        given = {"name": name, "iqn": iqn, "lun": 0, "portals": [PORTAL], "san_id": (san or self.san).id, **columns}
        return self.store.add_volume(size_bytes=size, status=status, who=ADMIN, **given)

    def learn_host(self) -> None:
        """An attach has been there before: where the VMs of ``reserve`` run."""
        self.store.learn_host("node1", "iqn.2026-01.com.example:node1", {PORTAL.address: "10.0.0.11"})


def reserve(store: Store, vm_id: int) -> tuple[Op, Volume, Attachment]:
    """Take a volume of any size for a running VM, as every attach begins. Its host must be known."""
    vm = Vm(vm_id, "web", 2, 1, "ann", "users", 0o600, ACTIVE, 3, "node1", 0, 0, 0, "xen", f"one-{vm_id}", frozenset())
    return attaching.reserve(Core(store, ADMIN), attaching.Request(str(vm_id), size_bytes=1), vm, set())


def in_child(work: Callable[[], Any], uid: int | None = None) -> Any:
    """What ``work`` returns or raises in a forked process; as root, under another ``uid`` if given."""
    here, there = processes.Pipe()

    def run() -> None:
        if uid is not None and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        try:
            there.send(work())
        except Exception as error:
            there.send(error)

    child = processes.Process(target=run)
    child.start()
    there.close()
    try:
        return here.recv()
    finally:
        child.join()


def sqlite_sql(path: str, *statements: str) -> list[tuple]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [row for statement in statements for row in connection.execute(statement)]
    finally:
        connection.close()
