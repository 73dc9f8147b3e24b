"""kill -9 in the middle, then ``recover``: finished or undone by what is really there, and nothing is left."""

from __future__ import annotations

from rig import Desk, Lab, ended


def test_an_attach_that_died_before_the_node_did_anything_is_undone(desk: Desk, lab: Lab) -> None:
    lab.guest("rest", "one-7")
    desk.with_volume("v", "1M", "--dirty")

    desk.killed("after:opening", "attach", "7", "1M")
    assert desk.status("v") == "attaching"
    assert desk.ok("recover", "v") == "volume 1 recovered, it is free\n"
    assert lab.leftovers() == []

    # The plug may have run, so what comes out is wiped.
    desk.killed("after:plugging", "attach", "7", "1M")
    desk.ok("recover", "v", "--wait")
    assert desk.path("v")[-4:] == ["attaching", "dirty", "wiping", "free"]
    assert lab.leftovers() == []


def test_the_node_is_at_work_when_the_ssh_client_or_the_whole_command_dies(desk: Desk, lab: Lab) -> None:
    lab.guest("rest", "one-7")
    desk.with_volume("v", "1M")

    # Without its ssh client the command finds out by itself what the script did.
    attach = desk.start("attach", "7", "1M")
    lab.until_logged_in()
    desk.kill_ssh()
    assert lab.is_at_work("v")
    attached = ended(attach)
    assert attached.code == 0, attached.err
    assert "as xvdp" in attached.out

    # A detach that lost it does not know, and who recovers at once waits for the script on the node.
    detach = desk.start("detach", "7", "v", "--keep", "--yes")
    lab.until_at_work("v")
    desk.kill_ssh()
    assert ended(detach).code == 11
    assert desk.status("v") == "detaching"
    assert desk.ok("recover", "v") == "volume 1 recovered, it is available\n"
    assert lab.leftovers() == []

    attach = desk.start("attach", "8", "--volume", "v")
    lab.until_logged_in()
    attach.kill()
    attach.communicate()
    assert lab.is_at_work("v")
    assert desk.ok("recover", "v") == "volume 1 recovered, it is in_use\n"
    lab.hear("one-8", "dom: xvdp written")

    desk.killed("before:closing", "detach", "8", "v", "--yes")
    desk.ok("recover", "v", "--wait")
    assert desk.status("v") == "free"
    assert lab.is_zeros("v")
    assert lab.leftovers() == []
