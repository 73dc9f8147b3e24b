"""Targets that somebody else manages: nothing can be asked or closed there, so the node looks, and wipes."""

from __future__ import annotations

from pathlib import Path

from rig import BY_HAND, MIB, Desk, Lab, iqn

from one_iscsi.sealing import new_key

_ACCOUNTS = r"""
tid=$(tgtadm --lld iscsi --op show --mode target | sed -n 's/^Target \(.*\): {iqn}$/\1/p')
for user in ann array; do
    tgtadm --lld iscsi --op new --mode account --user $user --password secret-of-$user
done
tgtadm --lld iscsi --op bind --mode account --tid $tid --user ann
tgtadm --lld iscsi --op bind --mode account --tid $tid --user array --outgoing
"""


def test_a_target_managed_by_hand(desk: Desk, lab: Lab) -> None:
    lab.target("create", "--open", "ALL", "--dirty", "hand", "2M")
    lab.opened_by_hand.add("hand")

    # what the admin believes its size to be is corrected by the node that wipes it
    said = desk.ok("register", iqn("hand"), "--portal", BY_HAND, "--size", "1M", "--lun", "1", "--wait")
    assert said.splitlines()[-1] == "volume 1 is free"
    row = desk.volume("hand")
    assert row["SIZE"] == 2 * MIB
    assert row["SERIAL"]
    assert lab.is_zeros("hand")
    assert lab.leftovers() == []

    desk.ok("attach", "7", "2M")
    lab.hear("one-7", "dom: xvdp written")
    desk.ok("detach", "7", "hand", "--keep", "--yes")
    assert lab.leftovers() == []

    # Another disk by the same name: no guest may see it.
    lab.target("delete", "hand")
    lab.target("create", "--open", "ALL", "hand", "2M")
    error = desk.refused(8, "attach", "7", "--volume", "hand")
    assert "the disk is not the volume" in error
    assert f"instead of '{row['SERIAL']}'" in error
    assert lab.leftovers() == []


def test_host_and_target_show_each_other_a_secret(desk: Desk, lab: Lab, tmp_path: Path) -> None:
    lab.target("create", "--open", "ALL", "--dirty", "hand", "2M")
    lab.opened_by_hand.add("hand")
    lab.root(_ACCOUNTS.format(iqn=iqn("hand")))
    configuration, key, secrets = (tmp_path / name for name in ("one_iscsi.conf", "one_iscsi.key", "secrets"))
    configuration.write_text(f"key_file = {key}\n")
    desk.env["ONE_ISCSI_CONFIG"] = str(configuration)
    key.touch(0o600)
    key.write_text(new_key())
    both = ("--chap-user", "ann", "--chap-target-user", "array", "--chap-secret-file", str(secrets))

    secrets.write_text("secret-of-ann\nanother-secret\n")
    target = (iqn("hand"), "--portal", BY_HAND, "--size", "2M", "--lun", "1")
    desk.ok("register", *target, "--assume-clean", *both)
    assert "the target does not show the right CHAP secret" in desk.refused(8, "attach", "7", "2M")
    secrets.write_text("secret-of-ann\nsecret-of-array\n")
    desk.ok("chap", "1", *both)
    desk.ok("attach", "7", "2M")
    lab.hear("one-7", "dom: xvdp written")
    desk.ok("detach", "7", "1", "--yes", "--wait")
    assert desk.status("hand") == "free"
    assert lab.is_zeros("hand")
    assert [line for line in lab.leftovers() if not line.startswith("account ")] == []
