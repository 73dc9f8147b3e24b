"""Volumes that onevolume makes itself, on storage servers as they are and as they fail."""

from __future__ import annotations

from pathlib import Path

from rig import MIB, NODE, Desk, Lab, ended
from test_storage_servers import PORTALS, left


def add_server(desk: Desk, kind: str, *place: str) -> None:
    desk.ok("san", "create", kind, "--kind", kind, "--host", NODE, "--portal", str(PORTALS[kind]), *place)


def test_a_disk_grows_in_a_guest_and_is_taken_away(storage: Lab, desk: Desk) -> None:
    add_server(desk, "lio", "--thin", "vg0/pool")
    desk.ok("create", "12M", "--name", "v", "--wait")
    desk.ok("attach", "7", "10M")
    assert f"size={12 * MIB} " in "".join(storage.hear("one-7", "dom: xvdp written"))

    desk.ok("resize", "v", "24M")
    storage.hear("one-7", f"dom: xvdp resized size={24 * MIB}")

    desk.ok("detach", "7", "v", "--yes", "--wait")
    assert storage.leftovers() == []
    desk.ok("delete", "v", "--yes", "--wait")
    assert left(storage) == []


def test_a_server_loses_power_while_it_wipes_one_volume_and_makes_another(
    storage: Lab,
    desk: Desk,
    tmp_path: Path,
) -> None:
    add_server(desk, "tgt", "--vg", "vg0")
    desk.ok("create", "12M", "--name", "old", "--wait")
    disk = desk.volume("old")["IQN"].rpartition(":")[2]
    desk.ok("attach", "7", "10M")
    storage.hear("one-7", "dom: xvdp written")
    (tmp_path / "slow.conf").write_text("wipe_rate = 1M\n")
    desk.env["ONE_ISCSI_CONFIG"] = str(tmp_path / "slow.conf")
    desk.ok("detach", "7", "old", "--yes")
    storage.root("timeout 60 sh -c 'until grep -q ^OFFSET=[1-9] /var/tmp/one_iscsi/wipe/*; do sleep 0.1; done'; sync")
    creating = desk.start("create", "12M", "--name", "new")
    storage.root("timeout 60 sh -c 'until lvs vg0 | grep -c volume- | grep -q 2; do sleep 0.1; done'")
    storage.reboot()
    assert ended(creating).code != 0
    del desk.env["ONE_ISCSI_CONFIG"]
    assert (desk.status("old"), desk.status("new")) == ("wiping", "creating")

    desk.ok("recover", "--wait")
    assert (desk.status("old"), desk.status("new")) == ("free", "free")
    assert storage.root(f"cmp -n {12 * MIB} /dev/vg0/{disk} /dev/zero && echo zeros") == "zeros\n"
    desk.ok("delete", "old", "new", "--yes", "--wait")
    assert left(storage) == []
