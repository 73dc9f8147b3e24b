"""The programs of a fake host. They answer with what the real ones printed (tests/data/node), the names replaced."""

from __future__ import annotations

import fnmatch
import os
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path

from world import RECORDINGS, Host, World

SUDOERS = RECORDINGS.parents[2] / "share" / "one_iscsi.sudoers"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Exit(Exception):
    """The program ends: stdout, stderr, exit code."""

    def __init__(self, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        self.result = stdout, stderr, code


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
        try:
            stdout, stderr, code = globals()[program.replace("-", "_")](host, arguments) or ("", "", 0)
        except Exit as end:
            stdout, stderr, code = end.result
        if fault and fault["code"] is not None:
            stderr, code = fault["stderr"], fault["code"]
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    sys.exit(code)


def recorded(name: str, **names: object) -> tuple[str, str, int]:
    """stdout, stderr and exit code of a recorded call. ``names``: what to put in the place of the recorded names; their
    keys are those of the table."""
    table = {
        "iqn": r"iqn\.2024-01\.(?:org\.)?lab:\w+",
        "portal": r"127\.0\.0\.1,\d+",
        "sid": r"(?<=sid: )\d+",
        "link": r"/dev/disk/by-path/\S+?(?=:? |:|$)",
        "domain": r"\b(?:one-\d|nosuch)\b",
        "vdev": r"\bxvd\w\b|(?<=id )\d{5}\b|(?<=vbd/1/)\d{5}\b",
        "target": r"\bvd\w\b",
        "wwid": r"\b36001\w+",
    }
    text = (RECORDINGS / f"{name}.txt").read_text()
    match = re.fullmatch(r"\$ .*?\n--- stdout\n(.*)--- stderr\n(.*)--- rc=(\d+) .*\n", text, re.DOTALL)
    assert match, f"{name} is no recording"
    stdout, stderr = match[1], match[2]
    for key, value in names.items():
        stdout, stderr = (re.sub(table[key], lambda _: str(value), part) for part in (stdout, stderr))  # noqa: B023
    return stdout, stderr, int(match[3])


# -- root -------------------------------------------------------------------------------------------------------------


def sudo(host: Host, arguments: list[str]) -> tuple[str, str, int] | None:
    """Runs what the project's own sudoers file allows, as sudoers(5) matches: the last pattern that fits decides."""
    asks, words = (True, arguments[2:]) if arguments[1] == "-l" else (False, arguments[3:])  # -n -l …, -n -T 10 …
    command = " ".join(words)
    allowed = False
    for rule in _rules():
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


def _rules() -> list[str]:
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", SUDOERS.read_text(), flags=re.MULTILINE)).splitlines()
    aliases = [line.partition(" = ")[2] for line in lines if line.startswith("Cmnd_Alias")]
    commands = [command.strip() for alias in aliases for command in re.split(r"(?<!\\),", alias)]
    return [re.sub(r"\\([,:=])", r"\1", command) for command in commands]


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
    session = _session_of(state, path.name)
    if session and session["state"] != "LOGGED_IN":
        return "", f"blockdev: cannot open {path}: No such device or address\n", 1
    for found in state["maps"].values():
        alive = [one for one in map(partial(_session_of, state), found["paths"]) if one["state"] == "LOGGED_IN"]
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


# -- several paths ----------------------------------------------------------------------------------------------------


def multipathd(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    with host.changing() as state:
        if not state["find_multipaths"]:
            return recorded("multipathd_show_daemon_not_running")
        return _MULTIPATHD[tuple(arguments[:2])](state, *arguments[2:])


def _show_daemon(state: dict) -> tuple[str, str, int]:
    return recorded("multipathd_show_daemon_ok")


def _show_config(state: dict) -> tuple[str, str, int]:
    return f'defaults {{\n\tverbosity 2\n\tfind_multipaths "{state["find_multipaths"]}"\n}}\n', "", 0


def _add_path(state: dict, path: str) -> tuple[str, str, int]:
    """One that is not to be joined with others is taken note of, no more: ok, too."""
    session = _session_of(state, path)
    if not session:
        return recorded("multipathd_add_path_absent")
    if state["blacklist"]:
        return recorded("multipathd_add_path_blacklisted")
    name = _map_name(session)
    if name in state["wwids"]:
        number = next(n for n in range(99) if n not in [one["number"] for one in state["maps"].values()])
        new = {"number": number, "uuid": f"mpath-{name}", "paths": [], "queues": True}
        new.update(size=session["size"], file=session["path"])
        paths = state["maps"].setdefault(name, new)["paths"]
        paths += [path] * (path not in paths)
    return recorded("multipathd_add_path_ok")


def _resize_map(state: dict, name: str) -> tuple[str, str, int]:
    if name not in state["maps"]:
        return recorded("multipathd_resize_map_absent")
    found = state["maps"][name]
    found["size"] = min(session["size"] for session in map(partial(_session_of, state), found["paths"]))
    return recorded("multipathd_resize_map_ok")


_MULTIPATHD = {
    ("show", "daemon"): _show_daemon,
    ("show", "config"): _show_config,
    ("add", "path"): _add_path,
    ("resize", "map"): _resize_map,
}


def multipath(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    option, name = arguments
    with host.changing() as state:
        if option == "-a":
            session = _session_of(state, Path(name).name)
            if state["blacklist"] or not session:
                return recorded("multipath_-a_blacklisted")
            state["wwids"] = [*{*state["wwids"], _map_name(session)}]
            return recorded("multipath_-a_ok", wwid=_map_name(session))
        assert option == "-f"
        if name not in state["maps"]:
            return recorded("multipath_-f_again", wwid=name)
        if host.openers(state, state["maps"][name]):
            return recorded("multipath_-f_in_use", wwid=name)
        del state["maps"][name]
        return recorded("multipath_-f_ok")


def dmsetup(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    action, name, sector, message = arguments
    assert (action, sector, message) == ("message", "0", "fail_if_no_path")
    with host.changing() as state:
        state["maps"][name]["queues"] = False
    return recorded("dmsetup_message_ok")


def _session_of(state: dict, device: str) -> dict | None:
    return next((session for session in state["sessions"].values() if session["device"] == device), None)


def _map_name(session: dict) -> str:
    return "3" + session["wwid"].partition(".")[2]


# -- initiator --------------------------------------------------------------------------------------------------------


def iscsiadm(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    if arguments == ["--version"]:
        return "iscsiadm version 2.1.8\n", "", 0
    assert arguments[:3] == ["-m", "node", "-T"]
    assert arguments[4] == "-p"
    iqn, portal, action = arguments[3], arguments[5], arguments[-1]
    address, port = re.fullmatch(r"\[?([^\]]+)\]?:(\d+)", portal).groups()
    record = Path(f"/etc/iscsi/nodes/{iqn}/{address},{port}")
    names = {"iqn": iqn, "portal": f"{address},{port}"}
    return _ISCSIADM[action](host, record, names, address, port)


def _new(host: Host, record: Path, names: dict, address: str, port: str) -> tuple[str, str, int]:
    record.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    record.touch(0o600)
    shown, _, _ = recorded("iscsiadm_node_-o_show", iqn=names["iqn"])
    record.write_text(shown)
    return recorded("iscsiadm_node_-o_new", **names)


def _show(host: Host, record: Path, names: dict, address: str, port: str) -> tuple[str, str, int]:
    if not record.exists():
        return recorded("iscsiadm_login_unknown_record")
    return recorded("iscsiadm_node_-o_show", iqn=names["iqn"])


def _delete(host: Host, record: Path, names: dict, address: str, port: str) -> tuple[str, str, int]:
    if not record.exists():
        return recorded("iscsiadm_node_-o_delete_again")
    if _session(host.state(), names["iqn"], address, port):
        return recorded("iscsiadm_node_-o_delete_logged_in", **names)
    record.unlink(missing_ok=True)
    return recorded("iscsiadm_node_-o_delete_ok")


def _login(host: Host, record: Path, names: dict, address: str, port: str) -> tuple[str, str, int]:
    if not record.exists():
        return recorded("iscsiadm_login_unknown_record")
    settings = dict(re.findall(r"^(\S+) = (.*)$", record.read_text(), re.MULTILINE))  # the last one of a name wins
    with host.changing() as state:
        if _session(state, names["iqn"], address, port):
            return recorded("iscsiadm_login_already_logged_in")
        with host.world.tgt() as server:
            refusal, target = _ask_server(server, names["iqn"], address, state["address"], settings)
            if refusal:
                return recorded(refusal, **names)
            initiator = Path("/etc/iscsi/initiatorname.iscsi").read_text().strip().partition("=")[2]
            seen = {"initiator": initiator, "address": state["address"], "returns": True}
            target["sessions"][f"{host.name}{state['next_sid']}"] = seen
        sid = str(state["next_sid"])
        state["next_sid"] += 1
        appears = target.get("appears", 0)
        session = {"iqn": names["iqn"], "address": address, "port": port, "lun": 1, "state": "LOGGED_IN", "device": ""}
        session["path"] = target["path"]
        session["size"] = os.path.getsize(target["path"]) // 512 * 512
        session["serial"], session["wwid"] = target["serial"], f"naa.6{target['scsi_id']:0>31}"
        state["sessions"][sid] = session
        if appears == 0:
            session["device"] = _free_device(state)
    if appears and os.fork() == 0:
        os.setsid()
        for stream in range(3):
            os.close(stream)
        time.sleep(appears)
        with host.changing() as state:
            state["sessions"][sid]["device"] = _free_device(state)
        os._exit(0)
    return recorded("iscsiadm_login_ok", **names)


def _ask_server(server: dict, iqn: str, portal: str, address: str, settings: dict) -> tuple[str, dict]:
    """The recording of the refusal, if it is one, and the target."""
    if server["down"] or portal in server["silent"]:
        return "iscsiadm_login_dead_portal", {}
    for target in server["targets"].values():
        if target["iqn"] == iqn:
            break
    else:
        return "iscsiadm_login_target_absent_on_server", {}
    if not {"ALL", address} & set(target["access"]):
        return "iscsiadm_login_ACL_refuses", {}
    given = [settings.get(f"node.session.auth.{key}") for key in ("authmethod", "username", "password")]
    wanted = [["CHAP", user, server["accounts"][user]] for user in target["accounts"]]
    if wanted and given not in wanted:
        return "iscsiadm_login_CHAP_wrong_password", {}
    demanded = [settings.get(f"node.session.auth.{key}_in") for key in ("username", "password")]
    if demanded != ["<empty>", "<empty>"] and demanded != target.get("shows"):
        if not target.get("shows"):
            return "iscsiadm_login_CHAP_wrong_password", {}
        return "iscsiadm_login_ACL_refuses", {}  # nobody could tell it from that
    return "", target


def _logout(host: Host, record: Path, names: dict, address: str, port: str) -> tuple[str, str, int]:
    with host.changing() as state:
        sid = _session(state, names["iqn"], address, port)
        if not sid:
            return recorded("iscsiadm_logout_not_logged_in")
        del state["sessions"][sid]
        with host.world.target(names["iqn"]) as target:
            left = {f"{host.name}{number}" for number in state["sessions"]}
            for key in list((target or {"sessions": {}})["sessions"]):
                if key.startswith(host.name) and key not in left:
                    del target["sessions"][key]
        for guest, domain in state["domains"].items():
            for vdev, disk in domain["disks"].items():
                if f"-iscsi-{names['iqn']}-lun-" in disk["source"] and f"ip-{address}:{port}-" in disk["source"]:
                    state["lost"].append(f"{guest}:{vdev}")
    return recorded("iscsiadm_logout_ok", **names, sid=sid)


_ISCSIADM = {"new": _new, "show": _show, "delete": _delete, "--login": _login, "--logout": _logout}


def _session(state: dict, iqn: str, address: str, port: str) -> str:
    for sid, session in state["sessions"].items():
        if (session["iqn"], session["address"], session["port"]) == (iqn, address, port):
            return sid
    return ""


def _free_device(state: dict) -> str:
    taken = {session["device"] for session in state["sessions"].values()}
    names = ["sd" + first + second for first in ["", *LETTERS] for second in LETTERS]
    return next(name for name in names if name not in taken)


# -- Xen --------------------------------------------------------------------------------------------------------------


def xl(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    action, domain, *rest = arguments
    with host.changing() as state:
        if domain.isdigit() and int(domain) <= len(state["domains"]):
            domain = list(state["domains"])[int(domain) - 1]
        guest = state["domains"].get(domain)
        return _XL[action](state, domain, guest, *rest)


def _number(vdev: str) -> int:
    index = LETTERS.index(vdev[-1])
    return 202 << 8 | index << 4 if index < 16 else 1 << 28 | index << 8


def _block_list(state: dict, domain: str, guest: dict | None) -> tuple[str, str, int]:
    if guest is None:
        return recorded("xl_block-list_nosuch", domain=domain)
    header, _, _ = recorded("xl_block-list_one-7_none")
    domid = list(state["domains"]).index(domain) + 1
    lines = "".join(
        f"{_number(vdev):<5} 0   {domid}      {disk['state']}     8      8        "
        f"/local/domain/0/backend/vbd/{domid}/{_number(vdev):<5}\n"
        for vdev, disk in guest["disks"].items()
    )
    return header + lines, "", 0


def _block_attach(state: dict, domain: str, guest: dict | None, spec: str) -> tuple[str, str, int]:
    if guest is None:
        return recorded("xl_block-attach_bad_domain", domain=domain)
    match = re.fullmatch(r"format=raw,vdev=(xvd[a-z]),access=([rw]),target=(\S+)", spec)
    assert match, f"what would xl say to {spec}?"
    vdev, mode, link = match.groups()
    if vdev in guest["disks"]:
        return recorded("xl_block-attach_duplicate_vdev_other_device")
    if not Path(link).exists():
        return recorded("xl_block-attach_missing_device", vdev=vdev, link=link)
    others = [disk for other in state["domains"].values() if other is not guest for disk in other["disks"].values()]
    if any(disk["source"] == link for disk in others):
        guest["disks"][vdev] = {"source": link, "state": 3, "mode": mode}
        return recorded("xl_block-attach_same_device_other_domain", vdev=_number(vdev))
    guest["disks"][vdev] = {"source": link, "state": 3 if guest["paused"] else 4, "mode": mode}
    return recorded("xl_block-attach_ok")


def _block_detach(state: dict, domain: str, guest: dict | None, vdev: str) -> tuple[str, str, int]:
    if guest is None:
        return recorded("xl_block-detach_nosuch_domain", domain=domain)
    if vdev not in guest["disks"]:
        return recorded("xl_block-detach_again", vdev=vdev)
    if guest["paused"]:
        return recorded("xl_block-detach_paused_domain", vdev=_number(vdev))
    del guest["disks"][vdev]
    return recorded("xl_block-detach_ok")


_XL = {"block-list": _block_list, "block-attach": _block_attach, "block-detach": _block_detach}


def xenstore_read(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    state = host.state()
    values = ""
    for path in arguments:
        match = re.fullmatch(r"/local/domain/0/backend/vbd/(\d+)/(\d+)/params", path)
        domains = list(state["domains"].values())
        disks = {_number(vdev): disk for vdev, disk in domains[int(match[1]) - 1]["disks"].items()} if match else {}
        if not match or int(match[2]) not in disks:
            return values, f"xenstore-read: couldn't read path {path}\n", 1
        values += disks[int(match[2])]["source"] + "\n"
    return values, "", 0


# -- KVM --------------------------------------------------------------------------------------------------------------


def virsh(host: Host, arguments: list[str]) -> tuple[str, str, int]:
    if arguments == ["--version"]:
        return "9.0.0\n", "", 0
    words = iter(arguments)
    quiet = next(words) == "--quiet"
    assert next(words) == "--connect"
    assert next(words) == "qemu:///system"
    action = next(words)
    if action == "list":
        return " ".join(host.state()["domains"]) + "\n", "", 0
    options = {word: "" if word in ("--details", "--live") else next(words) for word in words}
    domain = options["--domain"]
    with host.changing() as state:
        guest = state["domains"].get(domain)
        if guest is None:
            stdout, stderr, code = recorded("virsh_detach-disk_bad_domain", domain=domain)
        else:
            stdout, stderr, code = _VIRSH[action](guest, options, state)
    return (stdout.strip() and stdout if quiet else stdout), stderr, code


def _domblklist(guest: dict, options: dict, state: dict) -> tuple[str, str, int]:
    lines = [f" block   disk     {target:<8} {disk['source']}\n" for target, disk in guest["disks"].items()]
    return "".join(lines), "", 0


def _attach_disk(guest: dict, options: dict, state: dict) -> tuple[str, str, int]:
    target, source = options["--target"], options["--source"]
    sources = [disk["source"] for domain in state["domains"].values() for disk in domain["disks"].values()]
    if target in guest["disks"]:
        return recorded("virsh_attach-disk_duplicate_target", target=target)
    if not Path(source).exists():
        return recorded("virsh_attach-disk_missing_source", link=source)
    if source in sources:
        return recorded("virsh_attach-disk_same_source_second_target")
    mode = "r" if options.get("--mode") == "readonly" else "w"
    guest["disks"][target] = {"source": source, "state": 4, "mode": mode}
    return recorded("virsh_attach-disk_ok")


def _detach_disk(guest: dict, options: dict, state: dict) -> tuple[str, str, int]:
    target = options["--target"]
    if target not in guest["disks"]:
        return recorded("virsh_detach-disk_again", target=target)
    if guest["paused"]:
        return recorded("virsh_detach-disk_paused")
    del guest["disks"][target]
    return recorded("virsh_detach-disk_ok")


def _blockresize(guest: dict, options: dict, state: dict) -> tuple[str, str, int]:
    disk = guest["disks"][options["--path"]]
    disk["size"] = int(options["--size"].rstrip("B"))
    return "", "", 0


_VIRSH = {
    "blockresize": _blockresize,
    "domblklist": _domblklist,
    "attach-disk": _attach_disk,
    "detach-disk": _detach_disk,
}
