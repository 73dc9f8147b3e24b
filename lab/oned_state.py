"""The state of the oned stand-in: one JSON file in a folder, which tests and people may change at any time.

    {"users":  {"0": {"name": "oneadmin", "password": "secret", "gid": 0}},
     "hosts":  {"0": {"name": "node1", "state": 2, "vm_mad": "xen", "cluster_id": 0}},
     "vms":    {"7": {"name": "web", "uid": 0, "gid": 0, "permissions": "600", "state": 3, "lcm_state": 3,
                      "host": "node1", "seq": 0, "vm_mad": "xen", "deploy_id": "one-7", "targets": ["xvda"],
                      "user_template": {"NOTE": ["a text"], "HOOK": [{"ON": "a vector"}]}}},
     "faults": {"one.vm.info": {"mode": "hang"}}}

Every field has a default (see oned_documents.py). A fault's name is a method or ``*``. Its modes:

    hang         takes the call and never answers
    trickle      answers one byte after the other, for ever
    http503      answers HTTP 503
    garbage      answers HTTP 200 and a web page
    refuse-auth  answers that the session is wrong
    after        answers rightly for ``calls`` more calls, then does what ``set`` says, as ``lab/oned set`` would:
                 {"mode": "after", "calls": 1, "set": {"vm.7.host": "node2", "vm.7.seq": 1}}
    replay       answers with a recording, word for word: {"mode": "replay", "file": "vm-0-done.xml"}
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Callable

TABLES = {"vm": "vms", "host": "hosts", "user": "users", "fault": "faults"}

State = dict[str, dict[str, dict[str, Any]]]


def load(folder: Path) -> State:
    """What the file says now."""
    state: State = json.loads((folder / "state.json").read_text())
    for table in TABLES.values():
        state.setdefault(table, {})
    return state


def save(folder: Path, state: State) -> None:
    """Replace the file atomically; only its owner can read it, for it holds passwords."""
    new = folder / "state.json.new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(state, file, indent=1)
    new.replace(folder / "state.json")


def change(folder: Path, edit: Callable[[State], None]) -> None:
    """Edit the file; nobody else's change is lost."""
    with open(folder / "state.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = load(folder)
        edit(state)
        save(folder, state)


def fault(state: State, method: str) -> dict[str, Any]:
    """How a call of this method must go wrong; empty if it must not."""
    return state["faults"].get(method) or state["faults"].get("*") or {}


def count_down(state: State, method: str) -> None:
    """One more call was answered: do what an ``after`` has planned once its calls are used up."""
    plan = fault(state, method)
    plan["calls"] = plan.get("calls", 1) - 1
    if plan["calls"] <= 0:
        state["faults"] = {name: other for name, other in state["faults"].items() if other is not plan}
        for path, value in plan["set"].items():
            assign(state, path, value)


def assign(state: State, path: str, value: Any) -> None:
    """Set what ``vm.7.host``, ``vm.7`` or ``fault.one.vm.info`` names; None removes it. ValueError for other paths."""
    kind, _, key = path.partition(".")
    if kind not in TABLES or not key:
        raise ValueError(f"{path}: give {', '.join(TABLES)}, a number and a field, such as vm.7.host")
    table: dict[str, Any] = state[TABLES[kind]]
    if kind == "fault":
        value = {"mode": value} if isinstance(value, str) else value
    elif "." in key:
        row, _, key = key.partition(".")
        table = table.setdefault(row, {})
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
