"""Volumes with two portals, on fake hosts and on the real Xen host, which reaches tgt by two addresses."""

from __future__ import annotations

import time

import pytest
from sites import MIB, OTHER_GUEST, FakeSite, Site
from test_node_stories import trouble

from one_iscsi.model import Chap, Identity
from one_iscsi.nodes import Seen


def test_a_guest_gets_the_map_of_both_paths(site: Site) -> None:
    volume, chap = site.several("v1"), Chap("user1", "secretpass12")
    site.ask_for_secret("v1", chap)

    attached = site.attach(volume, chap=chap)

    assert attached.device.startswith("dm-")
    assert (attached.size_bytes, attached.silent) == (volume.size_bytes, ())
    [name] = site.maps()
    assert (name[0], attached.wwid) == ("3", f"naa.{name[1:]}")
    assert len(attached.serial) == 16
    assert site.paths(attached.device) == 2
    seen = site.node.observe(volume, site.guest)
    assert seen == Seen(True, attached.target, "connected", True, True, attached.device)
    assert site.attach(volume, chap=chap) == attached

    site.detach(volume)

    assert site.node.observe(volume, site.guest) == Seen(True, None, "", False, False, None)
    assert site.maps() == []
    known = site.known(volume, attached)
    assert known.device_path == f"/dev/disk/by-id/dm-uuid-mpath-3{attached.wwid[4:]}"
    again = site.attach(known, chap=chap)
    assert (again.wwid, again.target) == (attached.wwid, attached.target)
    site.detach(known)
    assert site.nothing_left(known)
    site.detach(known)


