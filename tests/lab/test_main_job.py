"""Attach, use, keep, attach elsewhere, release: the life of a volume on real parts."""

from __future__ import annotations

from rig import MIB, NODE, Desk, Lab


def test_a_volume_is_used_kept_used_by_another_guest_and_wiped(desk: Desk, lab: Lab) -> None:
    desk.with_volume("v", "3M", "--dirty")

    assert desk.ok("attach", "7", "2M") == f"volume 1 (3M) attached to VM 7 on host {NODE} as xvdp\n"
    seen, _ = lab.hear("one-7", "dom: xvdp written")
    assert f"dom: xvdp size={3 * MIB} ro=0 " in seen
    row = desk.volume("v")
    assert (row["STATUS"], row["SIZE"], row["HOLDER_KIND"], row["HOLDER_ID"]) == ("in_use", 3 * MIB, "vm", 7)
    [place] = row["ATTACHMENT"]
    assert (place["VM_ID"], place["HOST"], place["TARGET"], place["READONLY"]) == (7, NODE, "xvdp", False)
    _, listed = desk.ok("list", "--csv").splitlines()
    assert listed == f"1,0,v,3M,in_use,7,{NODE},xvdp,tgt1,{row['IQN']}"

    assert desk.ok("detach", "7", "v", "--keep", "--yes") == "volume 1 (3M) detached from VM 7, its data is kept\n"
    lab.hear("one-7", "dom: xvdp gone")
    assert lab.leftovers() == []
    assert desk.status("v") == "available"

    # VM 9 is ann's
    assert "holds data of user 0" in desk.refused(6, "attach", "9", "--volume", "v")
    desk.ok("attach", "db", "--volume", "v")
    seen, _ = lab.hear("one-8", "dom: xvdp written")
    assert "sector1=[from-one-7-xvdp]" in seen

    said = desk.ok("detach", "db", "v", "--yes", "--wait")
    assert said.splitlines() == ["volume 1 (3M) detached from VM 8, it is being wiped", "volume 1 is free"]
    assert lab.is_zeros("v")
    assert lab.leftovers() == []

    # free again, for anybody; and this time in other words
    desk.ok("attach", "9", "3M", "--read-only", "--target", "xvde")
    assert f"dom: xvde size={3 * MIB} ro=1 head=[] sector1=[]" in lab.hear("one-8", "dom: xvde ")
    desk.ok("detach", "9", "v", "--keep", "--yes")
    assert lab.leftovers() == []
