"""The programs of a fake host's hypervisor: Xen's xl, the older xm, and xenstore-read; libvirt's virsh."""

from __future__ import annotations

import os

from fakes.recordings import recorded
from fakes.state import HostState

# -- Xen --------------------------------------------------------------------------------------------------------------


def xl(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    with host.changing() as state:
        return _XL[arguments[0]](state, *_guest(state, arguments[1]), *arguments[2:])


def _guest(state: dict, domain: str) -> tuple[str, dict | None]:
    """The name and state of a guest given by its name or number."""
    if domain.isdigit() and int(domain) <= len(state["domains"]):
        domain = list(state["domains"])[int(domain) - 1]
    return domain, state["domains"].get(domain)


def _number(vdev: str) -> int:
    index = ord(vdev[-1]) - ord("a")
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
    vdev, mode, link = (part.partition("=")[2] for part in spec.split(",")[1:])
    assert spec == f"format=raw,vdev=xvd{vdev[-1]},access={mode},target={link}", f"what would xl say to {spec}?"
    assert mode in ("r", "w"), f"what would xl say to {spec}?"
    if vdev in guest["disks"]:
        return recorded("xl_block-attach_duplicate_vdev_other_device")
    if not os.path.exists(link):
        return recorded("xl_block-attach_missing_device", vdev=vdev, link=link)
    others = [disk for other in state["domains"].values() if other is not guest for disk in other["disks"].values()]
    if any(disk["source"] == link for disk in others):
        guest["disks"][vdev] = {"source": link, "state": 3, "mode": mode}
        return recorded("xl_block-attach_same_device_other_domain", vdev=_number(vdev))
    guest["disks"][vdev] = {"source": link, "state": 1 if guest["paused"] else 4, "mode": mode}
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


# Nobody recorded xm. What it says is from the source of Xen 4.1.2, tools/python/xen/: xm/main.py (xm_block_*, err,
# _run_cmd, cmdHelp), xend/XendConfig.py (device_duplicate_check) and xend/server/DevController.py, with the words of
# tools/hotplug/Linux/block. An unknown domain is exit code 3, anything else 1, with the usage on stdout. Where a guest
# does not let go, the real one takes 100 s to say so.
_XM_USAGE = {
    "block-attach": "<Domain> <BackDev> <FrontDev> <Mode> [BackDomain]\n\nCreate a new virtual block device.",
    "block-detach": "<Domain> <DevId> [-f|--force]\n\nDestroy a domain's virtual block device.",
}


def xm(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    action, domain, *rest = arguments
    with host.changing() as state:
        name, guest = ("Domain-0", {"disks": {}}) if domain == "Domain-0" else _guest(state, domain)
        if guest is None:
            return "", f"Error: Domain '{domain}' does not exist.\n", 3
        if action == "block-list":
            return _xm_list(state, name, guest), "", 0
        error = {"block-attach": _xm_attach, "block-detach": _xm_detach}[action](state, guest, *rest)
    return (f"Usage: xm {action} {_XM_USAGE[action]}\n", f"Error: {error}\n", 1) if error else ("", "", 0)


def _xm_list(state: dict, domain: str, guest: dict) -> str:
    lines = ""
    for vdev, disk in guest["disks"].items():
        number = _number(vdev)
        path = f"/local/domain/0/backend/vbd/{list(state['domains']).index(domain) + 1}/{number}"
        lines += f"{number:<5d}  0    0     {disk['state']:<3d}    8      8     {path:<30}  \n"
    return f"Vdev  BE handle state evt-ch ring-ref BE-path\n{lines}" if lines else ""


def _xm_attach(state: dict, guest: dict, uname: str, vdev: str, mode: str) -> str:
    assert vdev == f"xvd{vdev[-1]}", f"what would xm say to {vdev}?"
    assert mode in ("r", "w"), f"what would xm say to {mode}?"
    kind, _, link = uname.partition(":")
    assert kind == "phy", f"what would xm say to {uname}?"
    refused = f"Device {_number(vdev)} (vbd) could not be connected."
    if any(disk["source"] == link for disk in guest["disks"].values()):
        return f'The file "{link}" is already used'
    if vdev in guest["disks"]:
        return f'The device "{vdev}" is already defined'
    if not os.path.exists(link):
        return f"{refused} {link} does not exist."
    if any(disk["source"] == link for other in state["domains"].values() for disk in other["disks"].values()):
        return f"{refused}\nDevice /dev/sda is mounted in a guest domain,\nand so cannot be mounted now."
    guest["disks"][vdev] = {"source": link, "state": 1 if guest["paused"] else 4, "mode": mode}
    return ""


def _xm_detach(state: dict, guest: dict, vdev: str) -> str:
    if vdev not in guest["disks"]:
        return f"Device {_number(vdev)} not connected"
    if guest["paused"]:
        return f"Device {vdev} (vbd) could not be disconnected. "
    del guest["disks"][vdev]
    return ""


def xenstore_read(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
    sources = {
        f"/local/domain/0/backend/vbd/{domid}/{_number(vdev)}/params": disk["source"]
        for domid, guest in enumerate(host.state()["domains"].values(), 1)
        for vdev, disk in guest["disks"].items()
    }
    values = ""
    for path in arguments:
        if path not in sources:
            return values, f"xenstore-read: couldn't read path {path}\n", 1
        values += sources[path] + "\n"
    return values, "", 0


# -- KVM --------------------------------------------------------------------------------------------------------------


def virsh(host: HostState, arguments: list[str]) -> tuple[str, str, int]:
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
    if not os.path.exists(source):
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


PROGRAMS = {"virsh": virsh, "xenstore-read": xenstore_read, "xl": xl, "xm": xm}
