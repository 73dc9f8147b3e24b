"""Volumes that onevolume makes itself, in every place, on storage servers as they are and as they fail."""

from __future__ import annotations

import json
from pathlib import Path

from rig import MIB, NODE, Desk, Lab, ended
from test_storage_servers import PORTALS, left, watching

#: lab/target's word for a restart of the target daemon.
RESTART = {"tgt": "restart", "lio": "lio"}
PLACES = {"thick": ("--vg", "vg0"), "thin": ("--thin", "vg0/pool"), "file": ("--path", "/srv/volumes")}

_SECRETS = "cat /sys/kernel/config/target/iscsi/iqn*/tpgt_1/acls/*/auth/password*"

# A job has written something, and now it goes no further: the disk is slow.
_IS_WIPED = """
cd /var/tmp/one_iscsi/wipe
timeout 60 sh -c 'until [ $(grep -lx STATE=running $(grep -l ^OFFSET=[1-9] *) | wc -l) = {} ]; do sleep 0.1; done' &&
    pkill -STOP -u oneadmin -fx "bash -s" && sync
"""
# The script has made so many disks, and now it goes no further.
_ARE_MADE = """
timeout 120 sh -c 'until lvs | grep -c volume- | grep -qx {}; do sleep 0.1; done' &&
    pkill -STOP -u oneadmin -x 'bash|dash'
"""


def add_place(desk: Desk, kind: str, name: str, *place: str) -> None:
    desk.ok("san", "create", name, "--kind", kind, "--host", NODE, "--portal", str(PORTALS[kind]), *place)


def statuses(desk: Desk) -> dict[str, str]:
    """Name → status."""
    return {each["NAME"]: each["STATUS"] for each in json.loads(desk.ok("list", "-j"))["VOLUME_POOL"]["VOLUME"]}


def make_everywhere(desk: Desk, kind: str) -> None:
    """A storage server for each place and a volume of its name there, one more in the volume group, all at once."""
    for name, place in PLACES.items():
        add_place(desk, kind, name, *place)
    where = {**{name: name for name in PLACES}, "more": "thick"}
    creating = [desk.start("create", "24M", "--name", name, "--san", san, "--wait") for name, san in where.items()]
    assert [ended(each).code for each in creating] == [0, 0, 0, 0]
    assert statuses(desk) == dict.fromkeys(where, "free")


def restart_while_it_is_used(storage: Lab, kind: str) -> None:
    storage.target(RESTART[kind])
    storage.guest("write", "one-7", "xvdp")
    storage.hear("one-7", "dom: xvdp written again")


def test_volumes_are_made_at_once_and_one_grows_in_a_guest(storage: Lab, desk: Desk, tmp_path: Path) -> None:
    make_everywhere(desk, "lio")
    assert "no storage server has room for 1G" in desk.refused(4, "create", "1G", "--san", "thick")
    with watching(storage) as seen:
        desk.ok("attach", "7", "--volume", "thin")
    assert f"size={24 * MIB} " in "".join(storage.hear("one-7", "dom: xvdp written"))

    told = [*seen, desk.ok("show", "thin", "-j"), desk.ok("events", "-j"), desk.ok("list", "-x")]
    secrets = storage.root(_SECRETS).split()
    assert len(set(secrets)) == 2
    assert any("auth/password_mutual" in line for line in seen)
    for secret in secrets:
        assert not any(secret in line for line in told)
        assert not any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())

    restart_while_it_is_used(storage, "lio")
    desk.ok("resize", "thin", "48M")
    storage.hear("one-7", f"dom: xvdp resized size={48 * MIB}")

    desk.ok("detach", "7", "thin", "--yes", "--wait")
    assert storage.leftovers() == []
    desk.ok("delete", *PLACES, "more", "--yes", "--wait")
    assert left(storage) == []


def test_a_server_loses_power_while_it_wipes_and_makes_volumes(storage: Lab, desk: Desk, tmp_path: Path) -> None:
    add_place(desk, "tgt", "thick", *PLACES["thick"])
    add_place(desk, "tgt", "thin", *PLACES["thin"])
    storage.target("vg", "vg1", "80M")
    add_place(desk, "lio", "lio", "--vg", "vg1")
    for name in ("thick", "thin"):
        desk.ok("create", "12M", "--name", name, "--san", name, "--wait")
    desk.ok("attach", "7", "--volume", "thick")
    storage.hear("one-7", "dom: xvdp written")
    restart_while_it_is_used(storage, "tgt")

    (tmp_path / "slow.conf").write_text("wipe_rate = 1M\n")
    desk.env["ONE_ISCSI_CONFIG"] = str(tmp_path / "slow.conf")
    desk.ok("create", "12M", "--name", "lio", "--san", "lio")
    storage.root(_IS_WIPED.format(1))
    desk.ok("detach", "7", "thick", "--yes")
    storage.root(_IS_WIPED.format(2))
    creating = []
    for count, san in enumerate(("thick", "lio"), 4):
        creating.append(desk.start("create", "12M", "--name", f"new-{san}", "--san", san))
        storage.root(_ARE_MADE.format(count))
    storage.reboot()
    assert [ended(each).code != 0 for each in creating] == [True, True]
    del desk.env["ONE_ISCSI_CONFIG"]
    made = statuses(desk)
    assert made == {"thick": "wiping", "thin": "free", "lio": "wiping", "new-thick": "creating", "new-lio": "creating"}

    desk.ok("recover", "--wait")
    assert statuses(desk) == dict.fromkeys(made, "free")
    for name, group in (("thick", "vg0"), ("lio", "vg1")):
        disk = desk.volume(name)["IQN"].rpartition(":")[2]
        assert storage.root(f"cmp -n {12 * MIB} /dev/{group}/{disk} /dev/zero && echo zeros") == "zeros\n"
    desk.ok("delete", *made, "--yes", "--wait")
    assert left(storage) == []
