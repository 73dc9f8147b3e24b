"""Storage servers that make volumes: without a guest, so on a node without Xen, which is much quicker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from arguments import Arguments
from initiator import initiator_name
from rig import MIB, SAN, Desk, Lab, ended, iqn

from one_iscsi.errors import NodeError, StorageError
from one_iscsi.iscsi import Portal
from one_iscsi.model import Identity, San, Volume
from one_iscsi.nodes import Node
from one_iscsi.remote import Remote
from one_iscsi.san import StorageServer, server

#: tgt has port 3260 of every address.
PORTALS = {"tgt": Portal("127.0.0.1", 3260), "lio": Portal("127.0.0.1", 3261)}
PLACES = {"thick": ("--vg", "vg0"), "thin": ("--thin", "vg0/pool"), "file": ("--path", "/srv/volumes")}
HERE = "127.0.0.1"
SERIAL, SCSI_ID = "00c0ffee00c0ffee", "0123456789abcdef"

# What sudo logs, and the arguments of every process, over and over, until they are asked for.
_WATCH = r"""
echo 'Defaults logfile=/var/log/sudo.log' > /etc/sudoers.d/zz_log
: > /tmp/watched
setsid sh -c 'echo $$ > /tmp/watch
    while :; do cat /proc/[0-9]*/cmdline; done | tr "\0" " " >> /tmp/watched' < /dev/null > /dev/null 2>&1 &
"""
_WATCHED = 'kill -- -"$(cat /tmp/watch)"; cat /tmp/watched /var/log/sudo.log; rm /tmp/watch* /etc/sudoers.d/zz_log'

_LEFT = r"""
lvs --noheadings -o lv_name | tr -d ' ' | grep -v '^pool$'
[ ! -d /srv/volumes/one_iscsi ] || ls -A /srv/volumes/one_iscsi
ls -A /etc/tgt/conf.d
tgtadm --lld iscsi --op show --mode target | sed -n 's/^Target [0-9]*: //p'
ls /sys/kernel/config/target/iscsi | grep ^iqn
ls /sys/kernel/config/target/core | grep -v '^alua$'
grep -s '"wwn": "iqn' /etc/rtslib-fb-target/saveconfig.json
true
"""

# A job has written something, and now it goes no further: the disk is slow.
_IS_WIPED = """
cd /var/tmp/one_iscsi/wipe
timeout 60 sh -c 'until [ $(grep -lx STATE=running $(grep -l ^OFFSET=[1-9] *) | wc -l) = {} ]; do sleep 0.1; done' &&
    pkill -STOP -u oneadmin -fx "bash -s" && sync
"""
# The script has made so many disks, and now it goes no further. lvs would wait for lvcreate and may come too late.
_ARE_MADE = """
timeout 120 sh -c 'until set -- /dev/vg?/volume-*; [ $# = {} ]; do sleep 0.05; done' &&
    pkill -STOP -u oneadmin -x 'bash|dash'
"""


@pytest.fixture(scope="module")
def running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Instead of the node with the guests."""
    with Lab(tmp_path_factory.mktemp("oned"), SAN).for_a_while() as lab:
        yield lab


def at(kind: str) -> StorageServer:
    return server(San(1, f"{kind}1", kind, (PORTALS[kind],), SAN.name, "lvm:vg0"), Remote())


def volume(kind: str, size_bytes: int = 12 * MIB) -> Volume:
    return Volume(
        id=1, name="v", iqn=iqn("v-1"), lun=1, portals=(PORTALS[kind],), size_bytes=size_bytes, serial=SERIAL,
        wwid="", san_id=1, status="creating", version=1,
    )  # fmt: skip


@contextmanager
def watching(lab: Lab) -> Iterator[set[str]]:
    """The lines that everybody could read meanwhile, on the front end and on the node, which is the storage server."""
    lab.root(_WATCH)
    with Arguments() as seen:
        yield seen.lines
    seen.lines.add(lab.root(_WATCHED))


def left(lab: Lab) -> list[str]:
    return lab.root(_LEFT).split()


