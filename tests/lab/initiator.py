"""The lab's node as an initiator that is told by hand what to log in to."""

from __future__ import annotations

from rig import Lab

from one_iscsi.model import Chap, Volume

_LOG_IN = r"""
exec 3>&1 >/dev/null 2>&1
node() {{ iscsiadm -m node -T {iqn} -p {portal} "$@"; }}
node -o new
node -o update {settings}
node --login && echo yes >&3
exit 0
"""


def initiator_name(lab: Lab) -> str:
    return lab.root("sed -n 's/^InitiatorName=//p' /etc/iscsi/initiatorname.iscsi").strip()


def log_in(lab: Lab, vol: Volume, chap: Chap | None) -> bool:
    """The node logs in and stays, if it is let in."""
    told = {"node.startup": "manual", "node.session.initial_login_retry_max": "1"}
    if chap:
        told |= {
            "node.session.auth.authmethod": "CHAP",
            "node.session.auth.username": chap.user,
            "node.session.auth.password": chap.password,
            "node.session.auth.username_in": chap.target_user,
            "node.session.auth.password_in": chap.target_password,
        }
    settings = " ".join(f"-n {name} -v {value}" for name, value in told.items() if value)
    return lab.root(_LOG_IN.format(iqn=vol.iqn, portal=vol.portal, settings=settings)) == "yes\n"


def log_out(lab: Lab, vol: Volume) -> None:
    """Whether it is logged in or not."""
    lab.root(f"iscsiadm -m node -T {vol.iqn} -u; iscsiadm -m node -T {vol.iqn} -o delete; :")
