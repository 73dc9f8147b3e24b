"""The XML-RPC side of the oned stand-in. Answers, error codes and texts as oned's ``src/rm`` gives them."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xmlrpc.client import Fault, dumps, loads

import oned_state
import oned_template
from oned_documents import RIGHTS, Documents, permission_bits
from oned_state import State

VERSION = "7.4.0"
DONE = 6
#: What one.vm.update does with the template it gets.
REPLACE, APPEND = 0, 1

AUTHENTICATION, AUTHORIZATION, NO_EXISTS, RPC_API, INTERNAL = 0x0100, 0x0200, 0x0400, 0x1000, 0x2000
# XML-RPC's own faults, as libxmlrpc-c numbers them.
TYPE_FAULT, NO_SUCH_METHOD_FAULT = -501, -506


class Refusal(Exception):
    """oned says no: its error code and what it says; ``oid`` is the object it speaks of, -1 for none."""

    def __init__(self, code: int, text: str, oid: int = -1) -> None:
        super().__init__(text)
        self.code = code
        self.oid = oid


class Call:
    """One call: who calls, and what oned knows now, which ``folder`` keeps."""

    def __init__(self, documents: Documents, folder: Path, state: State, uid: str) -> None:
        self.documents = documents
        self.folder = folder
        self.state = state
        self.uid = uid
        self.gid = state["users"][uid].get("gid", 1)

    def is_admin(self) -> bool:
        return self.uid == "0" or self.gid == 0

    def may(self, right: str, vm: dict[str, Any]) -> bool:
        """``right`` is U(se), M(anage) or A(dmin)."""
        bits = dict(zip(RIGHTS, permission_bits(vm)))
        return bool(
            self.is_admin()
            or (bits[f"OWNER_{right}"] and str(vm.get("uid", 0)) == self.uid)
            or (bits[f"GROUP_{right}"] and vm.get("gid", 0) == self.gid)
            or bits[f"OTHER_{right}"]
        )

    def _known(self, table: str, what: str, oid: int) -> str:
        if str(oid) not in self.state[table]:
            raise Refusal(NO_EXISTS, f"Error getting {what} " + (f"[{oid}]." if oid != -1 else "Pool."), oid)
        return str(oid)

    def _allowed(self, allowed: bool, action: str) -> None:
        if not allowed:
            raise Refusal(AUTHORIZATION, f"User [{self.uid}] : Not authorized to perform {action}.")

    def version(self) -> str:
        return VERSION

    def vm_info(self, oid: int, decrypt: bool = False) -> str:
        vm_id = self._known("vms", "virtual machine", oid)
        self._allowed(self.may("U", self.state["vms"][vm_id]), f"USE VM [{oid}]")
        return _text(self.documents.vm(self.state, vm_id))

    def vm_update(self, oid: int, template: str, how: int) -> int:
        vm_id = self._known("vms", "virtual machine", oid)
        self._allowed(self.may("M", self.state["vms"][vm_id]), f"MANAGE VM [{oid}]")
        if how not in (REPLACE, APPEND):
            raise Refusal(RPC_API, "Wrong update type")
        try:
            new = oned_template.parse(template)
        except ValueError as error:
            raise Refusal(INTERNAL, f"Cannot update template. {error}") from None

        def edit(state: State) -> None:
            vm = state["vms"][vm_id]
            old = vm.get("user_template", {}) if how == APPEND else {}
            vm["user_template"] = oned_template.merge(old, new)

        oned_state.change(self.folder, edit)
        return oid

    def vmpool_info(self, who: int, first: int, last: int, which: int, query: str = "") -> str:
        return self._vms(self.documents.short_vm, (who, first, last, query), which)

    def vmpool_infoextended(self, who: int, first: int, last: int, which: int, query: str = "") -> str:
        return self._vms(self.documents.vm, (who, first, last, query), which)

    def _vms(self, document: Callable[[State, str], Element], page: tuple[object, ...], which: int) -> str:
        if page != (-2, -1, -1, ""):
            raise Refusal(RPC_API, "the stand-in knows only all VMs (-2, -1, -1)")
        # -2: in any state, -1: in any but DONE, else in this state; the newest first.
        vms = [
            vm_id
            for vm_id, vm in sorted(self.state["vms"].items(), key=lambda item: -int(item[0]))
            if self.may("U", vm) and which in (-2, vm.get("state", 3), -1 if vm.get("state", 3) != DONE else None)
        ]
        return _pool("VM_POOL", [document(self.state, vm_id) for vm_id in vms])

    def host_info(self, oid: int, decrypt: bool = False) -> str:
        host_id = self._known("hosts", "host", oid)
        self._allowed(self.is_admin(), f"USE HOST [{oid}]")
        return _text(self.documents.host(self.state, host_id))

    def hostpool_info(self) -> str:
        hosts = self.state["hosts"] if self.is_admin() else []
        return _pool("HOST_POOL", [self.documents.host(self.state, host_id) for host_id in hosts])

    def user_info(self, oid: int, decrypt: bool = False) -> str:
        uid = self.uid if oid == -1 else self._known("users", "user", oid)
        self._allowed(self.is_admin() or uid == self.uid, f"USE USER [{oid}]")
        return _text(self.documents.user(self.state, uid))

    def userpool_info(self) -> str:
        users = self.state["users"] if self.is_admin() else [self.uid]
        return _pool("USER_POOL", [self.documents.user(self.state, uid) for uid in users])


#: How a method is answered and the types of its arguments after the session.
METHODS: dict[str, tuple[Callable[..., object], tuple[type, ...]]] = {
    "one.system.version": (Call.version, ()),
    "one.vm.info": (Call.vm_info, (int, bool)),
    "one.vm.update": (Call.vm_update, (int, str, int)),
    "one.vmpool.info": (Call.vmpool_info, (int, int, int, int, str)),
    "one.vmpool.infoextended": (Call.vmpool_infoextended, (int, int, int, int, str)),
    "one.host.info": (Call.host_info, (int, bool)),
    "one.hostpool.info": (Call.hostpool_info, ()),
    "one.user.info": (Call.user_info, (int, bool)),
    "one.userpool.info": (Call.userpool_info, ()),
}


class Server(ThreadingHTTPServer):
    """Listens on this machine only; ``url`` is where."""

    daemon_threads = True

    def __init__(self, folder: Path, data: Path, port: int) -> None:
        self.folder = folder
        self.documents = Documents(data)
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/RPC2"

    def answer(self, state: State, method: str, session: str, arguments: tuple[Any, ...]) -> list[object]:
        """The array oned returns: ``[True, value, 0]`` or ``[False, text, code, object id, 0]``."""
        handler, types = METHODS[method]
        if any(type(argument) is not wanted for argument, wanted in zip(arguments, types)):
            raise Fault(TYPE_FAULT, "Value of type X supplied where type Y was expected.")
        fault = oned_state.fault(state, method)
        sessions = {f"{user['name']}:{user['password']}": uid for uid, user in state["users"].items()}
        try:
            if session not in sessions or fault.get("mode") == "refuse-auth":
                raise Refusal(AUTHENTICATION, "User couldn't be authenticated, aborting call.")
            if fault.get("mode") == "replay":
                return [True, self.documents.recorded(fault["file"]), 0]
            return [True, handler(Call(self.documents, self.folder, state, sessions[session]), *arguments), 0]
        except Refusal as refusal:
            return [False, f"[{method}] {refusal}", refusal.code, refusal.oid, 0]
        finally:
            if fault.get("mode") == "after":
                oned_state.change(self.folder, lambda state: oned_state.count_down(state, method))


class Handler(BaseHTTPRequestHandler):
    """One HTTP request."""

    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        (session, *arguments), method = loads(body)
        state = oned_state.load(self.server.folder)
        mode = oned_state.fault(state, str(method)).get("mode")
        if mode == "hang":
            threading.Event().wait()
        elif mode == "trickle":
            self._trickle()
        elif mode == "http503":
            self.send_error(503)
        elif mode == "garbage":
            self._send(b"<html><body>It works!</body></html>")
        else:
            self._send(self._answer(state, str(method), str(session), tuple(arguments)))

    def _answer(self, state: State, method: str, session: str, arguments: tuple[Any, ...]) -> bytes:
        try:
            if method not in METHODS:
                raise Fault(NO_SUCH_METHOD_FAULT, f"Method '{method}' not defined")
            answer = self.server.answer(state, method, session, arguments)
        except Fault as fault:
            return dumps(fault).encode()
        return dumps((answer,), methodresponse=True).encode()

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _trickle(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            self.close_connection = True  # the client had enough

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet: the log is for what goes wrong."""


def _text(document: Element) -> str:
    return ElementTree.tostring(document, encoding="unicode")


def _pool(tag: str, documents: list[Element]) -> str:
    pool = Element(tag)
    pool.extend(documents)
    return _text(pool)