def add_place(desk: Desk, kind: str, name: str, *place: str) -> None:
    host = desk.lab.machine.name
    desk.ok("san", "create", name, "--kind", kind, "--host", host, "--portal", str(PORTALS[kind]), *place)


def statuses(desk: Desk) -> dict[str, str]:
    """Name → status."""
    return {each["NAME"]: each["STATUS"] for each in json.loads(desk.ok("list", "-j"))["VOLUME_POOL"]["VOLUME"]}


def test_host_and_lio_show_each_other_a_secret(storage: Lab) -> None:
    san, vol, node = at("lio"), volume("lio"), Node(Remote(), SAN.name, SAN.vm_mad)
    san.create(vol, SCSI_ID)
    identity = Identity(vol.size_bytes, vol.serial, True)
    chap = san.open(vol, [HERE], initiator_name(storage))
    assert chap
    assert chap.target_password not in ("", chap.password)
    assert chap.target_password not in repr(chap)
    with pytest.raises(NodeError, match="the target does not show the right CHAP secret") as caught:
        node.login(vol, identity, replace(chap, target_password="of-somebody-else"))
    assert (caught.value.code, caught.value.clean) == ("login-mutual", True)
    assert san.observe(vol).sessions == ()
    storage.target("lio")  # started again it shows the same secret
    assert node.login(vol, identity, chap).size_bytes == vol.size_bytes
    node.logout(vol)
    san.close(vol)
    assert storage.root(f"grep -rlF {chap.target_password} /sys/kernel/config/target /etc/rtslib-fb-target; true") == ""
    san.remove(vol)


def test_a_full_volume_group_is_told_and_nothing_is_left(storage: Lab) -> None:
    san = at("tgt")
    with pytest.raises(StorageError, match=r"vg0 .* is full") as caught:
        san.create(volume("tgt", 256 * MIB), SCSI_ID)
    assert caught.value.code == "no-space"
    assert left(storage) == []


def test_a_server_loses_power_while_it_wipes_and_makes_volumes(storage: Lab, desk: Desk, tmp_path: Path) -> None:
    add_place(desk, "tgt", "thick", *PLACES["thick"])
    add_place(desk, "tgt", "thin", *PLACES["thin"])
    storage.target("vg", "vg1", "80M")
    add_place(desk, "lio", "lio", "--vg", "vg1")
    desk.ok("create", "12M", "--name", "thin", "--san", "thin")

    (tmp_path / "slow.conf").write_text("wipe_rate = 1M\n")
    desk.env["ONE_ISCSI_CONFIG"] = str(tmp_path / "slow.conf")
    for count, san in enumerate(("thick", "lio"), 1):  # a new volume in a volume group is wiped first
        desk.ok("create", "12M", "--name", san, "--san", san)
        storage.root(_IS_WIPED.format(count))
    creating = []
    for count, san in enumerate(("lio", "thick"), 4):
        storage.root("sync")  # the first one's disk outlives the cut, the second one's does not
        creating.append(desk.start("create", "12M", "--name", f"new-{san}", "--san", san))
        storage.root(_ARE_MADE.format(count))
    storage.reboot()
    assert [ended(each).code != 0 for each in creating] == [True, True]
    del desk.env["ONE_ISCSI_CONFIG"]
    made = statuses(desk)
    assert made == {"thick": "wiping", "thin": "free", "lio": "wiping", "new-thick": "creating", "new-lio": "creating"}
    assert storage.root("ls /dev/vg1 | grep -c volume-") == "2\n"

    desk.ok("recover", "--wait")
    assert statuses(desk) == dict.fromkeys(made, "free")
    for name, group in (("thick", "vg0"), ("lio", "vg1")):
        disk = desk.volume(name)["IQN"].rpartition(":")[2]
        assert storage.root(f"cmp -n {12 * MIB} /dev/{group}/{disk} /dev/zero && echo zeros") == "zeros\n"
    desk.ok("delete", *made, "--yes", "--wait")
    assert left(storage) == []
