"""The commands about the configuration file: config check, show, sample; and the page about it, made from its schema:
``python -m one_iscsi.cli.configuration > docs/configuration.md``."""

from __future__ import annotations

from argparse import Namespace
from operator import itemgetter

from one_iscsi import checking, config
from one_iscsi.cli.commands import print_list
from one_iscsi.cli.output import Column, Document
from one_iscsi.cli.session import warn
from one_iscsi.cli.upkeep import tell
from one_iscsi.errors import ConfigError
from one_iscsi.findings import CRITICAL

_COLUMNS = tuple(Column(key, itemgetter(key)) for key in ("KEY", "VALUE", "FROM"))


def check(options: Namespace) -> int:
    """``onevolume config check``: ConfigError's exit code if there is a mistake."""
    found = checking.configuration()
    tell(found)
    return ConfigError.exit_code if any(one.level == CRITICAL for one in found) else 0


def show(options: Namespace) -> None:
    """``onevolume config show``."""
    config.load()  # not what a file with mistakes half says
    found = config.look()
    if found.exposed:
        warn(f"{found.path} holds a password and everybody here can read it: chmod o-r {found.path}")
    rows: list[Document] = [
        {
            "KEY": key.name,
            "VALUE": key.type.shown(getattr(found.config, key.name)),
            "FROM": found.origins.get(key.name, "default").replace("line", f"{found.path}, line"),
        }
        for key in config.SCHEMA
    ]
    print_list(options, "CONFIGURATION", "SETTING", rows, _COLUMNS)


def sample(options: Namespace) -> None:
    """``onevolume config sample``."""
    print(config.sample(), end="")


_HEAD = """# Configuration

Made from the schema by `python -m one_iscsi.cli.configuration`.

The file is `/etc/one/one_iscsi.conf`, or `etc/one_iscsi.conf` under `ONE_LOCATION`; `ONE_ISCSI_CONFIG` names another.
It need not be there: every key has a default. A line is `key = value`; a `#` at the beginning of a line or after a
blank begins a comment. A key that does not exist, or a value that cannot be, stops every command with its line.

```sh
onevolume config sample     # a file that explains every key
onevolume config check      # every mistake, with its line and what is allowed
onevolume config show       # what is in force and where it is from; a password is shown as ***
```

The file may hold a password of the database: give it to oneadmin with mode 0640. Commands read it every time, nothing
has to be restarted.
"""


def text() -> str:
    """The page about the file."""
    return "\n".join([_HEAD, *map(_key, config.SCHEMA)])


def _key(key: config.Key) -> str:
    lines = [f"## {key.name}", "", key.text, "", "| | |", "|---|---|"]
    lines += [f"| allowed | {key.type.allowed} |", f"| default | `{key.default}` |"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(text(), end="")
