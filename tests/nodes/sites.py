"""Hosts for the same stories: fake ones (Xen, KVM; scripts run by bash or by dash) and the lab's real Xen host."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fakes.world import World, use_shell
from lab_node import NODE

from one_iscsi.iscsi import Portal
from one_iscsi.model import Chap, Identity, Volume
from one_iscsi.nodes import Attached, Node
from one_iscsi.remote import Remote
from one_iscsi.san import WipeStatus

LAB = Path(__file__).resolve().parents[2] / "lab"
MIB = 1 << 20
OTHER_GUEST = "one-8"


class Site:
    """A host with the running guests one-7 and one-8, and its storage server."""

    node: Node
    guest = "one-7"
    portal: Portal
    #: The same server's other address.
    second: Portal

    def volume(self, name: str, size: int = 8 * MIB) -> Volume:
        """A volume of this name, open to the host."""
        self.make_target(name, size)
        return Volume(
            id=len(name) + 10, name=name, iqn=self.iqn(name), lun=1, portals=(self.portal,), size_bytes=size, serial="",
            wwid="", san_id=1, status="attaching", version=1,
        )  # fmt: skip

    def several(self, name: str, size: int = 8 * MIB) -> Volume:
        """The same with two portals, on a host where multipathd runs."""
        self.run_multipathd()
        return replace(self.volume(name, size), portals=(self.portal, self.second))

    def attach(
        self, volume: Volume, targets: Sequence[str] = (), *, chap: Chap | None = None, guest: str = "", **more: object
    ) -> Attached:
        identity = more.pop("identity", None) or Identity(volume.size_bytes, volume.serial, bool(volume.serial))
        targets = targets or self.node.hypervisor.target_names
        return self.node.attach(volume, identity, chap, guest or self.guest, targets, **more)

    def detach(self, volume: Volume, guest: str = "", **more: object) -> None:
        self.node.detach(volume, guest or self.guest, **more)

    def known(self, volume: Volume, attached: Attached) -> Volume:
        """The volume as its row is after the first attach."""
        return replace(volume, serial=attached.serial, wwid=attached.wwid)

    def nothing_left(self, volume: Volume, guest: str = "") -> bool:
        seen = self.node.observe(volume, guest or self.guest)
        return not (seen.target or seen.session or seen.record or seen.device)

    def wait_for_wipe(self, volume: Volume, job: str) -> WipeStatus:
        end = time.monotonic() + 120
        while (status := self.node.wipe_status(volume, job)).state == "running":
            assert time.monotonic() < end, status
            time.sleep(0.2)
        return status


class FakeSite(Site):
    def __init__(self, folder: Path, kind: str, shell: str) -> None:
        self.world = World.create(folder / "world")
        self.host = self.world.add_host("node1", kind)
        use_shell(self.host.folder / "bin", shell)
        for guest in (self.guest, OTHER_GUEST):
            self.host.start_guest(guest)
        self.node = Node(Remote(), "node1", kind)
        self.portal, self.second = Portal("10.9.0.1"), Portal("10.9.1.1")

    def run_multipathd(self, runs: bool = True) -> None:
        with self.host.changing() as state:
            state["find_multipaths"] = "strict" if runs else ""

    def blacklist(self) -> None:
        with self.host.changing() as state:
            state["blacklist"] = True

    def lose_portal(self, portal: Portal) -> None:
        with self.world.tgt() as server:
            server["silent"].append(portal.address)
        with self.host.changing() as state:
            for session in state["sessions"].values():
                if session["address"] == portal.address:
                    session["state"] = "FREE"

    def maps(self) -> list[str]:
        return list(self.host.state()["maps"])

    def paths(self, device: str) -> int:
        maps = self.host.state()["maps"].values()
        return next(len(found["paths"]) for found in maps if f"dm-{found['number']}" == device)

    def share_identity(self, name: str) -> None:
        with self.world.target(self.iqn(name)) as target:
            target["serial"] = "beaf11"

    def iqn(self, name: str) -> str:
        return f"iqn.2026-01.com.example:{name}"

    def make_target(self, name: str, size: int) -> None:
        self.world.add_target(self.iqn(name), size)

    def ask_for_secret(self, name: str, chap: Chap) -> None:
        shows = (chap.target_user, chap.target_password) if chap.target_user else ()
        self.world.ask_for_secret(self.iqn(name), chap.user, chap.password, shows)

    def close(self, name: str) -> None:
        with self.world.target(self.iqn(name)) as target:
            target["access"] = []

    def lose_lun(self, volume: Volume) -> None:
        with self.host.changing() as state:
            for session in state["sessions"].values():
                if session["iqn"] == volume.iqn:
                    session["size"] = 0

    def log_in_by_hand(self, volume: Volume) -> None:
        """At the first portal."""
        command = 'for o in "-o new" --login; do iscsiadm -m node -T "$0" -p "$1" $o || exit; done'
        subprocess.run(
            ["unshare", "--mount", self.host.folder / "enter", "sh", "-c", command, volume.iqn, str(volume.portal)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def plug_by_hand(self, volume: Volume, target: str, guest: str = "") -> None:
        with self.host.changing() as state:
            state["domains"][guest or self.guest]["disks"][target] = {
                "source": volume.device_path, "state": 4, "mode": "w",
            }  # fmt: skip

    def pause(self, paused: bool) -> None:
        self.host.pause_guest(self.guest, paused)

    def stop_guest(self) -> None:
        self.host.stop_guest(self.guest)

    def portal_dies(self) -> None:
        with self.world.tgt() as server:
            server["down"] = True

    def make_dirty(self, name: str) -> None:
        with self.world.target(self.iqn(name)) as target, open(target["path"], "r+b") as disk:
            disk.write(b"secrets of a tenant " * 1000)

    def is_zero(self, name: str) -> bool:
        with self.world.target(self.iqn(name)) as target:
            return not Path(target["path"]).read_bytes().strip(b"\0")

    def grow(self, name: str, size: int) -> None:
        with self.world.target(self.iqn(name)) as target:
            os.truncate(target["path"], size)

    def size_in_guest(self, target: str) -> int:
        disk = self.host.disks(self.guest)[target]
        if self.node.hypervisor.name == "xen":  # its back end finds out by itself
            sessions = self.host.state()["sessions"].values()
            return next(one["size"] for one in sessions if f"-{one['iqn']}-lun-" in disk["source"])
        return disk["size"]

    def is_read_only(self, target: str) -> bool:
        return self.host.disks(self.guest)[target]["mode"] == "r"


class LabSite(Site):
    """The lab's node."""

    portal = Portal("127.0.0.1")
    second = Portal("10.1.0.2")
    name = NODE

    def __init__(self) -> None:
        self.node = Node(Remote(), self.name, "xen")
        self.run(f"/lab/seed/fresh --resting {self.guest} {OTHER_GUEST}")

    @staticmethod
    def up() -> dict[str, str]:
        """The node runs; the variables by which it is reached."""
        subprocess.run([LAB / "up", LabSite.name], check=True, stdout=subprocess.DEVNULL)
        words = subprocess.run([LAB / "env", LabSite.name], check=True, capture_output=True, text=True).stdout
        lines = [shlex.split(line)[1] for line in words.splitlines()]
        return dict(line.split("=", 1) for line in lines)

    def lab(self, tool: str, *arguments: str) -> str:
        return subprocess.run(
            [LAB / tool, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "ONE_ISCSI_LAB_NODE": self.name},
        ).stdout

    def run(self, script: str) -> str:
        """Run something on the node, as root."""
        return self.lab("ssh", "-r", self.name, script)

    def run_multipathd(self, runs: bool = True) -> None:
        """And the server has its second address."""
        self.run(
            f"ip addr replace {self.second.address}/32 dev lo; rm -f /etc/multipath.conf;"
            "multipathd shutdown; timeout 20 sh -c 'while pidof multipathd; do sleep 0.1; done'"
        )
        if runs:
            self.run(
                "modprobe -a dm_multipath dm_service_time scsi_dh_alua; mkdir -p /run/multipath; multipathd;"
                "timeout 20 sh -c 'until multipathd show daemon; do sleep 0.1; done'"
            )

    def blacklist(self) -> None:
        self.run("printf '%s\\n' 'blacklist {' 'devnode \"^sd\"' '}' >/etc/multipath.conf; multipathd reconfigure")

    def lose_portal(self, portal: Portal) -> None:
        if portal == self.second:
            self.run(f"ip addr del {portal.address}/32 dev lo")
        else:
            self.lab("target", "freeze")

    def maps(self) -> list[str]:
        return self.run("cat /sys/block/dm-*/dm/uuid 2>/dev/null | sed -n s/^mpath-//p").split()

    def paths(self, device: str) -> int:
        return int(self.run(f"ls /sys/block/{device}/slaves | wc -l"))

    def share_identity(self, name: str) -> None:
        change = "--op update --mode logicalunit --lun 1 --params scsi_sn=beaf11"
        self.run(f"tgtadm --lld iscsi {change} --tid {self.tid(name)}")

    def iqn(self, name: str) -> str:
        return f"iqn.2024-01.org.lab:{name}"

    def make_target(self, name: str, size: int) -> None:
        self.lab("target", "create", "--open", "ALL", name, f"{size // MIB}M")

    def tid(self, name: str) -> str:
        return self.run(
            f"tgtadm --lld iscsi --op show --mode target | sed -n 's/^Target \\(.*\\): {self.iqn(name)}$/\\1/p'"
        ).strip()

    def ask_for_secret(self, name: str, chap: Chap) -> None:
        for user, password, way in (
            (chap.user, chap.password, ""),
            (chap.target_user, chap.target_password, "--outgoing"),
        ):
            if user:
                self.run(
                    f"tgtadm --lld iscsi --op new --mode account --user {user} --password {password};"
                    f"tgtadm --lld iscsi --op bind --mode account --tid {self.tid(name)} --user {user} {way} || :"
                )

    def close(self, name: str) -> None:
        self.run(f"tgtadm --lld iscsi --op unbind --mode target --tid {self.tid(name)} -I ALL")

    def lose_lun(self, volume: Volume) -> None:
        tid = self.tid(volume.name)
        self.run(
            f"tgtadm --lld iscsi --op delete --mode logicalunit --tid {tid} --lun 1 --force;"
            f"iscsiadm -m node -T {volume.iqn} --rescan"
        )

    def log_in_by_hand(self, volume: Volume) -> None:
        self.run(
            f"for o in '-o new' --login; do iscsiadm -m node -T {volume.iqn} -p {volume.portal} $o; done;"
            f"until [ -e {volume.device_path} ]; do sleep 0.1; done"
        )

    def plug_by_hand(self, volume: Volume, target: str, guest: str = "") -> None:
        self.run(
            f"xl block-attach {guest or self.guest} 'format=raw,vdev={target},access=rw,target={volume.device_path}'"
        )

    def pause(self, paused: bool) -> None:
        self.lab("guest", "pause" if paused else "unpause", self.guest)

    def stop_guest(self) -> None:
        self.lab("guest", "stop", self.guest)

    def portal_dies(self) -> None:
        self.lab("target", "freeze")

    def make_dirty(self, name: str) -> None:
        self.run(f"yes secret | head -c 100000 | dd of=/srv/{name}.img conv=notrunc status=none")

    def is_zero(self, name: str) -> bool:
        return "yes" in self.run(f"/lab/seed/target zeros {name} && echo yes || :")

    def is_read_only(self, target: str) -> bool:
        self.lab("guest", "wait", self.guest, f"dom: {target} size=")
        lines = self.lab("guest", "console", self.guest).splitlines()
        return "ro=1" in [line for line in lines if f"dom: {target} size=" in line][-1]
