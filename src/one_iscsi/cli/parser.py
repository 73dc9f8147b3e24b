"""What can be typed: every command with its arguments, help and examples, as one table."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from one_iscsi import __version__
from one_iscsi.cli import commands, configuration, operations, servers, upkeep
from one_iscsi.errors import BadInput
from one_iscsi.states import KEEP, RELEASE


@dataclass(frozen=True)
class Command:
    """``name`` may have two words (``san create``); ``examples`` are whole lines a user can type."""

    name: str
    run: Callable[[argparse.Namespace], int | None]
    help: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = ()
    examples: tuple[str, ...] = ()


def _argument(*flags: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return flags, options


_PORTALS = _argument(
    "--portal",
    metavar="IP:PORT",
    action="append",
    default=[],
    help="where its targets answer, such as 10.0.0.5:3260; several are paths, which multipathd joins on the hosts",
)
_HOST = _argument("host", metavar="HOST", help="its name")
_KNOWN_HOST = _argument("host", metavar="HOST", help="id or name")
_SAN = _argument("san", metavar="SAN", help="id or name")
_VOLUME = _argument("volume", metavar="VOLUME", help="id, name or IQN")
_VOLUMES = _argument("volumes", metavar="VOLUME", nargs="+", help="ids, names, IQNs, or a range of ids such as 3..7")
_YES = _argument("-y", "--yes", action="store_true", help="do not ask (scripts)")
_CHAP = (
    _argument("--chap-user", metavar="NAME", default="", help="log in with CHAP as this user; its secret is asked for"),
    _argument(
        "--chap-target-user", metavar="NAME", default="", help="the target, too, must show who it is (mutual CHAP)"
    ),
    _argument(
        "--chap-secret-file",
        metavar="FILE",
        help="do not ask: a line with the user's secret, one with the target's; or -",
    ),
)
_WAIT = _argument("--wait", action="store_true", help="stay until the wipe is done, with a progress bar")
_MACHINE = (
    _argument("-x", "--xml", dest="form", action="store_const", const="xml", help="print XML"),
    _argument("-j", "--json", dest="form", action="store_const", const="json", help="print JSON (sizes in bytes)"),
)
_LIST = (
    *_MACHINE,
    _argument("--csv", dest="form", action="store_const", const="csv", help="print CSV"),
    _argument("-l", "--list", dest="columns", metavar="COLUMNS", help="columns of the table or CSV, such as ID,NAME"),
    _argument(
        "-f",
        "--filter",
        metavar="CONDITIONS",
        help="only lines with COLUMN=VALUE, !=, <, <=, >, >=, ~ (holds); by commas",
    ),
    _argument("--no-header", dest="header", action="store_false", help="no headings"),
)

COMMANDS = (
    Command(
        "create",
        operations.create,
        "make new volumes where the most room is left; one that may hold old data is wiped first",
        (
            _argument("size", metavar="SIZE", help="10G, 10240M, 1.5T; a plain number is MiB"),
            _argument("--name", metavar="NAME", default="", help="name (default: volume-ID; with --count NAME-1 …)"),
            _argument("--san", metavar="SAN", default="", help="make it on this storage server"),
            _argument("--pool", metavar="LABEL", default="", help="make it on a storage server with this label"),
            _argument("--count", metavar="N", type=int, default=1, help="make so many (default: 1)"),
            _WAIT,
            *_MACHINE,
        ),
        ("onevolume create 10G", "onevolume create 10G --name db --count 3 --pool fast", "onevolume create 1T --wait"),
    ),
    Command(
        "register",
        operations.register,
        "take in a target of a storage server; it is closed, and wiped before anybody gets it",
        (
            _argument("iqn", metavar="IQN", help="the target's name"),
            _PORTALS,
            _argument("--size", metavar="SIZE", help="10G, 10240M, 1.5T; only for servers that cannot be asked"),
            _argument("--lun", metavar="N", type=int, help="LUN of the disk (default: as the server says, else 0)"),
            _argument("--san", metavar="SAN", help="storage server (default: the one with this portal, or 'static')"),
            _argument("--name", metavar="NAME", help="name of the volume (default: the end of the IQN)"),
            _argument("--assume-clean", action="store_true", help="skip the wipe: the target holds nobody's data"),
            *_CHAP,
            _WAIT,
        ),
        (
            "onevolume register iqn.2026-01.com.example:v1 --san tgt1",
            "onevolume register iqn.2026-01.com.example:v2 --portal 10.0.0.5:3260 --size 10G --lun 0",
            "onevolume register iqn.2026-01.com.example:v3 --san openfiler --size 10G --chap-user ann",
        ),
    ),
    Command(
        "list",
        commands.list_volumes,
        "list the volumes",
        (
            *_LIST,
            _argument("--status", metavar="STATUS", action="append", help="only volumes in this status"),
            _argument("--san", metavar="SAN", help="only volumes of this storage server"),
        ),
        (
            "onevolume list --status free",
            "onevolume list -l ID,NAME,SIZE -f 'SIZE>=10G,HOST=node1' --no-header",
            "onevolume list -j",
        ),
    ),
    Command(
        "show",
        commands.show_volume,
        "show everything about a volume",
        (_VOLUME, *_MACHINE),
        ("onevolume show 3", "onevolume show db-data -j"),
    ),
    Command(
        "attach",
        operations.attach,
        "attach a free volume of at least SIZE to a running VM",
        (
            _argument("vm", metavar="VM", help="id or name of the VM"),
            _argument("size", metavar="SIZE", nargs="?", help="10G, 10240M, 1.5T; a plain number is MiB"),
            _argument("--volume", metavar="VOLUME", help="attach this volume (free, or kept by the VM's owner)"),
            _argument("--pool", metavar="LABEL", default="", help="only a volume of storage servers with this label"),
            _argument("--target", metavar="TARGET", help="device name in the guest (default: xvdp, vdz downwards)"),
            _argument("--read-only", action="store_true", help="the guest may only read"),
            _argument(
                "--on-terminate",
                choices=(KEEP, RELEASE),
                help="what happens to the data when the VM is terminated (default: as configured, else keep)",
            ),
            *_MACHINE,
        ),
        ("onevolume attach 7 10G", "onevolume attach web 512M --pool fast", "onevolume attach 8 --volume 3"),
    ),
    Command(
        "detach",
        operations.detach,
        "unplug a volume from a VM and wipe it, or keep its data",
        (
            _argument("vm", metavar="VM", help="id or name of the VM"),
            _VOLUME,
            _argument("--keep", action="store_true", help="keep the data; the volume stays with the VM's owner"),
            _YES,
            _WAIT,
        ),
        ("onevolume detach 7 3", "onevolume detach 7 3 --keep", "onevolume detach 7 3 --yes --wait"),
    ),
    Command(
        "release",
        operations.release,
        "wipe kept volumes and make them free; or start the wipe of dirty ones",
        (_VOLUMES, _YES, _WAIT),
        ("onevolume release 3", "onevolume release 3..7 --yes"),
    ),
    Command(
        "delete",
        operations.delete,
        "take volumes out of the table; what create made is wiped and removed, registered targets stay, closed",
        (_VOLUMES, _YES, _WAIT),
        ("onevolume delete 3", "onevolume delete 3..7 --yes --wait"),
    ),
    Command("enable", operations.enable, "put disabled volumes back", (_VOLUMES,), ("onevolume enable 3",)),
    Command(
        "disable", operations.disable, "keep volumes from being handed out", (_VOLUMES,), ("onevolume disable 3..7",)
    ),
    Command(
        "resize",
        operations.resize,
        "make a volume larger; a running guest sees it if the storage server can grow a disk in use",
        (_VOLUME, _argument("size", metavar="SIZE", help="the new size: 20G, 10240M; a volume never shrinks")),
        ("onevolume resize 3 20G",),
    ),
    Command(
        "rename",
        operations.rename,
        "give a volume another name; its IQN stays",
        (_VOLUME, _argument("name", metavar="NAME", help="up to 128 characters, not only digits")),
        ("onevolume rename 3 db-data",),
    ),
    Command(
        "chap",
        operations.chap,
        "set or remove the CHAP account of a volume whose storage server is static",
        (_VOLUME, *_CHAP, _argument("--remove", action="store_true", help="log in without CHAP")),
        ("onevolume chap 3 --chap-user ann", "onevolume chap 3 --chap-user ann --chap-secret-file - < secret"),
    ),
    Command(
        "events",
        commands.list_events,
        "who did what to the volumes, newest last",
        (
            _argument("volume", metavar="VOLUME", nargs="?", help="only this volume (also the id of a deleted one)"),
            _argument("--limit", metavar="N", type=int, default=100, help="at most the last N (default: 100)"),
            *_LIST,
        ),
        ("onevolume events 3",),
    ),
    Command(
        "recover",
        operations.recover,
        "finish or undo what a dead process left half done, by what is really there",
        (
            _argument("volumes", metavar="VOLUME", nargs="*", help="ids, names, IQNs or a range; none: all"),
            _argument(
                "--force", action="store_true", help="finish a detach although the host cannot write back: DATA IS LOST"
            ),
            _WAIT,
        ),
        ("onevolume recover 3", "onevolume recover", "onevolume recover 3 --force"),
    ),
    Command(
        "work",
        upkeep.work,
        "collect wipes, start waiting ones, settle what dead processes left half done; for a timer",
        (
            _argument(
                "--limit", metavar="SECONDS", type=int, default=240, help="begin nothing new after this (default: 240)"
            ),
            _argument("--log", metavar="FILE", help="also append what was done, with the time, to this file"),
            *_MACHINE,
        ),
        ("onevolume work", "onevolume work -j"),
    ),
    Command(
        "check",
        upkeep.check,
        "name what is wrong with the front end, hosts and storage servers, with the fix for each; "
        "without --host and --san: all that are known",
        (
            _argument("--host", metavar="HOST", action="append", default=[], help="check this host (may be repeated)"),
            _argument("--san", metavar="SAN", action="append", default=[], help="check this storage server"),
            *_MACHINE,
            _argument(
                "--nagios",
                action="store_true",
                help="one line, and a monitoring plugin's exit codes: 0 ok, 1 warning, 2 critical, 3 unknown",
            ),
        ),
        ("onevolume check", "onevolume check --host node1", "onevolume check --nagios"),
    ),
    Command(
        "san create",
        servers.create_san,
        "add a storage server",
        (
            _argument("name", metavar="NAME"),
            _argument(
                "--kind", choices=("lio", "static", "tgt"), required=True, help="static: somebody else manages it"
            ),
            _argument("--host", metavar="HOST", default="", help="where its commands run, over ssh; or localhost"),
            _PORTALS,
            _argument("--vg", metavar="VG", help="make volumes in this LVM volume group"),
            _argument("--thin", metavar="VG/POOL", help="make volumes in this LVM thin pool"),
            _argument("--path", metavar="DIR", help="make volumes as files in this folder"),
            _argument("--pool", metavar="LABEL", default="", help="a label users can ask for, such as fast"),
            _argument("--cluster", metavar="ID", type=int, action="append", default=[], help="serve only this cluster"),
        ),
        (
            "onevolume san create tgt1 --kind tgt --host storage1 --portal 10.0.0.5:3260",
            "onevolume san create tgt2 --kind tgt --host storage2 --portal 10.0.0.6:3260 --vg vg0 --pool fast",
            "onevolume san create openfiler --kind static --portal 10.0.0.9:3260",
        ),
    ),
    Command(
        "san list",
        servers.list_sans,
        "list the storage servers and the room they have",
        _LIST,
        ("onevolume san list", "onevolume san list -f POOL=fast --csv"),
    ),
    Command(
        "san show",
        servers.show_san,
        "show a storage server and the room it has",
        (_SAN, *_MACHINE),
        ("onevolume san show tgt1", "onevolume san show 1 -j"),
    ),
    Command(
        "san scan",
        servers.scan_san,
        "compare a storage server's targets with the table; or take in those that are not there",
        (
            _SAN,
            _argument("--register", action="store_true", help="register what is only on the server; it is wiped"),
            _YES,
            *_LIST,
        ),
        ("onevolume san scan tgt1", "onevolume san scan tgt1 --register"),
    ),
    Command(
        "san delete",
        servers.delete_san,
        "forget a storage server that has no volumes",
        (_SAN,),
        ("onevolume san delete tgt1",),
    ),
    Command(
        "wipe list",
        commands.list_wipes,
        "list the wipes that run or wait for their turn: how far, how fast, how long they will take",
        _LIST,
        ("onevolume wipe list", "onevolume wipe list -j"),
    ),
    Command(
        "host list",
        commands.list_hosts,
        "list the hosts volumes were attached on",
        _LIST,
        ("onevolume host list", "onevolume host list -l NAME,INITIATOR"),
    ),
    Command(
        "host show",
        commands.show_host,
        "show what was learned of a host",
        (_KNOWN_HOST, *_MACHINE),
        ("onevolume host show node1", "onevolume host show 1 -j"),
    ),
    Command(
        "host prepare",
        upkeep.prepare,
        "install and set up on a host what volumes need, as root@HOST through ssh; then check it",
        (
            _HOST,
            _argument("--print", action="store_true", help="only print a script, for an admin to run there as root"),
            _argument(
                "--rename", action="store_true", help="give it a new initiator name, because another has the same"
            ),
        ),
        ("onevolume host prepare node1", "onevolume host prepare node1 --print | ssh admin@node1 sudo sh"),
    ),
    Command(
        "host delete",
        upkeep.delete_host,
        "forget what was learned of a host that is no more, or has another name now; the next attach learns it anew",
        (_KNOWN_HOST,),
        ("onevolume host delete node1", "onevolume host delete 1"),
    ),
    Command(
        "config check",
        configuration.check,
        "name every mistake in the configuration file",
        examples=("onevolume config check",),
    ),
    Command(
        "config show",
        configuration.show,
        "show what is configured, and where it is from; no password",
        _LIST,
        ("onevolume config show", "onevolume config show -f FROM!=default"),
    ),
    Command(
        "config sample",
        configuration.sample,
        "print a configuration file that explains every key",
        examples=("onevolume config sample > /etc/one/one_iscsi.conf",),
    ),
)

_GROUPS = {"san": "storage servers", "wipe": "wipes", "host": "hosts", "config": "configuration"}

_EXIT_CODES = """exit codes:
  0 done; 1 failed, nothing left behind; 2 bad input; 3 not found; 4 no volume fits; 5 wrong state;
  6 not allowed or not confirmed; 7 oned; 8 a host; 9 a storage server; 10 the database;
  11 stopped half-way, see onevolume recover; 12 this front end lacks something; 13 the configuration;
  70 a bug; 130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as for every other error."""
        self.exit(BadInput.exit_code, f"{self.prog}: {message}: see {self.prog} --help\n")


def build() -> argparse.ArgumentParser:
    """The parser of ``onevolume``; every command sets ``run``."""
    parser = _Parser(
        prog="onevolume",
        description="Block volumes for OpenNebula VMs from an iSCSI SAN.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"onevolume {__version__}")
    top = parser.add_subparsers(metavar="COMMAND", required=True)
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group and group not in groups:
            inner = top.add_parser(group, help=_GROUPS[group], description=_GROUPS[group])
            groups[group] = inner.add_subparsers(metavar="COMMAND", required=True)
        one = (groups[group] if group else top).add_parser(
            name,
            help=command.help,
            description=command.help,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(run=command.run, form="", columns="", filter="", header=True)
        for flags, options in command.arguments:
            one.add_argument(*flags, **options)
    return parser
