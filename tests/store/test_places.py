"""Storage servers and hosts."""

from __future__ import annotations

import time

import pytest
from pool import ADMIN, PORTAL

from one_iscsi.errors import NotFound, WrongState
from one_iscsi.iscsi import Portal
from one_iscsi.model import Attachment
from one_iscsi.states import ATTACHING, FREE
from one_iscsi.store.migrations import MIGRATIONS


def test_a_storage_server_reads_back_as_it_was_given(store):
    portals = (PORTAL, Portal("fd00::1", 3261))
    san = store.add_san("tgt1", "tgt", list(portals), ssh_host="tgt1.lan", location="vg0", clusters=[0, 100])
    assert san == store.san(san.id) == store.san(str(san.id)) == store.san("tgt1")
    assert (san.portals, san.clusters, san.ssh_host, san.location) == (portals, (0, 100), "tgt1.lan", "vg0")
    assert store.sans() == [san]
    with pytest.raises(WrongState, match="there is a storage server tgt1 already"):
        store.add_san("tgt1", "lio", [PORTAL])
    with pytest.raises(NotFound, match="no storage server tgt2"):
        store.san("tgt2")


def test_a_storage_server_that_answers_was_seen(store):
    san = store.add_san("static", "static", [])
    assert (san.portals, san.clusters, san.last_seen) == ((), (), None)
    store.seen_san(san.id)
    assert abs(store.san(san.id).last_seen - time.time()) < 10


def test_a_storage_server_stays_while_it_has_volumes(store, pool):
    volume = pool.add()
    with pytest.raises(WrongState, match="still has volumes"):
        store.delete_san(pool.san.id)
    store.forget(volume, ADMIN, "gone")
    store.delete_san(pool.san.id)
    assert store.sans() == []
    with pytest.raises(NotFound):
        store.delete_san(pool.san.id)


def test_a_host_is_learned_visit_by_visit(store):
    assert store.host("node1") is None
    host = store.learn_host("node1", "iqn.2026-01.com.example:node1", {"10.0.0.1": "10.0.0.11"})
    assert host == store.host("node1")
    assert host.sources == {"10.0.0.1": "10.0.0.11"}
    host = store.learn_host("node1", "iqn.2026-01.com.example:new", {"10.0.1.1": "10.0.1.11"}, multipath=True)
    assert host == store.host("node1")
    assert host.sources == {"10.0.0.1": "10.0.0.11", "10.0.1.1": "10.0.1.11"}
    assert (host.initiator, host.multipath) == ("iqn.2026-01.com.example:new", True)
    assert store.hosts() == [host]


def test_two_hosts_with_one_initiator_name_are_an_error(store):
    store.learn_host("node1", "iqn.2026-01.com.example:clone", {})
    with pytest.raises(WrongState, match=r"hosts node1 and node2 have one initiator name, iqn\.2026-01\.com\."):
        store.learn_host("node2", "iqn.2026-01.com.example:clone", {})
    store.learn_host("node2", "iqn.2026-01.com.example:node2", {})
    with pytest.raises(WrongState, match="hosts node1 and node2"):
        store.learn_host("node2", "iqn.2026-01.com.example:clone", {})
    assert store.host("node2").initiator == "iqn.2026-01.com.example:node2"


def test_a_host_that_is_gone_gives_its_initiator_name_back(store, pool):
    store.learn_host("node1", "iqn.2026-01.com.example:node1", {"10.0.0.1": "10.0.0.11"})
    there = Attachment(volume_id=0, vm_id=7, host="node1", target="xvdp")
    volume, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN, attachment=there)
    with pytest.raises(WrongState, match=rf"volume {volume.id} is attached on node1"):
        store.delete_host("node1")
    assert store.host("node1")
    store.finish(op, FREE, ADMIN, attachment="delete")
    store.delete_host("node1")
    assert store.hosts() == []
    assert store.learn_host("node1.lan", "iqn.2026-01.com.example:node1", {}).sources == {}
    with pytest.raises(NotFound, match="nothing is known of host node1"):
        store.delete_host("node1")


def test_a_database_is_tried_by_a_write_that_changes_nothing(store, raw):
    before = raw("SELECT * FROM schema_version")
    place, version = store.probe()
    assert place.startswith("database ")
    assert version == len(MIGRATIONS)
    assert raw("SELECT * FROM schema_version") == before
