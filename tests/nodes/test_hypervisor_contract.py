"""The words of a hypervisor (guest.sh), told to the fakes and to a real libvirt with an emulated guest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import LAB, FakeSite

from one_iscsi.nodes.hypervisors import hypervisor
from one_iscsi.remote import LOOKING, Answer, Remote

HERE = Path(__file__).parent
GUESTS = ("one-7", "one-8")
# A kernel that waits is guest enough: it takes disks and lets them go.
DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>160</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{image}/vmlinux</kernel><initrd>{image}/initrd.img</initrd>
<cmdline>console=ttyS0 panic=-1 mitigations=off rdinit=/bin/busybox -- sleep 1000000</cmdline></os>
<features><acpi/></features><cpu mode='custom'><model>Nehalem</model></cpu>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/>
<memballoon model='none'/><serial type='file'><source path='{directory}/{name}.log'/></serial></devices></domain>"""


class Host:
    """``links`` are two devices; ``host`` is where scripts find the hypervisor of ``vm_mad``."""

    host: str
    vm_mad: str
    links: list[str]

    def pause(self, paused: bool) -> None:
        raise NotImplementedError

    def grow(self, link: int, size: int) -> None:
        """The device has so many bytes from now on."""
        raise NotImplementedError

    def size_in_guest(self, target: str) -> int:
        raise NotImplementedError

    def do(self, what: str, domain: str = GUESTS[0], link: int = 0, mode: str = "w") -> Answer:
        words = [HERE.parents[1] / "src/one_iscsi/nodes/scripts/guest.sh", hypervisor(self.vm_mad).words]
        main = "answer() {\n    " + what + "\n    say CODE $?\n}\nmain() {\n    answer\n}\n"
        values = {"DOMAIN": domain, "LINK": self.links[link], "MODE": mode}
        parts = [*(part.read_text() for part in words), main]
        return Remote().run(self.host, "contract", *parts, values=values, limit=60)

    def code(self, what: str, domain: str = GUESTS[0], link: int = 0, mode: str = "w") -> str:
        return self.do(what, domain, link, mode).get("CODE")

    def disks(self, domain: str = GUESTS[0]) -> list[list[str]]:
        answer = self.do('hv_disks; printf %s "$disks" | sed "s/^/DISK=/"', domain)
        return [disk.split(" ", 2) for disk in answer.all("DISK")]


class FakeHost(Host):
    def __init__(self, site: FakeSite) -> None:
        self.site = site
        self.host, self.vm_mad = "node1", site.node.hypervisor.name
        volumes = [site.volume(name) for name in ("v1", "v2")]
        for volume in volumes:
            site.log_in_by_hand(volume)
        self.links = [volume.device_path for volume in volumes]

    def pause(self, paused: bool) -> None:
        self.site.pause(paused)

    def grow(self, link: int, size: int) -> None:
        with self.site.host.changing() as state:
            for session in state["sessions"].values():
                if session["iqn"] in self.links[link]:
                    session["size"] = size

    def size_in_guest(self, target: str) -> int:
        return self.site.size_in_guest(target)


class Libvirt(Host):
    host, vm_mad = "localhost", "kvm"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loops: list[str] = []
        self.uri = f"qemu+unix:///system?socket={directory}/libvirt-sock"
        flags = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        self.process = subprocess.Popen(["unshare", *flags, HERE / "libvirt-here", directory])
        self.wait_for((directory / "libvirt-sock").exists, 30)
        for name in GUESTS:
            description = directory / f"{name}.xml"
            description.write_text(DOMAIN.format(name=name, image=image(), directory=directory))
            self.virsh("create", str(description))
        for name in GUESTS:
            log = directory / f"{name}.log"
            self.wait_for(lambda log=log: "Run /bin/busybox" in log.read_text(errors="replace"), 240)
        self.links = [self.disk(number) for number in (1, 2)]

    def disk(self, number: int) -> str:
        file, link = self.directory / f"{number}.img", self.directory / f"ip-10.9.0.1:3260-iscsi-v{number}-lun-1"
        with file.open("wb") as new:
            new.truncate(8 << 20)
        loop = subprocess.run(["losetup", "-f", "--show", file], check=True, capture_output=True, text=True).stdout
        self.loops.append(loop.strip())
        link.symlink_to(loop.strip())
        return str(link)

    def wait_for(self, what: object, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not what():  # type: ignore[operator]
            assert time.monotonic() < end, (self.directory / "libvirtd.log").read_text()
            time.sleep(0.1)

    def virsh(self, *arguments: str) -> None:
        command = ["virsh", "--connect", self.uri, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)

    def pause(self, paused: bool) -> None:
        self.virsh("suspend" if paused else "resume", GUESTS[0])

    def grow(self, link: int, size: int) -> None:
        os.truncate(self.directory / f"{link + 1}.img", size)
        subprocess.run(["losetup", "-c", self.loops[link]], check=True)

    def size_in_guest(self, target: str) -> int:
        command = ["virsh", "--connect", self.uri, "qemu-monitor-command", GUESTS[0], '{"execute": "query-block"}']
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        [disk] = [one for one in json.loads(answer)["return"] if "inserted" in one]
        return int(disk["inserted"]["image"]["virtual-size"])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for loop in self.loops:
            subprocess.run(["losetup", "-d", loop], check=False)


def image() -> Path:
    """The lab's image: its kernel is the guests'."""
    made = subprocess.run([LAB / "up", "--image"], stdout=subprocess.PIPE, text=True, timeout=900, check=True)
    return Path(made.stdout.strip())


@pytest.fixture(scope="session")
def libvirt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libvirt]:
    if os.getuid() or not shutil.which("libvirtd") or not shutil.which("virsh"):
        pytest.skip("needs root, libvirtd and virsh")
    host = Libvirt(tmp_path_factory.mktemp("libvirt"))
    yield host
    host.stop()


