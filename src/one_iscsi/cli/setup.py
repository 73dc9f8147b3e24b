"""``python -m one_iscsi.cli.setup``: what an installation needs the program itself for; install.sh calls it.

``config [URL]``            print a configuration with this database, whose password is standard input
``key [--file]``              print a new key of CHAP secrets; or where it belongs
``database FOLDER [--save]``  make or upgrade the tables; they are saved (a server's into FOLDER) before they change
``remove FOLDER``           take the tables away, and what was saved of them
"""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from urllib.parse import quote

from one_iscsi import config
from one_iscsi.cli import run
from one_iscsi.errors import ConfigError


def main() -> int:
    """Run one of the words above; its exit code."""
    parser = ArgumentParser(prog="setup")
    words = parser.add_subparsers(required=True)
    word = words.add_parser("config")
    word.add_argument("url", nargs="?")
    word.set_defaults(run=_config)
    word = words.add_parser("key")
    word.add_argument("--file", action="store_true")
    word.set_defaults(run=_key)
    word = words.add_parser("database")
    word.add_argument("folder", type=Path)
    word.add_argument("--save", action="store_true")
    word.set_defaults(run=_database)
    word = words.add_parser("remove")
    word.add_argument("folder", type=Path)
    word.set_defaults(run=_remove)
    options = parser.parse_args()
    return run(lambda: options.run(options))


def _config(options: Namespace) -> None:
    """A new configuration file; nothing when there is one, and ConfigError when that one names another database."""
    found = config.look()
    if found.present:
        if options.url and options.url != config.masked(config.load().database, ""):
            what = f"{found.path} is there and names another database than {options.url}"
            raise ConfigError(what, "it is never overwritten: change its line `database = …`")
        return
    text = config.sample()
    if options.url:
        user, _, rest = options.url.partition("@")
        line = f"database = {user}:{quote(sys.stdin.readline(), safe='')}@{rest}"
        text = re.sub(r"^#database = .*$", lambda _: line, text, flags=re.MULTILINE)
    print(text, end="")


def _key(options: Namespace) -> None:
    from one_iscsi.sealing import new_key

    print(config.load().key_file if options.file else new_key())


def _database(options: Namespace) -> None:
    from one_iscsi.store.upkeep import prepare

    prepare(config.load().database, options.folder, options.save, print)


def _remove(options: Namespace) -> None:
    from one_iscsi.store.upkeep import remove

    remove(config.load().database, options.folder, print)


if __name__ == "__main__":
    sys.exit(main())
