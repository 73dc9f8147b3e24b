"""The node as a storage server that makes volumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from arguments import Arguments
from initiator import initiator_name
from rig import MIB, NODE, Lab, iqn

from one_iscsi.errors import NodeError, StorageError
from one_iscsi.iscsi import Portal
from one_iscsi.model import Identity, San, Volume
from one_iscsi.nodes import Node
from one_iscsi.remote import Remote
from one_iscsi.san import StorageServer, server

#: tgt has port 3260 of every address.
PORTALS = {"tgt": Portal("127.0.0.1", 3260), "lio": Portal("127.0.0.1", 3261)}
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


def at(kind: str) -> StorageServer:
    return server(San(1, f"{kind}1", kind, (PORTALS[kind],), NODE, "lvm:vg0"), Remote())


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


def test_host_and_lio_show_each_other_a_secret(storage: Lab) -> None:
    san, vol, node = at("lio"), volume("lio"), Node(Remote(), NODE, "xen")
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
