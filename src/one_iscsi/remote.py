"""Running a script on another machine, through OpenNebula's own ssh wrappers: one script, one round trip, one answer.

A script is shell text that defines ``main``. It arrives by standard input only, so nothing of it (CHAP secrets!) is in
any list of processes, and in a form of which every cut-off beginning does nothing. On the far side it limits itself
and runs to its end even if this process or its ssh client dies.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from one_iscsi.errors import BadInput, SetupError

_COMMON_SH = Path(__file__).with_name("scripts") / "common.sh"
#: Words of scripts that look at a machine.
LOOKING = Path(__file__).with_name("scripts") / "looking.sh"
_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
# The wrappers use $SSH HOST without quotes: a name must be one word and no option.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@%-]*")
_SHELL = """trap '' HUP PIPE; command -v dash >/dev/null && set dash || set bash -c 'eval "$(cat)"';"""
_STOPPED = 124  # how timeout(1) ends at its limit
_SLACK = 10  # seconds a machine under load may need besides the script: start of bash and ssh, the way back


class RemoteFailure(Exception):
    """A machine gave no answer. ``code``: ``unreachable`` (nothing ran: ssh could not log in, or bash did not start),
    ``timeout`` (the script was stopped or did not come back in time) or ``unknown`` (it ended without an answer).
    ``text``: one line."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Answer:
    """What a script said: its ``NAME=value`` lines in their order, and its ``error`` (code, text) if it failed."""

    lines: tuple[tuple[str, str], ...] = ()
    error: tuple[str, str] | None = None

    def get(self, name: str, default: str = "") -> str:
        """The last value said under this name."""
        return next((value for said, value in reversed(self.lines) if said == name), default)

    def all(self, name: str) -> list[str]:
        """Every value said under this name."""
        return [value for said, value in self.lines if said == name]


class Remote:
    """Runs scripts on hosts and storage servers; ``connect_timeout`` in seconds."""

    def __init__(self, connect_timeout: int = 10) -> None:
        self.connect_timeout = connect_timeout

    def run(self, host: str, label: str, *parts: str, values: Mapping[str, str], limit: int) -> Answer:
        """Run ``main`` of the joined ``parts`` on ``host`` with ``values`` as shell variables, for ``limit`` seconds.

        ``localhost`` is this machine, without ssh. ``label`` is what logs call the script. Raises RemoteFailure when
        there is no answer, SetupError without OpenNebula's wrappers, BadInput for an impossible host name.
        """
        script = wrap(values, parts, limit)
        if host == "localhost":
            code, output = _bash(["-s"], script, dict(os.environ), limit + _SLACK)
        else:
            code, output = self._ssh(host, label, script, limit)
        if code is None:
            raise RemoteFailure("timeout", "no answer in time")
        if code == _STOPPED:
            raise RemoteFailure("timeout", f"the script was stopped after {limit} s")
        answer = parse(output)
        if answer is None:
            raise RemoteFailure("unknown", f"the script ended without an answer (exit code {code})")
        return answer

    def wrappers(self) -> Path:
        """OpenNebula's ssh wrappers, under ONE_LOCATION or where packages put them; SetupError if they are missing."""
        library = Path(os.environ["ONE_LOCATION"], "lib") if os.environ.get("ONE_LOCATION") else Path("/usr/lib/one")
        common = library / "sh" / "scripts_common.sh"
        if not common.is_file():
            raise SetupError(f"{common} is missing", "run this on an OpenNebula front end, or set ONE_LOCATION")
        return common

    def _ssh(self, host: str, label: str, script: str, limit: int) -> tuple[int | None, str]:
        check_host_name(host)
        common = self.wrappers()
        # The wrappers throw ssh's stderr away, so ssh writes its complaints to a file of ours. At level VERBOSE it also
        # tells that it was let in: after that a lost connection leaves a script running, and nobody knows its end.
        # The file has no name: whatever kills us, it does not stay.
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            name = f"/proc/{os.getpid()}/fd/{log.fileno()}"
            options = f"-o ConnectTimeout={self.connect_timeout} -o BatchMode=yes -o LogLevel=VERBOSE -E {name}"
            env = {**os.environ, "SSH": f"{os.environ.get('SSH') or 'ssh'} {options}"}
            wrapper = 'source "$1"; ssh_monitor_and_log "$2" "$(cat)" "$3"'
            arguments = ["-c", wrapper, os.path.realpath(sys.argv[0]), str(common), host, label]
            code, output = _bash(arguments, script, env, limit + self.connect_timeout + _SLACK)
            complaints = log.read().strip().splitlines()
        if code == 255:
            let_in = not complaints or any(line.startswith("Authenticated to") for line in complaints)
            text = complaints[-1][:200] if complaints else "ssh failed without a word"
            raise RemoteFailure("unknown" if let_in else "unreachable", text)
        return code, output


