"""The programs of a fake host. They answer with what the real ones printed, the names replaced: see recordings.py."""

from __future__ import annotations

import os
import sys
import time

from fakes import hypervisors, initiator
from fakes.initiator import session_of
from fakes.state import HostState, WorldState

SUDOERS = f"{os.path.dirname(__file__)}/../../share/one_iscsi.sudoers"


def run(world: str, host_name: str) -> None:
    """Be the program this file was called as."""
    be(HostState(WorldState(world), host_name), os.path.basename(sys.argv[0]), sys.argv[1:])


def be(host: HostState, program: str, arguments: list[str]) -> None:
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


def sudo(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    """Runs what the project's own sudoers file allows, as sudoers(5) matches: the last pattern that fits decides."""
    asks, words = (True, arguments[2:]) if arguments[1] == "-l" else (False, arguments[3:])  # -n -l …, -n -T 10 …
    command = " ".join(words)
    allowed = False
    for rule in _rules(words[0]):
        if _fits("/usr/bin/" + command, rule.lstrip("!")):
            allowed = not rule.startswith("!")
    if not allowed:
        return "", "sudo: a password is required\n", 1
    if asks:
        return f"{command}\n", "", 0
    if _is_ours(f"{host.path}/bin/{words[0]}"):  # no process for it
        import _signal  # signal takes a third as long as all the rest

        _signal.signal(_signal.SIGALRM, lambda *_: os.kill(os.getpid(), _signal.SIGTERM))
        _signal.alarm(int(arguments[2]))
        return be(host, words[0], words[1:])
    return os.execvp("timeout", ["timeout", "--preserve-status", "-k", "2", arguments[2], *words])


def _is_ours(program: str) -> bool:
    try:
        with open(program) as file, open(sys.argv[0]) as this:
            return file.read() == this.read()
    except FileNotFoundError:
        return False


def _rules(program: str) -> list[str]:
    """Those for this program; the others would take longer to compare than all the rest takes."""
    with open(SUDOERS) as file:
        lines = [line.strip() for line in file if not line.startswith("#")]
    text = "".join(line[:-1] if line.endswith("\\") else f"{line}\n" for line in lines)
    aliases = [line.partition(" = ")[2] for line in text.splitlines() if line.startswith("Cmnd_Alias")]
    rules = []
    for alias in aliases:
        for command in alias.replace("\\,", "\0").split(","):
            if f"bin/{program} " in f"{command} ":
                rules.append(command.strip().replace("\0", ",").replace("\\:", ":").replace("\\=", "="))
    return rules


def _fits(command: str, pattern: str) -> bool:
    if "[" in pattern or "?" in pattern:
        import fnmatch

        return fnmatch.fnmatchcase(command, pattern)
    start, *parts = pattern.split("*")
    if not parts or not command.startswith(start):
        return command == start
    place = len(start)
    for part in parts[:-1]:
        place = command.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return command[place:].endswith(parts[-1])


def tee(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    text = sys.stdin.read()
    path = arguments[-1]
    if path.startswith("/sys/block/"):
        device, _, action = path.split("/")[3:]
        with host.changing() as state:
            session = session_of(state, device)
            if session and action == "delete":
                session["device"] = ""
            if session and action == "rescan":
                session["size"] = os.path.getsize(session["path"]) // 512 * 512
        return text, "", 0
    try:
        with open(path, "a" if arguments[0] == "-a" else "w") as file:
            file.write(text)
    except OSError as error:
        return text, f"tee: {path}: {error.strerror}\n", 1
    return text, "", 0


def blockdev(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    path = arguments[-1]
    name = os.path.basename(path)
    if not os.path.exists(path):
        return "", f"blockdev: cannot open {path}: No such file or directory\n", 1
    state = host.state()
    session = session_of(state, name)
    if session and session["state"] != "LOGGED_IN":
        return "", f"blockdev: cannot open {path}: No such device or address\n", 1
    for found in state["maps"].values():
        alive = [path for path in found["paths"] if session_of(state, path)["state"] == "LOGGED_IN"]
        if name == f"dm-{found['number']}" and found["queues"] and not alive:
            time.sleep(600)  # for a path to come back
    return "", "", 0


def ip(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    address = host.state()["address"]
    return f"{arguments[-1]} dev eth1 src {address} uid 9869 \\    cache \n", "", 0


def grep(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    """grep, but for the sockets: those in /proc are the whole machine's."""
    if arguments == ["-q", "ISCSIADM_ABSTRACT_NAMESPACE", "/proc/net/unix"]:
        return "", "", 0 if host.state()["iscsid"] else 1
    return os.execv("/bin/grep", ["grep", *arguments])


def date(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    assert arguments == ["+%s"]
    return f"{int(time.time()) + host.state()['clock']}\n", "", 0


def lvmconfig(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
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
