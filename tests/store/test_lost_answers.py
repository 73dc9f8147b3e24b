"""The connection breaks while the server answers a COMMIT: it was applied, but nobody was told."""

from __future__ import annotations

import peewee
import pytest
from pool import ADMIN

from one_iscsi.model import Attachment, SealedChap
from one_iscsi.states import ATTACHING, DISABLED, FREE, IN_USE


@pytest.fixture
def lose_next_answer(store, monkeypatch):
    """From now on the next COMMIT is applied, and then the connection is lost."""

    def lose() -> None:
        commit = peewee.Database.commit

        def commit_and_lose(database: peewee.Database) -> None:
            monkeypatch.setattr(peewee.Database, "commit", commit)
            commit(database)
            raise peewee.OperationalError(2013, "Lost connection to MySQL server during query")

        monkeypatch.setattr(peewee.Database, "commit", commit_and_lose)

    return lose


def test_a_registration_is_entered_once(store, pool, lose_next_answer):
    lose_next_answer()
    volume = pool.add()
    assert store.volumes() == [volume]
    assert [event.what for event in store.events()] == ["register"]


def test_a_change_is_applied_once(store, pool, lose_next_answer):
    volume = pool.add()
    lose_next_answer()
    changed = store.change(volume, DISABLED, ADMIN)
    assert changed == store.volume(volume.id)
    lose_next_answer()
    assert store.update(changed, name="renamed").name == "renamed"
    lose_next_answer()
    store.keep_chap(store.volume(volume.id), SealedChap("ann", "", "gAAAA"), ADMIN)
    assert [event.what for event in store.events()] == ["register", "change", "chap"]


def test_an_operation_is_begun_and_finished_once(store, pool, lose_next_answer):
    free = pool.add()
    lose_next_answer()
    volume, op = store.begin(free, "attach", ATTACHING, ADMIN, attachment=Attachment(0, 7, "node1", "xvdp"))
    assert (store.ops(), store.volumes()) == ([op], [volume])
    lose_next_answer()
    op = store.advance(op, "node")
    assert len(store.attachments()) == 1
    lose_next_answer()
    volume = store.finish(op, IN_USE, ADMIN)
    assert (volume.status, store.volumes(), store.ops()) == (IN_USE, [volume], [])
    assert [event.to_status for event in store.events()] == [FREE, ATTACHING, IN_USE]
