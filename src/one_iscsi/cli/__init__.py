"""The command ``onevolume``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from one_iscsi.errors import OneIscsiError

#: Exit codes besides those of ``one_iscsi.errors``.
BUG, INTERRUPTED = 70, 130


def command() -> NoReturn:
    """``onevolume`` as a process. Python is not taken apart at the end, which takes an eighth of a short command."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    from one_iscsi.cli.parser import build

    options = build().parse_args(arguments)
    return run(lambda: options.run(options))


def run(work: Callable[[], int | None]) -> int:
    """Do ``work`` as oneadmin and give its exit code; every error becomes one line on stderr."""
    try:
        become_oneadmin()
        code = work()
        sys.stdout.flush()
    except OneIscsiError as error:
        print(f"onevolume: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nonevolume: interrupted: onevolume recover settles what is half done", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away: it has what it wanted. Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("ONE_ISCSI_DEBUG"):
            raise
        print(
            f"onevolume: a bug of onevolume, sorry: {type(error).__name__}: "
            "run it again with ONE_ISCSI_DEBUG=1 in the environment and report what it prints",
            file=sys.stderr,
        )
        return BUG
    return int(code or 0)


def become_oneadmin() -> None:
    """As root, go on as oneadmin: the database and the ssh keys are its, and root's files would lock it out."""
    if os.geteuid() != 0:
        return
    import pwd

    try:
        user = pwd.getpwnam("oneadmin")
    except KeyError:
        return  # no OpenNebula here: the lab
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = user.pw_dir
