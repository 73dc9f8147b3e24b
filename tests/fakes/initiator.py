"""The programs of a fake host's initiator: iscsiadm, and multipathd's."""

from __future__ import annotations

import os
import time

from fakes.recordings import recorded
from fakes.state import HostState

# -- initiator --------------------------------------------------------------------------------------------------------


def iscsiadm(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    if arguments == ["--version"]:
        return "iscsiadm version 2.1.8\n", "", 0
    assert arguments[:3] == ["-m", "node", "-T"]
    assert arguments[4] == "-p"
    iqn, portal, action = arguments[3], arguments[5], arguments[-1]
    address, _, port = portal.rpartition(":")
    address = address.strip("[]")
    record = f"/etc/iscsi/nodes/{iqn}/{address},{port}"
    names = {"iqn": iqn, "portal": f"{address},{port}"}
    return _ISCSIADM[action](host, record, names, address, port)


def _new(host: HostState, record: str, names: dict, address: str, port: str) -> tuple[str, str, int]:
    os.makedirs(os.path.dirname(record), exist_ok=True)
    if os.path.exists(record):
        os.unlink(record)
    shown, _, _ = recorded("iscsiadm_node_-o_show", iqn=names["iqn"])
    with open(os.open(record, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(shown)
    return recorded("iscsiadm_node_-o_new", **names)


def _show(host: HostState, record: str, names: dict, address: str, port: str) -> tuple[str, str, int]:
    if not os.path.exists(record):
        return recorded("iscsiadm_login_unknown_record")
    return recorded("iscsiadm_node_-o_show", iqn=names["iqn"])


def _delete(host: HostState, record: str, names: dict, address: str, port: str) -> tuple[str, str, int]:
    if not os.path.exists(record):
        return recorded("iscsiadm_node_-o_delete_again")
    if _session(host.state(), names["iqn"], address, port):
        return recorded("iscsiadm_node_-o_delete_logged_in", **names)
    os.unlink(record)
    return recorded("iscsiadm_node_-o_delete_ok")


def _login(host: HostState, record: str, names: dict, address: str, port: str) -> tuple[str, str, int]:
    if not os.path.exists(record):
        return recorded("iscsiadm_login_unknown_record")
    with open(record) as file:
        settings = dict(line.strip().split(" = ", 1) for line in file if " = " in line)  # the last one of a name wins
    with host.changing() as state:
        if _session(state, names["iqn"], address, port):
            return recorded("iscsiadm_login_already_logged_in")
        with host.world.tgt() as server:
            refusal, target = _ask_server(server, names["iqn"], address, state["address"], settings)
            if refusal:
                return recorded(refusal, **names)
            with open("/etc/iscsi/initiatorname.iscsi") as file:
                initiator = file.read().strip().partition("=")[2]
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


def _logout(host: HostState, record: str, names: dict, address: str, port: str) -> tuple[str, str, int]:
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
    return recorded("iscsiadm_logout_ok", **names, sid=f"sid: {sid}")


_ISCSIADM = {"new": _new, "show": _show, "delete": _delete, "--login": _login, "--logout": _logout}


def _session(state: dict, iqn: str, address: str, port: str) -> str:
    for sid, session in state["sessions"].items():
        if (session["iqn"], session["address"], session["port"]) == (iqn, address, port):
            return sid
    return ""


def _free_device(state: dict) -> str:
    taken = {session["device"] for session in state["sessions"].values()}
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = ["sd" + first + second for first in ["", *letters] for second in letters]
    return next(name for name in names if name not in taken)


# -- several paths ----------------------------------------------------------------------------------------------------


def multipathd(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
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
    session = session_of(state, path)
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
    found["size"] = min(session_of(state, path)["size"] for path in found["paths"])
    return recorded("multipathd_resize_map_ok")


_MULTIPATHD = {
    ("show", "daemon"): _show_daemon,
    ("show", "config"): _show_config,
    ("add", "path"): _add_path,
    ("resize", "map"): _resize_map,
}


def multipath(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    option, name = arguments
    with host.changing() as state:
        if option == "-a":
            session = session_of(state, os.path.basename(name))
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


def dmsetup(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    action, name, sector, message = arguments
    assert (action, sector, message) == ("message", "0", "fail_if_no_path")
    with host.changing() as state:
        state["maps"][name]["queues"] = False
    return recorded("dmsetup_message_ok")


def session_of(state: dict, device: str) -> dict | None:
    return next((session for session in state["sessions"].values() if session["device"] == device), None)


def _map_name(session: dict) -> str:
    return "3" + session["wwid"].partition(".")[2]


PROGRAMS = {"dmsetup": dmsetup, "iscsiadm": iscsiadm, "multipath": multipath, "multipathd": multipathd}
