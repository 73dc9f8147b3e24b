"""``python -m one_iscsi.cli.manual``: the manual page onevolume(1), made from the commands."""

from __future__ import annotations

from collections.abc import Iterable

from one_iscsi import __version__
from one_iscsi.cli.parser import COMMANDS, Command
from one_iscsi.cli.reference import DATABASE, ENVIRONMENT, exit_codes, rows, sentence, usage

_DESCRIPTION = (
    "onevolume gives OpenNebula's VMs block volumes from an iSCSI SAN. Volumes are named by id, name or IQN, VMs "
    "by id or name. Sizes are 10G, 10240M, 1.5T; a plain number is MiB. Run it as oneadmin; as "
    "root it goes on as oneadmin."
)


def text() -> str:
    """The whole page, for man(7)."""
    lines = [
        f'.TH ONEVOLUME 1 "" "one_iscsi {__version__}" "OpenNebula"',
        *_heading("NAME"), "onevolume \\- block volumes for OpenNebula VMs from an iSCSI SAN",
        *_heading("SYNOPSIS"), ".B onevolume", ".I COMMAND", "[options] [arguments]",
        *_heading("DESCRIPTION"), escape(_DESCRIPTION),
        *_heading("COMMANDS"), *(line for command in COMMANDS for line in _command(command)),
        *_heading("EXIT STATUS"), *_terms((str(code), said) for code, said in exit_codes()),
        *_heading("ENVIRONMENT"), *_terms((name, said.replace("`", "")) for name, said in ENVIRONMENT),
        ".PP", escape(DATABASE.replace("`", "")),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def escape(words: str) -> str:
    """Words that man(7) prints as they are: to it backslashes, dashes, and dots that start a line mean more."""
    words = words.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return "\\&" + words if words.startswith((".", "'")) else words


def _heading(title: str) -> list[str]:
    return [f".SH {title}"]


def _command(command: Command) -> list[str]:
    lines = [f".SS {escape(usage(command))}", escape(sentence(command)), *_terms(rows(command))]
    if command.examples:
        lines += [".PP", "Examples:", ".PP", ".nf", ".RS", *map(escape, command.examples), ".RE", ".fi"]
    return lines


def _terms(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, said in pairs for line in (".TP", f".B {escape(name)}", escape(said) or "\\&")]


if __name__ == "__main__":
    print(text(), end="")
