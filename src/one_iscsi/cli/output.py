"""What commands print: tables like ``oneimage list``, ``show`` pages, and the same records as XML, JSON or CSV."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, what it shows of a document, whether that is a number, or bytes, and whether
    its words have a colour."""

    heading: str
    value: Callable[[Document], str]
    right: bool = False
    size: bool = False
    coloured: bool = False


_RED, _GREEN, _YELLOW = 31, 32, 33

#: Words that stand out: levels of a check, states of volumes and wipes. The numbers are those of ECMA-48, SGR.
_COLOURS = {
    "FAIL": _RED, "error": _RED, "stopped": _RED,
    "WARN": _YELLOW, "disabled": _YELLOW,
    "ok": _GREEN, "free": _GREEN,
}  # fmt: skip


def coloured(text: str) -> str:
    """``text`` in the colour its word has, if there is a terminal that shows it and nobody objects."""
    number = _COLOURS.get(text.strip())
    if not number or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    return f"\033[{number}m{text}\033[0m"


def clock(seconds: int | None) -> str:
    """Local time as OpenNebula's CLI prints it; ``-`` for never."""
    return time.strftime("%m/%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"


def duration(seconds: int | None) -> str:
    """``1:02:03``, as OpenNebula's CLI prints how long something runs; ``-`` if nobody knows."""
    return "-" if seconds is None else f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def table(documents: Iterable[Document], columns: Sequence[Column], header: bool = True) -> None:
    """Print a heading and a line a document. On a terminal the lines are cut at its width."""
    rows = [[column.value(document) for column in columns] for document in documents]
    widths = [max([len(column.heading), *(len(row[at]) for row in rows)]) for at, column in enumerate(columns)]
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for row in [[column.heading for column in columns]] * header + rows:
        cells = [
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(row, widths, columns)
        ]
        line = " ".join(cells).rstrip()[:limit]
        for at in reversed([at for at, column in enumerate(columns) if column.coloured]):  # nothing moves before it
            begin = sum(widths[:at]) + at
            end = begin + widths[at]
            line = line[:begin] + coloured(line[begin:end]) + line[end:]
        print(line)


def as_csv(documents: Iterable[Document], columns: Sequence[Column], header: bool = True) -> None:
    """The table as CSV with a heading line."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if header:
        writer.writerow([column.heading for column in columns])
    writer.writerows([column.value(document) for column in columns] for document in documents)


def as_json(document: Any) -> None:
    """One JSON document; numbers are numbers, absent values null."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def as_xml(name: str, document: Any) -> None:
    """The same document as XML in OpenNebula's manner: upper-case elements, a list is a repeated element."""
    from xml.etree import ElementTree

    [root] = _elements(name, document)
    ElementTree.indent(root)
    print(ElementTree.tostring(root, encoding="unicode"))


def _elements(name: str, value: Any) -> list[Any]:
    from xml.etree.ElementTree import Element

    if isinstance(value, list):
        return [element for item in value for element in _elements(name, item)]
    element = Element(name)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            element.extend(_elements(key, inner))
    elif value is not None:
        element.text = ("YES" if value else "NO") if isinstance(value, bool) else str(value)
    return [element]


def page(title: str, document: Document) -> None:
    """``show``: one line a value, a section for every nested document."""
    print(f"{title} INFORMATION")
    nested = []
    for key, value in document.items():
        if isinstance(value, (Mapping, list)):
            nested.append((key, value if isinstance(value, list) else [value]))
        else:
            print(f"{key.replace('_', ' '):<16}: {'-' if value in (None, '') else value}")
    for key, items in nested:
        for item in items:
            print()
            if isinstance(item, Mapping):
                page(key.replace("_", " "), item)
            else:
                print(f"{key:<16}: {item}")


class ProgressBar:
    """Bytes done of bytes in all: a bar on a terminal, a line at every tenth otherwise."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._tenth = -1
        self._drawn = False

    def __call__(self, done: int, total: int) -> None:
        """Show ``done`` of ``total`` bytes."""
        from one_iscsi.units import format_size

        share = done / total if total else 1.0
        if sys.stderr.isatty():
            bar = ("#" * round(share * 30)).ljust(30)
            text = f"\r{self._what} [{bar}] {share:4.0%} {format_size(done)} of {format_size(total)} "
            print(text, end="", file=sys.stderr, flush=True)
            self._drawn = True
        elif int(share * 10) > self._tenth:
            self._tenth = int(share * 10)
            print(f"{self._what} {share:.0%}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the bar's line."""
        if self._drawn:
            print(file=sys.stderr)
