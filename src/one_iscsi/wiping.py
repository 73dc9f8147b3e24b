"""Wipe: zeros over a released volume, as a job on the storage server that no command has to wait for.

A storage server that cannot be logged in to (``static``) has its volumes wiped from a node.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from one_iscsi import states
from one_iscsi.core import Core
from one_iscsi.errors import LostRace, NodeError, NotFound, OneIscsiError, StorageError, Unfinished, WrongState
from one_iscsi.model import Op, Volume

if TYPE_CHECKING:
    from one_iscsi.san import WipeStatus

KIND = "wipe"
STARTING, RUNNING = "starting", "running"

#: Seconds between two looks at a running wipe, and before a server that did not answer is asked again.
_LOOK_EVERY = 0.5
_LEAVE_ALONE = 60

#: OpenNebula's host state for one that can be used (include/Host.h).
_MONITORED = 2

#: Codes after which the job may be tried again as it is; any other failure needs an admin.
_NOT_ITS_FAULT = frozenset({"unreachable", "timeout", "unknown", "busy"})


class _Place(Protocol):
    """Where a wipe runs."""

    def start(self, volume: Volume, job: str) -> None: ...
    def status(self, volume: Volume, job: str) -> WipeStatus: ...
    def end(self, volume: Volume) -> None: ...


class _OnServer:
    def __init__(self, core: Core, volume: Volume) -> None:
        self._server = core.server(volume)

    def start(self, volume: Volume, job: str) -> None:
        self._server.start_wipe(volume, job)

    def status(self, volume: Volume, job: str) -> WipeStatus:
        return self._server.wipe_status(volume, job)

    def end(self, volume: Volume) -> None:
        pass


class _OnNode:
    """From a host: it logs in for the wipe and out after it; its own session is the only one."""

    def __init__(self, core: Core, host: str, vm_mad: str) -> None:
        self._core = core
        self._node = core.node(host, vm_mad)

    def start(self, volume: Volume, job: str) -> None:
        found = self._node.login(volume, self._core.identity(volume), None)
        learned = {"size_bytes": found.size_bytes, "serial": found.serial, "wwid": found.wwid}
        if any(getattr(volume, name) != value for name, value in learned.items()):
            self._core.store.update(volume, **learned)
        self._node.start_wipe(volume, job)

    def status(self, volume: Volume, job: str) -> WipeStatus:
        return self._node.wipe_status(volume, job)

    def end(self, volume: Volume) -> None:
        self._node.logout(volume)


def start(core: Core, volume: Volume, host: str = "", vm_mad: str = "") -> Op:
    """Begin to wipe a ``dirty`` volume and return; ``host`` is the node to use if the server cannot do it.

    StorageError or NodeError when the job cannot be started now: the volume stays ``wiping`` and any later command
    tries again, or is in ``error`` when the server refused.
    """
    payload = {"host": host, "vm_mad": vm_mad}
    if not core.server(volume).can_close and not host:
        payload = _some_host(core, volume)
    # The job's name on the storage server: starting it twice is one wipe, and no other wipe ever had it.
    payload["job"] = f"volume{volume.id}-{secrets.token_hex(6)}"
    wiping, op = core.store.begin(volume, KIND, states.WIPING, core.who, phase="reserved", payload=payload, why="wipe")
    return _launch(core, op, wiping)


def start_or_leave(core: Core, volume: Volume, host: str = "", vm_mad: str = "") -> None:
    """The same after an operation that is itself done: a wipe that cannot start now is told, not raised."""
    try:
        start(core, volume, host, vm_mad)
    except OneIscsiError as error:
        core.warn(f"the wipe of volume {volume.id} did not start: {error}")


def _some_host(core: Core, volume: Volume) -> dict[str, str]:
    """A host that can reach the volume, for storage servers nobody can log in to."""
    clusters = core.store.san(volume.san_id).clusters
    for host in core.frontend.hosts():
        if host.state == _MONITORED and (not clusters or host.cluster_id in clusters):
            return {"host": host.name, "vm_mad": host.vm_mad}
    raise WrongState(
        f"no host is there to wipe volume {volume.id} from", f"enable one, then run onevolume release {volume.id}"
    )


def _place(core: Core, op: Op, volume: Volume) -> _Place:
    if core.server(volume).can_close:
        return _OnServer(core, volume)
    return _OnNode(core, op.payload["host"], op.payload["vm_mad"])


def _launch(core: Core, op: Op, volume: Volume) -> Op:
    op = core.store.advance(op, STARTING)
    core.report(f"starting the wipe of volume {volume.id}")
    try:
        _place(core, op, volume).start(volume, op.payload["job"])
    except (StorageError, NodeError) as error:
        if error.code in _NOT_ITS_FAULT:
            core.store.fail(op, str(error))
        else:
            core.store.error(op, f"wipe: {error.what}", core.who)
        raise
    return core.store.advance(op, RUNNING)


def collect(core: Core, volume_id: int | None = None) -> list[str]:
    """Look at every wipe nobody is waiting for: finish the done ones, start those that never started.

    Called by any command; what could not be asked is returned as lines for the user, never raised.
    """
    troubles = []
    for op in core.store.ops(kind=KIND, volume_id=volume_id):
        if op.error and volume_id is None and time.time() - op.heartbeat < _LEAVE_ALONE:
            continue
        try:
            look(core, core.store.take_over(op))
        except (LostRace, WrongState, NotFound):
            continue  # another command looks after it
        except OneIscsiError as error:
            troubles.append(f"wipe of volume {op.volume_id}: {error}")
    return troubles


def look(core: Core, op: Op) -> WipeStatus | None:
    """One look at a wipe this process owns; None if it had to be started again."""
    volume = core.store.volume(op.volume_id)
    place = _place(core, op, volume)
    try:
        status = place.status(volume, op.payload["job"]) if op.phase == RUNNING else None
        if status is None or status.state == "absent":
            _launch(core, op, volume)
            return None
        if status.state == "done":
            place.end(volume)
    except (StorageError, NodeError) as error:
        core.store.fail(op, str(error))
        raise
    if status.state == "done":
        core.store.finish(op, states.FREE, core.who, why="wiped", attachment="delete", wiped_at=int(time.time()))
    elif status.state == "failed":
        core.store.error(op, f"wipe: {status.text}", core.who)
    return status


def wait(core: Core, volume_id: int, progress: Callable[[int, int], None]) -> Volume:
    """Stay until the volume's wipe is over; ``progress`` gets bytes done and bytes in all. Unfinished if it failed."""
    while True:
        for op in core.store.ops(kind=KIND, volume_id=volume_id):
            status = look(core, core.store.take_over(op))
            if status:
                progress(status.offset, status.size_bytes)
        volume = core.store.volume(volume_id)
        if volume.status == states.ERROR:
            raise Unfinished(
                f"volume {volume_id}: {volume.reason}", f"mend that, then run onevolume recover {volume_id}"
            )
        if volume.status != states.WIPING:
            return volume
        time.sleep(_LOOK_EVERY)
