"""What oned knows of VMs, hosts and users; ``asking.py`` and ``oned.py`` are how it is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from one_iscsi.asking import Asker, Late
from one_iscsi.errors import FrontendError, NotFound

_HOMES = ("~/.one", "/var/lib/one/.one")
DEFAULT_ENDPOINT = "http://localhost:2633/RPC2"
#: What to do about an oned that does not answer.
SILENCE = "see systemctl status opennebula and /var/log/one/oned.log, and check ONE_XMLRPC"
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

    def __init__(self, endpoint: str, session: str, limit: float = 20.0, asker: Asker | None = None) -> None:
        """``session`` is ``user:password`` or ``user:token``; ``limit`` is the longest a question may take, in seconds.

        ``asker`` is the process that asks, if there is one already.
        """
        self.endpoint = endpoint
        self.limit = limit
        self._session = session
        self._asker = asker or Asker()

    @classmethod
    def from_environment(cls, limit: float = 20.0, asker: Asker | None = None) -> Frontend:
        """The oned and the session OpenNebula's CLI would take (``src/oca/ruby/opennebula/lib/client.rb``).

        Endpoint: ONE_XMLRPC, else the file ``one_endpoint`` in ``~/.one`` or ``/var/lib/one/.one``, else localhost.
        Session: the file ONE_AUTH names, else ``one_auth`` in the same folders. Unlike the CLI, an ONE_AUTH that names
        no file is an error: going on as somebody else would be worse.
        """
        endpoint = os.environ.get("ONE_XMLRPC") or _read(_in_homes("one_endpoint")) or DEFAULT_ENDPOINT
        auth = os.environ.get("ONE_AUTH") or _in_homes("one_auth")
        session = _read(auth)
        if not session:
            fix = "log in with oneuser login, or let ONE_AUTH name a file that holds user:password"
            raise FrontendError(f"there is no session in {auth}" if auth else "there is no one_auth file", fix)
        return cls(endpoint.strip(), session, limit, asker)

    def vm(self, ref: str | int) -> Vm:
        """A VM by id, DONE or not, or by its exact name among those that are not DONE. A name of digits is an id first.

        NotFound if there is none; BadInput naming the ids if several have this name.
        """
        vm: Vm = self._ask("vm", ref)
        return vm

    def host(self, ref: str | int) -> FrontendHost:
        """A host by id or exact name, a name of digits is an id first; NotFound if there is none."""
        hosts = self.hosts()
        number = as_id(ref)
        found = [host for host in hosts if host.id == number] or [host for host in hosts if host.name == ref]
        if not found:
            raise NotFound(f"there is no host {ref!r}", "see onehost list")
        return found[0]

    def hosts(self) -> list[FrontendHost]:
        """All hosts this user may see: an ordinary one may see none."""
        hosts: list[FrontendHost] = self._ask("hosts")
        return hosts

    def whoami(self) -> tuple[int, int]:
        """The user id and main group id the session belongs to."""
        me: tuple[int, int] = self._ask("whoami")
        return me

    def _ask(self, question: str, *arguments: object) -> Any:
        try:
            return self._asker.ask(self.limit, self.endpoint, self._session, question, *arguments)
        except Late:
            raise FrontendError(f"oned at {self.endpoint} does not answer in {self.limit:g} s", SILENCE) from None
        except OSError as error:  # no further process, or file
            raise FrontendError(f"oned cannot be asked ({error.strerror})", "free something on this machine") from None


def as_id(ref: str | int) -> int | None:
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
