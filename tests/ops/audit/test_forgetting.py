"""Archived events whose time is over go, and what no chain needs; the rest is proven as before."""

from __future__ import annotations

import time

import pytest
from events import archive, archived, ids, new_vault, spooled

from regvault.errors import UsageError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.audit.copying import copy_audit
from regvault.ops.audit.forgetting import forget_events, plan_forgetting
from regvault.ops.audit.verify import verify_audit
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.expiry import expired
from regvault.vault.signing import Keys, SigningKey
from regvault.vault.vault import Vault

REAL = time.time_ns
DAY_S = 86_400
KEPT = 60 * DAY_S


def at(monkeypatch, days, vault):
    """Let it be so many days after the first events came in, here and in the vault's store."""
    monkeypatch.setattr("time.time_ns", lambda: REAL() + days * DAY_S * 10**9)
    vault.store.clock_ns = time.time_ns()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Five links of ten events that come in now; then five that came in 50 days later."""
    monkeypatch.setattr("regvault.ops.audit.indexing.LINKS", 2)
    monkeypatch.setattr("regvault.ops.audit.indexing.MERGED", 2)
    vault = new_vault()
    at(monkeypatch, 0, vault)
    fill(vault, tmp_path, range(5))
    at(monkeypatch, 50, vault)
    fill(vault, tmp_path, range(5, 10))
    return vault


def fill(vault, tmp_path, numbers):
    for number in numbers:
        archive(spooled(tmp_path / "spool", *range(number * 10, number * 10 + 10)), vault)


def forgotten(vault, keep_s=KEPT):
    plan = plan_forgetting(vault, keep_s, progress=NO_PROGRESS)
    forget_events(vault, plan, progress=NO_PROGRESS)
    return plan


def problems(vault):
    return verify_audit(vault, progress=NO_PROGRESS).problems


def segments(vault):
    return [e.key for e in vault.store.list("audit/") if e.key.endswith(".jsonl.zst")]


def test_events_go_when_their_time_is_over_and_the_rest_is_proven(made, monkeypatch):
    at(monkeypatch, 20, made)
    assert not forgotten(made).events
    at(monkeypatch, 70, made)
    before = archived(made)
    plan = plan_forgetting(made, KEPT, progress=NO_PROGRESS)
    assert archived(made) == before
    forget_events(made, plan, progress=NO_PROGRESS)
    assert plan.events == 50
    assert ids(archived(made)) == [f"e{number}" for number in range(50, 100)]
    assert len(segments(made)) == 5
    report = verify_audit(made, progress=NO_PROGRESS)
    assert (report.problems, report.expired, report.events) == ([], 5, 50)
    assert not forgotten(made).doomed


def test_the_newest_link_keeps_its_events(made, monkeypatch):
    at(monkeypatch, 500, made)
    assert forgotten(made).events == 90
    assert ids(archived(made)) == [f"e{number}" for number in range(90, 100)]
    assert not problems(made)


def test_a_chain_goes_on_after_its_beginning_is_gone(made, monkeypatch, tmp_path):
    at(monkeypatch, 500, made)
    forgotten(made)
    fill(made, tmp_path, range(10, 15))
    assert len(archived(made)) == 60
    assert not problems(made)
    (name,) = chains(made)
    assert Chain(made, name).head().indexes[-1].last >= 12


def test_too_short_a_time_is_refused(made):
    with pytest.raises(UsageError, match="30 days"):
        plan_forgetting(made, 29 * DAY_S, progress=NO_PROGRESS)


def test_what_no_link_names_goes_once_it_is_old(made, monkeypatch):
    (name,) = chains(made)
    head = Chain(made, name).head()
    needed = {head.key, *(index.key for index in head.indexes)}
    orphan = f"audit/{name}/{'a' * 24}-{'b' * 64}.jsonl.zst"
    made.store.put(orphan, b"of a run that was struck down")
    other = f"audit/{name}/something-else.zst"
    made.store.put(other, b"of a later regvault")
    superseded = {e.key for e in made.store.list("audit/") if "/index-" in e.key} - needed
    assert superseded
    at(monkeypatch, 56, made)
    assert orphan not in {each.key for each in forgotten(made, 400 * DAY_S).doomed}
    at(monkeypatch, 58, made)
    forgotten(made, 400 * DAY_S)
    left = {entry.key for entry in made.store.list("audit/")}
    assert not left & {orphan, *superseded}
    assert needed < left
    made.store.get(other)
    assert len(archived(made)) == 100
    assert not problems(made)


def test_struck_down_at_any_moment_it_goes_on_and_nothing_is_damage(made, monkeypatch):
    at(monkeypatch, 70, made)
    for place in range(1, 60):
        store = copied_store(made)
        faulty = FaultyStore(store)
        faulty.crash_at(place, when="before")
        try:
            forgotten(Vault(faulty))
        except CrashError:
            vault = Vault(store)
            assert not problems(vault), place
            assert set(ids(archived(vault))) >= {f"e{number}" for number in range(50, 100)}
            forgotten(vault)
            assert len(segments(vault)) == 5
            assert not problems(vault)
        else:
            break
    assert 5 < place < 59


def copied_store(vault):
    from regvault.storage.memory import MemoryStore

    store = MemoryStore("copy")
    for entry in vault.store.list():
        store.put(entry.key, vault.store.get(entry.key))
    store.clock_ns = vault.store.clock_ns
    return store


def test_what_says_that_segments_are_gone_is_believed_only_where_it_is_signed(
    tmp_path, monkeypatch
):
    key, other = SigningKey.generate(), SigningKey.generate()
    vault = new_vault(Keys(key, (key.public,)))
    fill(vault, tmp_path, range(4))
    at(monkeypatch, 70, vault)
    forger = Vault(vault.store, Keys(other, (key.public, other.public)))
    forgotten(forger)
    (name,) = chains(vault)
    assert expired(forger, name).through == 3
    assert expired(vault, name).through == 0
    assert [each.what for each in problems(vault)] == ["damaged", *["missing"] * 3]
    assert not problems(forger)


def test_a_copy_keeps_what_its_source_does_not_any_more(made, monkeypatch, tmp_path):
    other, late = new_vault(), new_vault()
    copy_audit(made, other, progress=NO_PROGRESS)
    at(monkeypatch, 70, made)
    forgotten(made)
    fill(made, tmp_path, [10])
    for target, count in ((other, 110), (late, 60)):
        assert not copy_audit(made, target, progress=NO_PROGRESS).problems
        assert len(archived(target)) == count
        assert not problems(target)


def test_what_is_gone_is_said(made, monkeypatch):
    from regvault.ops.audit.archived import ArchivedEvents
    from regvault.ops.audit.select import Wanted

    at(monkeypatch, 70, made)
    forgotten(made)
    events = ArchivedEvents(made)
    list(events.find(Wanted()))
    assert events.expired
    events = ArchivedEvents(made)
    list(events.find(Wanted(since="2099-01-01")))
    assert not events.expired


def test_a_plan_that_others_overtook_takes_nothing_back(made, monkeypatch):
    at(monkeypatch, 500, made)
    early = plan_forgetting(made, 460 * DAY_S, progress=NO_PROGRESS)
    assert early.chains[0].through.number == 5
    forgotten(made)
    forget_events(made, early, progress=NO_PROGRESS)
    (name,) = chains(made)
    assert expired(made, name).through == 9
    assert not problems(made)


def test_what_is_named_since_it_was_planned_stays(made, monkeypatch, tmp_path):
    """A copy that was interrupted weeks ago goes on at this moment."""
    other = new_vault()
    copy_audit(made, other, progress=NO_PROGRESS)
    at(monkeypatch, 51, made)
    fill(made, tmp_path, [10])
    (name,) = chains(made)
    link = Chain(made, name).head()
    at(monkeypatch, 51, other)
    other.store.put(link.key, made.store.get(link.key))
    at(monkeypatch, 70, other)
    plan = plan_forgetting(other, 400 * DAY_S, progress=NO_PROGRESS)
    assert link.key in {each.key for each in plan.doomed}
    monkeypatch.setattr("regvault.ops.audit.copying._YOUNG_NS", 1 << 62)
    copy_audit(made, other, progress=NO_PROGRESS)
    forget_events(other, plan, progress=NO_PROGRESS)
    assert not problems(other)


def test_what_lies_there_for_long_is_copied_anew(made, monkeypatch, tmp_path):
    other = new_vault()
    (name,) = chains(made)
    link = Chain(made, name).read(1)
    at(monkeypatch, 0, other)
    other.store.put(link.key, made.store.get(link.key))
    at(monkeypatch, 20, other)
    plan = plan_forgetting(other, 400 * DAY_S, progress=NO_PROGRESS)
    copy_audit(made, other, progress=NO_PROGRESS)
    monkeypatch.setattr("regvault.ops.audit.forgetting._named_since", lambda *_: set())
    forget_events(other, plan, progress=NO_PROGRESS)
    assert not problems(other)


def test_what_claims_to_come_from_the_future_is_no_reason_to_keep(tmp_path, monkeypatch):
    vault = new_vault()
    at(monkeypatch, 0, vault)
    fill(vault, tmp_path, range(2))
    monkeypatch.setattr("time.time_ns", lambda: REAL() + 9000 * DAY_S * 10**9)
    place = spooled(tmp_path / "spool", 500)
    at(monkeypatch, 1, vault)
    archive(place, vault)
    fill(vault, tmp_path, range(60, 62))
    at(monkeypatch, 70, vault)
    assert forgotten(vault).events == 31


def test_a_chain_that_cannot_be_read_keeps_all_and_holds_up_no_other(made, monkeypatch):
    made.store.put(f"audit/{'0' * 24}/00000001.json", b"nothing")
    at(monkeypatch, 70, made)
    plan = forgotten(made)
    assert list(plan.problems) == ["0" * 24]
    assert plan.events == 50
