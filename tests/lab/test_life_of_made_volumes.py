"""Volumes that onevolume makes itself, in every place, and guests that use them."""

from __future__ import annotations

from pathlib import Path

from rig import MIB, Desk, Lab, ended
from test_storage_servers import PLACES, add_place, left, statuses, watching

#: Who makes volumes there.
KINDS = {"thick": "lio", "thin": "lio", "file": "tgt"}
#: lab/target's word for a restart of the target daemon.
RESTART = {"tgt": "restart", "lio": "lio"}

_SECRETS = "cat /sys/kernel/config/target/iscsi/iqn*/tpgt_1/acls/*/auth/password*"


def make_everywhere(desk: Desk) -> None:
    """A storage server for each place and a volume of its name there, one more in the volume group, all at once."""
    for name, place in PLACES.items():
        add_place(desk, KINDS[name], name, *place)
    where = {**{name: name for name in PLACES}, "more": "thick"}
    creating = [desk.start("create", "24M", "--name", name, "--san", san, "--wait") for name, san in where.items()]
    assert [ended(each).code for each in creating] == [0, 0, 0, 0]
    assert statuses(desk) == dict.fromkeys(where, "free")


def restart_while_it_is_used(storage: Lab, name: str, guest: str) -> None:
    storage.target(RESTART[KINDS[name]])
    storage.guest("write", guest, "xvdp")
    storage.hear(guest, "dom: xvdp written again")


def test_volumes_are_made_at_once_and_one_grows_in_a_guest(storage: Lab, desk: Desk, tmp_path: Path) -> None:
    make_everywhere(desk)
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

    desk.ok("attach", "8", "--volume", "file")
    storage.hear("one-8", "dom: xvdp written")
    restart_while_it_is_used(storage, "thin", "one-7")
    restart_while_it_is_used(storage, "file", "one-8")
    desk.ok("resize", "thin", "48M")
    storage.hear("one-7", f"dom: xvdp resized size={48 * MIB}")

    for vm, name in (("7", "thin"), ("8", "file")):
        desk.ok("detach", vm, name, "--yes", "--wait")
    assert storage.leftovers() == []
    desk.ok("delete", *PLACES, "more", "--yes", "--wait")
    assert left(storage) == []
