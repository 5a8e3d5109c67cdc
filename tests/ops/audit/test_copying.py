"""Archived events in a second vault: as they are, without a key, and erased as in the first."""

from __future__ import annotations

import pytest
from events import archive, archived, ids, new_vault, spooled

from regvault.model.progress import NO_PROGRESS
from regvault.ops.audit.copying import copy_audit
from regvault.ops.audit.verify import verify_audit
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.age import Identity
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.months import Months
from regvault.vault.create import Sealing
from regvault.vault.signing import Keys, SigningKey
from regvault.vault.vault import Vault


def copied(source, target, **more):
    return copy_audit(source, target, progress=NO_PROGRESS, **more)


def problems(vault):
    return verify_audit(vault, progress=NO_PROGRESS).problems


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.audit.indexing.LINKS", 2)
    vault = new_vault()
    for number in range(5):
        archive(spooled(tmp_path / "spool", *range(number * 10, number * 10 + 10)), vault)
    return vault


def test_a_copy_has_every_event_and_proves_it(made, tmp_path):
    other = new_vault()
    assert copied(made, other, dry_run=True).links == 5
    assert not list(other.store.list("audit/"))
    done = copied(made, other)
    assert (done.links, done.events, done.problems) == (5, 50, [])
    assert archived(other) == archived(made)
    assert not problems(other)
    assert copied(made, other).links == 0
    archive(spooled(tmp_path / "spool", 50, 51), made)
    assert copied(made, other).events == 2
    assert archived(other) == archived(made)
    for entry in list(other.store.list("audit/")):
        was = other.store.get(entry.key)
        other.store.put(entry.key, was[:-3] + b"x" + was[-2:])
        assert problems(other) or "/index-" in entry.key
        other.store.put(entry.key, was)


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_copy_that_was_struck_down_goes_on(made, when):
    for at in range(1, 60):
        other = new_vault()
        faulty = FaultyStore(other.store)
        faulty.crash_at(at, when=when)
        try:
            copied(made, Vault(faulty))
        except CrashError:
            copied(made, other)
            assert archived(other) == archived(made), at
            assert not problems(other)
        else:
            break
    assert 10 < at < 59


def test_a_month_that_was_erased_in_either_is_erased_in_the_copy(made, tmp_path):
    other, third = new_vault(), new_vault()
    copied(made, other)
    (month,) = Months(made).known()
    Months(made).erase(month)
    assert copied(made, other).erased == [month]
    assert {event["actor"] for event in archived(other)} == {None}
    copied(made, third)
    assert {event["actor"] for event in archived(third)} == {None}
    assert ids(archived(third)) == ids(archived(made))


def test_a_month_that_was_erased_in_the_copy_does_not_come_back(made):
    other = new_vault()
    copied(made, other)
    (month,) = Months(made).known()
    Months(other).erase(month)
    copied(made, other)
    assert {event["actor"] for event in archived(other)} == {None}
    assert archived(made)[0]["actor"]


def test_what_is_damaged_in_the_source_is_not_copied_and_said(made):
    (chain,) = chains(made)
    link = Chain(made, chain).read(3)
    was = made.store.get(link.key)
    made.store.put(link.key, was[:10] + bytes([was[10] ^ 1]) + was[11:])
    other = new_vault()
    done = copied(made, other)
    assert done.links == 2
    assert len(done.problems) == 1
    assert not problems(other)
    made.store.put(link.key, was)
    assert copied(made, other).links == 3


def test_another_chain_in_its_place_is_not_overwritten(made, tmp_path):
    other = new_vault()
    place = str(tmp_path / "spool")
    archive(place, other)  # the same spool, archived there by somebody else
    before = {entry.key: other.store.get(entry.key) for entry in other.store.list("audit/")}
    done = copied(made, other)
    assert len(done.problems) == 1
    assert "another one" in done.problems[0]
    assert {entry.key: other.store.get(entry.key) for entry in other.store.list("audit/")} == before


def test_a_sealed_and_signed_archive_is_copied_without_an_identity(tmp_path):
    host, alice = Identity.generate(), Identity.generate()
    key, second = SigningKey.generate(), SigningKey.generate()
    keys = Keys(key, (key.public,), (host,))
    vault = new_vault(keys, sealing=Sealing((alice.public,)))
    archive(spooled(tmp_path / "spool", *range(20)), vault)
    trusted = (key.public, second.public)
    nobody = Vault(vault.store, Keys(None, trusted))
    other = new_vault(Keys(second, trusted), sealing=Sealing(copy_of=nobody))
    assert not copied(nobody, other).problems
    as_alice = Vault(other.store, Keys(None, trusted, (alice,)))
    assert len(archived(as_alice)) == 20
    assert archived(as_alice)[1]["actor"] == "person-1"
    assert not problems(as_alice)


def test_a_month_that_a_stranger_erased_is_erased_nowhere_else(tmp_path):
    key, other = SigningKey.generate(), SigningKey.generate()
    vault = new_vault(Keys(key, (key.public,)))
    target = new_vault(Keys(key, (key.public,)))
    archive(spooled(tmp_path / "spool", *range(10)), vault)
    copied(vault, target)
    (month,) = Months(vault).known()
    Months(Vault(vault.store, Keys(other, (key.public, other.public)))).erase(month)
    assert "signed" in copied(vault, target).problems[0]
    assert None not in {event["actor"] for event in archived(target)}
    assert any("signed" in found.detail for found in problems(vault))
