"""Wipe: zeros over a released volume, as a job on the storage server that no command has to wait for.

A storage server that cannot be logged in to (``static``) has its volumes wiped from a node. Only so many wipes run at a
time on one server: the others wait in the journal until a command finds that there is room.
"""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from one_iscsi import states
from one_iscsi.core import Core
from one_iscsi.errors import LostRace, NodeError, NotFound, OneIscsiError, SetupError, StorageError, WrongState
from one_iscsi.model import Op, Volume

if TYPE_CHECKING:
    from one_iscsi.san import WipeStatus

KIND = "wipe"
QUEUED, STARTING, RUNNING, REMOVING = "queued", "starting", "running", "removing"

#: ``then`` of a wipe after which the volume is no more; others end in ``free``.
DELETE = "delete"

#: Seconds before a server that did not answer is asked again.
_LEAVE_ALONE = 60

#: How often a job is started at one and the same byte before it is a failure that it always dies there.
_STARTS = 5

#: OpenNebula's host state for one that can be used (include/Host.h).
_MONITORED = 2

#: Codes after which the job may be tried again as it is; any other failure needs an admin.
_NOT_ITS_FAULT = frozenset({"unreachable", "timeout", "unknown", "busy", "daemon-down"})


class _Place(Protocol):
    """Where a wipe runs."""

    def start(self, volume: Volume, job: str) -> None: ...
    def status(self, volume: Volume, job: str) -> WipeStatus: ...
    def end(self, volume: Volume) -> None: ...


class _OnServer:
    def __init__(self, core: Core, volume: Volume) -> None:
        self._server = core.server(volume)
        self._rate = core.config.wipe_rate

    def start(self, volume: Volume, job: str) -> None:
        self._server.start_wipe(volume, job, rate=self._rate)

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
        learned = self._node.login(volume, self._core.identity(volume), self._core.chap(volume)).learned
        if any(getattr(volume, name) != value for name, value in learned.items()):
            self._core.store.update(volume, **learned)
        self._node.start_wipe(volume, job, self._core.config.wipe_rate)

    def status(self, volume: Volume, job: str) -> WipeStatus:
        return self._node.wipe_status(volume, job)

    def end(self, volume: Volume) -> None:
        self._node.logout(volume)


@dataclass(frozen=True)
class Progress:
    """How far a wipe is: ``done`` bytes. State: ``queued``, ``running``, ``removing``, or ``stopped``, then its
    ``trouble`` says why."""

    volume: Volume
    op: Op
    state: str
    done: int
    trouble: str

    @property
    def rate(self) -> float:
        """Bytes a second since it was started (again); 0 if that is not known."""
        seconds = time.time() - self.op.payload.get("started", time.time())
        return max(0, self.done - self.op.payload.get("from", 0)) / seconds if seconds > 0 else 0

    @property
    def left(self) -> int | None:
        """Seconds it will take at this rate."""
        return round((self.volume.size_bytes - self.done) / self.rate) if self.rate else None


def start(core: Core, volume: Volume, host: str = "", vm_mad: str = "", then: str = "") -> Op:
    """Begin to wipe a volume nobody uses and return; ``host`` is the node to use if the server cannot do it.

    If enough wipes run there it is ``queued``. With ``then`` DELETE the volume is removed from its server at the end.
    StorageError or NodeError when the job cannot be started now: the volume stays ``wiping`` and any later command
    tries again, or is in ``error`` when the server refused.
    """
    payload = {"host": host, "vm_mad": vm_mad}
    if not core.server(volume).can_close and not host:
        payload = _some_host(core, volume)
    # The job's name on the storage server: starting it twice is one wipe, and no other wipe ever had it.
    payload["job"] = f"volume{volume.id}-{secrets.token_hex(6)}"
    wiping, op = core.store.begin(
        volume,
        KIND,
        states.WIPING,
        core.who,
        phase=QUEUED,
        then=then,
        payload=payload,
        why=f"wipe, then {then}" if then else "wipe",
        wiped_at=None,
        uid=0,
        gid=0,
    )
    return _launch(core, op, wiping)


def start_again(core: Core, volume: Volume) -> Op:
    """The same for a volume whose wipe failed, or never began: it ends as the one that failed was to end."""
    last = core.store.ops(open_only=False, volume_id=volume.id)[-1:]
    return start(core, volume, then=last[0].then if last and last[0].kind == KIND else "")


def start_or_leave(core: Core, volume: Volume, host: str = "", vm_mad: str = "") -> Volume:
    """The same after an operation that is itself done: a wipe that cannot start now is told, not raised. The volume as
    it is then."""
    try:
        start(core, volume, host, vm_mad)
    except OneIscsiError as error:
        core.warn(f"the wipe of volume {volume.id} did not start: {error}")
    return core.store.volume(volume.id)


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


def _is_full(core: Core, volume: Volume, running: int = 0) -> bool:
    """Whether enough wipes run on the machine that has the volume, not counting ``running`` of them."""
    at_work = core.store.count_ops(KIND, (STARTING, RUNNING), _of_one_machine(core, volume)) - running
    return at_work >= core.config.wipes_per_server


