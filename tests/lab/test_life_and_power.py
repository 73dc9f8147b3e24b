"""Volumes that onevolume makes itself, in every place, on storage servers as they are and as they fail."""

from __future__ import annotations

from pathlib import Path

from rig import MIB, NODE, Desk, Lab, ended
from test_storage_servers import PORTALS, left

#: lab/target's word for a restart of the target daemon.
RESTART = {"tgt": "restart", "lio": "lio"}
PLACES = {"thick": ("--vg", "vg0"), "thin": ("--thin", "vg0/pool"), "file": ("--path", "/srv/volumes")}


def make_everywhere(desk: Desk, kind: str) -> None:
    """A storage server for each place and a volume of its name there, all at once."""
    for name, place in PLACES.items():
        where = ("--host", NODE, "--portal", str(PORTALS[kind]), *place)
        desk.ok("san", "create", name, "--kind", kind, *where)
    creating = [desk.start("create", "12M", "--name", name, "--san", name, "--wait") for name in PLACES]
    assert [ended(each).code for each in creating] == [0, 0, 0]
    assert [desk.status(name) for name in PLACES] == ["free", "free", "free"]


def restart_while_it_is_used(storage: Lab, kind: str) -> None:
    storage.target(RESTART[kind])
    storage.guest("write", "one-7", "xvdp")
    storage.hear("one-7", "dom: xvdp written again")


def test_volumes_are_made_at_once_and_one_grows_in_a_guest(storage: Lab, desk: Desk) -> None:
    make_everywhere(desk, "lio")
    desk.ok("attach", "7", "--volume", "thin")
    assert f"size={12 * MIB} " in "".join(storage.hear("one-7", "dom: xvdp written"))

    restart_while_it_is_used(storage, "lio")
    desk.ok("resize", "thin", "24M")
    storage.hear("one-7", f"dom: xvdp resized size={24 * MIB}")

    desk.ok("detach", "7", "thin", "--yes", "--wait")
    assert storage.leftovers() == []
    desk.ok("delete", *PLACES, "--yes", "--wait")
    assert left(storage) == []


def test_a_server_loses_power_while_it_wipes_one_volume_and_makes_another(
    storage: Lab,
    desk: Desk,
    tmp_path: Path,
) -> None:
    make_everywhere(desk, "tgt")
    disk = desk.volume("thick")["IQN"].rpartition(":")[2]
    desk.ok("attach", "7", "--volume", "thick")
    storage.hear("one-7", "dom: xvdp written")
    restart_while_it_is_used(storage, "tgt")
    (tmp_path / "slow.conf").write_text("wipe_rate = 1M\n")
    desk.env["ONE_ISCSI_CONFIG"] = str(tmp_path / "slow.conf")
    desk.ok("detach", "7", "thick", "--yes")
    storage.root("timeout 60 sh -c 'until grep -q ^OFFSET=[1-9] /var/tmp/one_iscsi/wipe/*; do sleep 0.1; done'; sync")
    creating = desk.start("create", "12M", "--name", "new", "--san", "thick")
    storage.root("timeout 60 sh -c 'until lvs vg0 | grep -c volume- | grep -q 3; do sleep 0.1; done'")
    storage.reboot()
    assert ended(creating).code != 0
    del desk.env["ONE_ISCSI_CONFIG"]
    assert [desk.status(name) for name in ("thick", "new")] == ["wiping", "creating"]

    desk.ok("recover", "--wait")
    assert [desk.status(name) for name in (*PLACES, "new")] == ["free", "free", "free", "free"]
    assert storage.root(f"cmp -n {12 * MIB} /dev/vg0/{disk} /dev/zero && echo zeros") == "zeros\n"
    desk.ok("delete", *PLACES, "new", "--yes", "--wait")
    assert left(storage) == []
