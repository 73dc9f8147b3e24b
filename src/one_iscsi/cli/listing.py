"""``-l`` and ``-f`` of the list commands, as OpenNebula's own have them: which columns, and which lines."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from one_iscsi.cli.output import Column, Document
from one_iscsi.errors import BadInput
from one_iscsi.units import parse_size

_CONDITION = re.compile(r"\s*(?P<heading>\w+)\s*(?P<sign>!=|<=|>=|=|<|>|~)\s*(?P<value>.*?)\s*", re.DOTALL)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "~": operator.contains,
}


def choose(columns: Sequence[Column], wanted: str) -> Sequence[Column]:
    """The columns named in ``wanted`` (``ID,NAME``), in that order; all of them if it is empty. BadInput."""
    return [_named(columns, heading.strip()) for heading in wanted.split(",")] if wanted else columns


def keep(documents: Sequence[Document], columns: Sequence[Column], conditions: str) -> list[Document]:
    """The documents that meet all conditions (``STAT=free,SIZE>10G``).

    A size is compared as a size and a number as a number, anything else as text; ``~`` is "holds". BadInput.
    """
    tests = [_test(columns, one) for one in conditions.split(",")] if conditions else []
    return [document for document in documents if all(test(document) for test in tests)]


def _named(columns: Sequence[Column], heading: str) -> Column:
    for column in columns:
        if column.heading == heading.upper():
            return column
    raise BadInput(f"there is no column {heading!r}", f"give some of {','.join(one.heading for one in columns)}")


def _test(columns: Sequence[Column], condition: str) -> Callable[[Document], bool]:
    match = _CONDITION.fullmatch(condition)
    if not match:
        raise BadInput(f"filter {condition!r} is malformed", "give COLUMN=VALUE, or one of != < <= > >= ~ (holds)")
    column, value = _named(columns, match["heading"]), match["value"]
    meets, as_text = _SIGNS[match["sign"]], match["sign"] == "~"

    def test(document: Document) -> bool:
        shown = column.value(document)
        raw = document[column.heading] if column.size else int(shown) if shown.isdecimal() else None
        if as_text or not column.right or raw is None:
            return meets(shown, value)
        return meets(raw, _number(column, value))

    return test


def _number(column: Column, value: str) -> int:
    if column.size and value != "0":
        return parse_size(value)
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise BadInput(f"{value!r} is no number, as {column.heading} is", "give a number")
    return int(value)
