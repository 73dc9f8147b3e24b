"""The commands that keep an installation going: work, check."""

from __future__ import annotations

import sys
import time
from argparse import Namespace

from one_iscsi import checking, working
from one_iscsi.cli import output
from one_iscsi.cli.commands import print_list
from one_iscsi.cli.output import Document
from one_iscsi.cli.session import core
from one_iscsi.errors import BadInput


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


def check(options: Namespace) -> int:
    """``onevolume check``: exit code 0 if nothing is wrong, 1 otherwise."""
    findings = checking.check(options.host, options.san)
    if options.form:
        rows: list[Document] = [
            {"WHERE": one.where, "OK": one.ok, "WHAT": one.what, "FIX": one.fix} for one in findings
        ]
        print_list(options, "CHECK", "FINDING", rows, ())
    else:
        for one in findings:
            print(f"{'ok  ' if one.ok else 'FAIL'} {one.where}: {one.what}" + (f": {one.fix}" if not one.ok else ""))
    return 0 if all(one.ok for one in findings) else 1
