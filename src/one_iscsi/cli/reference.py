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

| variable | what it is for |
|---|---|
| `ONE_ISCSI_DATABASE` | `sqlite:////path/one_volume.db` or `mysql://user:password@host/database` (see below) |
| `ONE_XMLRPC`, `ONE_AUTH` | oned's address and the file with the session, as for OpenNebula's own commands |
| `ONE_LOCATION` | where a self-managed OpenNebula is |
| `SSH` | the ssh command of OpenNebula's wrappers |
| `ONE_ISCSI_DEBUG` | with any value a bug shows its traceback |

Without `ONE_ISCSI_DATABASE` it is the file `/var/lib/one/one_volume.db`, or `var/one_volume.db` under `ONE_LOCATION`.
"""


def text() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *map(_section, COMMANDS), _exit_codes()])


def _section(command: Command) -> str:
    positional = [(flags[0], options) for flags, options in command.arguments if not flags[0].startswith("-")]
    optional = [(flags, options) for flags, options in command.arguments if flags[0].startswith("-")]
    words = [f"onevolume {command.name}", *(["[options]"] if optional else [])]
    words += [_positional(name, options) for name, options in positional]
    lines = [f"## {command.name}", "", f"`{' '.join(words)}`", "", command.help[0].upper() + command.help[1:] + ".", ""]
    rows = [(options.get("metavar", name.upper()), options.get("help", "")) for name, options in positional]
    rows += [(_flags(flags, options), options.get("help", "")) for flags, options in optional]
    if rows:
        lines += ["| argument | |", "|---|---|", *(f"| `{name}` | {said} |" for name, said in rows), ""]
    if command.examples:
        lines += ["```sh", *command.examples, "```", ""]
    return "\n".join(lines)


def _positional(name: str, options: dict[str, Any]) -> str:
    shown = str(options.get("metavar", name.upper()))
    return {"?": f"[{shown}]", "+": f"{shown}…", "*": f"[{shown}…]"}.get(str(options.get("nargs", "")), shown)


def _flags(flags: tuple[str, ...], options: dict[str, Any]) -> str:
    value = options.get("metavar") or "/".join(options.get("choices", ()))
    return ", ".join(flags) + (f" {value}" if value else "")


def _exit_codes() -> str:
    rows = {0: "Done."}
    kinds: list[type[errors.OneIscsiError]] = [errors.OneIscsiError, *errors.OneIscsiError.__subclasses__()]
    for kind in kinds:
        rows.setdefault(kind.exit_code, " ".join((kind.__doc__ or "").split("\n\n")[0].split()))
    rows |= {BUG: "A bug of onevolume.", INTERRUPTED: "Interrupted from the keyboard."}
    lines = [f"| {code} | {said} |" for code, said in sorted(rows.items())]
    return "\n".join(["## Exit codes", "", "| code | meaning |", "|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    print(text(), end="")
