"""The commands that keep an installation going: work, check, host prepare, host delete."""

from __future__ import annotations

import sys
import time
from argparse import Namespace

from one_iscsi import checking, preparing, working
from one_iscsi.cli import output
from one_iscsi.cli.commands import print_list
from one_iscsi.cli.output import Document
from one_iscsi.cli.session import core
from one_iscsi.errors import BadInput, OneIscsiError
from one_iscsi.findings import CRITICAL, OK, WARNING, Finding


def work(options: Namespace) -> int:
    """``onevolume work``: exit code 1 if something went wrong."""
    with core() as here:
        report = working.work(here, options.limit)
    failed = [deed for deed in report.deeds if not deed.ok]
    if options.log:
        _append(options.log, report.deeds)
    if options.form:
        deeds = [{"VOLUME_ID": deed.volume_id, "OK": deed.ok, "WHAT": deed.what} for deed in report.deeds]
        document = {"DEED": deeds, "RUNNING": report.running, "LEFT": report.left}
        if options.form == "json":
            output.as_json({"WORK": document})
        else:
            output.as_xml("WORK", document)
        return 1 if failed else 0
    for deed in report.deeds:
        if deed.ok:
            print(f"volume {deed.volume_id}: {deed.what}")
        else:
            print(f"onevolume: volume {deed.volume_id}: {deed.what}", file=sys.stderr)
    if not report.deeds:
        print("nothing to do")
    if report.running:
        print(f"{_count(report.running, 'wipe')} running")
    if report.left:
        print(f"{_count(report.left, 'volume')} left for the next time")
    return 1 if failed else 0


def _append(path: str, deeds: list[working.Deed]) -> None:
    """Opened anew each time, so that it can be rotated at any moment."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"{now} {'' if deed.ok else 'FAILED '}volume {deed.volume_id}: {deed.what}\n" for deed in deeds]
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror})", "let --log name a file oneadmin may write"
        ) from None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


_MARKS = {OK: "ok  ", WARNING: "WARN", CRITICAL: "FAIL"}

#: Exit codes of monitoring plugins (Nagios, Icinga, Zabbix …).
_NAGIOS = {OK: 0, WARNING: 1, CRITICAL: 2}
_UNKNOWN = 3


def check(options: Namespace) -> int:
    """``onevolume check``: exit code 0 if nothing is wrong but for warnings, 1 otherwise; for --nagios see there."""
    if options.nagios:
        return _nagios(options)
    findings = checking.check(options.host, options.san)
    if options.form:
        rows: list[Document] = [
            {"WHERE": one.where, "LEVEL": one.level, "OK": one.ok, "WHAT": one.what, "FIX": one.fix} for one in findings
        ]
        print_list(options, "CHECK", "FINDING", rows, ())
    else:
        tell(findings)
    return 1 if _worst(findings) == CRITICAL else 0


def tell(findings: list[Finding]) -> None:
    """A line for each finding."""
    for one in findings:
        print(f"{output.coloured(_MARKS[one.level])} {one.where}: {one.what}" + (f": {one.fix}" if one.fix else ""))


def _worst(findings: list[Finding]) -> str:
    return max((one.level for one in findings), key=list(_MARKS).index)


def _nagios(options: Namespace) -> int:
    """One line and a plugin's exit code, whatever happens."""
    try:
        findings = checking.check(options.host, options.san)
    except Exception as error:
        what = str(error) if isinstance(error, OneIscsiError) else f"a bug of onevolume: {type(error).__name__}"
        print(f"ONEVOLUME UNKNOWN - {_plain(what)}")
        return _UNKNOWN
    worst = _worst(findings)
    wrong = [f"{one.where}: {one.what}" for level in (CRITICAL, WARNING) for one in findings if one.level == level]
    places = len({one.where for one in findings})
    told = "; ".join(wrong[:_TOLD]) or f"{_count(len(findings), 'thing')} looked at in {_count(places, 'place')}"
    more = f" ({len(wrong) - _TOLD} more)" if len(wrong) > _TOLD else ""
    print(f"ONEVOLUME {worst.upper()} - {_plain(told)}{more}")
    return _NAGIOS[worst]


#: How many findings a plugin's line tells.
_TOLD = 3


def _plain(text: str) -> str:
    """What follows a | would be taken for measurements."""
    return " ".join(text.replace("|", "/").split())


def prepare(options: Namespace) -> int:
    """``onevolume host prepare``: exit code 1 if the host still lacks something."""
    with core() as here:
        if options.print:
            print(preparing.script(here, options.host, options.rename), end="")
            return 0
        here.report(f"preparing host {options.host}")
        for changed, what in preparing.prepare(here, options.host, options.rename):
            print(f"{'done' if changed else 'ok  '} host {options.host}: {what}")
    findings = checking.check([options.host], [])
    tell([one for one in findings if not one.ok])
    return 1 if _worst(findings) == CRITICAL else 0


def delete_host(options: Namespace) -> None:
    """``onevolume host delete``."""
    with core() as here:
        host = here.store.delete_host(options.host)
    print(f"host {host.name} forgotten")
