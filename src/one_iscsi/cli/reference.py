"""``python -m one_iscsi.cli.reference > docs/cli.md``: the reference of the commands, made from the commands."""

from __future__ import annotations

from typing import Any

from one_iscsi import errors
from one_iscsi.cli import BUG, INTERRUPTED
from one_iscsi.cli.parser import COMMANDS, Command

_HEAD = """# onevolume

Made from the commands by `python -m one_iscsi.cli.reference`; `onevolume COMMAND --help` says the same.

Volumes are named by id, name or IQN; VMs by id or name. Sizes are `10G`, `10240M`, `1.5T`; a plain number is MiB. Run
it as oneadmin; as root it goes on as oneadmin.
"""

#: What is read from the environment, and what for.
ENVIRONMENT = (
    ("ONE_ISCSI_CONFIG", "the configuration file (see below)"),
    ("ONE_ISCSI_DATABASE", "`sqlite:////path/one_volume.db` or `mysql://user:password@host/database` (see below)"),
    ("ONE_XMLRPC, ONE_AUTH", "oned's address and the file with the session, as for OpenNebula's own commands"),
    ("ONE_LOCATION", "where a self-managed OpenNebula is"),
    ("SSH", "the ssh command of OpenNebula's wrappers"),
    ("NO_COLOR, TERM", "`list` and `check` colour words on a terminal, unless NO_COLOR has a value or TERM is `dumb`"),
    ("ONE_ISCSI_DEBUG", "with any value a bug shows its traceback"),
)

DATABASE = (
    "Without `ONE_ISCSI_CONFIG` the configuration is `/etc/one/one_iscsi.conf`, or `etc/one_iscsi.conf` under "
    "`ONE_LOCATION`. Without `ONE_ISCSI_DATABASE` the database is what the configuration says, else the file "
    "`/var/lib/one/one_volume.db`, or `var/one_volume.db` under `ONE_LOCATION`."
)


def text() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_environment(), *map(_section, COMMANDS), *_exit_codes()])


def usage(command: Command) -> str:
    """The line to type, such as ``onevolume show [options] VOLUME``."""
    words = [f"onevolume {command.name}", *(["[options]"] if options(command) else [])]
    for flags, said in positionals(command):
        shown = str(said.get("metavar", flags[0].upper()))
        words.append({"?": f"[{shown}]", "+": f"{shown}…", "*": f"[{shown}…]"}.get(str(said.get("nargs", "")), shown))
    return " ".join(words)


def positionals(command: Command) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """The arguments without a flag, in their order."""
    return [(flags, said) for flags, said in command.arguments if not flags[0].startswith("-")]


def options(command: Command) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """The arguments with flags."""
    return [(flags, said) for flags, said in command.arguments if flags[0].startswith("-")]


def rows(command: Command) -> list[tuple[str, str]]:
    """Every argument as it is typed, and what it is for."""
    found = [
        (str(said.get("metavar", flags[0].upper())), str(said.get("help", ""))) for flags, said in positionals(command)
    ]
    return found + [(_flags(flags, said), str(said.get("help", ""))) for flags, said in options(command)]


def sentence(command: Command) -> str:
    """What the command does."""
    return command.help[0].upper() + command.help[1:] + "."


def exit_codes() -> list[tuple[int, str]]:
    """Every exit code and what it means."""
    codes = {0: "Done."}
    kinds: list[type[errors.OneIscsiError]] = [errors.OneIscsiError, *errors.OneIscsiError.__subclasses__()]
    for kind in kinds:
        codes.setdefault(kind.exit_code, " ".join((kind.__doc__ or "").split("\n\n")[0].split()))
    return sorted({**codes, BUG: "A bug of onevolume.", INTERRUPTED: "Interrupted from the keyboard."}.items())


def _section(command: Command) -> str:
    lines = [f"## {command.name}", "", f"`{usage(command)}`", "", sentence(command), ""]
    if rows(command):
        lines += ["| argument | |", "|---|---|", *(f"| `{name}` | {said} |" for name, said in rows(command)), ""]
    return "\n".join([*lines, "```sh", *command.examples, "```", ""])


def _flags(flags: tuple[str, ...], said: dict[str, Any]) -> str:
    value = said.get("metavar") or "/".join(said.get("choices", ()))
    return ", ".join(flags) + (f" {value}" if value else "")


def _environment() -> list[str]:
    lines = [f"| `{name.replace(', ', '`, `')}` | {said} |" for name, said in ENVIRONMENT]
    return ["| variable | what it is for |", "|---|---|", *lines, "", DATABASE, ""]


def _exit_codes() -> list[str]:
    lines = [f"| {code} | {said} |" for code, said in exit_codes()]
    return ["## Exit codes", "", "| code | meaning |", "|---|---|", *lines, ""]


if __name__ == "__main__":
    print(text(), end="")
