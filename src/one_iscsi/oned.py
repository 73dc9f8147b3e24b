"""Reading oned's answers with pyone. Runs in the process of ``asking.py``: nobody else imports pyone."""

from __future__ import annotations

import os
from functools import cache
from operator import attrgetter
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit
from xmlrpc.client import ProtocolError

import pyone

from one_iscsi.errors import BadInput, FrontendError, NotAllowed, NotFound, OneIscsiError
from one_iscsi.frontend import DEFAULT_ENDPOINT, SILENCE, FrontendHost, Vm, as_id

T = TypeVar("T")

_PERMISSIONS = ("OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A")


def answer(endpoint: str, session: str, question: str, *arguments: Any) -> object:
    """The answer of the oned at ``endpoint`` to ``Frontend.<question>(*arguments)``, and its errors."""
    ask: Callable[..., object] = getattr(_oned(endpoint, session), question)
    return ask(*arguments)


class _Oned:
    def __init__(self, endpoint: str, session: str) -> None:
        self.endpoint = endpoint
        _spare_from_proxy(endpoint)
        # 7.2 and newer would take ONEAPI_PROTOCOL=grpc for an XML-RPC address; older ones know no protocol.
        options = {"protocol": "xmlrpc"} if hasattr(pyone, "server_xrpc") else {}
        try:
            self._server = pyone.OneServer(endpoint, session=session, **options)
        except OSError:
            fix = f"ONE_XMLRPC or one_endpoint must be like {DEFAULT_ENDPOINT}"
            raise FrontendError(f"{endpoint!r} is not oned's address", fix) from None

    def vm(self, ref: str | int) -> Vm:
        number = as_id(ref)
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

    def hosts(self) -> list[FrontendHost]:
        return self._ask(lambda pool: [_host(host) for host in pool.HOST], "hostpool.info")

    def whoami(self) -> tuple[int, int]:
        return self._ask(lambda user: (int(user.ID), int(user.GID)), "user.info", -1)

    def _ask(self, read: Callable[[Any], T], method: str, *arguments: object) -> T:
        """``read`` applied to oned's answer to ``one.<method>``; every failure as one of this project's errors."""
        try:
            return read(attrgetter(method)(self._server)(*arguments))
        except Exception as failure:
            raise self._explain(failure, method, arguments) from None

    def _explain(self, failure: Exception, method: str, arguments: tuple[object, ...]) -> OneIscsiError:
        """What went wrong, in one line. No text of ours holds the session, and none of pyone's or requests' does."""
        text = " ".join(str(failure).split())
        if isinstance(failure, pyone.OneAuthenticationException):
            return FrontendError(f"oned at {self.endpoint} refuses the session", "log in again with oneuser login")
        if isinstance(failure, pyone.OneAuthorizationException):
            return NotAllowed(text)
        if isinstance(failure, pyone.OneNoExistsException):
            return NotFound(f"there is no {method.split('.')[0].replace('vm', 'VM')} {arguments[0]}")
        if isinstance(failure, pyone.OneException):
            return FrontendError(f"oned at {self.endpoint} refuses: {text}")
        if isinstance(failure, ProtocolError):
            return FrontendError(f"oned at {self.endpoint} does not answer (HTTP {failure.errcode})", SILENCE)
        if isinstance(failure, OSError):  # all of requests' exceptions are
            return FrontendError(f"oned at {self.endpoint} does not answer ({type(failure).__name__})", SILENCE)
        # Anything else comes from reading an answer that is not oned's: parsers', missing elements, wrong types.
        return FrontendError(f"oned at {self.endpoint} answers nonsense ({type(failure).__name__})", SILENCE)


_oned = cache(_Oned)


def _spare_from_proxy(endpoint: str) -> None:
    """Let http_proxy in the environment not catch calls to this machine: requests spares only what no_proxy names."""
    host = urlsplit(endpoint).hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        if host not in spared.split(","):
            os.environ["no_proxy"] = f"{spared},{host}".strip(",")


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
