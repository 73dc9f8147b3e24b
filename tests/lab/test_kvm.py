"""The main job on a KVM host: libvirt, a guest that QEMU emulates inside the emulated node, and a real iSCSI disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rig import KVM, MIB, PORTAL, Desk, Lab, iqn


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A node that is there for one test only: it takes as much memory as the other."""
    kvm = Lab(tmp_path, KVM)
    with ExitStack() as stack:
        stack.callback(kvm.down)
        kvm.start()
        stack.callback(kvm.close)
        yield kvm


def test_a_volume_is_used_by_a_guest_on_kvm(desk: Desk, lab: Lab) -> None:
    desk.with_volume("v", "3M", "--dirty")

    assert desk.ok("attach", "7", "2M") == f"volume 1 (3M) attached to VM 7 on host {KVM.name} as vdz\n"
    # without disks of its own, the guest calls the first one that comes vda
    said = "\n".join(lab.hear("one-7", "dom: vda written"))
    assert f"dom: vda size={3 * MIB} ro=0 head=[old data of v " in said
    link = f"/dev/disk/by-path/ip-{PORTAL}-iscsi-{iqn('v')}-lun-1"
    assert lab.root("virsh --quiet domblklist one-7").split() == ["vdz", link]
    [disk] = [line for line in lab.root("virsh dumpxml one-7").splitlines() if "<driver name='qemu' type='raw'" in line]
    assert "cache='none'" in disk
    assert f"ok   host {KVM.name}: oneadmin is in the group disk" in desk("check", "--host", KVM.name).out

    detached = desk("detach", "7", "v", "--keep", "--yes")
    lab.hear("one-7", "dom: vda gone")
    if "the guest does not take or give the disk" in detached.err:  # on a busy machine it needs longer than it is given
        detached = desk("detach", "7", "v", "--keep", "--yes")
    assert (detached.code, detached.out) == (0, "volume 1 (3M) detached from VM 7, its data is kept\n"), detached.err
    assert lab.leftovers() == []
    assert desk.status("v") == "available"
    assert lab.target("data", "v", "1").startswith("from-one-7-vda\n")
