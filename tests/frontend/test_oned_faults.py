"""An oned that is down, silent, slow, confused or suspicious: one line each, within the limit, without the session."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Callable
from xmlrpc.client import dumps

import pytest

from one_iscsi.errors import FrontendError
from one_iscsi.frontend import Frontend

LIMIT = 0.6
SESSION = "oneadmin:secret"

CALLS: dict[str, Callable[[Frontend], object]] = {
    "vm": lambda frontend: frontend.vm(7),
    "vm by name": lambda frontend: frontend.vm("web"),
    "hosts": lambda frontend: frontend.hosts(),
    "whoami": lambda frontend: frontend.whoami(),
}


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that swallows every packet: a listener whose queue is full drops what comes."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/RPC2"
        for caller in callers:
            caller.close()


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/RPC2"


def _error(ask: Callable[[Frontend], object], frontend: Frontend) -> FrontendError:
    began = time.monotonic()
    with pytest.raises(FrontendError) as caught:
        ask(frontend)
    assert time.monotonic() - began < LIMIT + 2
    assert caught.value.exit_code == 7
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or not caught.value.__context__  # no second traceback below the one line
    return caught.value


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("mode", "what"),
    [
        ("hang", "does not answer in 0.6 s"),
        ("trickle", "does not answer in 0.6 s"),
        ("http503", "does not answer (HTTP 503)"),
        ("garbage", "answers nonsense (ResponseError)"),
        ("refuse-auth", "refuses the session"),
    ],
)
def test_an_oned_that_misbehaves(oned, mode, what, call):
    oned.fault("*", mode)
    error = _error(CALLS[call], oned.frontend(SESSION, LIMIT))
    assert error.what == f"oned at {oned.endpoint} {what}"
    assert error.fix


def test_an_oned_that_is_down(nobody):
    error = _error(CALLS["vm"], Frontend(nobody, SESSION, LIMIT))
    assert error.what == f"oned at {nobody} does not answer (ConnectionError)"


def test_an_address_that_swallows_everything(black_hole):
    error = _error(CALLS["vm"], Frontend(black_hole, SESSION, LIMIT))
    assert error.what == f"oned at {black_hole} does not answer in 0.6 s"


@pytest.mark.parametrize("endpoint", ["localhost:2634", "nonsense", "", "ftp://localhost/RPC2"])
def test_an_address_that_is_none(endpoint):
    with pytest.raises(FrontendError, match="is not oned's address"):
        Frontend(endpoint, SESSION).vm(7)


def test_a_wrong_password(oned):
    error = _error(CALLS["vm"], oned.frontend("oneadmin:wrong", LIMIT))
    assert str(error) == f"oned at {oned.endpoint} refuses the session: log in again with oneuser login"


@pytest.mark.parametrize("document", ["host-5-final.xml", "vmpool-info-5.xml"])
def test_a_document_of_another_kind(oned, document):
    oned.fault("one.vm.info", "replay", file=document)
    assert "answers nonsense" in _error(CALLS["vm"], oned.frontend(SESSION, LIMIT)).what


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        dumps((1,), methodresponse=True).encode(),
        dumps(([True, "", 0],), methodresponse=True).encode(),
        dumps(([True, "<VM>", 0],), methodresponse=True).encode(),
        dumps(([True, "<VM/>", 0],), methodresponse=True).encode(),
        dumps(([True, "<VM><ID>x</ID></VM>", 0],), methodresponse=True).encode(),
    ],
    ids=["nothing", "binary", "a number", "an empty text", "half a document", "an empty document", "a wrong id"],
)
def test_answers_that_are_not_oneds(body):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        threading.Thread(target=answer, daemon=True).start()
        frontend = Frontend(f"http://127.0.0.1:{listener.getsockname()[1]}/RPC2", SESSION, 5)
        assert "answers nonsense" in _error(CALLS["vm"], frontend).what


def test_an_oned_that_comes_back_is_asked_again(oned):
    oned.fault("*", "hang")
    frontend = oned.frontend(SESSION, LIMIT)
    _error(CALLS["vm"], frontend)
    oned.reset()
    assert frontend.vm(7).name == "web"


def test_a_proxy_is_not_asked_for_an_oned_on_this_machine(oned, nobody, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.setenv("no_proxy", "example.com")
    assert oned.frontend().vm(7).name == "web"


def test_grpc_in_the_environment_does_not_turn_an_xml_rpc_address_into_a_grpc_one(oned, monkeypatch):
    monkeypatch.setenv("ONEAPI_PROTOCOL", "grpc")
    assert oned.frontend().vm(7).name == "web"