def check_host_name(host: str) -> None:
    """BadInput for a name that cannot be put into an ssh command."""
    if not _HOST.fullmatch(host):
        raise BadInput(f"host name {host!r} cannot be used with ssh", "rename the host")


def wrap(values: Mapping[str, str], parts: tuple[str, ...], limit: int) -> str:
    """The text sent for a script: a line that limits it, and the script as a function that its last line calls.

    Hence any cut-off beginning is a syntax error or a definition nobody calls. The shell of a login reads what comes
    by ssh byte by byte, a system call for each: it gets the first line only, and gives way to what reads the rest. The
    rest is read within the limit, so a text that comes too late is not run at all; it is never in an argument, in a
    variable of the environment or in a file. Where there is dash it is run by that: a detach takes a tenth less than
    with bash, which has to be fed by ``cat`` lest it reads byte by byte, too.
    """
    assignments = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    script = "\n".join([common(), *map(compact, parts)])
    return f"""{_SHELL} exec timeout -k 5 {limit} "$@"
one_iscsi() {{
{assignments}{script}
main </dev/null && printf "%s\\n" END=ok
}}
one_iscsi
"""


def common() -> str:
    """The words of every script, ready to be sent."""
    return compact(_COMMON_SH.read_text())


def compact(script: str) -> str:
    """A script without its comments and indentation: a shell reads what comes by ssh byte by byte, which is slow.

    Scripts must not need either: no here-document or quoted text of theirs has a line that begins with a blank or #.
    """
    lines = (line.lstrip(" \t") for line in script.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def parse(output: str) -> Answer | None:
    """The answer in a script's output; None if it does not end with one. Lines of other forms are skipped (a login
    script may print what it likes)."""
    lines = [match.groups() for match in map(_LINE.fullmatch, output.splitlines()) if match]
    if not lines or lines[-1][0] not in ("END", "ERROR"):
        return None
    *said, (last, text) = [(name, value) for name, value in lines]
    if last == "END":
        return Answer(tuple(said))
    code, _, text = text.partition(" ")
    return Answer(tuple(said), (code, text))


def _bash(arguments: list[str], script: str, env: dict[str, str], limit: int) -> tuple[int | None, str]:
    """Run bash with the script as its input: its exit code (None when ``limit`` seconds were not enough) and stdout.

    At the limit the whole session is killed (bash, the wrapper's subshell, ssh). The exceptions of ``sh`` carry what
    bash printed, and its argument list: none of them leaves this function. RemoteFailure if bash does not start.
    """
    import sh  # 90 ms, and most commands never get here

    # bash before 5.1 puts here-documents (the wrappers have one) into files: keep those in memory.
    env["TMPDIR"] = "/dev/shm"  # noqa: S108
    try:
        command = sh.bash(
            *arguments, _in=script, _env=env, _err=os.devnull, _tty_out=False, _new_session=True, _bg=True,
            _bg_exc=False, _return_cmd=True, _no_pipe=True, _ok_code=list(range(256)), _decode_errors="replace",
        )  # fmt: skip
    except (sh.CommandNotFound, sh.ForkException, OSError):
        raise RemoteFailure("unreachable", "bash cannot be started on the front end") from None
    expired = False

    def kill() -> None:
        nonlocal expired
        expired = True
        with contextlib.suppress(ProcessLookupError):
            command.process.kill_group()

    timer = threading.Timer(limit, kill)
    timer.daemon = True
    timer.start()
    try:
        command.wait()
    except sh.ErrorReturnCode as killed:  # by a signal: ours, or somebody else's
        return None if expired else killed.exit_code, ""
    finally:
        timer.cancel()
    return command.exit_code, command.process.stdout.decode(errors="replace")
