"""Every message the product can end with, read from its source: what errors are made with, what scripts fail with, and
the tables both take their words from. What is filled in at run time is ``…``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from one_iscsi import errors
from one_iscsi.nodes.troubles import TROUBLES
from one_iscsi.store import faults

SOURCE = Path(errors.__file__).parent
BASES = {name for name, kind in vars(errors).items() if isinstance(kind, type)}


def of_constructors() -> dict[str, str]:
    """message → where an error is made with it."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
    kinds = BASES | {
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id in BASES for base in node.bases)
    }
    found = {}
    for path, tree in trees.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for message in _in(function, kinds, tree):
                    found[message] = f"{path.relative_to(SOURCE)}: {function.name}"
    return found


def _in(function: ast.FunctionDef, kinds: set[str], module: ast.Module) -> Iterator[str]:
    """Messages of the errors made in a function, also through ``_error(CODE, TEXT)`` and ``_refuse(TEXT)``."""
    for call in ast.walk(function):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        place = 0 if name in kinds or name == "_refuse" else 1 if name == "_error" else None
        if place is not None and len(call.args) > place:
            for text in _texts(call.args[place], function, module):
                yield from _message(text)


def _texts(node: ast.expr, function: ast.FunctionDef, module: ast.Module) -> list[str]:
    """What an expression may be."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        texts = [""]
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            choices = _texts(inner, function, module) if isinstance(inner, (ast.Constant, ast.IfExp)) else ["…"]
            texts = [text + choice for text in texts for choice in choices]
        return texts
    if isinstance(node, ast.BinOp):
        return [a + b for a in _texts(node.left, function, module) for b in _texts(node.right, function, module)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body, function, module) + _texts(node.orelse, function, module)
    if isinstance(node, ast.Name):
        given = [
            assigned.value
            for assigned in ast.walk(function)
            if isinstance(assigned, ast.Assign) and node.id in [getattr(to, "id", "") for to in assigned.targets]
        ]
        if given:
            return [text for value in given for text in _texts(value, function, module)]
        return _given_by_callers(node.id, function, module) or ["…"]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id != function.name:
        return _returned(node.func.id, module) or ["…"]
    return ["…"]


def _returned(name: str, module: ast.Module) -> list[str]:
    """What a function of the same module returns."""
    return [
        text
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef) and function.name == name
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and node.value
        for text in _texts(node.value, function, module)
    ]


def _given_by_callers(name: str, function: ast.FunctionDef, module: ast.Module) -> list[str]:
    """What functions of the same module put in for a parameter."""
    names = [argument.arg for argument in function.args.args if argument.arg != "self"]
    if name not in names:
        return []
    at = names.index(name)
    return [
        text
        for caller in ast.walk(module)
        if isinstance(caller, ast.FunctionDef) and caller is not function
        for call in ast.walk(caller)
        if isinstance(call, ast.Call)
        and function.name in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))
        and len(call.args) > at
        for text in _texts(call.args[at], caller, module)
    ]


def _message(text: str) -> Iterator[str]:
    """The text as it is written down; nothing if it has no words of its own."""
    text = " ".join(re.sub(r"…+", "…", text).split())
    if re.search(r"[a-z]{2}", text):
        yield text


_FAIL = re.compile(r"\bfail ([a-z][a-z-]+) (.*)")


def of_scripts() -> dict[str, str]:
    """``code`` and ``code: text`` of every ``fail`` → the script."""
    found = {}
    for path in sorted(SOURCE.rglob("*.sh")):
        for line in path.read_text().splitlines():
            failing = _FAIL.search(line)
            if failing and not line.lstrip().startswith("#"):
                code, text = failing[1], failing[2]
                found[code] = path.name
                quoted = re.match(r'"((?:[^"$]|\$\([^)]*\)|\$\{[^}]*\}?|\$\w+)*)"', text)
                shown = re.sub(r"\$\([^)]*\)|\$\{[^}]*\}?|\$\w+", "…", quoted[1]) if quoted else ""
                for message in _message(shown):
                    found[message] = path.name
    return found


def of_tables() -> dict[str, str]:
    """Words that are put into messages at run time."""
    words = {what: "nodes/troubles.py" for what, _ in TROUBLES.values()}
    words |= dict.fromkeys(TROUBLES, "nodes/troubles.py")
    words |= {what: "store/faults.py" for what, _ in (*faults._MYSQL.values(), *faults._SQLITE.values())}
    return words


def all_messages() -> dict[str, str]:
    """message, word or code → where it is from."""
    return {**of_constructors(), **of_scripts(), **of_tables()}
