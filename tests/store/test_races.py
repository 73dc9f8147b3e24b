"""Many front-end processes at once: each volume and each guest target has exactly one winner."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest
from pool import ADMIN, PORTAL, Pool, processes, reserve

from one_iscsi.errors import LostRace, NoVolume
from one_iscsi.model import Op, Volume
from one_iscsi.states import ATTACHING, CREATING, DETACHING, DIRTY, FREE, IN_USE, RESIZING, WIPING
from one_iscsi.store import Store

PROCESSES, VOLUMES, ROUNDS = 20, 10, 200
LIMIT = 60
NOTHING_LEFT = (
    "no free volume of 1B for cluster 0, no volume is free: have one registered, released or wiped (see onevolume list)"
)


def racer(url: str, barrier, results, rounds: int, vm_id: int) -> None:
    """Reserve a volume for this VM when everybody is ready; give back what was taken when everybody is done."""
    sys.settrace(None)  # measuring coverage would only slow the race down
    with Store.open(url) as store:
        for _ in range(rounds):
            barrier.wait(LIMIT)
            try:
                op, volume, _ = reserve(store, vm_id)
                results.put((volume.id, op.id))
            except NoVolume as error:
                op = None
                results.put(str(error))
            barrier.wait(LIMIT)
            barrier.wait(LIMIT)  # the referee has looked
            if op:
                store.finish(op, FREE, ADMIN, attachment="delete")


def race(url: str, vm_ids: Sequence[int], rounds: int, referee) -> None:
    """A process for each of these VMs; ``referee(store, results)`` judges every round."""
    count = len(vm_ids)
    barrier, results = processes.Barrier(count + 1), processes.Queue()
    racers = [processes.Process(target=racer, args=(url, barrier, results, rounds, vm_id)) for vm_id in vm_ids]
    for process in racers:
        process.start()
    try:
        with Store.open(url) as store:
            for _ in range(rounds):
                barrier.wait(LIMIT)
                barrier.wait(LIMIT)
                referee(store, [results.get(timeout=LIMIT) for _ in range(count)])
                barrier.wait(LIMIT)
        for process in racers:
            process.join(LIMIT)
        assert [process.exitcode for process in racers] == [0] * count
    finally:
        for process in racers:
            process.kill()


def test_twenty_processes_race_for_ten_volumes(store_url):
    with Store.open(store_url) as store:
        pool = Pool(store)
        pool.learn_host()
        for number in range(VOLUMES):
            pool.add(size=1 + number % 3)

    def referee(store: Store, results: list) -> None:
        won = [result for result in results if not isinstance(result, str)]
        lost = [result for result in results if isinstance(result, str)]
        assert len({volume for volume, _ in won}) == len(won) == VOLUMES
        assert lost == [NOTHING_LEFT] * (PROCESSES - VOLUMES)
        assert {volume.status for volume in store.volumes()} == {ATTACHING}
        ops = store.ops()
        assert sorted((op.volume_id, op.id) for op in ops) == sorted(won)
        assert len({op.owner.pid for op in ops}) == VOLUMES

    race(store_url, range(PROCESSES), ROUNDS, referee)
    with Store.open(store_url) as store:
        assert not store.ops()
        assert [volume.status for volume in store.volumes()] == [FREE] * VOLUMES
        attaches = [event for event in store.events() if event.what == "attach"]
        assert len(attaches) == 2 * VOLUMES * ROUNDS  # there and back, once each


def test_ten_processes_make_and_grow_volumes_and_no_room_is_promised_twice(store_url):
    with Store.open(store_url) as store:
        san = Pool(store).san
    barrier, room = processes.Barrier(10), 40

    def make_and_grow(number: int) -> None:
        with Store.open(store_url) as store:
            barrier.wait(LIMIT)
            for again in range(100):
                columns = {"lun": 1, "portals": [PORTAL], "san_id": san.id, "status": CREATING, "made": True}
                try:
                    _, op = store.enter("create", ADMIN, f"iqn.a:{number}.{again}", "", room, size_bytes=1, **columns)
                    volume = store.finish(op, FREE, ADMIN)
                    _, op = store.begin(volume, "resize", RESIZING, ADMIN, payload={"size_bytes": 3}, room=room)
                    store.finish(op, FREE, ADMIN, size_bytes=3)
                except NoVolume:
                    return

    makers = [processes.Process(target=make_and_grow, args=(number,)) for number in range(10)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(LIMIT)
    assert [maker.exitcode for maker in makers] == [0] * len(makers)
    with Store.open(store_url) as store:
        assert room - 1 <= sum(volume.size_bytes for volume in store.volumes()) == store.promised(san.id) <= room


def test_attaches_to_one_vm_at_once_never_get_one_target(store_url):
    rounds, count, vm_id = 25, 4, 7
    with Store.open(store_url) as store:
        pool = Pool(store)
        pool.learn_host()
        for _ in range(count):
            pool.add()

    def referee(store: Store, results: list) -> None:
        assert len({volume for volume, _ in results}) == count
        assert sorted(attachment.target for attachment in store.attachments(vm_id=vm_id)) == [
            "xvdm",
            "xvdn",
            "xvdo",
            "xvdp",
        ]

    race(store_url, [vm_id] * count, rounds, referee)


@pytest.mark.parametrize("hosts", [["node1"] * 6, [f"node{number}" for number in range(6)]])
def test_hosts_are_learned_by_many_at_once_and_no_source_is_lost(store_url, hosts):
    Store.open(store_url).close()
    barrier = processes.Barrier(len(hosts))

    def visit(number: int) -> None:
        with Store.open(store_url) as store:
            barrier.wait(LIMIT)
            for again in range(10):
                source = {f"10.0.{number}.{again}": f"10.1.{number}.{again}"}
                store.learn_host(hosts[number], f"iqn.2026-01.com.example:{hosts[number]}", source)

    visitors = [processes.Process(target=visit, args=(number,)) for number in range(len(hosts))]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(LIMIT)
    assert [visitor.exitcode for visitor in visitors] == [0] * len(hosts)
    with Store.open(store_url) as store:
        assert sorted(host.name for host in store.hosts()) == sorted(set(hosts))
        assert sum(len(host.sources) for host in store.hosts()) == 10 * len(hosts)


def test_a_finish_is_not_disturbed_by_updates_of_other_columns(store_url):
    with Store.open(store_url) as store:
        Pool(store).add()
    barrier = processes.Barrier(2)

    def rename() -> None:
        with Store.open(store_url) as store:
            barrier.wait(LIMIT)
            for number in range(200):
                with suppress(LostRace):
                    store.update(store.volume(1), name=f"name{number}")

    renamer = processes.Process(target=rename)
    renamer.start()
    with Store.open(store_url) as store:
        barrier.wait(LIMIT)
        while renamer.is_alive():
            for kind, status, outcome in [
                ("attach", ATTACHING, IN_USE),
                ("detach", DETACHING, DIRTY),
                ("wipe", WIPING, FREE),
            ]:
                op = begin_in_spite_of_updates(store, kind, status)
                assert store.finish(op, outcome, ADMIN).status == outcome
    renamer.join()
    assert renamer.exitcode == 0


def test_whoever_updates_a_volume_waits_for_the_end_of_its_operation(store_url, monkeypatch):
    lost: list = []

    def update(volume: Volume) -> None:
        with Store.open(store_url) as other:
            try:
                other.update(volume, name="late")
            except LostRace as error:
                lost.append(error)

    with Store.open(store_url) as store:
        volume, op = store.begin(Pool(store).add(), "attach", ATTACHING, ADMIN)
        updater = threading.Thread(target=update, args=[volume])
        read, waited = store.volume, []

        def read_and_be_slow(ref: int) -> Volume:
            found = read(ref)
            if not waited:
                updater.start()
                updater.join(0.5)
                waited.append(updater.is_alive())
            return found

        monkeypatch.setattr(store, "volume", read_and_be_slow)
        assert store.finish(op, IN_USE, ADMIN).name == volume.name
        updater.join(LIMIT)
        assert waited == [True]
        assert len(lost) == 1
        assert store.volume(volume.id).name == volume.name


def begin_in_spite_of_updates(store: Store, kind: str, status: str) -> Op:
    while True:
        with suppress(LostRace):
            return store.begin(store.volume(1), kind, status, ADMIN)[1]
