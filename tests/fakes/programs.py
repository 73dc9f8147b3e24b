"""The programs of a fake host. They answer with what the real ones printed, the names replaced: see recordings.py."""

from __future__ import annotations

import fnmatch
import os
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path

from fakes import hypervisors, initiator
from fakes.initiator import session_of
from fakes.world import TESTS, Host, World

SUDOERS = TESTS.parent / "share" / "one_iscsi.sudoers"


def run(world: str, host_name: str) -> None:
    """Be the program this file was called as."""
    be(World(Path(world)).host(host_name), Path(sys.argv[0]).name, sys.argv[1:])


def be(host: Host, program: str, arguments: list[str]) -> None:
    """Be this program."""
    host.world.log_call(host.name, program, arguments)
    fault = host.world.next_fault(host.name, program, " ".join(arguments))
    if fault:
        time.sleep(fault["delay"])
    if fault and fault["code"] is not None and not fault["after"]:
        stdout, stderr, code = "", fault["stderr"], fault["code"]
    else:
        stdout, stderr, code = PROGRAMS[program](host, arguments)
        if fault and fault["code"] is not None:
            stderr, code = fault["stderr"], fault["code"]
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    sys.exit(code)


def sudo(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    """Runs what the project's own sudoers file allows, as sudoers(5) matches: the last pattern that fits decides."""
    asks, words = (True, arguments[2:]) if arguments[1] == "-l" else (False, arguments[3:])  # -n -l …, -n -T 10 …
    command = " ".join(words)
    allowed = False
    for rule in _rules(words[0]):
        if fnmatch.fnmatchcase("/usr/bin/" + command, rule.lstrip("!")):
            allowed = not rule.startswith("!")
    if not allowed:
        return "", "sudo: a password is required\n", 1
    if asks:
        return f"{command}\n", "", 0
    program = host.folder / "bin" / words[0]
    if program.exists() and program.read_bytes() == Path(sys.argv[0]).read_bytes():  # no process for one of our own
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        signal.alarm(int(arguments[2]))
        return be(host, words[0], words[1:])
    return os.execvp("timeout", ["timeout", "--preserve-status", "-k", "2", arguments[2], *words])


def _rules(program: str) -> list[str]:
    """Those for this program; the others would take longer to compare than all the rest takes."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", SUDOERS.read_text(), flags=re.MULTILINE)).splitlines()
    aliases = [line.partition(" = ")[2] for line in lines if line.startswith("Cmnd_Alias")]
    commands = [command.strip() for alias in aliases for command in re.split(r"(?<!\\),", alias)]
    return [re.sub(r"\\([,:=])", r"\1", command) for command in commands if f"bin/{program} " in f"{command} "]


def tee(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    text = sys.stdin.read()
    path = arguments[-1]
    deleted = re.fullmatch(r"/sys/block/(\w+)/device/delete", path)
    if deleted:
        with host.changing() as state:
            for session in state["sessions"].values():
                if session["device"] == deleted[1]:
                    session["device"] = ""
        return text, "", 0
    rescanned = re.fullmatch(r"/sys/block/(\w+)/device/rescan", path)
    if rescanned:
        with host.changing() as state:
            for session in state["sessions"].values():
                if session["device"] == rescanned[1]:
                    session["size"] = os.path.getsize(session["path"]) // 512 * 512
        return text, "", 0
    try:
        with open(path, "a" if arguments[0] == "-a" else "w") as file:
            file.write(text)
    except OSError as error:
        return text, f"tee: {path}: {error.strerror}\n", 1
    return text, "", 0


def blockdev(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    path = Path(arguments[-1])
    if not path.exists():
        return "", f"blockdev: cannot open {path}: No such file or directory\n", 1
    state = host.state()
    session = session_of(state, path.name)
    if session and session["state"] != "LOGGED_IN":
        return "", f"blockdev: cannot open {path}: No such device or address\n", 1
    for found in state["maps"].values():
        alive = [one for one in map(partial(session_of, state), found["paths"]) if one["state"] == "LOGGED_IN"]
        if path.name == f"dm-{found['number']}" and found["queues"] and not alive:
            time.sleep(600)  # for a path to come back
    return "", "", 0


def ip(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    address = host.state()["address"]
    return f"{arguments[-1]} dev eth1 src {address} uid 9869 \\    cache \n", "", 0


def grep(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    """grep, but for the sockets: those in /proc are the whole machine's."""
    if arguments == ["-q", "ISCSIADM_ABSTRACT_NAMESPACE", "/proc/net/unix"]:
        return "", "", 0 if host.state()["iscsid"] else 1
    return os.execv("/bin/grep", ["grep", *arguments])


def date(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    assert arguments == ["+%s"]
    return f"{int(time.time()) + host.state()['clock']}\n", "", 0


def lvmconfig(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    return host.state()["lvm"], "  WARNING: Running as a non-root user. Functionality may be unavailable.\n", 0


PROGRAMS = {
    **hypervisors.PROGRAMS,
    **initiator.PROGRAMS,
    "blockdev": blockdev,
    "date": date,
    "grep": grep,
    "ip": ip,
    "lvmconfig": lvmconfig,
    "sudo": sudo,
    "tee": tee,
}
