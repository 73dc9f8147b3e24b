"""What oned knows of VMs, hosts and users, asked through pyone. The only module that talks to oned."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

from one_iscsi.errors import BadInput, FrontendError, NotAllowed, NotFound, OneIscsiError

T = TypeVar("T")

_HOMES = ("~/.one", "/var/lib/one/.one")
_DEFAULT_ENDPOINT = "http://localhost:2633/RPC2"
_PERMISSIONS = ("OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A")
#: XML-RPC's int has 32 bits; a longer number can only be a name.
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class Vm:
    """A VM. Place (``host``, ``vm_mad``, …) is that of its last history record: a VM that is off keeps its last host.

    ``host`` is empty, ``host_id`` and ``cluster_id`` None and ``seq`` -1 for a VM that was never placed. Permissions
    are OpenNebula's ugo bits as 0o600. ``targets``: the guest device names its DISKs and its CONTEXT take.
    """

    id: int
    name: str
    uid: int
    gid: int
    uname: str
    gname: str
    permissions: int
    state: int
    lcm_state: int
    host: str
    host_id: int | None
    seq: int
    cluster_id: int | None
    vm_mad: str
    deploy_id: str
    targets: frozenset[str]


@dataclass(frozen=True)
class FrontendHost:
    """A host as oned knows it. ``state`` as in OpenNebula's ``include/Host.h``: 2 is MONITORED."""

    id: int
    name: str
    state: int
    cluster_id: int
    vm_mad: str


class Frontend:
    """oned, seen by one session. Can be shared by threads.

    Every method raises FrontendError if oned does not answer within the limit, answers nonsense or refuses the session,
    and NotAllowed if it answers that this user may not know.
    """

    def __init__(self, endpoint: str, session: str, limit: float = 20.0) -> None:
        """``session`` is ``user:password`` or ``user:token``; ``limit`` is the longest a call may take, in seconds."""
        self.endpoint = endpoint
        self.limit = limit
        self._session = session
        self._server: Any = None

    @classmethod
    def from_environment(cls, limit: float = 20.0) -> Frontend:
        """The oned and the session OpenNebula's CLI would take (``src/oca/ruby/opennebula/lib/client.rb``).

        Endpoint: ONE_XMLRPC, else the file ``one_endpoint`` in ``~/.one`` or ``/var/lib/one/.one``, else localhost.
        Session: the file ONE_AUTH names, else ``one_auth`` in the same folders. Unlike the CLI, an ONE_AUTH that names
        no file is an error: going on as somebody else would be worse.
        """
        endpoint = os.environ.get("ONE_XMLRPC") or _read(_in_homes("one_endpoint")) or _DEFAULT_ENDPOINT
        auth = os.environ.get("ONE_AUTH") or _in_homes("one_auth")
        session = _read(auth)
        if not session:
            fix = "log in with oneuser login, or let ONE_AUTH name a file that holds user:password"
            raise FrontendError(f"there is no session in {auth}" if auth else "there is no one_auth file", fix)
        return cls(endpoint.strip(), session, limit)

    def vm(self, ref: str | int) -> Vm:
        """A VM by id, DONE or not, or by its exact name among those that are not DONE. A name of digits is an id first.

        NotFound if there is none; BadInput naming the ids if several have this name.
        """
        number = _as_id(ref)
        if number is not None:
            try:
                return self._ask(_vm, "vm.info", number)
            except NotFound:
                if isinstance(ref, int):
                    raise
        ids = self._ask(lambda pool: [vm.ID for vm in pool.VM if ref == vm.NAME], "vmpool.info", -2, -1, -1, -1)
        if not ids:
            raise NotFound(f"there is no VM {ref!r}", "see onevm list")
        if len(ids) > 1:
            raise BadInput(f"several VMs are called {ref!r}", f"give one of the ids {', '.join(map(str, sorted(ids)))}")
        return self._ask(_vm, "vm.info", ids[0])

    def host(self, ref: str | int) -> FrontendHost:
        """A host by id or exact name, a name of digits is an id first; NotFound if there is none."""
        hosts = self.hosts()
        number = _as_id(ref)
        found = [host for host in hosts if host.id == number] or [host for host in hosts if host.name == ref]
        if not found:
            raise NotFound(f"there is no host {ref!r}", "see onehost list")
        return found[0]

    def hosts(self) -> list[FrontendHost]:
        """All hosts this user may see: an ordinary one may see none."""
        return self._ask(lambda pool: [_host(host) for host in pool.HOST], "hostpool.info")

    def whoami(self) -> tuple[int, int]:
        """The user id and main group id the session belongs to."""
        return self._ask(lambda user: (int(user.ID), int(user.GID)), "user.info", -1)

    def _ask(self, read: Callable[[Any], T], method: str, *args: object) -> T:
        """``read`` applied to oned's answer to ``one.<method>``; every failure as one of this project's errors."""
        server = self._connect()

        def call() -> T:
            return read(attrgetter(method)(server)(*args))

        try:
            return _limited(call, self.limit)
        except Exception as failure:
            raise self._explain(failure, method, args) from None

    def _connect(self) -> Any:
        if not self._server:
            import pyone  # late: it costs ten times what Python itself needs to start

            _spare_from_proxy(self.endpoint)
            # 7.2 and newer would take ONEAPI_PROTOCOL=grpc for an XML-RPC address; older ones know no protocol.
            options = {"protocol": "xmlrpc"} if hasattr(pyone, "server_xrpc") else {}
            try:
                self._server = pyone.OneServer(self.endpoint, session=self._session, **options)
            except OSError:
                fix = f"ONE_XMLRPC or one_endpoint must be like {_DEFAULT_ENDPOINT}"
                raise FrontendError(f"{self.endpoint!r} is not oned's address", fix) from None
        return self._server

    def _explain(self, failure: Exception, method: str, args: tuple[object, ...]) -> OneIscsiError:
        """What went wrong, in one line. No text of ours holds the session, and none of pyone's or requests' does."""
        from xmlrpc.client import ProtocolError

        import pyone

        text = " ".join(str(failure).split())
        if isinstance(failure, pyone.OneAuthenticationException):
            return FrontendError(f"oned at {self.endpoint} refuses the session", "log in again with oneuser login")
        if isinstance(failure, pyone.OneAuthorizationException):
            return NotAllowed(text)
        if isinstance(failure, pyone.OneNoExistsException):
            return NotFound(f"there is no {method.split('.')[0].replace('vm', 'VM')} {args[0]}")
        if isinstance(failure, pyone.OneException):
            return FrontendError(f"oned at {self.endpoint} refuses: {text}")
        fix = "see systemctl status opennebula and /var/log/one/oned.log, and check ONE_XMLRPC"
        if isinstance(failure, _Late):
            return FrontendError(f"oned at {self.endpoint} does not answer in {self.limit:g} s", fix)
        if isinstance(failure, ProtocolError):
            return FrontendError(f"oned at {self.endpoint} does not answer (HTTP {failure.errcode})", fix)
        if isinstance(failure, OSError):  # all of requests' exceptions are
            return FrontendError(f"oned at {self.endpoint} does not answer ({type(failure).__name__})", fix)
        # Anything else comes from reading an answer that is not oned's: parsers', missing elements, wrong types.
        return FrontendError(f"oned at {self.endpoint} answers nonsense ({type(failure).__name__})", fix)


