"""``onevolume check`` asks for every right of the sudoers file, and for none that it does not give."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from pathlib import Path

import pytest

from one_iscsi.nodes.hypervisors import hypervisor
from one_iscsi.remote import LOOKING, wrap
from one_iscsi.san import KINDS

SOURCE = LOOKING.parents[1]
SUDOERS = SOURCE / "one_iscsi.sudoers"

#: Rights for what a machine has instead: where Red Hat keeps node records.
INSTEAD = (r"/tee -a /var/lib/iscsi/",)


def rules() -> list[str]:
    """Patterns of commands; those that forbid begin with an exclamation mark."""
    text = re.sub(r"^#.*\n", "", SUDOERS.read_text(), flags=re.MULTILINE)
    aliases = [line.partition(" = ")[2] for line in re.sub(r"\\\n\s*", "", text).splitlines() if "Cmnd_Alias" in line]
    commands = [command.strip() for alias in aliases for command in re.split(r"(?<!\\),", alias)]
    return [re.sub(r"\\([,:=])", r"\1", command) for command in commands]


def asked(folder: Path, parts: tuple[Path, ...], values: dict[str, str], xen: str = "xl") -> set[str]:
    """The commands a check script asks sudo about, where ``xen`` is the tool that there is."""
    log = folder / "sudo.log"
    sudo = folder / "sudo"
    sudo.write_text(f'#!/bin/sh\n[ "$2" != -l ] || {{ shift 2; echo "$*" >>{log}; }}\n')
    sudo.chmod(0o755)
    (folder / xen).symlink_to("/bin/true")
    text = wrap(values, (*(part.read_text() for part in parts), "lock() { :; }"), 60)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-s"], env=env, input=text, text=True, check=True, capture_output=True, timeout=120)
    lines = log.read_text().splitlines()
    return {f"/usr/{'sbin' if line.startswith('tgtadm ') else 'bin'}/{line}" for line in lines}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    found = set()
    nodes = SOURCE / "nodes" / "scripts"
    node = (nodes / "guest.sh", hypervisor("xen").words, LOOKING, nodes / "check.sh")
    for xen in ("xl", "xm"):
        found |= asked(tmp_path_factory.mktemp(xen), node, {"PORTALS": ""}, xen)
    for kind in set(KINDS) - {"static"}:
        for store_kind, store in (("", ""), ("lvm", "vg"), ("thin", "vg/pool"), ("file", "/srv")):
            values = {"KIND": kind, "STORE_KIND": store_kind, "STORE": store}
            found |= asked(tmp_path_factory.mktemp(kind), (LOOKING, SOURCE / "san/scripts/check.sh"), values)
    return found


def test_every_right_is_asked_for(commands: set[str]) -> None:
    given = [
        rule for rule in rules() if not rule.startswith("!") and not any(re.search(word, rule) for word in INSTEAD)
    ]
    assert [rule for rule in given if not fnmatch.filter(commands, rule)] == [], "let the check scripts ask may_run"


def test_every_right_that_is_asked_for_is_given(commands: set[str]) -> None:
    def is_given(command: str) -> bool:
        last = [rule for rule in rules() if fnmatch.fnmatchcase(command, rule.lstrip("!"))][-1:]
        return bool(last) and not last[0].startswith("!")

    assert [command for command in sorted(commands) if not is_given(command)] == []
