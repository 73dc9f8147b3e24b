"""``onevolume check`` names what a host lacks."""

from __future__ import annotations

import pytest
from rig import NODE, Desk, Lab


def test_a_good_host(desk: Desk, lab: Lab) -> None:
    findings = desk.ok("check", "--host", NODE).splitlines()
    assert {line.split()[0] for line in findings} == {"ok"}
    assert f"ok   host {NODE}: iscsid runs, or is started on demand" in findings


@pytest.mark.parametrize(
    ("take", "give", "fix"),
    [
        ("mv /etc/sudoers.d/one_iscsi /root", "mv /root/one_iscsi /etc/sudoers.d", "install one_iscsi.sudoers"),
        ("iscsiadm -k 0", "iscsid", "enable iscsid"),
    ],
    ids=["sudoers", "iscsid"],
)
def test_a_host_that_lacks_something(desk: Desk, lab: Lab, take: str, give: str, fix: str) -> None:
    lab.root(take)
    try:
        result = desk("check", "--host", NODE)
    finally:
        lab.root(give)
    assert result.code == 1
    assert any(line.startswith(f"FAIL host {NODE}: ") and fix in line for line in result.out.splitlines()), result.out
