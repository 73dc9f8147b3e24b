from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import Fake, Making, Real, missing_for_real


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    world = Fake(tmp_path, monkeypatch)
    yield world
    world.stop()


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Real]:
    lacking = missing_for_real()
    if lacking:
        pytest.skip(lacking)
    world = Real(tmp_path)
    world.environment(monkeypatch)
    yield world
    world.stop()


@pytest.fixture
def making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Making]:
    world = Making(tmp_path, monkeypatch)
    yield world
    world.stop()


@pytest.fixture(params=["fake", "real"])
def world(request: pytest.FixtureRequest) -> Fake | Real:
    found: Fake | Real = request.getfixturevalue(request.param)
    return found
