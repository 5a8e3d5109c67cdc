"""Key records: no change of recipients gets lost, and none is undone by a store."""

from __future__ import annotations

import base64
import json

import pytest
from sealed_world import ALICE, AS_ALICE, AS_HOST, AS_NOBODY, BOB, fresh, opened, verified
from sealed_world import with_snapshot as made_world
from world import Before, World, digest_of, flip, noise

from regvault.errors import NotFoundError, TemporaryError, UsageError, VaultDamagedError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.keys import change_recipients, describe_sealing, rotate_writer
from regvault.ops.purge import plan_purge
from regvault.storage.delegate import Wrapper
from regvault.vault.age import MAX_RECIPIENTS, Identity
from regvault.vault.current_keys import newest_roots
from regvault.vault.envelope import write_document
from regvault.vault.keyring import key_records
from regvault.vault.keys import KEY_RECORDS
from regvault.vault.vault import Vault


@pytest.fixture
def made() -> World:
    return made_world()


def recipients(made: World) -> set[str]:
    return set(describe_sealing(opened(made, AS_NOBODY))["recipients"])


def newest_key(made: World) -> str:
    return made.keys(KEY_RECORDS)[-1]


def removed_bob(made: World) -> str:
    """Have Bob added, and then removed; return the key of the record that says so."""
    change_recipients(opened(made, AS_HOST), add=[BOB.public])
    change_recipients(opened(made, AS_HOST), remove=[BOB.public])
    return newest_key(made)


CHANGES = {
    "add": lambda vault: change_recipients(vault, add=[BOB.public]),
    "remove": lambda vault: change_recipients(vault, remove=[ALICE.public]),
    "rotate": lambda vault: rotate_writer(vault, BOB.public),
}


@pytest.mark.parametrize("first", CHANGES)
@pytest.mark.parametrize("second", CHANGES)
def test_of_two_changes_at_once_none_is_lost(first, second):
    """Each reads the records, and then writes: whatever comes in between is kept."""
    third = Identity.generate()
    made = fresh(AS_HOST, ALICE.public, third.public)
    other = Identity.generate().public
    change_recipients(opened(made, AS_HOST), add=[other])

    def meanwhile() -> None:
        if first == second:  # of someone else
            change_recipients(opened(made, AS_HOST), remove=[other])
        else:
            CHANGES[first](opened(made, AS_HOST))

    CHANGES[second](Vault(Before(made.store, "put", KEY_RECORDS, meanwhile), AS_HOST))
    done = {second, *([] if first == second else [first])}
    now = describe_sealing(opened(made, AS_NOBODY))
    assert (BOB.public in now["recipients"]) == ("add" in done)
    assert (ALICE.public not in now["recipients"]) == ("remove" in done)
    assert (now["writer"] == BOB.public) == ("rotate" in done)
    assert (other not in now["recipients"]) == (first == second)
    assert third.public in now["recipients"]
    generations = [
        record.generation for record in key_records(made.store, opened(made, AS_HOST).id)
    ]
    assert generations == [1, 2, 3, 4]


def test_a_record_that_list_does_not_show_is_not_written_over(made):
    key = removed_bob(made)
    data = made.store.get(key)

    class Hiding(Wrapper):
        def list(self, prefix=""):
            return (entry for entry in made.store.list(prefix) if entry.key != key)

    with pytest.raises(TemporaryError, match="does not list"):
        change_recipients(Vault(Hiding(made.store), AS_HOST), add=[Identity.generate().public])
    assert made.store.get(key) == data
    assert recipients(made) == {ALICE.public}


def writes(made: World):
    """Return what would seal something."""
    added = Identity.generate().public
    digest = digest_of(noise(3000, "app"))
    return [
        made.snapshot,
        lambda: plan_purge(opened(made, AS_ALICE), [digest], progress=NO_PROGRESS),
        lambda: change_recipients(opened(made, AS_HOST), add=[added]),
        lambda: rotate_writer(opened(made, AS_HOST), added),
    ]