class _Late(Exception):
    """A call took longer than its limit."""


def _limited(call: Callable[[], T], limit: float) -> T:
    """The result of ``call``, or what it raises; _Late after ``limit`` seconds.

    A thread, because nothing else ends every wait: pyone hands no timeout to requests (its ``timeout=`` sets a socket
    default which urllib3 overrides), a timeout of requests starts anew with every byte of an answer that trickles, and
    signals reach only the main thread. An overdue thread is left behind; as a daemon it never keeps the process alive.
    """
    result: list[T] = []
    failure: list[Exception] = []

    def run() -> None:
        try:
            result.append(call())
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="oned", daemon=True)
    thread.start()
    thread.join(limit)
    if failure:
        raise failure[0]
    if not result:
        raise _Late
    return result[0]


def _spare_from_proxy(endpoint: str) -> None:
    """Let http_proxy in the environment not catch calls to this machine: requests spares only what no_proxy names."""
    host = urlsplit(endpoint).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        if host not in spared.split(","):
            os.environ["no_proxy"] = f"{spared},{host}".strip(",")


def _as_id(ref: str | int) -> int | None:
    """The id ``ref`` may be; None if it can only be a name."""
    if isinstance(ref, str) and not (ref.isascii() and ref.isdigit()):
        return None
    return int(ref) if int(ref) <= _LARGEST_ID else None


def _in_homes(name: str) -> str:
    """The first of OpenNebula's folders that has this file; empty if none has."""
    paths = (os.path.join(os.path.expanduser(home), name) for home in _HOMES)
    return next((path for path in paths if os.path.isfile(path)), "")


def _read(path: str) -> str:
    """A file's text without the line end; empty if there is none to read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _vm(vm: Any) -> Vm:
    """From pyone's VM. In its TEMPLATE one DISK is a dict, several are a list, none is an absent key."""
    disks = vm.TEMPLATE.get("DISK", [])
    disks = [disks] if isinstance(disks, dict) else disks
    context = vm.TEMPLATE.get("CONTEXT") or {}
    last = max(vm.HISTORY_RECORDS.HISTORY, key=lambda record: int(record.SEQ), default=None)
    bits = "".join(str(getattr(vm.PERMISSIONS, bit)) for bit in _PERMISSIONS)
    return Vm(
        id=int(vm.ID),
        name=vm.NAME,
        uid=int(vm.UID),
        gid=int(vm.GID),
        uname=vm.UNAME,
        gname=vm.GNAME,
        permissions=int(bits, 2),
        state=int(vm.STATE),
        lcm_state=int(vm.LCM_STATE),
        host=last.HOSTNAME if last else "",
        host_id=int(last.HID) if last else None,
        seq=int(last.SEQ) if last else -1,
        cluster_id=int(last.CID) if last else None,
        vm_mad=last.VM_MAD if last else "",
        deploy_id=vm.DEPLOY_ID or "",
        targets=frozenset(disk["TARGET"] for disk in (*disks, context) if disk.get("TARGET")),
    )


def _host(host: Any) -> FrontendHost:
    return FrontendHost(int(host.ID), host.NAME, int(host.STATE), int(host.CLUSTER_ID), host.VM_MAD)