def test_no_multipathd(site: Site) -> None:
    volume = site.several("v1")
    site.run_multipathd(False)
    assert not site.node.visit(*volume.portals).multipath

    error = trouble(site.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("no-multipathd", True, False)
    assert site.nothing_left(volume)


def test_multipathd_is_told_to_leave_the_disk_alone(site: Site) -> None:
    volume = site.several("v1")
    site.blacklist()

    error = trouble(site.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("no-map", True, False)
    assert site.nothing_left(volume)


def test_an_identity_that_others_may_have(site: Site) -> None:
    volume = site.several("v1")
    site.share_identity("v1")

    error = trouble(site.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("shared-identity", True, False)
    assert site.nothing_left(volume)


def test_another_disk_than_the_volume(site: Site) -> None:
    volume = site.several("v1")

    error = trouble(site.attach, volume, identity=Identity(volume.size_bytes, "another one", True))

    assert (error.code, error.clean, error.plug_tried) == ("wrong-serial", True, False)
    assert site.nothing_left(volume)


def test_one_portal_that_does_not_answer(site: Site) -> None:
    volume = site.several("v1")
    site.lose_portal(site.second)

    attached = site.attach(volume)

    assert attached.silent == (str(site.second),)
    assert site.paths(attached.device) == 1
    assert site.node.observe(volume, site.guest).target == attached.target
    site.detach(volume)
    assert site.nothing_left(volume)
    assert site.maps() == []


def test_no_portal_answers(site: Site) -> None:
    volume = site.several("v1")
    site.portal_dies()
    begin = time.monotonic()

    error = trouble(site.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("portal-dead", True, False)
    assert time.monotonic() - begin < 60
    assert site.nothing_left(volume)


def test_paths_that_are_lost_in_use_keep_no_detach(site: Site) -> None:
    volume = site.several("v1")
    site.attach(volume)
    for portal in (site.second, site.portal):
        site.lose_portal(portal)
    begin = time.monotonic()

    site.detach(volume)

    assert time.monotonic() - begin < 90
    assert site.nothing_left(volume)
    assert site.maps() == []


def test_an_attach_that_was_cut_short_after_the_first_login_goes_on(site: Site) -> None:
    volume = site.several("v1")
    site.log_in_by_hand(volume)

    attached = site.attach(volume)

    assert site.paths(attached.device) == 2
    site.detach(volume)
    assert site.nothing_left(volume)


def test_a_guest_that_does_not_let_go_keeps_its_disk(site: Site) -> None:
    volume = site.several("v1")
    attached = site.attach(volume)
    site.pause(True)

    assert trouble(site.detach, volume).code == "guest-refused"

    seen = site.node.observe(volume, site.guest)
    assert (seen.target, seen.session, seen.device) == (attached.target, True, attached.device)
    assert site.paths(attached.device) == 2
    site.pause(False)
    site.detach(volume)
    assert site.nothing_left(volume)


def test_nothing_happens_to_the_guest_that_has_the_volume_when_another_is_refused(site: Site) -> None:
    volume = site.several("v1")
    attached = site.attach(volume, guest=OTHER_GUEST)

    error = trouble(site.attach, volume)

    assert (error.code, error.clean) == ("guest-refused", False)
    seen = site.node.observe(volume, OTHER_GUEST)
    assert (seen.target, seen.state, seen.device) == (attached.target, "connected", attached.device)
    assert site.paths(attached.device) == 2


def test_a_wipe_from_a_host(site: Site) -> None:
    volume = site.several("v1")
    site.make_dirty("v1")
    disk = site.node.login(volume, Identity(0, "", False), None)
    assert (disk.size_bytes, disk.target) == (volume.size_bytes, "")

    site.node.start_wipe(volume, "wipe-several")
    status = site.wait_for_wipe(volume, "wipe-several")

    assert (status.state, status.offset) == ("done", volume.size_bytes)
    site.node.logout(volume)
    assert site.nothing_left(volume)
    assert site.is_zero("v1")


# -- on fake hosts, where things can be made to fail -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["xen", "kvm"])
def test_a_disk_in_use_grows(kind: str, request: pytest.FixtureRequest) -> None:
    site: FakeSite = request.getfixturevalue(kind)
    volume = site.several("v1")
    attached = site.attach(volume)
    site.grow("v1", 2 * volume.size_bytes)

    for _ in range(2):
        site.node.resize(volume, site.guest, 2 * volume.size_bytes)

    [found] = site.host.state()["maps"].values()
    assert found["size"] == 2 * volume.size_bytes
    if kind == "kvm":
        assert site.size_in_guest(attached.target) == 2 * volume.size_bytes
    assert trouble(site.node.resize, volume, site.guest, 3 * volume.size_bytes).code == "not-grown"
    site.detach(volume)
    assert site.host.remains() == {}
    site.node.resize(volume, None, 2 * volume.size_bytes)


def test_a_map_that_others_hold_keeps_the_sessions(xen: FakeSite) -> None:
    volume = xen.several("v1")
    xen.attach(volume)
    xen.world.fault("multipath", "-f", code=1, stderr="36001: map in use\n", times=999)

    error = trouble(xen.detach, volume)

    assert error.code == "delete-failed"
    assert "map in use" in str(error)
    assert xen.host.sessions() == [volume.iqn] * 2
    with xen.world.faults() as faults:
        faults.clear()
    xen.detach(volume)
    assert xen.host.remains() == {}


def test_a_map_with_somebody_elses_disk_is_never_ours(xen: FakeSite) -> None:
    """Two servers gave two volumes one WWID, and multipathd joins them."""
    theirs, ours = xen.several("v1"), xen.several("v22")
    with xen.world.target(theirs.iqn) as target:
        identity = target["scsi_id"]
    with xen.world.target(ours.iqn) as target:
        target["scsi_id"] = identity
    attached = xen.attach(theirs, guest=OTHER_GUEST)

    error = trouble(xen.attach, ours)

    assert (error.code, error.clean, error.plug_tried) == ("no-map", True, False)
    assert xen.nothing_left(ours)
    assert xen.paths(attached.device) == 2
    xen.detach(theirs, OTHER_GUEST)
    assert xen.host.remains() == {}


def test_a_secret_that_is_wrong_leaves_nothing_at_either_portal(kvm: FakeSite) -> None:
    volume = kvm.several("v1")
    kvm.ask_for_secret("v1", Chap("user1", "secretpass12"))
    kvm.attach(volume, chap=Chap("user1", "secretpass12"))
    records = kvm.host.records()
    assert {record.stat().st_mode & 0o777 for record in records} == {0o600}
    assert all("secretpass12" in record.read_text() for record in records)
    assert all("replacement_timeout = 15" in record.read_text() for record in records)
    assert len(records) == 2
    kvm.detach(volume)
    assert kvm.host.remains() == {}

    kvm.world.fault("iscsiadm", r"10\.9\.1\.1.*--login", code=24)
    error = trouble(kvm.attach, volume, chap=Chap("user1", "secretpass12"))

    assert (error.code, error.clean) == ("login-auth", True)
    assert kvm.host.remains() == {}


def test_a_host_that_never_heard_of_several_portals_runs_no_tool_of_them(xen: FakeSite) -> None:
    volume = xen.volume("v1", 4 * MIB)
    xen.attach(volume)
    xen.detach(volume)
    assert [call for call in xen.world.calls() if call[1] in ("multipath", "multipathd", "dmsetup")] == []
