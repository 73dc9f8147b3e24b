"""Template texts, as oned reads them (``src/parsers/template_parser.l``, ``template_syntax.y``, ``Template.cc``)."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError

#: Name → its values: an attribute may be there several times. A value is a text, or a dictionary of texts (a vector).
Template = dict[str, list[Any]]

_VALUE = r'"(?:\\"|[^"])*"|[^=#\s,\[\]]+'
_PAIR = rf"\w+[ \t]*=[ \t]*(?:{_VALUE})"
_ATTRIBUTE = re.compile(
    rf"(\w+)[ \t]*=[ \t]*(?:\[\s*((?:{_PAIR}(?:\s*,\s*{_PAIR})*)?)\s*\]|({_VALUE})|(?=\n))\s*"
    r"|[ \t]*#.*\n\s*"
)


def parse(text: str) -> Template:
    """The attributes of a template text, or of an XML document. ValueError for anything else."""
    if text.startswith("<"):
        try:
            return _from_xml(ElementTree.fromstring(text))
        except ParseError:
            raise ValueError("Parse error: XML Template malformed.") from None
    found: Template = {}
    text, at = text.lstrip(), 0
    while at < len(text):
        match = _ATTRIBUTE.match(text, at)
        if not match:
            raise ValueError("Parse error.")
        at = match.end()
        name, pairs, value = match.groups()
        if name:
            found.setdefault(name.upper(), []).append(_plain(value or "") if pairs is None else _vector(pairs))
    return found


def merge(old: Template, new: Template) -> Template:
    """What is new takes the place of all that has its name; a vector without anything only removes."""
    return {name: [one for one in values if one != {}] for name, values in {**old, **new}.items()}


def show(template: Template, element: Element) -> None:
    """Make the attributes the children of ``element``, in the order of their names."""
    for name in sorted(template):
        for value in template[name]:
            child = ElementTree.SubElement(element, name)
            if isinstance(value, str):
                child.text = value
                continue
            for key, text in sorted(value.items()):
                ElementTree.SubElement(child, key).text = text


def _vector(pairs: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in re.findall(rf"(\w+)[ \t]*=[ \t]*({_VALUE})", pairs):
        found.setdefault(name.upper(), _plain(value))
    return found


def _plain(value: str) -> str:
    return (value[1:-1] if value.startswith('"') else value).replace('\\"', '"').strip()


def _from_xml(root: Element) -> Template:
    found: Template = {}
    for child in root:
        value: Any = {one.tag.upper(): one.text or "" for one in child} if len(child) else child.text or ""
        found.setdefault(child.tag.upper(), []).append(value)
    return found
