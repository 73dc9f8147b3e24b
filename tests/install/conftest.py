from __future__ import annotations

import fcntl
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from cleanroot import PATH, REPOSITORY, CleanRoot, Layout

#: The first version that was done: from here on no step of the tables' migrations was edited.
FIRST = "7a63b08"


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def wheelhouse(shared_folder: Path) -> Path:
    """What docs/install.md says to take to a front end without a network; and what the first version needs besides."""
    folder = shared_folder / "wheelhouse"
    with open(shared_folder / "wheelhouse.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            environment = {**os.environ, "PATH": PATH}
            venv = shared_folder / "wheelhouse.venv"
            subprocess.run(["python3", "-m", "venv", venv], env=environment, check=True)
            source = shared_folder / "source"
            subprocess.run(["git", "clone", "-q", "--shared", REPOSITORY, source], check=True)
            wheel = [
                venv / "bin/pip",
                "wheel",
                "-q",
                "-w",
                f"{folder}.new",
                source,
                "setuptools",
                "wheel",
                "argcomplete",
            ]
            subprocess.run(wheel, check=True)
            os.rename(f"{folder}.new", folder)
    return folder


@pytest.fixture(scope="session")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the first version that could be installed."""
    git = ("git", "-C", REPOSITORY)
    shallow = subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True, check=False)
    if shallow.stdout != b"false\n":
        pytest.skip(f"there is no history back to {FIRST}, the first version: git fetch --unshallow")
    packed = subprocess.run([*git, "archive", FIRST], capture_output=True, check=False)
    assert packed.returncode == 0, packed.stderr.decode()
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def clean_root(tmp_path: Path, wheelhouse: Path) -> Iterator[Callable[..., CleanRoot]]:
    """Makes clean roots; the wheelhouse is in each."""
    made: list[CleanRoot] = []

    def make(layout: Layout, *shared: Path, mode: str = "") -> CleanRoot:
        folder = tmp_path / f"root{len(made)}"
        folder.mkdir()
        made.append(CleanRoot(folder, layout, [wheelhouse, *shared], mode))
        return made[-1]

    yield make
    for root in made:
        root.close()
