"""The manual pages, made from the tables of commands and of configuration keys.

``python -m one_iscsi.cli.manual`` prints onevolume(1), ``python -m one_iscsi.cli.manual configuration`` the page
one_iscsi.conf(5).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from one_iscsi import __version__, config
from one_iscsi.cli.parser import COMMANDS, Command
from one_iscsi.cli.reference import DATABASE, ENVIRONMENT, exit_codes, rows, sentence, usage

_DESCRIPTION = (
    "onevolume gives OpenNebula's VMs block volumes from an iSCSI SAN. Volumes are named by id, name or IQN, VMs "
    "by id or name. Sizes are 10G, 10240M, 1.5T; a plain number is MiB. Run it as oneadmin; as "
    "root it goes on as oneadmin."
)

_CONFIGURATION = (
    "The configuration of onevolume(1), or etc/one_iscsi.conf under ONE_LOCATION. A line is key = value; a # at the "
    "beginning of a line or after a blank begins a comment. Every key has a default. Commands read the file "
    "every time. "
    "onevolume config check finds mistakes, onevolume config show tells what is in force."
)


def commands() -> str:
    """onevolume(1), for man(7)."""
    lines = [
        *_title("ONEVOLUME", 1),
        *_heading("NAME"), "onevolume \\- block volumes for OpenNebula VMs from an iSCSI SAN",
        *_heading("SYNOPSIS"), ".B onevolume", ".I COMMAND", "[options] [arguments]",
        *_heading("DESCRIPTION"), escape(_DESCRIPTION),
        *_heading("COMMANDS"), *(line for command in COMMANDS for line in _command(command)),
        *_heading("EXIT STATUS"), *_terms((str(code), said) for code, said in exit_codes()),
        *_heading("ENVIRONMENT"), *_terms((name, said.replace("`", "")) for name, said in ENVIRONMENT),
        ".PP", escape(DATABASE.replace("`", "")),
        *_heading("SEE ALSO"), ".BR one_iscsi.conf (5)",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """one_iscsi.conf(5), for man(7)."""
    keys = ((key.name, f"{key.text} Allowed: {key.type.allowed}. Default: {key.default}.") for key in config.SCHEMA)
    lines = [
        *_title("ONE_ISCSI.CONF", 5),
        *_heading("NAME"), "one_iscsi.conf \\- configuration of onevolume",
        *_heading("SYNOPSIS"), "/etc/one/one_iscsi.conf",
        *_heading("DESCRIPTION"), escape(_CONFIGURATION),
        *_heading("KEYS"), *_terms(keys),
        *_heading("SEE ALSO"), ".BR onevolume (1)",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def escape(words: str) -> str:
    """Words that man(7) prints as they are: to it backslashes, dashes, and dots that start a line mean more."""
    words = words.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return "\\&" + words if words.startswith((".", "'")) else words


def _title(name: str, section: int) -> list[str]:
    return [f'.TH {name} {section} "" "one_iscsi {__version__}" "OpenNebula"']


def _heading(title: str) -> list[str]:
    return [f".SH {title}"]


def _command(command: Command) -> list[str]:
    examples = [".PP", "Examples:", ".PP", ".nf", ".RS", *map(escape, command.examples), ".RE", ".fi"]
    return [f".SS {escape(usage(command))}", escape(sentence(command)), *_terms(rows(command)), *examples]


def _terms(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, said in pairs for line in (".TP", f".B {escape(name)}", escape(said) or "\\&")]


if __name__ == "__main__":
    print(configuration() if sys.argv[1:] == ["configuration"] else commands(), end="")
