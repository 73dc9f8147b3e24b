"""The pool: what is registered, found, allocated and changed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from pool import ADMIN, PORTAL, Pool

from one_iscsi import states
from one_iscsi.errors import BadInput, LostRace, NotFound, WrongState
from one_iscsi.iscsi import Portal
from one_iscsi.model import SealedChap
from one_iscsi.states import AVAILABLE, DELETING, DIRTY, DISABLED, ERROR, FREE, TRANSITIONS, WIPING
from one_iscsi.store import Actor, Store
from one_iscsi.units import GIB

STATES = sorted(TRANSITIONS)


def test_a_registered_volume_reads_back_as_it_was_given(store, pool):
    portals = [Portal("10.0.0.1"), Portal("fd00::1", 3261)]
    who = Actor(3, "10.9.9.9")

    volume = store.add_volume(
        "données", "iqn.2026-01.com.example:a", 1, portals, 10 * GIB, pool.san.id, FREE,
        serial="S1", wwid="W1", uid=3, gid=4, wiped_at=17, who=who, why="assumed clean",
    )  # fmt: skip

    assert store.volume(volume.id) == volume
    assert (volume.name, volume.portals, volume.size_bytes) == ("données", tuple(portals), 10 * GIB)
    assert (volume.serial, volume.wwid, volume.uid, volume.gid, volume.wiped_at) == ("S1", "W1", 3, 4, 17)
    assert (volume.permissions, volume.holder_id, volume.reason) == (0o600, None, "")
    [event] = store.events(volume.id)
    assert (event.uid, event.address, event.what, event.to_status, event.why) == (
        3, "10.9.9.9", "register", FREE, "assumed clean",
    )  # fmt: skip


def test_an_iqn_belongs_to_one_volume(store, pool):
    volume = pool.add(iqn="iqn.2026-01.com.example:a")
    with pytest.raises(WrongState, match=f"IQN iqn.2026-01.com.example:a belongs to volume {volume.id} already"):
        pool.add(iqn="iqn.2026-01.com.example:a")
    pool.add(iqn="iqn.2026-01.com.example:A")  # another target: IQNs differ by case
    assert len(store.volumes()) == 2 == len(store.events())


def test_a_volume_is_registered_on_a_storage_server_that_exists(store, pool):
    with pytest.raises(NotFound, match="no storage server 99"):
        pool.add(san_id=99)
    assert not store.volumes()


def test_a_volume_is_found_by_id_name_and_iqn(store, pool):
    volume = pool.add(name="data")
    assert volume == store.volume(volume.id) == store.volume(str(volume.id)) == store.volume("data")
    assert store.volume(volume.iqn) == volume
    for nobody in (99, "99", "nobody", "DATA", "²", 10**30, str(10**30), "\udcff"):
        with pytest.raises((NotFound, BadInput)):
            store.volume(nobody)


def test_a_text_too_long_for_a_server_is_bad_input(store, store_url, pool):
    volume, too_long = pool.add(), "x" * 256
    if store_url.startswith("sqlite"):
        assert store.update(volume, name=too_long).name == too_long
        return
    with pytest.raises(BadInput, match="a text is too long"):
        store.update(volume, name=too_long)


def test_a_name_of_two_volumes_is_answered_with_their_ids(store, pool):
    one, two = pool.add(name="data"), pool.add(name="data")
    with pytest.raises(BadInput, match=f"volumes {one.id}, {two.id} are all named data"):
        store.volume("data")
    assert store.volume(two.iqn) == two


def test_an_id_is_never_used_again(store, store_url, pool):
    last = [pool.add() for _ in range(3)][-1]
    store.forget(last, ADMIN, "gone")
    with Store.open(store_url) as later:
        assert Pool.add(pool).id > last.id
        assert later.events(last.id)[-1].what == "forget"


def test_what_hosts_present_to_a_target_is_kept_changed_and_goes_with_the_volume(store, pool):
    ann, bob = SealedChap("ann", "", "gAAAA-1"), SealedChap("bob", "array", "gAAAA-2")
    first, second = pool.add(chap=ann), pool.add()
    assert store.chaps() == {first.id: ann}

    changed = store.keep_chap(first, bob, ADMIN)
    store.keep_chap(second, ann, ADMIN)
    assert store.chaps() == {first.id: bob, second.id: ann}
    assert store.chaps(second.id) == {second.id: ann}
    with pytest.raises(LostRace):
        store.keep_chap(first, ann, ADMIN)
    assert [(event.what, event.why) for event in store.events(first.id)[1:]] == [("chap", "as bob, both ways")]

    changed = store.keep_chap(changed, None, ADMIN)
    assert store.chaps(first.id) == {}
    assert changed.status == first.status
    store.forget(store.volume(second.id), ADMIN, "gone")
    assert store.chaps() == {}


def test_volumes_are_listed_by_id_and_filtered(store, pool):
    other = store.add_san("other", "tgt", [PORTAL])
    one, two, three = pool.add(FREE, uid=5), pool.add(DIRTY, san=other), pool.add(DIRTY, uid=5)
    assert store.volumes() == [one, two, three]
    assert store.volumes(status=[DIRTY, ERROR]) == [two, three]
    assert store.volumes(status=FREE) == [one]
    assert store.volumes(status=[]) == []
    assert store.volumes(san_id=other.id) == [two]
    assert store.volumes(status=[DIRTY], uid=5) == [three]


def test_a_serial_shared_by_several_volumes_shows(store, pool):
    for serial in ("beaf11", "beaf11", "own"):
        pool.add(serial=serial)
    assert [store.serial_count(serial) for serial in ("beaf11", "own", "none")] == [2, 1, 0]


def test_the_smallest_free_volume_that_fits_and_is_reachable_comes_first(store, pool):
    far = store.add_san("far", "tgt", [PORTAL], clusters=[100])
    near = store.add_san("near", "tgt", [PORTAL], clusters=[100, 101])
    big, small = pool.add(size=20 * GIB), pool.add(size=10 * GIB)
    only_100, in_both = pool.add(size=10 * GIB, san=far), pool.add(size=12 * GIB, san=near)
    pool.add(DIRTY, size=10 * GIB)
    pool.add(size=GIB)

    def ids(size, cluster):
        return [volume.id for volume in store.candidates(size, cluster)]

    assert ids(10 * GIB, 101) == [small.id, in_both.id, big.id]
    assert ids(10 * GIB, 100) == [small.id, only_100.id, in_both.id, big.id]
    assert ids(11 * GIB, 0) == [big.id]
    assert ids(21 * GIB, 0) == []
    assert [store.largest_free(cluster) for cluster in (0, 100)] == [20 * GIB] * 2


def test_nothing_is_the_largest_of_an_empty_pool(store, pool):
    pool.add(DIRTY)
    assert store.largest_free(0) == 0


def test_without_a_cluster_every_storage_server_counts(store, pool):
    volume = pool.add(san=store.add_san("far", "tgt", [PORTAL], clusters=[100]))
    assert store.candidates(1, None) == [volume]
    assert store.largest_free(None) == volume.size_bytes
    assert store.candidates(1, 0) == []


def test_an_allocation_looks_at_a_bounded_number_of_volumes(store, pool):
    for _ in range(60):
        pool.add()
    assert [volume.id for volume in store.candidates(1, 0)] == list(range(1, 51))


@pytest.mark.parametrize(("origin", "goal"), list(itertools.product(STATES, STATES)))
def test_a_volume_moves_only_along_the_transitions(moving, origin, goal):
    store, volume = moving(origin)
    before = len(store.events())
    if goal in TRANSITIONS[origin]:
        assert store.change(volume, goal, ADMIN).status == goal
        assert len(store.events()) == before + 1
        return
    with pytest.raises(WrongState, match=f"volume {volume.id} is {origin} and cannot become {goal}"):
        store.change(volume, goal, ADMIN)
    if goal != origin:
        with pytest.raises(WrongState, match=f"is {origin} and cannot become {goal}"):
            store.begin(volume, "operation", goal, ADMIN)
        _, op = store.begin(volume, "operation", origin, ADMIN)
        with pytest.raises(WrongState, match=f"is {origin} and cannot become {goal}"):
            store.finish(op, goal, ADMIN)
        assert store.ops() == [op], "the refused finish leaves the operation open"
        assert store.volume(volume.id).status == origin


@pytest.fixture(scope="module")
def one_database(tmp_path_factory):
    """One SQLite file for the table of transitions: 121 pairs; engines do not differ in what Python decides."""
    with Store.open(f"sqlite:///{tmp_path_factory.mktemp('transitions')}/one_iscsi.db") as store:
        yield Pool(store)


@pytest.fixture
def moving(one_database):
    yield lambda status: (one_database.store, one_database.add(status))
    for op in one_database.store.ops():
        one_database.store.finish(op, one_database.store.volume(op.volume_id).status, ADMIN)


def test_a_change_sets_columns_and_names_who_and_why(store, pool):
    volume = pool.add(AVAILABLE, uid=5)
    who = Actor(0, "10.9.9.9")

    changed = store.change(volume, DIRTY, who, "released", uid=0, holder_kind="", wiped_at=None)

    assert (changed.status, changed.uid) == (DIRTY, 0)
    assert changed.version != volume.version
    event = store.events(volume.id)[-1]
    assert (event.what, event.from_status, event.to_status, event.why) == ("change", AVAILABLE, DIRTY, "released")
    assert (event.uid, event.address) == (0, "10.9.9.9")


def test_whoever_saw_an_older_row_loses(store, pool):
    seen = pool.add(FREE)
    store.update(seen, name="renamed")
    events = store.events()
    for attempt in (
        lambda: store.change(seen, DISABLED, ADMIN),
        lambda: store.update(seen, name="mine"),
        lambda: store.begin(seen, "attach", states.ATTACHING, ADMIN),
        lambda: store.forget(seen, ADMIN, "mine"),
        lambda: store.update(replace(seen, id=99), name="nobody"),
    ):
        with pytest.raises(LostRace, match="changed by another process"):
            attempt()
    assert store.volume(seen.id).name == "renamed"
    assert (store.events(), store.ops()) == (events, [])


def test_error_and_disabled_remember_where_they_came_from(store, pool):
    broken = store.change(pool.add(WIPING), ERROR, ADMIN, "the wipe failed at 3G")
    assert (broken.previous_status, broken.reason) == (WIPING, "the wipe failed at 3G")
    mended = store.change(broken, DIRTY, ADMIN, "disk replaced")
    assert (mended.previous_status, mended.reason) == ("", "")
    disabled = store.change(mended, DISABLED, ADMIN, reason="vanished")
    assert (disabled.previous_status, disabled.reason) == (DIRTY, "vanished")
    assert store.update(disabled, name="x").reason == "vanished"


def test_an_update_leaves_status_and_audit_alone(store, pool):
    volume = pool.add(FREE)
    learned = store.update(volume, serial="S9", size_bytes=11 * GIB, portals=(Portal("10.0.0.9"),))
    assert (learned.serial, learned.size_bytes, learned.portals) == ("S9", 11 * GIB, (Portal("10.0.0.9"),))
    assert learned.status == FREE
    assert len(store.events()) == 1


def test_a_forgotten_volume_leaves_its_audit(store, pool):
    volume, _ = store.begin(pool.add(FREE), "delete", DELETING, ADMIN)
    store.forget(volume, ADMIN, "deleted on the storage server")
    assert (store.volumes(), store.ops()) == ([], [])
    assert [event.what for event in store.events(volume.id)] == ["register", "delete", "forget"]
    assert store.events(volume.id)[-1].why == "deleted on the storage server"
    with pytest.raises(NotFound):
        store.volume(volume.id)


def test_events_come_oldest_first_and_can_be_cut_to_the_newest(store, pool):
    one, two = pool.add(), pool.add()
    assert [event.volume_id for event in store.events()] == [one.id, two.id]
    assert [event.volume_id for event in store.events(limit=1)] == [two.id]
    assert [event.volume_id for event in store.events(volume_id=one.id, limit=5)] == [one.id]
