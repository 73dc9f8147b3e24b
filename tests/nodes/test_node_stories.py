"""What attach, detach and observe do on every host: told once, for fakes and for the real Xen host."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sites import MIB, OTHER_GUEST, Site

from one_iscsi.errors import NodeError
from one_iscsi.model import Chap, Identity
from one_iscsi.nodes import Seen


def trouble(call: object, *arguments: object, **more: object) -> NodeError:
    with pytest.raises(NodeError) as caught:
        call(*arguments, **more)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_host_never_seen_tells_how_it_reaches_a_portal(site: Site) -> None:
    visit = site.node.visit(site.portal)

    assert visit.initiator.startswith("iqn.1993-08.org.debian:01:")
    assert visit.sources[site.portal.address].count(".") == 3


def test_attach_and_detach(site: Site) -> None:
    volume = site.volume("v1")
    wish = site.node.hypervisor.target_names[:1]

    attached = site.attach(volume, wish)

    assert attached.device.startswith("sd")
    assert attached.size_bytes == volume.size_bytes
    assert len(attached.serial) == 16
    assert attached.wwid.startswith("naa.6")
    assert [attached.target] == wish
    seen = site.node.observe(volume, site.guest)
    assert seen == Seen(True, attached.target, "connected", True, True, attached.device)

    site.detach(volume)

    assert site.node.observe(volume, site.guest) == Seen(True, None, "", False, False, None)


def test_attach_twice_changes_nothing(site: Site) -> None:
    volume = site.volume("v1")
    first = site.attach(volume)

    assert site.attach(volume) == first

    site.detach(volume)
    assert site.nothing_left(volume)


def test_detach_of_what_is_not_there(site: Site) -> None:
    volume = site.volume("v1")

    site.detach(volume)
    site.node.detach(volume, None)

    assert site.nothing_left(volume)


def test_an_attach_that_was_cut_short_after_the_login_goes_on(site: Site) -> None:
    volume = site.volume("v1")
    site.log_in_by_hand(volume)

    attached = site.attach(volume)

    assert site.node.observe(volume, site.guest).target == attached.target


def test_a_guest_that_has_the_volume_elsewhere_does_not_get_it_twice(site: Site) -> None:
    volume = site.volume("v1")
    wish, other, *_ = site.node.hypervisor.target_names
    site.log_in_by_hand(volume)
    site.plug_by_hand(volume, other)

    error = trouble(site.attach, volume, [wish])

    assert (error.code, error.clean) == ("already-plugged", False)
    assert site.node.observe(volume, site.guest).target == other


def test_the_next_target_is_taken_when_the_first_is_in_use(site: Site) -> None:
    first, second = site.volume("v1"), site.volume("v22")
    wishes = site.node.hypervisor.target_names[:3]
    site.attach(first, wishes[:1])

    assert site.attach(second, wishes).target == wishes[1]

    site.detach(second)
    assert site.node.observe(first, site.guest).target == wishes[0]


def test_a_target_in_use_without_another_to_take(site: Site) -> None:
    first, second = site.volume("v1"), site.volume("v22")
    wish = site.node.hypervisor.target_names[:1]
    site.attach(first, wish)

    error = trouble(site.attach, second, wish)

    assert (error.code, error.clean) == ("target-busy", True)
    assert site.nothing_left(second)
    assert site.node.observe(first, site.guest).target == wish[0]


def test_no_such_guest(site: Site) -> None:
    volume = site.volume("v1")

    error = trouble(site.attach, volume, guest="one-99")

    assert (error.code, error.clean) == ("no-domain", True)
    assert "volume 12" in str(error)
    assert "one-99" in str(error)
    assert not site.node.observe(volume, "one-99").domain_present
    assert site.nothing_left(volume)


@pytest.mark.parametrize(
    ("identity", "code"),
    [(Identity(8 * MIB + 512, "", False), "wrong-size"), (Identity(8 * MIB, "another one", True), "wrong-serial")],
)
def test_another_disk_than_the_volume_is_never_plugged(site: Site, identity: Identity, code: str) -> None:
    volume = site.volume("v1")

    error = trouble(site.attach, volume, identity=identity)

    assert (error.code, error.clean, error.plug_tried) == (code, True, False)
    assert site.nothing_left(volume)


def test_the_secret_opens_the_target_and_stays_in_no_file(site: Site) -> None:
    volume, chap = site.volume("v1"), Chap("user1", "secretpass12")
    site.ask_for_secret("v1", chap)

    error = trouble(site.attach, volume, chap=Chap("user1", "anotherpass1"))

    assert (error.code, error.clean, error.plug_tried) == ("login-auth", True, False)
    assert "another" not in str(error)
    site.attach(volume, chap=chap)
    site.detach(volume)
    assert site.nothing_left(volume)


@pytest.mark.parametrize(("shows", "code"), [("another", "login-mutual"), ("none", "login-auth")])
def test_a_target_that_does_not_show_its_secret_is_not_logged_in_to(site: Site, shows: str, code: str) -> None:
    volume, chap = site.volume("v1"), Chap("user1", "secretpass12", "target1", "itssecret123")
    site.ask_for_secret("v1", chap if shows == "another" else Chap("user1", "secretpass12"))

    error = trouble(site.attach, volume, chap=replace(chap, target_password="anotherpass1"))

    assert (error.code, error.clean, error.plug_tried) == (code, True, False)
    assert site.nothing_left(volume)
    site.ask_for_secret("v1", chap)
    site.attach(volume, chap=chap)
    site.detach(volume)


def test_a_target_that_is_closed(site: Site) -> None:
    volume = site.volume("v1")
    site.close("v1")

    error = trouble(site.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("login-refused", True, False)
    assert site.nothing_left(volume)


def test_a_guest_that_does_not_let_go_keeps_its_disk(site: Site) -> None:
    volume = site.volume("v1")
    attached = site.attach(volume)
    site.pause(True)

    error = trouble(site.detach, volume)

    assert error.code == "guest-refused"
    seen = site.node.observe(volume, site.guest)
    assert (seen.target, seen.session, seen.device) == (attached.target, True, attached.device)

    site.pause(False)
    site.detach(volume)
    assert site.nothing_left(volume)


def test_a_guest_that_is_gone(site: Site) -> None:
    volume = site.volume("v1")
    site.attach(volume)
    site.stop_guest()

    site.detach(volume)

    assert site.nothing_left(volume)


def test_read_only(site: Site) -> None:
    volume = site.volume("v1")

    attached = site.attach(volume, read_only=True)

    assert site.is_read_only(attached.target)


def test_a_lun_that_is_gone_on_the_server(site: Site) -> None:
    volume = site.volume("v1")
    site.attach(volume)
    site.lose_lun(volume)

    site.detach(volume)

    assert site.nothing_left(volume)


def test_log_in_without_a_guest(site: Site) -> None:
    volume = site.volume("v1")

    disk = site.node.login(volume, Identity(0, "", False), None)

    assert (disk.size_bytes, disk.target) == (volume.size_bytes, "")
    site.node.logout(volume)
    assert site.nothing_left(volume)


def test_a_wipe_from_a_host(site: Site) -> None:
    volume = site.volume("v1")
    site.make_dirty("v1")
    assert trouble(site.node.start_wipe, volume, "wipe-1").code == "no-device"
    site.node.login(volume, Identity(0, "", False), None)
    assert site.node.wipe_status(volume, "wipe-1").state == "absent"

    site.node.start_wipe(volume, "wipe-1")
    site.node.start_wipe(volume, "wipe-1")
    status = site.wait_for_wipe(volume, "wipe-1")

    assert (status.state, status.offset, status.size_bytes) == ("done", volume.size_bytes, volume.size_bytes)
    site.node.logout(volume)
    assert site.nothing_left(volume)
    assert site.is_zero("v1")


def test_nothing_happens_to_the_guest_that_has_the_volume_when_another_is_refused(site: Site) -> None:
    volume = site.volume("v1")
    attached = site.attach(volume, guest=OTHER_GUEST)

    error = trouble(site.attach, volume)

    assert (error.code, error.clean) == ("guest-refused", False)
    assert site.node.observe(volume, site.guest).target is None  # what the refusal left behind is gone
    seen = site.node.observe(volume, OTHER_GUEST)
    assert (seen.target, seen.state, seen.session) == (attached.target, "connected", True)


def test_a_refusal_costs_the_guest_none_of_its_other_disks(site: Site) -> None:
    theirs, ours = site.volume("v1"), site.volume("v22")
    first, second, *_ = site.node.hypervisor.target_names
    site.attach(theirs, [first], guest=OTHER_GUEST)
    site.attach(ours, [first])

    assert trouble(site.attach, theirs, [second]).code == "guest-refused"

    assert site.node.observe(ours, site.guest).target == first
    assert site.node.observe(theirs, site.guest).target is None
    assert site.node.observe(theirs, OTHER_GUEST).target == first


def test_a_dead_portal_is_known_within_seconds(site: Site) -> None:
    volume = site.volume("v1")
    site.portal_dies()
    begin = time.monotonic()

    error = trouble(site.attach, volume)

    assert (error.code, error.clean, error.plug_tried) == ("portal-dead", True, False)
    assert time.monotonic() - begin < 30
    assert site.nothing_left(volume)
