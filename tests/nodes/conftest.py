from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sites import FakeSite, LabSite, Site


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, shell: str) -> FakeSite:
    site = FakeSite(tmp_path / kind, kind, shell)
    for name, value in site.world.env.items():
        monkeypatch.setenv(name, value)
    return site


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    return fake(tmp_path, monkeypatch, "xen", "bash")


@pytest.fixture
def xm(xen: FakeSite) -> FakeSite:
    """A Xen host of 2011."""
    xen.host.become_older()
    return xen


@pytest.fixture
def kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    return fake(tmp_path, monkeypatch, "kvm", "dash")


@pytest.fixture(scope="session")
def lab_environment() -> dict[str, str]:
    return LabSite.up()


@pytest.fixture
def lab(lab_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> LabSite:
    for name, value in lab_environment.items():
        monkeypatch.setenv(name, value)
    return LabSite()


@pytest.fixture(params=["xen", "kvm", pytest.param("lab", marks=pytest.mark.lab)])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found