@pytest.fixture(params=["xen", "xm", "kvm", pytest.param("libvirt", marks=pytest.mark.lab)])
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    found = request.getfixturevalue(request.param)
    if request.param != "libvirt":
        yield FakeHost(found)
        return
    monkeypatch.setenv("LIBVIRT_URI", found.uri)
    yield found
    for link in (0, 1):
        for guest in GUESTS:
            found.do("unplug", guest, link)


def targets(host: Host) -> list[str]:
    return hypervisor(host.vm_mad).target_names


def test_plug_list_unplug(host: Host) -> None:
    target, another = targets(host)[:2]
    assert host.disks() == []

    assert host.code(f"hv_plug {target}") == "0"
    assert host.code(f"hv_connected {target}") == "0"
    assert host.code(f"hv_connected {another}") == "1"
    assert host.code(f"hv_plug {another}", link=1, mode="r") == "0"

    assert sorted(host.disks()) == sorted([[target, "connected", host.links[0]], [another, "connected", host.links[1]]])
    assert host.disks(GUESTS[1]) == []
    assert host.code("unplug") == "0"
    assert host.disks() == [[another, "connected", host.links[1]]]


def test_a_disk_that_grows(host: Host) -> None:
    target = targets(host)[0]
    host.do(f"hv_plug {target}", link=1)
    host.grow(1, 16 << 20)

    answer = host.do(f'WANTED_SIZE={16 << 20}; hv_resize {target}; say CODE $?; say REASON "$(hv_reason)"', link=1)

    assert answer.all("CODE")[0] == "0", answer
    assert host.size_in_guest(target) == 16 << 20


def test_no_such_guest(host: Host) -> None:
    assert host.code("hv_disks", "nosuch") == "1"
    assert host.code(f"hv_plug {targets(host)[0]}", "nosuch") == "2"
    assert host.code("unplug", "nosuch") == "0"


def test_a_target_that_is_taken(host: Host) -> None:
    target = targets(host)[0]
    host.do(f"hv_plug {target}")

    assert host.code(f"hv_plug {target}", link=1) == "3"
    assert host.disks() == [[target, "connected", host.links[0]]]


def test_a_device_that_another_guest_has(host: Host) -> None:
    target = targets(host)[0]
    host.do(f"hv_plug {target}", GUESTS[1])

    answer = host.do(f'hv_plug {target}; say CODE $?; say REASON "$(hv_reason)"; unplug')

    assert answer.all("CODE")[0] == "1"
    assert " is mounted in a guest domain" in answer.get("REASON") or host.vm_mad == "kvm"
    assert host.disks() == []
    assert host.disks(GUESTS[1]) == [[target, "connected", host.links[0]]]


def test_a_device_that_is_not_there(host: Host) -> None:
    host.links = [*host.links, "/dev/disk/by-path/ip-10.9.0.1:3260-iscsi-nosuch-lun-1"]

    answer = host.do(f'hv_plug {targets(host)[0]}; say CODE $?; say REASON "$(hv_reason)"', link=2)
    host.links.pop()

    assert answer.all("CODE")[0] == "1"
    assert any(words in answer.get("REASON") for words in ("No such file or directory", "does not exist"))


def test_a_guest_that_does_not_let_go(host: Host) -> None:
    target = targets(host)[0]
    host.do(f"hv_plug {target}")
    host.pause(True)

    answer = host.do("unplug")

    assert answer.error is not None
    assert answer.error[0] == "guest-refused"
    assert host.disks()[0][0] == target
    host.pause(False)
    host.do("wait_until 10 guest_let_go")
    assert host.code("unplug") == "0"
    assert host.disks() == []


def test_what_a_host_lacks(host: Host) -> None:
    answer = host.do(f"{LOOKING.read_text()}\nhv_check")

    assert answer.all("BAD") == []
    assert "hypervisor" in answer.all("GOOD")
