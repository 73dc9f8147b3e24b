"""``onevolume check`` names what a host lacks, and ``host prepare`` mends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig import NODE, PORTAL, Desk, Lab, wrong


def test_a_good_host_and_a_good_storage_server(desk: Desk, lab: Lab) -> None:
    findings = desk.ok("check").splitlines()
    # The node's LVM is as Debian ships it.
    [warning] = [line for line in findings if not line.startswith("ok ")]
    assert warning.startswith(f"WARN host {NODE}: LVM looks into guests' disks: ")
    address, _, port = PORTAL.rpartition(":")
    for line in (
        f"host {NODE}: iscsid runs, or is started on demand",
        f"host {NODE}: the portal {address} port {port} takes connections",
        f"host {NODE}: xl 4.17 is installed",
        "storage server tgt1: it answers: 0 disks are offered",
    ):
        assert f"ok   {line}" in findings
    assert desk.ok("check", "--nagios", "--san", "tgt1").startswith("ONEVOLUME OK - ")


# Half of the rights, no iscsid, and a multipathd that takes whatever comes.
_SPOIL = r"""
cp /etc/sudoers.d/one_iscsi /root
sed -i 's/bin.tee/bin\/none/; s/--op new --mode account/--op none/' /etc/sudoers.d/one_iscsi
iscsiadm -k 0
mkdir -p /etc/multipath/conf.d
printf '%s\n' 'defaults {' 'find_multipaths greedy' '}' >/etc/multipath/conf.d/x.conf
modprobe dm_multipath
multipathd >/dev/null 2>&1
timeout 60 sh -c 'until multipathd show config | grep -q greedy; do sleep 0.1; done'
"""
_MEND = "mv /root/one_iscsi /etc/sudoers.d; multipathd shutdown; rm -rf /etc/multipath/conf.d; iscsid; true"


@pytest.fixture
def spoilt(lab: Lab) -> Iterator[Lab]:
    lab.root(_SPOIL)
    yield lab
    lab.root(_MEND)


def test_a_host_that_lacks_much_is_prepared_through_ssh(desk: Desk, spoilt: Lab) -> None:
    desk.with_volume("v", "1M")
    found = wrong(desk, "--host", NODE, "--san", "tgt1")
    for says in (
        f"host {NODE}: oneadmin may not run as root: tee /sys/block/sda/device/delete: install one_iscsi.sudoers",
        f"host {NODE}: iscsid does not run: enable iscsid",
        f"host {NODE}: multipathd takes guests' disks (find_multipaths is greedy): set find_multipaths to yes",
        "storage server tgt1: oneadmin may not run as root: tgtadm --lld iscsi --op new",
    ):
        assert any(line.startswith(f"FAIL {says}") for line in found), found
    assert "oneadmin may not run tgtadm as root" in desk.refused(9, "attach", "7", "1M")

    spoilt.root("rm /etc/sudoers.d/one_iscsi; multipathd shutdown; rm -r /etc/multipath/conf.d")
    found = wrong(desk, "--host", NODE)
    says = "oneadmin may not run as root: blockdev --flushbufs /dev/sda: install one_iscsi.sudoers"
    assert any(line.startswith(f"FAIL host {NODE}: {says}") for line in found), found

    said = desk.ok("host", "prepare", NODE).splitlines()
    assert f"done host {NODE}: iscsid started" in said
    assert f"done host {NODE}: /etc/sudoers.d/one_iscsi installed" in said
    assert wrong(desk) == []
    assert spoilt.root("cmp /root/one_iscsi /etc/sudoers.d/one_iscsi && visudo -c") != ""

    spoilt.root("iscsiadm -k 0")
    assert "iscsid does not run" in desk.refused(8, "attach", "7", "1M")
    assert spoilt.leftovers() == []


def test_a_host_is_prepared_by_what_is_printed(desk: Desk, lab: Lab) -> None:
    script = desk.ok("host", "prepare", NODE, "--print")
    lab.root("rm /etc/sudoers.d/one_iscsi")
    for expected in ("done /etc/sudoers.d/one_iscsi installed", "ok   /etc/sudoers.d/one_iscsi is there"):
        said = lab.root(f"cat >/root/prepare.sh <<'END_OF_SCRIPT'\n{script}END_OF_SCRIPT\nsh /root/prepare.sh")
        assert expected in said.splitlines()
    assert wrong(desk, "--host", NODE) == []
