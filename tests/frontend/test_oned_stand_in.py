"""``lab/oned`` as a shell uses it."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from unmeasured import environment

from one_iscsi.errors import FrontendError
from one_iscsi.frontend import Frontend

LAB_ONED = Path(__file__).resolve().parents[2] / "lab" / "oned"


def _lab_oned(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, LAB_ONED, *map(str, arguments)]
    return subprocess.run(command, env=environment(), text=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "it's here"
    yield folder
    _lab_oned("stop", "--state", folder)


def test_start_set_ask_stop(folder, monkeypatch):
    started = _lab_oned("start", "--state", folder)
    assert started.returncode == 0, started.stderr
    export, *variables = shlex.split(started.stdout)
    assert export == "export"
    for variable in variables:
        monkeypatch.setenv(*variable.split("=", 1))
    for secret in ("one_auth", "state.json"):
        assert stat.S_IMODE((folder / secret).stat().st_mode) == 0o600

    assert _lab_oned("set", folder, "host.0.name=node1", "vm.7.host=node1", 'vm.7.targets=["xvda"]').returncode == 0
    frontend = Frontend.from_environment()
    assert (frontend.vm(7).host, frontend.vm(7).targets) == ("node1", {"xvda"})
    assert _lab_oned("start", "--state", folder).stdout == started.stdout  # it runs already

    assert _lab_oned("stop", "--state", folder).returncode == 0
    with pytest.raises(FrontendError):
        frontend.vm(7)
    assert _lab_oned("stop", "--state", folder).returncode == 0  # it is stopped already


def test_a_state_that_is_there_is_kept_over_a_restart(folder):
    _lab_oned("start", "--state", folder)
    _lab_oned("set", folder, "vm.7.name=web")
    _lab_oned("stop", "--state", folder)
    assert "export ONE_XMLRPC=http://127.0.0.1:" in _lab_oned("start", "--state", folder).stdout
    session = (folder / "one_auth").read_text().strip()
    assert Frontend((folder / "url").read_text().strip(), session).vm("web").id == 7


@pytest.mark.parametrize("field", ["vm7=3", "vm=3", "vm.7.host", "disk.1.size=3"])
def test_a_field_that_is_none_changes_nothing(folder, field):
    _lab_oned("start", "--state", folder)
    before = (folder / "state.json").read_text()
    wrong = _lab_oned("set", folder, "vm.7.host=node1", field)
    assert wrong.returncode == 1
    assert "give" in wrong.stderr
    assert (folder / "state.json").read_text() == before


def test_a_state_that_cannot_be_read_is_reported(folder):
    folder.mkdir()
    (folder / "state.json").write_text("{")
    started = _lab_oned("start", "--state", folder)
    assert started.returncode == 1
    assert started.stderr.startswith("lab/oned: ")
    assert started.stderr.count("\n") == 1


def test_stop_kills_nobody_elses_process(folder):
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"]) as somebody:
        (folder / "pid").write_text(f"{somebody.pid}\n")
        assert _lab_oned("stop", "--state", folder).returncode == 0
        assert somebody.poll() is None
        os.kill(somebody.pid, signal.SIGTERM)


def test_in_the_foreground_it_says_where_it_listens(folder):
    with subprocess.Popen([sys.executable, LAB_ONED, "--state", folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == (folder / "url").read_text()
        process.terminate()


def test_the_template_of_a_vm_is_replaced_and_appended_to(oned):
    server = xmlrpc.client.ServerProxy(oned.endpoint)

    def update(template: str, how: int, session: str = "ann:hers") -> Any:
        answer = server.one.vm.update(session, 7, template, how)
        return answer[1] if answer[0] else tuple(answer[1:3])

    def shown(vm_id: int = 7) -> dict[str, Any]:
        element = ElementTree.fromstring(server.one.vm.info("oneadmin:secret", vm_id)[1]).find("USER_TEMPLATE")
        return {one.tag: {inner.tag: inner.text for inner in one} or one.text for one in element}

    assert shown() == {}
    assert update('a = "say \\"one\\""\n# Z = 1\nB = [ C = "x, ]",\n  D = 3 ]\nE=5', 0) == 7
    first = {"A": 'say "one"', "B": {"C": "x, ]", "D": "3"}, "E": "5"}
    assert shown() == first
    assert update("", 1) == 7
    assert shown() == first
    assert update("<TEMPLATE><A>two</A><F><G>7</G></F></TEMPLATE>", 1) == 7
    assert shown() == {**first, "A": "two", "F": {"G": "7"}}
    assert update("B = [ ]", 1) == 7
    assert shown() == {"A": "two", "E": "5", "F": {"G": "7"}}

    assert update("A = 1", 1, "bob:his")[1] == 0x0200
    assert update("A = 1", 2) == ("[one.vm.update] Wrong update type", 0x1000)
    for broken in ("A", "A = [ B = 1", "A = [ B ]", "<A>"):
        text, code = update(broken, 0)
        assert text.startswith("[one.vm.update] Cannot update template. Parse error")
        assert code == 0x2000
    assert shown() == {"A": "two", "E": "5", "F": {"G": "7"}}

    assert update("H = new\n", 0) == 7
    assert shown() == {"H": "new"}
    assert shown(8) == {}
