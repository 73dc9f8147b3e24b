"""A real MariaDB server for the tests: its own folder, its own socket, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pymysql

USER, PASSWORD = "oneadmin", "geheim/mit%Zeichen"
ESCAPED = "geheim%2Fmit%25Zeichen"
PACKAGE = "mariadb-server"
LIMIT = 60


def find(*names: str) -> str:
    for name in names:
        for folder in (*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/usr/libexec"):
            if os.access(Path(folder, name), os.X_OK):
                return str(Path(folder, name))
    raise FileNotFoundError(f"no {' or '.join(names)}: apt-get install {PACKAGE}")


class MariaDB:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self.socket = self.folder / "socket"
        self._server: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def install(self) -> None:
        command = [find("mariadb-install-db", "mysql_install_db"), *self._options()]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"{command[0]} ends with exit code {done.returncode}:\n{done.stdout[-2000:]}")
        self.start()
        self.sql(f"CREATE USER {USER}@localhost IDENTIFIED BY '{PASSWORD}'", f"GRANT ALL ON `t%`.* TO {USER}@localhost")

    def start(self) -> None:
        command = [find("mariadbd", "mysqld"), *self._options(), "--skip-networking"]
        command += [f"--socket={self.socket}", f"--pid-file={self.folder}/pid"]
        command += ["--innodb-flush-log-at-trx-commit=2"]  # survives its own kill -9, which is enough here, and is fast
        with open(self.folder / "log", "ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + LIMIT
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("MariaDB does not start:\n" + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self, kill: bool = False) -> None:
        assert self._server
        self._server.kill() if kill else self._server.terminate()
        self._server.wait(LIMIT)

    def remove(self) -> None:
        if self._server and self._server.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        self._databases += 1
        name = f"t{self._databases}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    def url(self, database: str, user: str = USER, password: str = ESCAPED, options: str = "") -> str:
        return f"mysql://{user}:{password}@localhost/{database}?unix_socket={self.socket}{options}"

    def connect(self, database: str | None = None) -> pymysql.Connection:
        return pymysql.connect(unix_socket=str(self.socket), user="root", database=database, autocommit=True)

    def sql(self, *statements: str, database: str | None = None) -> list[tuple]:
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except pymysql.err.OperationalError:
            return False
        return True

    def _options(self) -> list[str]:
        """A server that starts removes the temporary tables it finds in its folder for them: not those of another."""
        return [
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--tmpdir={self.folder}",
            *(["--user=root"] if os.geteuid() == 0 else []),
        ]
