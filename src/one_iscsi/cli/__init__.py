"""The command ``onevolume``."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from one_iscsi.asking import Asker
from one_iscsi.errors import OneIscsiError, SetupError

#: Exit codes besides those of ``one_iscsi.errors``.
BUG, INTERRUPTED = 70, 130

#: These ask oned whatever their arguments are, and then run scripts.
_ASK_ONED = ("attach", "detach")


def command() -> NoReturn:
    """``onevolume`` as a process. Python is not taken apart at the end, which takes an eighth of a short command."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # whoever started us closed it: nothing else shall get its number
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # that it cannot be written was told
            stream.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    asker = Asker()

    def work() -> int | None:
        asks = bool(words) and words[0] in _ASK_ONED
        if asks:
            with suppress(OSError):  # it comes again when it is asked
                asker.start()  # it gets ready while we do
        gc.disable()  # what is imported is no garbage, and to find that out takes a tenth of a short command
        from one_iscsi.cli.parser import build

        options = build().parse_args(words)
        options.asker = asker
        if asks:
            import sh  # noqa: F401  # remote.py will want it; the process that asks oned is not ready before that
        gc.freeze()
        gc.enable()
        code: int | None = options.run(options)
        return code

    return run(work)


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
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            print("onevolume: the disk is full that the output goes to, or /tmp: make room there", file=sys.stderr)
            return SetupError.exit_code
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
