"""A clean root: this machine's files and an OpenNebula front end, where an installation may write anywhere."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
#: The programs of the machine's packages, not those of the Python that runs the tests.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Layout:
    """How an OpenNebula is installed, and where onevolume then is."""

    mode: str
    lib: str
    bin: str
    etc: str
    var: str
    share: str
    environment: dict[str, str]

    @property
    def library(self) -> str:
        return f"{self.lib}/one_iscsi"

    @property
    def command(self) -> str:
        return f"{self.bin}/onevolume"

    @property
    def configuration(self) -> str:
        return f"{self.etc}/one_iscsi.conf"

    @property
    def key(self) -> str:
        return f"{self.etc}/one_iscsi.key"

    @property
    def database(self) -> str:
        return f"{self.var}/one_volume.db"


PACKAGES = Layout("packages", "/usr/lib/one", "/usr/bin", "/etc/one", "/var/lib/one", "/usr/share", {})
LOCATION = Layout(
    "location",
    *(f"/opt/cloud/{name}" for name in ("lib", "bin", "etc", "var", "share")),
    {"ONE_LOCATION": "/opt/cloud"},
)


class CleanRoot:
    """``folder`` is an empty one to mount on; each of ``shared`` is to be seen inside, too."""

    def __init__(self, folder: Path, layout: Layout, shared: list[Path], mode: str = "") -> None:
        self.layout = layout
        self._merged = f"{folder}/merged"
        script = [str(REPOSITORY / "tests/install/clean-root"), str(folder), mode or layout.mode]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", *script, *map(str, [REPOSITORY, *shared])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "ready\n"
        self._upper = Path(f"/proc/{self._holder.pid}/root{folder}/upper")

    def close(self) -> None:
        self._holder.communicate()

    def command(self, *words: str | Path, **environment: str) -> list[str]:
        """What to execute to have ``words`` executed inside."""
        inside = ["nsenter", f"--target={self._holder.pid}", "--mount", "--net", "chroot", self._merged, "env", "-i"]
        values = {
            "PATH": PATH,
            "HOME": "/root",
            "PIP_CONFIG_FILE": "/dev/null",
            **self.layout.environment,
            **environment,
        }
        return [*inside, *(f"{name}={value}" for name, value in values.items()), *map(str, words)]

    def run(self, *words: str | Path, code: int = 0, **environment: str) -> str:
        """What ``words`` print when they end with ``code``: both outputs."""
        done = subprocess.run(
            self.command(*words, **environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def install(self, *options: str | Path, code: int = 0, tree: Path = REPOSITORY) -> str:
        return self.run(tree / "install.sh", *options, code=code)

    def path(self, inside: str) -> Path:
        """A file inside, for the tests to look at."""
        return Path(f"/proc/{self._holder.pid}/root{self._merged}{inside}")

    def differences(self) -> dict[str, tuple[object, ...]]:
        """Whatever is not as on the machine itself: path → kind, mode, owner and content."""
        found: dict[str, tuple[object, ...]] = {}
        for folder, folders, files in os.walk(self._upper):
            for name in folders + files:
                path = Path(folder, name)
                inside = "/" + str(path.relative_to(self._upper))
                status = path.lstat()
                if stat.S_ISDIR(status.st_mode) and os.path.isdir(inside):
                    continue
                content = hashlib.sha1(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
                found[inside] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
        return found


def sql(root: CleanRoot, database: str, statement: str) -> str:
    """The rows SQLite answers, asked as oneadmin."""
    script = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); print(*d.execute(sys.argv[2])); d.commit()"
    oneadmin = ("setpriv", "--reuid=9869", "--regid=9869", "--clear-groups")
    return root.run(*oneadmin, "python3", "-c", script, database, statement)
