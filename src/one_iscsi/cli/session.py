"""What every command shares: the core it works on, references to several volumes, and asking the user."""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from one_iscsi import config
from one_iscsi.core import Core
from one_iscsi.errors import BadInput, NotAllowed
from one_iscsi.store import Actor, Store

#: oneadmin's id in OpenNebula; whoever may open the database is it.
_ONEADMIN = 0

_LONGEST_RANGE = 10_000


@contextmanager
def core() -> Iterator[Core]:
    """The core over the configured database, telling its steps on a terminal and its warnings anywhere."""
    configured = config.load()
    with Store.open(configured.database) as store:
        yield Core(
            store,
            Actor(_ONEADMIN, f"local:{os.environ.get('SUDO_USER') or getpass.getuser()}"),
            report=_tell if sys.stderr.isatty() else lambda _: None,
            warn=warn,
            config=configured,
        )


def _tell(line: str) -> None:
    print(f"{line} …", file=sys.stderr)


def warn(line: str) -> None:
    """A line the user should see, which does not fail the command."""
    print(f"warning: {line}", file=sys.stderr)


def references(words: list[str]) -> list[str]:
    """``3..7`` as the five ids; anything else as it is."""
    refs: list[str] = []
    for word in words:
        ends = re.fullmatch(r"(\d+)\.\.(\d+)", word)
        if not ends:
            refs.append(word)
            continue
        first, last = int(ends[1]), int(ends[2])
        if first > last:
            raise BadInput(f"range {word} is empty", f"give it as {last}..{first}")
        if last - first >= _LONGEST_RANGE:
            raise BadInput(f"range {word} is too long", f"give at most {_LONGEST_RANGE} volumes at once")
        refs.extend(map(str, range(first, last + 1)))
    return refs


def confirm(explanation: str, yes: bool) -> None:
    """Explain and ask; NotAllowed if the user says no, or if there is nobody to ask and no ``--yes``."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotAllowed("not confirmed: there is no terminal to ask on", "give --yes")
    print(explanation, file=sys.stderr)
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise NotAllowed("not confirmed", "nothing was changed")