def test_nothing_is_sealed_while_the_newest_record_is_damaged(made):
    """Who was removed would open it again. Readers go on."""
    key = removed_bob(made)
    good = made.store.get(key)
    made.spoil(key, flip)
    made.push.image("team/after", "1", layers=(noise(900, "after"),))
    before = made.keys("")
    for write in writes(made):
        with pytest.raises(VaultDamagedError, match="records/keys/") as raised:
            write()
        assert "--despite-damage" in raised.value.hint
    assert made.keys("") == before
    for close in ("close_content", "close_index"):  # whoever did not ask
        with pytest.raises(VaultDamagedError):
            getattr(opened(made, AS_HOST).seal, close)(b"x")
    assert opened(made, AS_ALICE).titles() == {made.chain(): "production"}
    made.store.put(key, good)
    made.snapshot()
    assert verified(made, AS_ALICE).exit_code() == 0


def test_an_older_record_that_is_damaged_stops_nothing(made):
    first = newest_key(made)
    removed_bob(made)
    made.spoil(first, flip)
    made.push.image("team/after", "1", layers=(noise(900, "after"),))
    made.snapshot()


def test_who_says_who_remains_goes_on_from_an_older_record(made):
    key = removed_bob(made)
    made.spoil(key, flip)
    vault = opened(made, AS_HOST)
    assert change_recipients(vault, remove=[BOB.public], despite_damage=True) == (ALICE.public,)
    made.snapshot()
    assert recipients(made) == {ALICE.public}
    with pytest.raises(NotFoundError):
        change_recipients(vault, remove=[BOB.public], despite_damage=True)


def test_a_record_that_is_hidden_is_missed_by_whoever_can_open_names(made):
    key = removed_bob(made)
    made.push.image("team/after", "1", layers=(noise(900, "after"),))
    made.snapshot()
    made.store.delete(key)
    made.push.image("team/later", "1", layers=(noise(900, "later"),))
    before = made.keys("")
    for write in writes(made):
        with pytest.raises(VaultDamagedError, match="generation 3 of the key records"):
            write()
    assert made.keys("") == before
    for keys in (AS_HOST, AS_ALICE):
        found = [(p.key, p.what) for p in verified(made, keys, "metadata").report.problems]
        assert found == [(KEY_RECORDS, "gap")]
    change_recipients(opened(made, AS_HOST), remove=[BOB.public], despite_damage=True)
    made.snapshot()
    assert verified(made, AS_ALICE, "metadata").exit_code() == 0
    assert newest_roots(opened(made, AS_HOST))[0].generation == 4


def test_a_root_of_before_says_no_generation_and_stops_nothing(made, monkeypatch):
    from regvault.vault.sealing import AgeSeal

    vault = opened(made, AS_HOST)
    (root,) = newest_roots(vault)
    assert root.generation == 1
    told = json.loads(vault.seal.open_index(root.sealed, ""))
    del told["generation"]
    body = json.loads(made.store.get(root.name.key).split(b"\n")[0])
    closed = vault.seal.close_index(json.dumps(told).encode())
    body["sealed"] = base64.b64encode(closed).decode()
    made.store.put(root.name.key, write_document(body)[0])
    assert newest_roots(opened(made, AS_HOST))[0].generation == 0
    assert isinstance(opened(made, AS_HOST).seal, AgeSeal)
    made.push.image("team/after", "1", layers=(noise(900, "after"),))
    assert made.snapshot().root.name.sequence == 2


def test_a_change_while_a_snapshot_waits_counts(made):
    """The records are read again once no other writer is at work."""
    vault = opened(made, AS_HOST)
    assert vault.seal.recipients == (ALICE.public,)
    change_recipients(opened(made, AS_HOST), add=[BOB.public])
    from regvault.vault.current_keys import require_current_keys

    require_current_keys(vault)
    assert vault.seal.recipients == (ALICE.public, BOB.public)


def test_a_vault_is_sealed_to_so_many_and_no_more():
    """All that is sealed has a header that a reader is not busy with for long."""
    many = [Identity.generate() for _ in range(MAX_RECIPIENTS)]
    made = made_world(AS_HOST, *(each.public for each in many))
    assert verified(made, AS_HOST._replace(identities=(many[-1],))).exit_code() == 0
    with pytest.raises(UsageError, match="64"):
        change_recipients(opened(made, AS_HOST), add=[ALICE.public])
