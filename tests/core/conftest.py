from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import Cloud, Oned


@pytest.fixture(scope="session")
def oned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oned]:
    found = Oned(tmp_path_factory.mktemp("oned"))
    yield found
    found.stop()


@pytest.fixture
def cloud(tmp_path: Path, oned: Oned) -> Cloud:
    oned.reset()
    return Cloud(tmp_path, oned)
