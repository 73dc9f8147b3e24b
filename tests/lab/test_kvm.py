"""A KVM host beside the Xen host: libvirt, a guest that QEMU emulates inside the emulated node, a real iSCSI disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from initiator import initiator_name
from rig import KVM, MIB, NODE, PORTAL, XEN, Desk, Lab, iqn, wrong


@pytest.fixture
def lab(tmp_path: Path, running_lab: Lab) -> Iterator[Lab]:
    """A node that is there for one test only. ssh knows both."""
    running_lab.clean()
    with Lab(tmp_path, KVM).for_a_while() as kvm:
        both = [f"Include {each.env['ONE_ISCSI_LAB_RUN']}/ssh_config\n" for each in (kvm, running_lab)]
        (tmp_path / "ssh_config").write_text("".join(both))
        kvm.env["SSH"] = f"ssh -F {tmp_path}/ssh_config"
        yield kvm


def give_each_host_a_name(desk: Desk, lab: Lab, name: str) -> None:
    """The KVM host joins the Xen host's cloud with its initiator name ``name``, as a copy of its disk would."""
    lab.reset_oned(XEN)
    lab.root(f"iscsiadm -k 0; echo InitiatorName={name} >/etc/iscsi/initiatorname.iscsi; iscsid")
    told = [
        f"FAIL host {host}: it has the initiator name of host {other}, {name}: "
        f"give one of them its own: onevolume host prepare {host} --rename"
        for host, other in ((KVM.name, NODE), (NODE, KVM.name))
    ]
    assert wrong(desk) == told

    # Never while somebody is logged in by the old name.
    lab.target("create", "--open", "ALL", "byhand", "1M")
    lab.opened_by_hand.add("byhand")
    node = f"iscsiadm -m node -T {iqn('byhand')} -p {PORTAL}"
    lab.root(f"{node} -o new; {node} --login")
    try:
        error = desk.fails(8, "host", "prepare", KVM.name, "--rename")
        assert "but there are iSCSI sessions: move the VMs away and log out" in error
        assert name in lab.root("cat /etc/iscsi/initiatorname.iscsi")
    finally:
        lab.root(f"{node} --logout; {node} -o delete")

    said = desk.ok("host", "prepare", KVM.name, "--rename")
    assert f"done host {KVM.name}: the host shall not keep the initiator name {name}: it is iqn." in said
    assert f"done host {KVM.name}: iscsid started" in said
    assert wrong(desk) == []
    said = desk.ok("host", "prepare", KVM.name)
    assert "done " not in said


def test_a_volume_is_used_by_a_guest_on_kvm(desk: Desk, lab: Lab, running_lab: Lab) -> None:
    give_each_host_a_name(desk, lab, initiator_name(running_lab))
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
