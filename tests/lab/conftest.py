"""Every test here runs on the real node in the lab's virtual machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from forked import Forked
from rig import HERE, Desk, Lab

# What a storage server of the lab may have of volumes that were made on it.
_CLEAN = r"""
for f in /sys/kernel/config/target/iscsi/iqn.*; do [ ! -d "$f" ] || { timeout 60 targetctl clear; break; }; done
rm -rf /etc/rtslib-fb-target/saveconfig.json /srv/volumes
for f in /etc/tgt/conf.d/one_iscsi-*; do
    [ -e "$f" ] || continue
    tgt-admin -f --delete "$(sed -n 's/<target \(.*\)>/\1/p' "$f")" || true
    rm -f "$f"
done
for f in /srv/*.pv; do
    [ -e "$f" ] || continue
    device=$(losetup -nO NAME -j "$f") name=${f##*/}
    vgremove -qq --force "${name%.pv}"; pvremove -qq "$device"; losetup -d "$device"; rm -f "$f"
done
rm -f /etc/sudoers.d/zz_log
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
    # What boots a node of its own comes first: at the end both workers would boot one, or one wait for the other.
    items.sort(key=lambda item: (item.path.name != "test_kvm.py", item.path.name != "test_storage_servers.py"))


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


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    found = Forked(limit=300)
    yield found
    found.stop()


@pytest.fixture
def desk(lab: Lab, tmp_path: Path, forked: Forked) -> Desk:
    return Desk(lab, tmp_path, forked)


@pytest.fixture
def storage(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The node as a bare storage server: a volume group with a thin pool, a folder, LIO beside tgt."""
    for name in ("SSH", "ONE_LOCATION"):
        if name in lab.env:
            monkeypatch.setenv(name, lab.env[name])
    lab.root(_CLEAN)
    lab.target("vg", "vg0", "128M")
    lab.root("mkdir -p /srv/volumes")
    lab.target("lio")
    yield lab
    lab.sweep()
    lab.root(_CLEAN)