def _of_one_machine(core: Core, volume: Volume) -> list[int]:
    """The storage servers that share a machine with the volume's, and that one: each place on it is a row."""
    own = core.store.san(volume.san_id)
    return [own.id, *(san.id for san in core.store.sans() if own.ssh_host and san.ssh_host == own.ssh_host)]


def _launch(core: Core, op: Op, volume: Volume, offset: int = 0) -> Op:
    """Start the job, or resume it at ``offset``; if there is no room for it the operation is ``queued``."""
    if op.phase == QUEUED and _is_full(core, volume):
        return op
    op = core.store.advance(op, STARTING)
    if _is_full(core, volume, running=1):  # others began at this moment: rather none of us than one too many
        return core.store.advance(op, QUEUED)
    core.report(f"starting the wipe of volume {volume.id}")
    started = time.time()
    try:
        begun = count_start(op, offset)
        _place(core, op, volume).start(volume, op.payload["job"])
    except SetupError as error:
        core.store.fail(op, str(error))
        raise
    except (StorageError, NodeError) as error:
        if error.code in _NOT_ITS_FAULT:
            core.store.fail(op, str(error))
        else:
            core.store.error(op, f"wipe: {error.what}", core.who)
        raise
    return core.store.advance(op, RUNNING, **begun, started=started)


def count_start(op: Op, offset: int) -> dict[str, int]:
    """The payload of an operation whose job is started at ``offset`` (again).

    StorageError if it has died there too often: whatever kills it would go on to.
    """
    starts = op.payload.get("starts", 0) if op.payload.get("from") == offset else 0
    if starts >= _STARTS:
        raise StorageError(
            f"the wipe of volume {op.volume_id} died {starts} times at byte {offset}",
            f"see the kernel's log where it ran, then run onevolume recover {op.volume_id}",
            "died",
        )
    return {"from": offset, "starts": starts + 1}


def collect(core: Core, volume_id: int | None = None) -> list[str]:
    """Look at every wipe nobody is waiting for: finish the done ones, start those that never started.

    Called by any command; what could not be asked is returned as lines for the user, never raised.
    """
    troubles = []
    for op in core.store.ops(kind=KIND, volume_id=volume_id):
        if op.error and volume_id is None and time.time() - op.heartbeat < _LEAVE_ALONE:
            continue
        try:
            if op.phase == QUEUED and _is_full(core, core.store.volume(op.volume_id)):
                continue
            look(core, core.store.take_over(op))
        except (LostRace, WrongState, NotFound):
            continue  # another command looks after it
        except OneIscsiError as error:
            troubles.append(f"wipe of volume {op.volume_id}: {error}")
    return troubles


def look(core: Core, op: Op) -> WipeStatus | None:
    """One look at a wipe this process owns; None if it had to be started again, or waits."""
    volume = core.store.volume(op.volume_id)
    place = _place(core, op, volume)
    try:
        if op.phase == REMOVING:
            _remove(core, op, volume)
            return None
        status = place.status(volume, op.payload["job"]) if op.phase == RUNNING else None
        if status is None or status.state == "absent":
            _launch(core, op, volume, status.offset if status else 0)
            return None
        if status.state == "done":
            place.end(volume)
            if op.then == DELETE:
                op = core.store.advance(op, REMOVING)
                _remove(core, op, volume)
                return status
    except (StorageError, NodeError) as error:
        if core.store.op(op.id).open:
            core.store.fail(op, str(error))
        raise
    if status.state == "done":
        core.store.finish(op, states.FREE, core.who, why="wiped", attachment="delete", wiped_at=int(time.time()))
    elif status.state == "failed":
        core.store.error(op, f"wipe: {status.text}", core.who)
    return status


def _remove(core: Core, op: Op, volume: Volume) -> None:
    core.report(f"removing volume {volume.id} from its storage server")
    core.server(volume).remove(volume)
    core.store.forget(volume, core.who, "wiped and removed")


def overview(core: Core) -> list[Progress]:
    """Every wipe that is not over, oldest first. It is looked at; one that another command waits for is only asked."""
    found = []
    for op in core.store.ops(kind=KIND):
        with suppress(NotFound):  # it is over by now
            found += _progress(core, op, core.store.volume(op.volume_id))
    return found


def _progress(core: Core, op: Op, volume: Volume) -> list[Progress]:
    status, trouble = None, ""
    try:
        try:
            status = look(core, core.store.take_over(op))
        except (LostRace, WrongState):
            if op.phase == RUNNING:
                status = _place(core, op, volume).status(volume, op.payload["job"])
    except OneIscsiError as error:
        trouble = str(error)
    op = core.store.op(op.id)
    if not op.open:
        return []
    state = "stopped" if trouble else {STARTING: RUNNING}.get(op.phase, op.phase)
    return [Progress(core.store.volume(volume.id), op, state, status.offset if status else 0, trouble)]
