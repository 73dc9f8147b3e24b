"""Driver actions and commands are started by the thousand: what is slow to import is imported where it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SLOW = {"asyncio", "cryptography", "lxml", "pymysql", "pyone", "requests", "sh"}


def test_a_listing_imports_nothing_slow_that_it_does_not_need(tmp_path: Path) -> None:
    script = "import sys; from one_iscsi.cli import main; print(main(['list', '-j']), *sys.modules)"
    environment = {"ONE_ISCSI_DATABASE": f"sqlite:///{tmp_path}/one.db"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0"
    assert "peewee" in modules
    assert not SLOW & set(modules)


def test_pyone_is_imported_beside_a_command_and_never_in_it(tmp_path: Path) -> None:
    """oned is not there: the command ends when it is known, and has imported nothing of what asks it."""
    (tmp_path / "one_auth").write_text("oneadmin:secret")
    script = "import sys; from one_iscsi.cli import main; print(main(['detach', '7', '1', '--yes']), *sys.modules)"
    environment = {
        "ONE_ISCSI_DATABASE": f"sqlite:///{tmp_path}/one.db",
        "ONE_AUTH": str(tmp_path / "one_auth"),
        "ONE_XMLRPC": "http://127.0.0.1:1/RPC2",
    }
    prepare = [sys.executable, "-m", "one_iscsi.cli"]
    for words in (
        ["san", "create", "s", "--kind", "static", "--portal", "10.0.0.1:3260"],
        ["register", "iqn.2026-01.com.example:v1", "--san", "s", "--size", "1G", "--assume-clean"],
    ):
        subprocess.run([*prepare, *words], env=environment, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    code, *modules = done.stdout.splitlines()[-1].split()
    assert code == "7", done.stderr
    assert not {"pyone", "requests", "lxml", "xmlrpc.client"} & set(modules)
