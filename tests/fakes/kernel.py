"""What the kernel and udev of a fake host show of its state, in /sys and /dev."""

from __future__ import annotations

import os
import stat


def make_dev(dev: str) -> None:
    for folder in ("disk/by-path", "disk/by-id", "shm"):
        os.makedirs(f"{dev}/{folder}")
    for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(1, minor))
        os.chmod(f"{dev}/{name}", 0o666)
    os.symlink("/proc/self/fd", f"{dev}/fd")


def show(root: str, state: dict) -> None:
    """Make /sys and /dev say what the state says, in the order the kernel and udev would."""
    sys_class, block, dev = f"{root}/sys/class", f"{root}/sys/block", f"{root}/dev"
    wanted = {f"session{sid}": session for sid, session in state["sessions"].items()}
    for name in os.listdir(f"{sys_class}/iscsi_session"):
        if name not in wanted:
            _remove(f"{sys_class}/iscsi_session/{name}")
            _remove(f"{sys_class}/iscsi_connection/connection{name[7:]}:0")
    disks = {session["device"]: session for session in wanted.values() if session["device"]}
    places = {device: [f"{block}/{device}"] for device in disks}  # the kernel has one folder by two names
    for name, session in wanted.items():
        sid = name[7:]
        _files(f"{sys_class}/iscsi_session/{name}", targetname=session["iqn"], state=session["state"])
        connection = f"{sys_class}/iscsi_connection/connection{sid}:0"
        _files(connection, persistent_address=session["address"], persistent_port=session["port"])
        unit = f"{sys_class}/iscsi_session/{name}/device/target{sid}:0:0/{sid}:0:0:{session['lun']}"
        if session["device"]:
            places[session["device"]].append(f"{unit}/block/{session['device']}")
            os.makedirs(places[session["device"]][-1], exist_ok=True)
        else:
            _remove(unit)
    for name, session in disks.items():
        _files(f"{block}/{name}", size=session["size"] // 512, dev=f"8:{16 * _disk_number(name)}")
        _files(f"{block}/{name}/device", wwid=session["wwid"], delete="")
        os.makedirs(f"{block}/{name}/holders", exist_ok=True)
        page = session["serial"].encode()
        with open(f"{block}/{name}/device/vpd_pg80", "wb") as file:
            file.write(b"\0\x80\0" + bytes([len(page)]) + page)
        if not os.path.islink(f"{dev}/{name}"):
            os.symlink(session["path"], f"{dev}/{name}")
    maps = {f"dm-{found['number']}": (name, found) for name, found in state["maps"].items()}
    _show_maps(root, maps, places)
    for name in os.listdir(block):
        if name not in disks and name not in maps and os.path.islink(f"{dev}/{name}"):
            _remove(f"{block}/{name}")
            os.unlink(f"{dev}/{name}")
    links = {}
    for name, session in disks.items():
        link = f"ip-{session['address']}:{session['port']}-iscsi-{session['iqn']}-lun-{session['lun']}"
        links[link] = f"../../{name}"
    ids = {f"dm-uuid-{found['uuid']}": f"../../{device}" for device, (_, found) in maps.items()}
    devices = {f"/dev/disk/by-path/{link}": place[6:] for link, place in links.items()}
    devices.update({f"/dev/disk/by-id/{link}": place[6:] for link, place in ids.items()})
    _show_back_ends(root, state, devices)
    _links(f"{dev}/disk/by-path", links)
    _links(f"{dev}/disk/by-id", ids)


def _show_maps(root: str, maps: dict[str, tuple[str, dict]], places: dict[str, list[str]]) -> None:
    """``places``: the folders of each disk."""
    block, dev = f"{root}/sys/block", f"{root}/dev"
    for device, (name, found) in maps.items():
        _files(f"{block}/{device}", size=found["size"] // 512, dev=f"253:{found['number']}")
        _files(f"{block}/{device}/dm", name=name, uuid=found["uuid"])
        slaves = f"{block}/{device}/slaves"
        os.makedirs(slaves, exist_ok=True)
        for slave in os.listdir(slaves):
            if slave not in found["paths"]:
                os.rmdir(f"{slaves}/{slave}")
        for path in found["paths"]:
            os.makedirs(f"{slaves}/{path}", exist_ok=True)
        if not os.path.islink(f"{dev}/{device}"):
            os.symlink(found["file"], f"{dev}/{device}")
    for disk, folders in places.items():
        for folder in folders:
            holders = f"{folder}/holders"
            for holder in os.listdir(holders) if os.path.exists(holders) else ():
                if holder not in maps and os.path.exists(f"{holders}/{holder}/dm/name"):
                    _remove(f"{holders}/{holder}")
            for device, (name, found) in maps.items():
                if disk in found["paths"]:
                    _files(f"{holders}/{device}/dm", name=name, uuid=found["uuid"])


def _show_back_ends(root: str, state: dict, devices: dict[str, str]) -> None:
    """Xen's block back ends in dom0's kernel; a disk in state 3 never got a device there."""
    folder = f"{root}/sys/bus/xen-backend/devices"
    _remove(folder)
    names = {1: "InitWait", 4: "Connected", 6: "Closed"}
    for domid, domain in enumerate(state["domains"].values(), 1):
        for vdev, disk in domain["disks"].items():
            if vdev.startswith("xvd") and disk["state"] in names and disk["source"] in devices:
                number = 202 << 8 | ord(vdev[3]) - ord("a") << 4
                device = devices[disk["source"]]
                physical = f"fd:{int(device[3:]):x}" if device[:3] == "dm-" else f"8:{16 * _disk_number(device):x}"
                shown = {"state": names[disk["state"]]} if state["shows_states"] else {}
                _files(f"{folder}/vbd-{domid}-{number}", physical_device=physical, **shown)


def _disk_number(name: str) -> int:
    """0 for sda, 25 for sdz, 26 for sdaa."""
    number = 0
    for letter in name[2:]:
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


def _links(folder: str, links: dict[str, str]) -> None:
    for name in os.listdir(folder):
        if name not in links:
            os.unlink(f"{folder}/{name}")
    for link, place in links.items():
        if not os.path.islink(f"{folder}/{link}"):
            os.symlink(place, f"{folder}/{link}")


def _files(folder: str, **contents: object) -> None:
    os.makedirs(folder, exist_ok=True)
    for name, content in contents.items():
        if not _holds(f"{folder}/{name}", f"{content}\n"):
            put(f"{folder}/{name}", f"{content}\n")


def _holds(path: str, text: str) -> bool:
    try:
        with open(path) as file:
            return file.read() == text
    except FileNotFoundError:
        return False


def _remove(folder: str) -> None:
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(f"{place}/{name}")
        os.rmdir(place)


def put(path: str, text: str) -> None:
    """Write a file as a whole: whoever reads it meanwhile must not find it empty."""
    folder, _, name = path.rpartition("/")
    new = f"{folder}/.{name}.new"
    with open(new, "w") as file:
        file.write(text)
    os.replace(new, path)
