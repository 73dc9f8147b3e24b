"""What an installation does to the database as a whole: make it, save it before it is changed, take it away.

Everything runs as the database's owner, oneadmin, and every file is made with mode 0600.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from one_iscsi.errors import SetupError, StoreError, WrongState
from one_iscsi.states import ATTACHING, AVAILABLE, DETACHING, IN_USE, RESIZING
from one_iscsi.store import Store, migrations
from one_iscsi.store.connect import connection, create_file
from one_iscsi.store.engine import Engine

#: Somebody's data: as long as a volume is in one of these, or was before an error, the table must not go.
HELD = {ATTACHING, IN_USE, DETACHING, AVAILABLE, RESIZING}
_DUMP = ("mariadb-dump", "mysqldump")
_OPTIONS = ("--single-transaction", "--skip-lock-tables", "--no-tablespaces")


def prepare(url: str, folder: Path, save: bool, say: Callable[[str], None]) -> None:
    """Make the tables, or bring them up to date. Raises OneIscsiError, and then nothing is changed.

    What is there is saved in ``folder`` before it is changed, or always with ``save``. SQLite's steps are tried on the
    saved copy first. ``say`` is told every step that changed something.
    """
    file = sqlite_file(url)
    found = 0 if file and not file.exists() else _found(url)
    if found and (save or found < len(migrations.MIGRATIONS)):
        saved = _save(url, found, folder)
        say(f"saved the database as {saved}")
        if file:
            _rehearse(saved)
    Store.open(url).close()
    known = len(migrations.MIGRATIONS)
    if found < known:
        say(f"{'upgraded' if found else 'made'} the tables: schema {known} in {_engine(url).place}")


def remove(url: str, folder: Path, say: Callable[[str], None]) -> None:
    """Take the tables and what ``prepare`` saved away. WrongState as long as a volume holds somebody's data."""
    file = sqlite_file(url)
    if not (file.exists() if file else _found(url)):
        return
    with Store.open(url, migrate=False) as store:
        held = [volume for volume in store.volumes() if HELD & {volume.status, volume.previous_status}]
    if held:
        count = "1 volume is attached or holds" if len(held) == 1 else f"{len(held)} volumes are attached or hold"
        what = f"{count} somebody's data: volume {held[0].id} ({held[0].name})"
        raise WrongState(what, "detach and release them first: onevolume list")
    if file:
        gone = [file, *file.parent.glob(f"{file.name}-*"), *file.parent.glob(f"{file.name}.*.saved")]
    else:
        _drop_tables(url)
        gone = list(folder.glob("one_volume.*.sql"))
    for path in gone:
        path.unlink()
    say(f"took away {_engine(url).place}")


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a server."""
    parts = urlsplit(url)
    return Path(unquote(parts.path[1:])) if parts.scheme == "sqlite" else None


def _engine(url: str) -> Engine:
    return Engine(connection(url, create=False))


def _found(url: str) -> int:
    """The schema's number; StoreError for one of a newer program."""
    engine = _engine(url)
    found = engine.attempt(lambda: migrations.version(engine))
    engine.disconnect()
    if found > len(migrations.MIGRATIONS):
        Store.open(url, migrate=False)
    return found


def _save(url: str, found: int, folder: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    file = sqlite_file(url)
    if file:
        saved = file.with_name(f"{file.name}.schema{found}.{stamp}.saved")
        create_file(saved)
        engine = _engine(url)
        # Whole and consistent whatever others do meanwhile, which a copy of the file is not.
        engine.attempt(lambda: engine.execute("VACUUM INTO ?", str(saved)))
        engine.disconnect()
        return saved
    saved = folder / f"one_volume.schema{found}.{stamp}.sql"
    create_file(saved)
    with _client_options(url) as options, saved.open("wb") as out:
        dump = next((name for name in _DUMP if shutil.which(name)), None)
        if not dump:
            saved.unlink()
            raise SetupError("there is no mariadb-dump to save the database with", "apt-get install mariadb-client")
        command = [dump, f"--defaults-extra-file={options}", *_OPTIONS, _database(url), *_tables(url)]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        saved.unlink()
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise StoreError("the database cannot be saved", f"{dump} says: {reason}")
    return saved


def _rehearse(saved: Path) -> None:
    with tempfile.TemporaryDirectory(dir=saved.parent) as folder:
        copy = Path(folder, saved.name)
        shutil.copy(saved, copy)
        with Store.open(f"sqlite:///{copy}") as store:
            store.volumes()


def _tables(url: str) -> list[str]:
    engine = _engine(url)
    pattern = "SELECT GROUP_CONCAT(table_name) FROM information_schema.tables WHERE table_schema = DATABASE() AND "
    ours = "(table_name = 'schema_version' OR table_name = 'one_volume' OR table_name LIKE 'one\\_volume\\_%%')"
    names = engine.attempt(lambda: engine.execute(pattern + ours))
    engine.disconnect()
    return str(names).split(",") if names else []


def _drop_tables(url: str) -> None:
    tables = ", ".join(_tables(url))
    engine = _engine(url)

    def work() -> None:
        engine.execute("SET SESSION foreign_key_checks = 0")  # they refer to each other
        engine.execute(f"DROP TABLE {tables}")

    engine.attempt(work)
    engine.disconnect()


def _database(url: str) -> str:
    return urlsplit(url).path.strip("/")


@contextmanager
def _client_options(url: str) -> Iterator[Path]:
    """A file with which MariaDB's programs connect: an argument would show the password in every list of processes."""
    parts = urlsplit(url)
    socket = dict(parse_qsl(parts.query)).get("unix_socket")
    options = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        **({"socket": socket} if socket else {"host": parts.hostname or "", "port": str(parts.port or 3306)}),
    }
    lines = [f'{name}="{_quoted(value)}"' for name, value in options.items()]
    handle, name = tempfile.mkstemp()  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write("\n".join(["[client]", *lines, ""]))
        yield Path(name)
    finally:
        os.unlink(name)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
