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
