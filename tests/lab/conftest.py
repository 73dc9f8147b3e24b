"""Every test here runs on the real node in the lab's virtual machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rig import HERE, Desk, Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
    # It boots a node of its own: after everything that needs this one, which has nothing to do then.
    items.sort(key=lambda item: item.path.name == "test_kvm.py")


@pytest.fixture(scope="session")
def running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("oned"))
    lab.start()
    yield lab
    lab.close()


@pytest.fixture
def lab(running_lab: Lab) -> Lab:
    running_lab.clean()
    return running_lab


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Desk:
    return Desk(lab, tmp_path)
