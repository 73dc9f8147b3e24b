"""The configuration file: what can be set there, and what is set. The schema is the class ``Config``.

Every command reads the file, so nothing slow is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from one_iscsi.errors import BadInput, ConfigError
from one_iscsi.states import KEEP, RELEASE
from one_iscsi.units import MIB, parse_size

_SQLITE = "sqlite:///{}/one_volume.db"
_KEY_FILE = "{}/one_iscsi.key"
_LINE = re.compile(r"(?P<key>[A-Za-z0-9_.-]+)\s*=\s*(?P<value>.*)")
#: A comment begins a line or follows a blank: a URL may hold a #.
_COMMENT = re.compile(r"(^|\s)#.*")


class Type(Protocol):
    """What a value may be."""

    @property
    def allowed(self) -> str:
        """What ``read`` takes, in words."""

    @property
    def secret(self) -> bool:
        """Whether a value is never shown as it is."""

    def read(self, text: str) -> Any:
        """The value; ValueError."""

    def shown(self, value: Any) -> str:
        """A value for people, without a password."""


class _Open:
    """What anybody may see as it is."""

    secret = False

    def shown(self, value: Any) -> str:
        """The value."""
        return str(value)


class Whole(_Open):
    """A whole number of some unit."""

    def __init__(self, unit: str, low: int, high: int) -> None:
        self.unit, self.low, self.high = unit, low, high

    @property
    def allowed(self) -> str:
        """For messages and documents."""
        return f"a whole number of {self.unit} from {self.low} to {self.high}"

    def read(self, text: str) -> int:
        """The number."""
        number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
        if not self.low <= number <= self.high:
            raise ValueError
        return number


class OneOf(_Open):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    @property
    def allowed(self) -> str:
        """For messages and documents."""
        return " or ".join(self.words)

    def read(self, text: str) -> str:
        """The word."""
        if text not in self.words:
            raise ValueError
        return text


class Rate(_Open):
    """Bytes a second, in whole MiB; 0 is no limit."""

    allowed = "0 for no limit, or a size a second in whole megabytes, such as 200M"

    def read(self, text: str) -> int:
        """The bytes."""
        try:
            rate = 0 if text == "0" else parse_size(text)
        except BadInput:
            raise ValueError from None
        if rate % MIB:
            raise ValueError
        return rate

    def shown(self, value: int) -> str:
        """As it is written."""
        return f"{value // MIB}M" if value else "0"


class DatabaseUrl:
    """Where the database is; it may hold a password."""

    allowed = "sqlite:////absolute/path.db or mysql://user:password@host:port/database (percent-encoded)"
    secret = True

    def read(self, text: str) -> str:
        """The URL; whether it is a good one turns out when the database is opened."""
        if not re.fullmatch(r"sqlite:////\S+|mysql://\S+", text):
            raise ValueError
        return text

    def shown(self, value: str) -> str:
        """Without its password."""
        return masked(value)


class FileName(_Open):
    """A file, wherever the command is started."""

    allowed = "an absolute path"

    def read(self, text: str) -> str:
        """The path; whether the file is a good one turns out when it is needed."""
        if not re.fullmatch(r"/\S+", text):
            raise ValueError
        return text


def _key(default: Any, kind: Type, text: str) -> Any:
    return field(default=default, metadata={"type": kind, "text": text})


@dataclass(frozen=True)
class Config:
    """What is configured: a field for every key of the file."""

    database: str = _key(
        _SQLITE.format("/var/lib/one"),
        DatabaseUrl(),
        "The table of volumes, the journal and the audit. Without this key it is a file beside OpenNebula's own "
        "database: var/one_volume.db under ONE_LOCATION, if that is set. MySQL or MariaDB is for front ends in high "
        "availability. ONE_ISCSI_DATABASE in the environment wins. If this holds a password, others must not be able "
        "to read the file.",
    )
    ssh_connect_timeout: int = _key(
        10,
        Whole("seconds", 1, 120),
        "How long a host or a storage server may take to answer an ssh connection before it counts as unreachable.",
    )
    oned_timeout: int = _key(
        20, Whole("seconds", 1, 600), "How long oned may take to answer a question before the command gives up."
    )
    wipes_per_server: int = _key(
        2,
        Whole("wipes", 1, 100),
        "How many volumes are wiped at the same time on one storage server, in all its places together; others wait "
        "for their turn, which any later command gives them, or onevolume work. More at once is seldom faster, and "
        "slows down everybody else.",
    )
    wipe_rate: int = _key(
        0,
        Rate(),
        "How much one wipe may write in a second, for storage servers that others need meanwhile; all wipes of a "
        "storage server together write up to wipes_per_server times as much. One that runs keeps the rate it was "
        "started with.",
    )
    on_terminate: str = _key(
        KEEP,
        OneOf(KEEP, RELEASE),
        "What happens to a volume's data when its VM is terminated, unless onevolume attach --on-terminate says "
        "otherwise: keep (the volume stays with the VM's owner) or release (wiped and free).",
    )
    key_file: str = _key(
        _KEY_FILE.format("/etc/one"),
        FileName(),
        "The key with which the CHAP secrets of static targets are encrypted in the database; only they are kept. It "
        "is oneadmin's, with mode 0600, and the same on all front ends of one database. Without this key it is "
        "etc/one_iscsi.key under ONE_LOCATION, if that is set.",
    )


@dataclass(frozen=True)
class Key:
    """A key of the file, as declared in ``Config``."""

    name: str
    default: Any
    type: Type
    text: str


SCHEMA = tuple(Key(one.name, one.default, **one.metadata) for one in fields(Config))


@dataclass(frozen=True)
class Found:
    """What was found. ``origins``: key → where its value is from (``line 3``, ``ONE_ISCSI_DATABASE``), if it is not the
    default. ``mistakes``: every line that cannot be taken."""

    config: Config
    path: Path
    present: bool
    origins: Mapping[str, str]
    mistakes: tuple[ConfigError, ...]

    @property
    def exposed(self) -> bool:
        """Whether everybody on this machine can read a password in the file."""
        from_file = self.origins.get("database", "").startswith("line")
        secret = from_file and masked(self.config.database) != self.config.database
        return secret and bool(self.path.stat().st_mode & 0o004)


def place() -> Path:
    """The file: ``ONE_ISCSI_CONFIG``, else ``etc/one_iscsi.conf`` under ONE_LOCATION, else in ``/etc/one``."""
    location = os.environ.get("ONE_LOCATION")
    return Path(
        os.environ.get("ONE_ISCSI_CONFIG")
        or (f"{location}/etc/one_iscsi.conf" if location else "/etc/one/one_iscsi.conf")
    )


def load() -> Config:
    """What is configured; ConfigError for the first mistake. Without a file everything has its default."""
    found = look()
    if found.mistakes:
        first, *more = found.mistakes
        if more:
            raise ConfigError(first.what, f"{first.fix} ({len(more)} more in onevolume config check)")
        raise first
    return found.config


def look() -> Found:
    """What is configured, and every mistake; ConfigError if there is a file that cannot be read."""
    path = place()
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        text, present = "", False
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror})", "run this as oneadmin, or see to the file"
        ) from None
    else:
        present = True
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    mistakes = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _take(line, f"line {number}", values, origins)
        except ConfigError as error:
            mistakes.append(ConfigError(f"{path}, line {number}: {error.what}", error.fix))
    if os.environ.get("ONE_ISCSI_DATABASE"):
        values["database"], origins["database"] = os.environ["ONE_ISCSI_DATABASE"], "ONE_ISCSI_DATABASE"
    if os.environ.get("ONE_LOCATION"):
        values.setdefault("database", _SQLITE.format(os.environ["ONE_LOCATION"] + "/var"))
        values.setdefault("key_file", _KEY_FILE.format(os.environ["ONE_LOCATION"] + "/etc"))
    return Found(Config(**values), path, present, origins, tuple(mistakes))


def _take(line: str, origin: str, values: dict[str, Any], origins: dict[str, str]) -> None:
    """One line of the file. No message shows a value that may be secret, nor a line that is not understood."""
    line = _COMMENT.sub("", line).strip()
    if not line:
        return
    match = _LINE.fullmatch(line)
    if not match:
        raise ConfigError("this is not a line of the form key = value", "see onevolume config sample")
    name, value = match["key"], match["value"].strip()
    key = next((key for key in SCHEMA if key.name == name), None)
    if not key:
        raise ConfigError(f"there is no key {name!r}", _guess(name))
    if name in origins:
        raise ConfigError(f"{name} is given twice, first in {origins[name]}", "remove one of the two")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":  # as in oned.conf
        value = value[1:-1]
    try:
        values[name] = key.type.read(value)
    except ValueError:
        shown = "its value" if key.type.secret else repr(value)
        raise ConfigError(f"{name} cannot be {shown}", f"allowed is {key.type.allowed}") from None
    origins[name] = origin


def _guess(name: str) -> str:
    from difflib import get_close_matches

    names = [key.name for key in SCHEMA]
    near = get_close_matches(name.lower(), names, 1)
    return f"did you mean {near[0]}?" if near else f"the keys are {', '.join(names)}"


def masked(url: str, mask: str = ":***") -> str:
    """A URL without its password; the last @ ends it, even in a URL that should have encoded another."""
    return re.sub(r"(?<=://)([^:/@]*):.*@", rf"\1{mask}@", url)


def sample() -> str:
    """A file that sets nothing and explains everything."""
    from textwrap import wrap

    head = "Configuration of one_iscsi. A line is `key = value`; what is commented out here is the default."
    lines = [*_comment(wrap(head, 116)), "#", "# `onevolume config check` finds mistakes."]
    for key in SCHEMA:
        lines += ["", *_comment(wrap(key.text, 116)), *_comment(wrap(f"Allowed: {key.type.allowed}", 116))]
        lines.append(f"#{key.name} = {key.default}")
    return "\n".join(lines) + "\n"


def _comment(lines: list[str]) -> list[str]:
    return [f"# {line}" for line in lines]
