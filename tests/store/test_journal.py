"""The journal: one open operation per volume, owned by one process, and what happens when that process dies."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import pytest
from pool import ADMIN, in_child, processes
from waiting import wait_for

from one_iscsi.errors import LostRace, NotFound, WrongState
from one_iscsi.model import Attachment
from one_iscsi.states import ATTACHING, AVAILABLE, DELETING, DETACHING, DIRTY, ERROR, FREE, IN_USE, WIPING
from one_iscsi.store import Actor, Store, TargetTaken
from one_iscsi.store.process import this_process

VM = Attachment(0, 7, "node1", "xvdp")


def test_an_attach_is_reserved_advanced_and_finished(store, pool):
    free = pool.add(FREE)
    who = Actor(5, "10.9.9.9")

    volume, op = store.begin(
        free, "attach", ATTACHING, who, payload={"vm": 7}, attachment=VM, why="onevolume attach 7 10G",
        holder_kind="vm", holder_id=7, uid=5,
    )  # fmt: skip
    assert (volume.status, volume.holder_kind, volume.holder_id, volume.uid) == (ATTACHING, "vm", 7, 5)
    assert (op.kind, op.phase, op.origin_status, op.attempt, op.open) == ("attach", "reserved", FREE, 1, True)
    assert op.owner == this_process()
    assert store.ops() == store.ops(kind="attach", volume_id=free.id) == [store.op(op.id)] == [op]
    [attachment] = store.attachments(vm_id=7)
    assert (attachment.volume_id, attachment.slot, attachment.target) == (free.id, "a", "xvdp")

    op = store.advance(op, "san", chap_user="volume1")
    op = store.advance(op, "node")
    assert store.op(op.id) == op
    assert (op.phase, op.payload) == ("node", {"vm": 7, "chap_user": "volume1"})

    volume = store.finish(op, IN_USE, who, attachment=replace(attachment, device="/dev/x", read_only=True))
    assert (volume.status, store.ops(), store.op(op.id).open) == (IN_USE, [], False)
    assert store.attachments() == [replace(attachment, device="/dev/x", read_only=True)]
    told = [(event.what, event.from_status, event.to_status) for event in store.events(free.id)]
    assert told == [("register", "", FREE), ("attach", FREE, ATTACHING), ("attach", ATTACHING, IN_USE)]
    assert store.events()[1].why == "onevolume attach 7 10G"


def test_a_detach_ends_without_its_attachment(store, pool):
    volume, op = store.begin(pool.add(AVAILABLE), "attach", ATTACHING, ADMIN, attachment=VM, holder_kind="vm")
    volume = store.finish(op, IN_USE, ADMIN)
    volume, op = store.begin(volume, "detach", DETACHING, ADMIN, then="release")
    assert op.then == "release"
    volume = store.finish(op, DIRTY, ADMIN, "released", attachment="delete", holder_kind="")
    assert (volume.status, volume.holder_kind, store.attachments()) == (DIRTY, "", [])


def test_an_operation_may_leave_the_status_as_it_is(store, pool):
    _, op = store.begin(pool.add(IN_USE), "migrate", IN_USE, ADMIN)
    assert store.finish(op, IN_USE, ADMIN).status == IN_USE


def test_a_volume_has_one_open_operation(store, pool):
    volume, op = store.begin(pool.add(IN_USE), "migrate", IN_USE, ADMIN)
    with pytest.raises(LostRace):
        store.begin(volume, "detach", DETACHING, ADMIN)
    with pytest.raises(WrongState, match=rf"volume {volume.id} is busy: operation {op.id} \(migrate\) is not finished"):
        store.change(volume, ERROR, ADMIN)
    assert store.volume(volume.id) == volume
    store.update(volume, serial="learned")  # what an operation learns is no change of status


def test_a_target_of_a_vm_is_taken_once(store, pool):
    one, two = pool.add(), pool.add()
    store.begin(one, "attach", ATTACHING, ADMIN, attachment=VM)
    before = store.events()
    with pytest.raises(TargetTaken, match=f"target xvdp of VM 7 is taken by volume {one.id}"):
        store.begin(two, "attach", ATTACHING, ADMIN, attachment=VM)
    assert store.volume(two.id) == two, "nothing half-changed"
    assert (len(store.ops()), store.events()) == (1, before)
    store.begin(two, "attach", ATTACHING, ADMIN, attachment=replace(VM, target="xvdo"))


def test_a_volume_has_one_attachment_per_slot(store, pool):
    volume, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN, attachment=VM)
    volume = store.finish(op, IN_USE, ADMIN)
    with pytest.raises(TargetTaken, match=f"volume {volume.id} is attached already"):
        store.begin(volume, "migrate", IN_USE, ADMIN, attachment=replace(VM, target="xvdo"))
    there = replace(VM, slot="b", vm_id=None, target="", host="node2")
    _, op = store.begin(volume, "migrate", IN_USE, ADMIN, attachment=there)
    assert [attachment.host for attachment in store.attachments(volume_id=volume.id)] == ["node1", "node2"]
    assert [attachment.slot for attachment in store.attachments(host="node2")] == ["b"]


def test_bridge_hosts_without_a_vm_do_not_clash(store, pool):
    for _ in range(2):
        store.begin(pool.add(), "copy", ATTACHING, ADMIN, attachment=replace(VM, vm_id=None, target=""))
    assert len(store.attachments()) == 2


def test_a_failure_stays_open_with_its_text(store, pool):
    _, op = store.begin(pool.add(DIRTY), "wipe", WIPING, ADMIN)
    failed = store.fail(op, "node1 cannot be reached")
    assert store.ops() == [failed]
    assert failed.error == "node1 cannot be reached"


def test_an_error_closes_the_operation_and_keeps_where_the_volume_was(store, pool):
    _, op = store.begin(pool.add(DIRTY), "wipe", WIPING, ADMIN)
    volume = store.error(op, "the disk failed", ADMIN)
    assert (volume.status, volume.previous_status, volume.reason) == (ERROR, WIPING, "the disk failed")
    assert store.ops() == []
    assert [closed.id for closed in store.ops(open_only=False)] == [op.id]


def test_a_closed_operation_is_closed(store, pool):
    _, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN)
    store.finish(op, FREE, ADMIN)
    before = store.events()
    for attempt in (
        lambda: store.advance(op, "node"),
        lambda: store.fail(op, "too late"),
        lambda: store.finish(op, IN_USE, ADMIN),
        lambda: store.error(op, "too late", ADMIN),
        lambda: store.take_over(op),
    ):
        with pytest.raises(LostRace):
            attempt()
    assert store.events() == before
    with pytest.raises(NotFound, match="no operation 99"):
        store.op(99)


def test_forgetting_needs_a_volume_nobody_uses(store, store_url, pool):
    attached, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN, attachment=VM)
    with pytest.raises(WrongState, match="attached on node1"):
        store.forget(attached, ADMIN, "gone")
    assert store.ops() == [op]
    volume, op = in_child(lambda: Store.open(store_url).begin(pool.add(), "delete", DELETING, ADMIN))
    with pytest.raises(WrongState, match=f"operation {op.id}"):
        store.forget(volume, ADMIN, "gone")
    assert store.volume(volume.id) == volume


# ----------------------------------------------------------------------------------------------- processes that die


@pytest.fixture
def killed(store, store_url, pool):
    """An operation whose process was killed with signal 9 between begin and finish."""
    volume = pool.add(FREE)
    here, there = processes.Pipe()

    def begin_and_hang() -> None:
        with Store.open(store_url) as own:
            there.send(own.begin(volume, "attach", ATTACHING, ADMIN, attachment=VM)[1])
            time.sleep(600)

    child = processes.Process(target=begin_and_hang)
    child.start()
    op = here.recv()
    with pytest.raises(
        WrongState, match=f"operation {op.id} is still being run by pid {child.pid} on {op.owner.frontend}"
    ):
        store.take_over(op)
    for attempt in (lambda: store.advance(op, "node"), lambda: store.finish(op, IN_USE, ADMIN)):
        with pytest.raises(LostRace):
            attempt()  # it is not ours
    os.kill(child.pid, signal.SIGKILL)
    yield op
    child.join()


def test_a_killed_process_leaves_its_operation_open_and_counts_as_dead(store, killed):
    # Its zombie is still there: nobody has waited for it.
    assert wait_for(lambda: not store.owner_alive(killed), 20)
    assert store.ops() == [killed]
    assert store.volume(killed.volume_id).status == ATTACHING

    op = store.take_over(killed)

    assert (op.owner, op.attempt) == (this_process(), 2)
    assert store.finish(op, DIRTY, ADMIN, "undone", attachment="delete").status == DIRTY


def test_an_operation_is_taken_over_once(store, store_url, killed):
    wait_for(lambda: not store.owner_alive(killed), 20)
    barrier, results = processes.Barrier(4), processes.Queue()

    def rescue() -> None:
        with Store.open(store_url) as own:
            barrier.wait(20)
            try:
                results.put(own.take_over(killed).owner.pid)
            except WrongState as error:
                results.put(type(error).__name__)
            barrier.wait(20)  # a winner that ended would count as dead

    rescuers = [processes.Process(target=rescue) for _ in range(4)]
    for rescuer in rescuers:
        rescuer.start()
    answers = [results.get(timeout=20) for _ in rescuers]
    for rescuer in rescuers:
        rescuer.join()
    [winner] = [answer for answer in answers if isinstance(answer, int)]
    assert answers.count("LostRace") == 3
    [op] = store.ops()
    assert (op.owner.pid, op.attempt) == (winner, 2)


def test_a_process_may_take_over_its_own_operation(store, pool):
    _, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN)
    again = store.take_over(op)
    assert again.attempt == 2
    with pytest.raises(LostRace):
        store.advance(op, "node")
    store.advance(again, "node")


def test_another_process_with_the_same_pid_is_not_the_owner(store, pool):
    _, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN)
    assert store.owner_alive(op)
    assert not store.owner_alive(replace(op, owner=replace(op.owner, started=op.owner.started + 1)))
    assert not store.owner_alive(replace(op, owner=replace(op.owner, boot="another-boot")))
    assert not store.owner_alive(replace(op, owner=replace(op.owner, pid=2**22 + 1)))


def test_a_process_of_another_front_end_lives_while_its_heart_beats(store, pool):
    _, op = store.begin(pool.add(), "attach", ATTACHING, ADMIN)
    far = replace(op, owner=replace(op.owner, frontend="frontend2"))
    now = int(time.time())
    assert store.owner_alive(replace(far, heartbeat=now - 14 * 60))
    assert not store.owner_alive(replace(far, heartbeat=now - 16 * 60))
    with pytest.raises(WrongState, match=r"still being run by pid \d+ on frontend2"):
        store.take_over(far)


def test_a_command_name_with_blanks_and_parentheses_does_not_confuse(tmp_path):
    def renamed():
        with open("/proc/self/comm", "w") as comm:
            comm.write("a) Z 1 (b")
        return this_process()

    assert in_child(renamed).started >= this_process().started
