"""Prepare a host: what has to be done there once, as root."""

from __future__ import annotations

import shlex
from pathlib import Path

from one_iscsi.core import Core
from one_iscsi.errors import NodeError
from one_iscsi.remote import LOOKING, RemoteFailure, check_host_name

_HERE = Path(__file__).parent
_SUDOERS = _HERE / "one_iscsi.sudoers"
_SCRIPT = _HERE / "nodes" / "scripts" / "prepare.sh"

#: Seconds: packages may have to be fetched.
_LIMIT = 900

_HEAD = """#!/bin/sh
# Makes the host {host} ready for volumes. Run it there as root (sh FILE); it can run any number of times.
# Made by: onevolume host prepare {host} --print

export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

say() {{
    case $1 in
        DONE) echo "done $2" ;;
        GOOD) echo "ok   $2" ;;
    esac
}}

fail() {{
    echo "ERROR $2" >&2
    exit 1
}}

"""


def script(core: Core, host: str, rename: bool = False) -> str:
    """A POSIX shell script for an admin to run on ``host``; ``rename``: it gets a new initiator name in any case."""
    check_host_name(host)  # it is in the script's first lines
    values = "".join(f"{name}={shlex.quote(value)}\n" for name, value in _values(core, host, rename).items())
    parts = (LOOKING.read_text(), _SCRIPT.read_text())
    return _HEAD.format(host=host) + values + "\n" + "\n".join(parts) + "\nmain </dev/null\n"


def prepare(core: Core, host: str, rename: bool = False) -> list[tuple[bool, str]]:
    """Do it through ssh as root: what was done (True) or was right already; NodeError."""
    parts = (LOOKING.read_text(), _SCRIPT.read_text())
    try:
        values = _values(core, host, rename)
        answer = core.remote.run(f"root@{host}", "one_iscsi prepare", *parts, values=values, limit=_LIMIT)
    except RemoteFailure as failure:
        if failure.code == "unreachable":
            what = f"host {host}: no login by ssh as root ({failure.text})"
            fix = f"run on it as root what onevolume host prepare {host} --print prints"
            raise NodeError(what, fix, failure.code) from None
        what = f"host {host}: preparing it did not come to its end ({failure.text})"
        raise NodeError(what, "look at the host, then run this again: it can be run twice", failure.code) from None
    if answer.error:
        code, text = answer.error
        raise NodeError(f"host {host}: {text}", "mend that, then run this again", code)
    known = core.store.host(host)
    if known and known.initiator != answer.get("INITIATOR"):
        core.store.learn_host(host, answer.get("INITIATOR"), {}, known.multipath)
    return [(name == "DONE", said) for name, said in answer.lines if name in ("DONE", "GOOD")]


def _values(core: Core, host: str, rename: bool) -> dict[str, str]:
    taken = [other.initiator for other in core.store.hosts() if other.name != host]
    several = "yes" if core.sans_with_several_portals() else ""
    return {
        "SUDOERS": _SUDOERS.read_text().rstrip("\n"),
        "TAKEN": "\n".join(taken),
        "RENAME": "yes" if rename else "",
        "SEVERAL": several,
    }
