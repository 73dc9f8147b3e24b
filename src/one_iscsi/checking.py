"""Check: what keeps volumes from working here, on a host or on a storage server, and what to do about it.

Nothing is changed, but what every command would make is made: a database when there is none, and the subfolder
``one_iscsi`` of a folder where volumes are made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from one_iscsi import config, states, wiping
from one_iscsi.core import Core
from one_iscsi.errors import OneIscsiError
from one_iscsi.findings import CRITICAL, WARNING, Finding
from one_iscsi.model import San
from one_iscsi.store import Actor, Store
from one_iscsi.store.connect import connection

if TYPE_CHECKING:
    from one_iscsi.frontend import FrontendHost
    from one_iscsi.nodes import Checked

T = TypeVar("T")
R = TypeVar("R")

HERE = "front end"

#: How many machines are asked at once.
_AT_ONCE = 8

#: OpenNebula's host states in which nobody expects a host to work: DISABLED and OFFLINE (include/Host.h).
_OUT_OF_USE = frozenset({4, 8})

#: Seconds after which an operation without a process shows that nobody runs ``onevolume work``.
_FORGOTTEN = 15 * 60

_RECOVER = "run onevolume recover {}"

#: What is nobody's but oneadmin's.
_OTHERS = 0o077


def check(hosts: Sequence[str], sans: Sequence[str]) -> list[Finding]:
    """Look at the front end and at the hosts and storage servers named; none named: all that are known."""
    found: list[Finding] = configuration()
    if not all(one.ok or one.level == WARNING for one in found):
        return found
    configured = config.load()
    store = _try(found, HERE, lambda: Store.open(configured.database))
    if not store:
        return found
    with store:
        core = Core(store, Actor(0, "check"), config=configured)
        found += _database(store)
        if _try(found, HERE, core.remote.wrappers):
            found.append(Finding(HERE, "OpenNebula's ssh wrappers are there"))
        found += _key(core)
        known = _oned(core, found)
        every = not hosts and not sans
        if every:
            found += _volumes(store)
        found += _sans(core, store.sans() if every else _named(found, sans, "storage server", store.san))
        if known is not None:
            found += _hosts(core, _in_use(core, known) if every else _named(found, hosts, "host", core.frontend.host))
        elif hosts:
            found.append(Finding(HERE, "hosts cannot be looked at without oned", "mend that first", CRITICAL))
    return found


def _try(found: list[Finding], where: str, act: Callable[[], T]) -> T | None:
    """What ``act`` gives; None if it failed, which is then a finding."""
    try:
        return act()
    except OneIscsiError as error:
        found.append(Finding(where, error.what, error.fix, CRITICAL))
        return None


def _named(found: list[Finding], names: Iterable[str], what: str, get: Callable[[str], T]) -> list[T]:
    got = (_try(found, f"{what} {name}", lambda name=name: get(name)) for name in names)  # type: ignore[misc]
    return [one for one in got if one]


# -- front end ---------------------------------------------------------------------------------------------------------


def configuration() -> list[Finding]:
    """What is wrong with the configuration file; one finding that is ok if nothing is."""
    found: list[Finding] = []
    seen = _try(found, HERE, config.look)
    if not seen:
        return found
    found += [Finding(HERE, mistake.what, mistake.fix, CRITICAL) for mistake in seen.mistakes]
    if seen.exposed:
        what = f"{seen.path} holds a password and everybody here can read it"
        found.append(Finding(HERE, what, f"chmod o-r {seen.path}", WARNING))
    _try(found, HERE, lambda: connection(seen.config.database, create=False))
    if all(one.level != CRITICAL for one in found):
        what = "is right" if seen.present else "is not there: everything has its default"
        found.append(Finding(HERE, f"the configuration {seen.path} {what}"))
    return found


def _database(store: Store) -> list[Finding]:
    found: list[Finding] = []
    probed = _try(found, HERE, store.probe)
    if probed:
        found.append(Finding(HERE, f"{probed[0]} can be written, its schema is {probed[1]}"))
    if store.file:
        status = store.file.stat()
        if status.st_uid != os.geteuid():
            what = f"{store.file} does not belong to the user who runs this"
            found.append(Finding(HERE, what, f"chown oneadmin {store.file}", CRITICAL))
        if status.st_mode & _OTHERS:
            what = f"others may read or write {store.file}"
            found.append(Finding(HERE, what, f"chmod 600 {store.file}", WARNING))
    return found


def _key(core: Core) -> list[Finding]:
    """Whether every CHAP secret that is kept can be read. Without any, a key need not be there, but be right."""
    kept, file = core.store.chaps(), core.config.key_file
    if not kept and not os.path.exists(file):
        return []

    def open_all() -> None:
        key = core.key
        for volume_id, sealed in kept.items():
            key.unseal(sealed, volume_id)

    found: list[Finding] = []
    _try(found, HERE, open_all)
    return found or [Finding(HERE, f"the key {file} opens all CHAP secrets that are kept: {len(kept)}")]


def _volumes(store: Store) -> list[Finding]:
    """Volumes that somebody has to look after; operations the timer should have settled long ago."""
    found = [
        Finding("volumes", f"volume {volume.id} is in error: {volume.reason}", _RECOVER.format(volume.id), WARNING)
        for volume in store.volumes(status=[states.ERROR])
    ]
    for op in store.ops():
        silent = time.time() - op.heartbeat
        if silent > _FORGOTTEN and op.phase != wiping.QUEUED and not store.owner_alive(op):
            what = f"volume {op.volume_id}: its {op.kind} stopped {silent / 60:.0f} minutes ago"
            what += f" ({op.error})" if op.error else ""
            fix = f"{_RECOVER.format(op.volume_id)}, and see that a timer runs onevolume work"
            found.append(Finding("volumes", what, fix, WARNING))
    return found or [Finding("volumes", "none is in error or forgotten")]


def _oned(core: Core, found: list[Finding]) -> list[FrontendHost] | None:
    """oned's hosts; None if it cannot be asked."""
    me = _try(found, HERE, lambda: core.frontend.whoami())
    if not me:
        return None
    found.append(Finding(HERE, "oned answers"))
    uid, gid = me
    if gid != 0:
        what = f"the OpenNebula session is that of user {uid}, who does not see every VM and host"
        found.append(Finding(HERE, what, "let ONE_AUTH name the session of oneadmin", WARNING))
    return _try(found, HERE, core.frontend.hosts)


