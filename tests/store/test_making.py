"""Volumes that are being made: entered with their operation, promised, counted, found by the pool of their server."""

from __future__ import annotations

import peewee
import pytest
from pool import ADMIN, PORTAL

from one_iscsi.errors import LostRace, NotFound, NoVolume, WrongState
from one_iscsi.states import CREATING, FREE, RESIZING, WIPING
from one_iscsi.units import GIB

IQN = "iqn.2026-11.org.opennebula.one-iscsi:volume-1"


def enter(store, san, iqn=IQN, name="", size=GIB, room=100 * GIB):
    columns = {"lun": 1, "portals": [PORTAL], "size_bytes": size, "san_id": san.id, "status": CREATING, "made": True}
    return store.enter("create", ADMIN, iqn, name, room, phase="reserved", serial="00c0ffee00c0ffee", **columns)


def test_a_new_volume_is_entered_with_its_operation(store, pool):
    volume, op = enter(store, pool.san)
    assert (volume.name, volume.status, volume.made) == (f"volume-{volume.id}", CREATING, True)
    assert store.ops() == [op]
    assert (op.volume_id, op.kind, op.phase, op.origin_status) == (volume.id, "create", "reserved", CREATING)
    assert [(event.what, event.to_status) for event in store.events(volume.id)] == [("create", CREATING)]
    with pytest.raises(WrongState, match="is not finished"):
        store.change(volume, FREE, ADMIN)
    assert store.finish(op, FREE, ADMIN, size_bytes=2 * GIB).size_bytes == 2 * GIB
    assert store.volume(volume.id).made


def test_it_may_have_a_name(store, pool):
    assert enter(store, pool.san, name="db")[0].name == "db"
    assert [volume.name for volume in store.volumes(name="db")] == ["db"]


def test_nothing_is_entered_without_a_storage_server(store, pool):
    store.delete_san(pool.san.id)
    with pytest.raises(NotFound):
        enter(store, pool.san)
    assert store.volumes() == store.ops() == store.events() == []


def test_it_is_entered_once_when_the_answer_to_the_commit_is_lost(store, pool, monkeypatch):
    commit = peewee.Database.commit

    def commit_and_lose(database):
        monkeypatch.setattr(peewee.Database, "commit", commit)
        commit(database)
        raise peewee.OperationalError(2013, "Lost connection to MySQL server during query")

    monkeypatch.setattr(peewee.Database, "commit", commit_and_lose)
    volume, op = enter(store, pool.san)
    assert store.volumes() == [volume]
    assert store.ops() == [op]
    assert len(store.events()) == 1


def test_what_was_made_is_promised(store, pool):
    assert store.promised(pool.san.id) == 0
    pool.add(size=5 * GIB)  # registered by hand
    volume, _ = enter(store, pool.san, size=2 * GIB)
    enter(store, pool.san, iqn=f"{IQN}0", size=GIB)
    enter(store, store.add_san("other", "tgt", [PORTAL]), iqn=f"{IQN}1", size=7 * GIB)
    assert store.promised(pool.san.id) == 3 * GIB
    store.forget(volume, ADMIN, "gone")
    assert store.promised(pool.san.id) == GIB


def test_one_that_grows_is_promised_what_it_is_to_have(store, pool):
    volume, op = enter(store, pool.san, size=2 * GIB)
    volume = store.finish(op, FREE, ADMIN)
    volume, op = store.begin(volume, "resize", RESIZING, ADMIN, payload={"size_bytes": 5 * GIB}, room=5 * GIB)
    assert store.promised(pool.san.id) == 5 * GIB
    volume = store.finish(op, FREE, ADMIN, size_bytes=5 * GIB)
    assert store.promised(pool.san.id) == 5 * GIB
    with pytest.raises(NoVolume, match="has only 0 left"):
        store.begin(volume, "resize", RESIZING, ADMIN, payload={"size_bytes": 6 * GIB}, room=5 * GIB)
    assert store.volume(volume.id) == volume
    assert store.ops() == []


def test_what_is_promised_already_is_not_promised_again(store, pool):
    enter(store, pool.san, size=2 * GIB, room=5 * GIB)
    events = store.events()
    with pytest.raises(NoVolume, match="has only 3G left"):
        enter(store, pool.san, iqn=f"{IQN}0", size=4 * GIB, room=5 * GIB)
    assert len(store.volumes()) == len(store.ops()) == 1
    assert store.events() == events


def test_operations_on_a_storage_server_are_counted_by_kind_and_phase(store, pool):
    other = store.add_san("other", "tgt", [PORTAL])
    ops = [
        store.begin(pool.add(status="dirty", san=san), "wipe", WIPING, ADMIN, phase=phase)[1]
        for san, phase in ((pool.san, "queued"), (pool.san, "running"), (pool.san, "starting"), (other, "running"))
    ]
    assert store.count_ops("wipe", ("starting", "running"), [pool.san.id]) == 2
    assert store.count_ops("wipe", ("starting", "running"), [other.id]) == 1
    assert store.count_ops("wipe", ("starting", "running"), [pool.san.id, other.id]) == 3
    assert store.count_ops("create", ("starting", "running"), [pool.san.id]) == 0
    store.finish(ops[1], FREE, ADMIN)
    assert store.count_ops("wipe", ("starting", "running"), [pool.san.id]) == 1


def test_only_free_volumes_of_a_pool_are_offered(store, pool):
    fast = store.add_san("fast1", "tgt", [PORTAL], pool="fast")
    slow, quick = pool.add(), pool.add(san=fast, size=20 * GIB)
    assert store.candidates(GIB, None) == [slow, quick]
    assert store.candidates(GIB, None, "fast") == [quick]
    assert store.candidates(GIB, None, "other") == []
    assert store.largest_free(None, "fast") == 20 * GIB
    assert store.san("fast1").pool == "fast"


def test_a_name_is_changed_once_and_told(store, pool):
    volume = pool.add()
    renamed = store.rename(volume, "db", ADMIN)
    assert store.volume("db") == renamed
    assert store.events(volume.id)[-1].why == f"from {volume.name} to db"
    with pytest.raises(LostRace):
        store.rename(volume, "web", ADMIN)
