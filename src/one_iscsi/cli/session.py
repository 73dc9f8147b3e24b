"""What every command shares: the core it works on, references to several volumes, and asking the user."""

from __future__ import annotations

import getpass
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from one_iscsi import config
from one_iscsi.asking import Asker
from one_iscsi.core import Core
from one_iscsi.errors import BadInput, NotAllowed
from one_iscsi.model import Chap
from one_iscsi.store import Actor, Store

#: oneadmin's id in OpenNebula; whoever may open the database is it.
_ONEADMIN = 0

_LONGEST_RANGE = 10_000


@contextmanager
def core(asker: Asker | None = None) -> Iterator[Core]:
    """The core over the configured database, telling its steps on a terminal and its warnings anywhere.

    ``asker`` is who asks oned, if that was started already.
    """
    configured = config.load()
    with Store.open(configured.database) as store:
        yield Core(
            store,
            Actor(_ONEADMIN, f"local:{os.environ.get('SUDO_USER') or getpass.getuser()}"),
            report=_tell if sys.stderr.isatty() else lambda _: None,
            warn=warn,
            config=configured,
            asker=asker,
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


def chap_account(options: Namespace) -> Chap | None:
    """The CHAP account of ``--chap-user`` and its like. Secrets are typed or read from a file: arguments are in ps."""
    users = [user for user in (options.chap_user, options.chap_target_user) if user]
    if not options.chap_user:
        if users or options.chap_secret_file:
            raise BadInput("a CHAP secret without its user", "give --chap-user")
        return None
    if options.chap_secret_file:
        secrets = _lines(options.chap_secret_file)
    elif sys.stdin.isatty():
        secrets = [_typed(f"CHAP secret of {user}: ") for user in users]
    else:
        raise BadInput("there is no terminal to ask for the CHAP secret on", "give --chap-secret-file FILE, or -")
    if len(secrets) != len(users):
        what = f"there are {len(secrets)} CHAP secrets for {len(users)} users"
        raise BadInput(what, "give a line for each: the user's, then the target's")
    return Chap(*(word for pair in zip(users, secrets) for word in pair))


def _typed(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


def _lines(name: str) -> list[str]:
    try:
        if name == "-":
            return sys.stdin.read().splitlines()
        with open(name) as file:
            return file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise BadInput(f"{name} cannot be read ({reason})", f"let oneadmin read it, or give - and < {name}") from None