# -- storage servers and hosts -----------------------------------------------------------------------------------------


def _sans(core: Core, sans: list[San]) -> list[Finding]:
    from one_iscsi.san.check import check as look

    def one(san: San) -> list[Finding]:
        found: list[Finding] = []
        return [*(_try(found, f"storage server {san.name}", lambda: look(san, core.remote)) or []), *found]

    return [finding for findings in _at_once(one, sans) for finding in findings]


def _in_use(core: Core, known: list[FrontendHost]) -> list[FrontendHost]:
    """The hosts that are meant to carry volumes: a hypervisor of ours, in use, and reached by a storage server."""
    from one_iscsi.nodes.hypervisors import is_supported

    sans = core.store.sans()
    return [
        host
        for host in known
        if host.state not in _OUT_OF_USE
        and is_supported(host.vm_mad)
        and (not sans or any(_serves(san, host) for san in sans))
    ]


def _serves(san: San, host: FrontendHost) -> bool:
    return not san.clusters or host.cluster_id in san.clusters


def _hosts(core: Core, hosts: list[FrontendHost]) -> list[Finding]:
    volumes = core.store.volumes()
    by_iqn = {volume.iqn: volume.portals for volume in volumes}
    sans = core.store.sans()
    portals_of = {san.id: set(san.portals) for san in sans}
    for volume in volumes:  # a registered one may have others than its storage server, and ``static`` has none
        portals_of.setdefault(volume.san_id, set()).update(volume.portals)
    several = core.sans_with_several_portals()

    def one(host: FrontendHost) -> Checked:
        from one_iscsi.nodes import Checked

        serving = [san for san in sans if _serves(san, host)]
        portals = sorted({portal for san in serving for portal in portals_of[san.id]}, key=str)
        multipath = any(san.id in several for san in serving)
        node = core.node(host.name, host.vm_mad)
        found: list[Finding] = []
        checked = _try(found, f"host {host.name}", lambda: node.check(portals, by_iqn, multipath))
        return checked or Checked(found)

    checked = dict(zip((host.name for host in hosts), _at_once(one, hosts)))
    names = {host.name: host.initiator for host in core.store.hosts()}
    names.update({name: one.initiator for name, one in checked.items() if one.initiator})
    found = []
    for name, one_host in checked.items():
        found += one_host.findings
        others = sorted(
            other for other, initiator in names.items() if initiator == one_host.initiator and other != name
        )
        if one_host.initiator and others:
            what = f"it has the initiator name of host {', '.join(others)}, {one_host.initiator}"
            fix = f"give one of them its own: onevolume host prepare {name} --rename"
            for unseen in (other for other in others if other not in checked):
                fix += f"; or, if {unseen} is a host no more, onevolume host delete {unseen}"
            found.append(Finding(f"host {name}", what, fix, CRITICAL))
    return found


def _at_once(act: Callable[[T], R], items: Sequence[T]) -> list[R]:
    from concurrent.futures import ThreadPoolExecutor  # brings the whole of logging along

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(act, items))
