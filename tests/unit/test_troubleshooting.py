"""docs/troubleshooting.md has every message, every code of a script, and nothing that cannot happen any more."""

from __future__ import annotations

import re
from pathlib import Path

import messages

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"


def written() -> set[str]:
    return set(re.findall(r"(?<!`)`([^`\n]+)`", PAGE.read_text()))


def test_no_message_is_missing() -> None:
    known = written()
    missing = {message: where for message, where in messages.all_messages().items() if message not in known}
    assert missing == {}, "describe them in docs/troubleshooting.md"


def test_a_row_is_there_for_a_message_that_exists() -> None:
    """First columns only: what follows may quote anything."""
    exists = set(messages.all_messages())
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    told = {text for row in rows for column in row[:-1] for text in re.findall(r"`([^`]+)`", column)}
    assert told - exists == set(), "these messages are gone"


def test_the_walk_finds_what_was_not_there_before(tmp_path: Path, monkeypatch: object) -> None:
    (tmp_path / "new.py").write_text(
        "from one_iscsi.errors import WrongState\n"
        "class Odd(WrongState): pass\n"
        "def f(n, flag):\n"
        "    what = f'moon {n} is full' if flag else 'moon is new'\n"
        "    raise Odd(what, 'wait')\n"
        "def g(text):\n"
        "    raise WrongState(text)\n"
        "def h(n):\n"
        "    g(f'sun {n} is late')\n"
    )
    (tmp_path / "new.sh").write_text('[ -e x ] || fail new-moon "$1 on $(uname -n) is ${dark##*/}"\n')
    monkeypatch.setattr(messages, "SOURCE", tmp_path)  # type: ignore[attr-defined]
    assert set(messages.of_constructors()) == {"moon … is full", "moon is new", "sun … is late"}
    assert set(messages.of_scripts()) == {"new-moon", "… on … is …"}
