from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lio_worlds import FakeLio, LabLio, LioWorld
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


@pytest.fixture
def fake_lio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLio]:
    world = FakeLio(tmp_path, monkeypatch)
    yield world
    world.stop()


@pytest.fixture(scope="module")
def running_lab_lio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabLio]:
    with pytest.MonkeyPatch.context() as patch:
        world = LabLio(tmp_path_factory.mktemp("lio"), patch)
        yield world
        world.stop()


@pytest.fixture
def lab_lio(running_lab_lio: LabLio) -> Iterator[LabLio]:
    yield running_lab_lio
    running_lab_lio.clean()


@pytest.fixture(params=["fake_lio", pytest.param("lab_lio", marks=pytest.mark.lab)])
def lio(request: pytest.FixtureRequest) -> LioWorld:
    found: LioWorld = request.getfixturevalue(request.param)
    return found
