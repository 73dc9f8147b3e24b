"""What the kernel and udev of a fake host show of its state, in /sys and /dev."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def make_dev(dev: Path) -> None:
    for folder in ("by-path", "by-id"):
        (dev / "disk" / folder).mkdir(parents=True)
    (dev / "shm").mkdir()
    for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (dev / name).chmod(0o666)
    (dev / "fd").symlink_to("/proc/self/fd")


def show(root: Path, state: dict) -> None:
    """Make /sys and /dev say what the state says, in the order the kernel and udev would."""
    sys_class, block, dev = root / "sys/class", root / "sys/block", root / "dev"
    wanted = {f"session{sid}": session for sid, session in state["sessions"].items()}
    for path in (sys_class / "iscsi_session").iterdir():
        if path.name not in wanted:
            _remove(path)
            _remove(sys_class / f"iscsi_connection/connection{path.name[7:]}:0")
    disks = {session["device"]: session for session in wanted.values() if session["device"]}
    for name, session in wanted.items():
        sid = name[7:]
        _files(sys_class / f"iscsi_session/{name}", targetname=session["iqn"], state=session["state"])
        connection = sys_class / f"iscsi_connection/connection{sid}:0"
        _files(connection, persistent_address=session["address"], persistent_port=session["port"])
        device = sys_class / f"iscsi_session/{name}/device/target{sid}:0:0/{sid}:0:0:{session['lun']}/block"
        if session["device"]:
            (device / session["device"]).mkdir(parents=True, exist_ok=True)
        else:
            _remove(device.parent)
    for name, session in disks.items():
        _files(block / name, size=session["size"] // 512, dev=f"8:{16 * _disk_number(name)}")
        _files(block / name / "device", wwid=session["wwid"], delete="")
        (block / name / "holders").mkdir(exist_ok=True)
        page = session["serial"].encode()
        (block / name / "device/vpd_pg80").write_bytes(b"\0\x80\0" + bytes([len(page)]) + page)
        if not (dev / name).is_symlink():
            (dev / name).symlink_to(session["path"])
    maps = {f"dm-{found['number']}": (name, found) for name, found in state["maps"].items()}
    _show_maps(root, maps)
    for path in block.iterdir():
        if path.name not in disks and path.name not in maps and (dev / path.name).is_symlink():
            _remove(path)
            (dev / path.name).unlink()
    links = {}
    for name, session in disks.items():
        link = f"ip-{session['address']}:{session['port']}-iscsi-{session['iqn']}-lun-{session['lun']}"
        links[link] = f"../../{name}"
    ids = {f"dm-uuid-{found['uuid']}": f"../../{device}" for device, (_, found) in maps.items()}
    devices = {f"/dev/disk/by-path/{link}": place[6:] for link, place in links.items()}
    devices.update({f"/dev/disk/by-id/{link}": place[6:] for link, place in ids.items()})
    _show_back_ends(root, state, devices)
    _links(dev / "disk/by-path", links)
    _links(dev / "disk/by-id", ids)


def _show_maps(root: Path, maps: dict[str, tuple[str, dict]]) -> None:
    block, dev = root / "sys/block", root / "dev"
    for device, (name, found) in maps.items():
        _files(block / device, size=found["size"] // 512, dev=f"253:{found['number']}")
        _files(block / device / "dm", name=name, uuid=found["uuid"])
        slaves = block / device / "slaves"
        slaves.mkdir(exist_ok=True)
        for slave in slaves.iterdir():
            if slave.name not in found["paths"]:
                slave.rmdir()
        for path in found["paths"]:
            (slaves / path).mkdir(exist_ok=True)
        if not (dev / device).is_symlink():
            (dev / device).symlink_to(found["file"])
    disks = [*block.iterdir(), *(root / "sys/class/iscsi_session").glob("*/device/target*/*/block/*")]
    for disk in disks:  # the kernel has one folder by two names
        for holder in disk.glob("holders/dm-*"):
            if holder.name not in maps and (holder / "dm/name").exists():
                _remove(holder)
        for device, (name, found) in maps.items():
            if disk.name in found["paths"]:
                _files(disk / "holders" / device / "dm", name=name, uuid=found["uuid"])


def _show_back_ends(root: Path, state: dict, devices: dict[str, str]) -> None:
    """Xen's block back ends in dom0's kernel; a disk in state 3 never got a device there."""
    folder = root / "sys/bus/xen-backend/devices"
    _remove(folder)
    names = {1: "InitWait", 4: "Connected", 6: "Closed"}
    for domid, domain in enumerate(state["domains"].values(), 1):
        for vdev, disk in domain["disks"].items():
            if vdev.startswith("xvd") and disk["state"] in names and disk["source"] in devices:
                number = 202 << 8 | ord(vdev[3]) - ord("a") << 4
                device = devices[disk["source"]]
                physical = f"fd:{int(device[3:]):x}" if device[:3] == "dm-" else f"8:{16 * _disk_number(device):x}"
                place = folder / f"vbd-{domid}-{number}"
                shown = {"state": names[disk["state"]]} if state["shows_states"] else {}
                _files(place, physical_device=physical, **shown)


def _disk_number(name: str) -> int:
    """0 for sda, 25 for sdz, 26 for sdaa."""
    number = 0
    for letter in name[2:]:
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


def _links(folder: Path, links: dict[str, str]) -> None:
    for path in folder.iterdir():
        if path.name not in links:
            path.unlink()
    for link, place in links.items():
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(place)


def _files(folder: Path, **contents: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / name
        if not path.exists() or path.read_text() != f"{content}\n":
            put(path, f"{content}\n")


def _remove(folder: Path) -> None:
    if folder.exists():
        import shutil  # a tenth of what a fake program takes

        shutil.rmtree(folder)


def put(path: Path, text: str) -> None:
    """Write a file as a whole: whoever reads it meanwhile must not find it empty."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)
