"""Check: what keeps volumes from working here, on a host or on a storage server, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from one_iscsi import config
from one_iscsi.core import Core
from one_iscsi.errors import OneIscsiError
from one_iscsi.store import Actor, Store


@dataclass(frozen=True)
class Result:
    """One thing looked at: ``where`` (front end, host, storage server), ``what`` it is, and the ``fix`` if not ok."""

    where: str
    ok: bool
    what: str
    fix: str = ""


def check(hosts: list[str], sans: list[str]) -> list[Result]:
    """Look at the front end, and at the hosts and storage servers named. Nothing is changed anywhere."""
    results: list[Result] = []

    def look(where: str, what: str, at: Callable[[], object]) -> bool:
        try:
            at()
        except OneIscsiError as error:
            results.append(Result(where, False, error.what, error.fix))
            return False
        results.append(Result(where, True, what))
        return True

    opened: list[Store] = []
    configured = config.load()
    if not look("front end", "the database can be opened", lambda: opened.append(Store.open(configured.database))):
        return results
    with opened[0] as store:
        core = Core(store, Actor(0, "check"), config=configured)
        look("front end", "OpenNebula's ssh wrappers are there", core.remote.wrappers)
        look("front end", "oned answers", lambda: core.frontend.whoami())
        for name in hosts:
            results += _host(core, name)
        for name in sans:
            look(f"storage server {name}", "it answers", partial(_san, core, name))
    return results


def _host(core: Core, name: str) -> list[Result]:
    """What the host itself says; it must be one of oned's, for oned knows its hypervisor."""
    where = f"host {name}"
    try:
        vm_mad = core.frontend.host(name).vm_mad
        return [Result(where, one.ok, one.what, one.fix) for one in core.node(name, vm_mad).check()]
    except OneIscsiError as error:
        return [Result(where, False, error.what, error.fix)]


def _san(core: Core, name: str) -> None:
    from one_iscsi.san import server

    found = server(core.store.san(name), core.remote)
    if found.can_close:
        found.targets()
