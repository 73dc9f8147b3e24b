"""The scripts as texts: they read well to shellcheck, run in bash and dash, and ask sudo for what it allows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.world import use_shell
from sites import FakeSite

from one_iscsi.nodes.hypervisors import hypervisor
from one_iscsi.remote import LOOKING, wrap
from one_iscsi.san.wipe import SCRIPT as WIPE

ROOT = Path(__file__).resolve().parents[2]
NODES = ROOT / "src" / "one_iscsi" / "nodes"
SCRIPTS = ("attach", "detach", "observe", "resize", "visit", "check", "wipe")


def text(script: str, vm_mad: str, several: bool = False) -> list[str]:
    parts = [NODES / "scripts" / f"{name}.sh" for name in ("initiator", "guest", script)]
    parts[2:2] = [hypervisor(vm_mad).words, WIPE, LOOKING]
    parts += [NODES / "scripts" / "multipath.sh"] * several
    return [part.read_text() for part in parts]


@pytest.mark.parametrize("vm_mad", ["xen", "kvm"])
@pytest.mark.parametrize(("script", "several"), [("attach", True), *((script, False) for script in SCRIPTS)])
def test_shellcheck(script: str, several: bool, vm_mad: str, tmp_path: Path) -> None:
    parts = [(NODES.parent / "scripts" / "common.sh").read_text(), *text(script, vm_mad, several), "main\n"]
    whole = tmp_path / "whole.sh"
    whole.write_text("\n".join(parts).replace("disable=SC2034,SC2154", ""))

    # what the other scripts use is unused here: SC2317, SC2034
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-e", "SC2317,SC2034", whole], capture_output=True, text=True, check=False
    )

    assert done.stdout == ""


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_cut_anywhere_does_nothing(script: str, shell: str, tmp_path: Path) -> None:
    whole = wrap({"IQN": "iqn.2026-01.com.example:v1"}, tuple(text(script, "xen", several=True)), 10)

    use_shell(tmp_path, shell)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    for length in range(0, len(whole) - 12, 997):
        command = ["bash", "-s"]
        done = subprocess.run(command, env=env, input=whole[:length], capture_output=True, text=True, check=False)
        assert done.stdout == ""


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("51712", "xvda"),
        ("51728", "xvdb"),
        ("51952", "xvdp"),
        ("268439552", "xvdq"),
        ("268441856", "xvdz"),
        ("51713", "51713"),
        ("2048", "2048"),
    ],
)
def test_numbers_and_names_of_xen(shell: str, number: str, name: str) -> None:
    script = f'{(NODES / "hypervisors/xen.sh").read_text()}\nxen_name {number}; printf %s "$name"\n'

    assert subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True).stdout == name


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("xl_block-attach_missing_device", "Disk vdev=xvdd failed to stat: /dev/disk/by-path/ip-127"),
        (
            "xl_block-attach_device_mounted",
            "script: Device /dev/sdb is mounted in the privileged domain,",
        ),
        ("xl_block-attach_bad_domain", "nosuch is an invalid domain identifier"),
        ("virsh_attach-disk_missing_source", "Cannot access storage file '/dev/disk/by-path/nosuch'"),
        (
            "iscsiadm_login_CHAP_wrong_password",
            "initiator reported error (24 - iSCSI login failed due to authorization",
        ),
        ("iscsiadm_login_unknown_record", "No records found"),
    ],
)
def test_the_line_that_says_why(said: str, reason: str) -> None:
    out = (ROOT / "tests/data/node" / f"{said}.txt").read_text().split("--- stderr\n")[1].split("\n---")[0]
    part, function = {
        "xl": ("hypervisors/xen.sh", "hv_reason"),
        "virsh": ("hypervisors/kvm.sh", "hv_reason"),
        "iscsiadm": ("scripts/initiator.sh", "iscsi_reason"),
    }[said.split("_")[0]]
    script = f"{(NODES / part).read_text()}\nout=$1; {function}"

    done = subprocess.run(["dash", "-c", script, "-", out], capture_output=True, text=True, check=True)

    assert reason in done.stdout
    assert done.stdout.count("\n") == 1


def test_sudo_allows_one_file_to_tee_and_no_way_out(xen: FakeSite) -> None:
    def allowed(*command: str) -> bool:
        done = subprocess.run([xen.host.folder / "bin" / "sudo", "-n", "-l", *command])
        return done.returncode == 0

    record = "/etc/iscsi/nodes/iqn.2026-01.com.example:v/192.0.2.1,3260"
    assert allowed("tee", "-a", record)
    assert not allowed("tee", "-a", record, "/etc/passwd")
    assert not allowed("tee", "-a", "/etc/iscsi/nodes/../../passwd")
    assert not allowed("tee", "/sys/block/sda/device/delete", "/etc/passwd")
    assert not allowed("tee", "/sys/block/sda/../../../etc/x/device/delete")
    assert not allowed("sh")


def test_the_sudoers_file_is_one() -> None:
    subprocess.run(["visudo", "-cf", ROOT / "share" / "one_iscsi.sudoers"], check=True, stdout=subprocess.DEVNULL)


def test_what_the_fakes_make_up_looks_like_what_was_recorded(xen: FakeSite, kvm: FakeSite) -> None:
    volume = xen.volume("v1")
    xen.plug_by_hand(volume, "xvdb")
    fake = subprocess.run([xen.host.folder / "bin" / "xl", "block-list", "one-7"], capture_output=True, text=True)
    real = (ROOT / "tests/data/node/xl_block-list_one-7_one.txt").read_text().split("--- stdout\n")[1]
    assert fake.stdout.split() == real.split("--- stderr")[0].split()

    kvm.plug_by_hand(kvm.volume("v1"), "vdb")
    command = [kvm.host.folder / "bin" / "virsh", "--quiet", "--connect", "qemu:///system", "domblklist", "--details"]
    fake = subprocess.run([*command, "--domain", "one-7"], capture_output=True, text=True)
    real = (ROOT / "tests/data/node/virsh_domblklist_--details.txt").read_text().splitlines()[4]
    assert fake.stdout.split()[:3] == real.split()[:3]
    assert sys.version_info >= (3, 9)


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize(
    ("page", "serial"),
    [
        (b"\0\x80\0\x10abcdefgh12345678", "abcdefgh12345678"),
        (b"\0\x80\0\x20" + b" " * 20 + b"de24bbe4c88f", "de24bbe4c88f"),
        (b"\0\x80\0\x0a0123456789", "0123456789"),  # a length that is a line's end
        (b"\0\x80\0\x09 a  b c  ", "a  b c"),
        (b"\0\x80\0\x0cabc" + bytes(9), "abc"),
        (b"\0\x80\0\x04 \\t ", "\\t"),
        (b"\0\x80\0\0", ""),
        (None, ""),  # not that of the path before
    ],
)
def test_the_serial_of_a_disk(page: bytes | None, serial: str, shell: str, tmp_path: Path) -> None:
    """vpd_pg80 as the kernel shows it: SPC-4, 7.8.16, Unit Serial Number VPD page."""
    device = tmp_path / "sda" / "device"
    device.mkdir(parents=True)
    (device / "wwid").write_text("naa.6000000000000001\n")
    if page is not None:
        (device / "vpd_pg80").write_bytes(page)
    script = (NODES / "scripts" / "attach.sh").read_text().replace("/sys/block", str(tmp_path))
    values = "export LC_ALL=C\ndevice=sda sectors=8 WANTED_SIZE=0 WANTED_SERIAL= WANTED_WWID= serial=OLD\n"
    command = values + script + 'check_identity 2>/dev/null\nprintf \'[%s] %s\' "$serial" "$wwid"\n'
    done = subprocess.run([shell, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == f"[{serial}] naa.6000000000000001"
