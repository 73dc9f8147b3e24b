"""What a check finds: one line, and how to mend it if something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from one_iscsi.remote import Answer

OK, WARNING, CRITICAL = "ok", "warning", "critical"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``where`` (front end, host, storage server), ``what`` is so, the ``fix`` unless it is ok.

    A warning is what may go wrong; critical is what keeps volumes from working.
    """

    where: str
    what: str
    fix: str = ""
    level: str = OK

    @property
    def ok(self) -> bool:
        """Nothing to mend."""
        return self.level == OK


@dataclass(frozen=True)
class Meaning:
    """What it is called if a thing is good and if it is bad (``{}``: the thing), and how to mend that."""

    good: str
    bad: str
    fix: str
    level: str = CRITICAL

    def finding(self, where: str, good: bool, thing: str) -> Finding:
        """One of the two."""
        if good:
            return Finding(where, self.good.format(thing))
        return Finding(where, self.bad.format(thing), self.fix.format(thing), self.level)


_TOOL = Meaning("{} is installed", "{} is not installed", "install it")
_SUDO = Meaning(
    "oneadmin may run as root: {}",
    "oneadmin may not run as root: {}",
    "install one_iscsi.sudoers as /etc/sudoers.d/one_iscsi (onevolume host prepare does on hosts)",
)


def findings(where: str, answer: Answer, meanings: Mapping[str, Meaning]) -> list[Finding]:
    """The GOOD and BAD lines of a check script (see ``looking.sh``), with VERSION lines for what is installed."""
    versions = dict(line.split(" ", 1) for line in answer.all("VERSION") if " " in line)
    known = {"tool": _TOOL, "sudo": _SUDO, **meanings}
    found = []
    for name, said in answer.lines:
        if name in ("GOOD", "BAD"):
            kind, _, thing = said.partition(" ")
            shown = f"{thing} {versions[thing]}" if kind == "tool" and thing in versions else thing
            found.append(known[kind].finding(where, name == "GOOD", shown))
    return found
