from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import Cloud, Oned
from forked import Forked


@pytest.fixture(scope="session")
def oned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oned]:
    found = Oned(tmp_path_factory.mktemp("oned"))
    yield found
    found.stop()


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    found = Forked()
    yield found
    found.stop()


@pytest.fixture
def cloud(tmp_path: Path, oned: Oned, forked: Forked) -> Cloud:
    oned.reset()
    return Cloud(tmp_path, oned, forked)
