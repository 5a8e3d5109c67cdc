"""Of which time it is known what happened: what is lost, missing or late is never cold."""

from __future__ import annotations

import pytest
from events import digest, new_vault
from streams import DAY, HOUR, SECOND, START, Feed, answers, by_target, statistics, text

from regvault.model.progress import NO_PROGRESS
from regvault.ops.audit.access.tables import LATE_US
from regvault.ops.audit.copying import copy_audit
from regvault.ops.audit.forgetting import forget_events, plan_forgetting
from regvault.ops.audit.verify import verify_audit
from regvault.policy.access import AccessRules
from regvault.vault.age import Identity
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.expiry import expired
from regvault.vault.audit.months import Months
from regvault.vault.create import Sealing
from regvault.vault.keys import is_locked_kind
from regvault.vault.signing import Keys, SigningKey
from regvault.vault.vault import Vault

LATE = LATE_US // SECOND


@pytest.fixture
def vault():
    return new_vault()


@pytest.fixture
def feed(vault, monkeypatch):
    return Feed(vault, monkeypatch)


def gaps(answer):
    return answer["coverage"]["gaps"]


def steady(feed, first, last, *, number=0, step=HOUR):
    """Put an event for each hour, of which none is about what the tests ask for."""
    for n in range((last - first) // step + 1):
        feed.put(first + n * step, 10_000 + number + n, digest=digest(99))


def idle(answer, which=1):
    return by_target(answer)[digest(which), "team/app"]["idle_s"]


def test_before_the_stream_began_nothing_is_known(vault, feed):
    steady(feed, 0, 50 * HOUR)
    feed.archive()
    made = statistics(vault)
    made.bring_up_to_date()
    with made.view() as view:
        never = view.of_digest(digest(1))
        start = view.coverage.start
        assert view.idle_us(never) == 50 * HOUR - LATE_US
        assert view.knows(never, start)
        assert not view.knows(never, start - 1)


def test_without_a_stream_nothing_is_idle(vault):
    made = statistics(vault)
    made.bring_up_to_date()
    with made.view() as view:
        assert view.idle_us(view.of_digest(digest(1))) == 0
        assert not view.knows(view.of_digest(digest(1)), 0)


def test_a_silent_stream_is_unknown_time(vault, feed):
    feed.put(0, 1, digest=digest(1))
    steady(feed, HOUR, 20 * HOUR)
    feed.archive()
    steady(feed, 60 * HOUR, 100 * HOUR, number=500)
    feed.archive()
    answer = answers(vault)
    assert gaps(answer) == [[text(20 * HOUR), text(60 * HOUR)]]
    assert idle(answer) == 60 * 3600 - LATE
    made = statistics(vault)
    made.bring_up_to_date()
    with made.view() as view:
        found = view.of_digest(digest(1))
        assert not view.knows(found, found.last + 1)
        assert view.knows(found, view.coverage.end - 30 * HOUR)


def test_numbers_that_are_missing_in_a_spool_are_unknown_time(vault, feed):
    feed.put(0, 1, digest=digest(1))
    steady(feed, HOUR, 20 * HOUR)
    feed.archive()
    feed.put(21 * HOUR, 2, digest=digest(98))
    feed.lose()
    feed.put(23 * HOUR, 3, digest=digest(98))
    steady(feed, 24 * HOUR, 40 * HOUR, number=500)
    feed.archive()
    answer = answers(vault)
    assert gaps(answer) == [[text(21 * HOUR), text(23 * HOUR)]]
    assert idle(answer) == 38 * 3600 - LATE


def test_numbers_of_repeats_are_missing_by_right(vault, feed):
    feed.put(0, 1, digest=digest(1))
    steady(feed, HOUR, 20 * HOUR)
    feed.archive()
    feed.put(21 * HOUR, 2)
    feed.put(22 * HOUR, 2, time=text(21 * HOUR))
    feed.put(23 * HOUR, 3)
    feed.put(23 * HOUR, 3, time=text(23 * HOUR))
    feed.archive()
    feed.put(24 * HOUR, 4)
    feed.archive()
    assert not gaps(answers(vault))


def test_what_was_gone_before_it_was_archived_is_unknown_time(vault, feed):
    feed.put(0, 1, digest=digest(1))
    steady(feed, HOUR, 20 * HOUR)
    feed.archive()
    steady(feed, 21 * HOUR, 30 * HOUR, number=500)
    feed.lost = [{"partition": "one", "first": 22, "next": 25}]
    feed.archive()
    steady(feed, 31 * HOUR, 50 * HOUR, number=700)
    feed.archive()
    (gap,) = gaps(answers(vault))
    assert gap == [text(0), text(30 * HOUR)]


def test_an_event_that_says_that_events_are_missing_is_believed(vault, feed):
    feed.put(0, 1, digest=digest(1))
    steady(feed, HOUR, 20 * HOUR)
    feed.archive()
    steady(feed, 21 * HOUR, 22 * HOUR, number=500)
    feed.put(22 * HOUR, 5, action="gap", method=None, repository=None, digest=None)
    feed.put(30 * HOUR, 6, digest=digest(99))
    feed.archive()
    assert gaps(answers(vault)) == [[text(0), text(22 * HOUR)]]


def test_a_gap_of_which_the_time_is_known_is_that_time(vault, feed):
    more = {"action": "gap", "method": None, "repository": None, "digest": None}
    feed.put(0, 1, digest=digest(1))
    steady(feed, HOUR, 20 * HOUR)
    feed.put(21 * HOUR, 5, **more, **{"from": text(3 * HOUR), "to": text(5 * HOUR), "missing": 2})
    feed.put(22 * HOUR, 6, **more, **{"from": text(7 * HOUR), "to": text(900 * HOUR)})
    feed.put(30 * HOUR, 8, digest=digest(99))
    feed.archive()
    assert gaps(answers(vault)) == [
        [text(3 * HOUR), text(5 * HOUR)],
        [text(7 * HOUR), text(22 * HOUR)],
    ]


def test_a_segment_that_cannot_be_read_is_unknown_time_until_it_can_be(vault, feed, tmp_path):
    steady(feed, 0, 10 * HOUR)
    feed.archive()
    steady(feed, 11 * HOUR, 20 * HOUR, number=500)
    feed.put(15 * HOUR, 1, received=20 * HOUR, digest=digest(1))
    feed.archive()
    steady(feed, 21 * HOUR, 40 * HOUR, number=700)
    feed.archive()
    right = answers(vault)
    assert not gaps(right)
    (name,) = chains(vault)
    key = Chain(vault, name).read(2).key
    was = vault.store.get(key)
    for bad in (None, was[:40] + bytes([was[40] ^ 1]) + was[41:]):
        vault.store.delete(key)
        if bad is not None:
            vault.store.put(key, bad)
        made = statistics(vault, tmp_path)
        assert list(made.bring_up_to_date().damaged) == ([key] if bad is None else [])
        made.close()
        assert gaps(answers(vault, tmp_path)) == [[text(0), text(20 * HOUR)]]
    vault.store.put(key, was)
    assert answers(vault, tmp_path) == right


def test_a_link_that_is_gone_is_unknown_time(vault, feed, tmp_path):
    for n in range(4):
        steady(feed, n * 10 * HOUR, (n * 10 + 9) * HOUR, number=n * 100)
        feed.archive()
    right = answers(vault)
    (name,) = chains(vault)
    key = f"audit/{name}/00000002.json"
    was = vault.store.get(key)
    vault.store.delete(key)
    assert gaps(answers(vault, tmp_path)) == [[text(0), text(29 * HOUR)]]
    vault.store.put(key, was)
    assert answers(vault, tmp_path) == right


def test_what_is_not_kept_any_more_is_counted_or_unknown_and_no_damage(vault, feed, tmp_path):
    for n in range(12):
        steady(feed, n * 8 * DAY, n * 8 * DAY + 6 * HOUR, number=n * 100)
        feed.archive()
    right = answers(vault, tmp_path / "all")
    with feed._patch.context() as patch:
        ns = (START + 95 * DAY) * 1000
        patch.setattr("time.time_ns", lambda: ns)
        vault.store.clock_ns = ns
        plan = plan_forgetting(vault, 40 * 86_400, progress=NO_PROGRESS)
        forget_events(vault, plan, progress=NO_PROGRESS)
    (name,) = chains(vault)
    gone = expired(vault, name).through
    assert gone > 3
    assert answers(vault, tmp_path / "all") == right
    assert answers(vault)["coverage"]["since"] == text(gone * 8 * DAY)
    for _ in range(2):
        made = statistics(vault, tmp_path / "other")
        assert not made.bring_up_to_date().damaged
        made.close()


def test_all_streams_have_to_tell_of_a_time_but_for_those_that_are_set_aside(vault, monkeypatch):
    one, other = Feed(vault, monkeypatch, "one"), Feed(vault, monkeypatch, "two")
    steady(one, 0, 100 * HOUR)
    one.archive()
    steady(other, 10 * HOUR, 30 * HOUR, number=500)
    other.archive()
    told = answers(vault)["coverage"]
    assert (told["since"], told["until"]) == (text(10 * HOUR), text(30 * HOUR - LATE_US))
    (ended,) = (name for name, span in told["chains"].items() if span["since"] != text(0))
    told = answers(vault, aside=[ended])["coverage"]
    assert (told["since"], told["until"]) == (text(0), text(100 * HOUR - LATE_US))


def test_a_stream_of_which_nothing_can_be_read_leaves_nothing_known(vault, monkeypatch):
    one, other = Feed(vault, monkeypatch, "one"), Feed(vault, monkeypatch, "two")
    steady(one, 0, 100 * HOUR)
    one.archive()
    (first,) = chains(vault)
    steady(other, 0, 100 * HOUR, number=500)
    other.archive()
    (second,) = {*chains(vault)} - {first}
    vault.store.put(f"audit/{second}/00000001.json", b"nothing\n")
    assert answers(vault)["coverage"]["until"] is None
    assert answers(vault, aside=[second])["coverage"]["since"] == text(0)


def test_a_stream_whose_tail_is_gone_leaves_nothing_known(vault, feed):
    steady(feed, 0, 100 * HOUR)
    feed.archive()
    steady(feed, 101 * HOUR, 200 * HOUR, number=500)
    feed.archive()
    assert not verify_audit(vault, progress=NO_PROGRESS).problems
    (name,) = chains(vault)
    vault.store.delete(f"audit/{name}/00000002.json")
    assert answers(vault)["coverage"]["until"] is None


def test_a_spool_that_others_overtook_is_waited_for(vault, monkeypatch):
    """Its events may lie on a host that cannot reach Kafka."""
    feed = Feed(vault, monkeypatch, kind="kafka")
    steady(feed, 0, 100 * HOUR)
    feed.put(10 * HOUR, 1, spool="behind")
    feed.events.sort(key=lambda each: each[1].partition(b"received")[2][:40])
    feed.events = [(n, data) for n, (_, data) in enumerate(feed.events, 1)]
    feed.archive()
    assert answers(vault)["coverage"]["until"] == text(10 * HOUR)
    steady(feed, 101 * HOUR, 10 * HOUR + 8 * DAY + HOUR, number=500)
    feed.archive()
    assert answers(vault)["coverage"]["until"] == text(10 * HOUR + 8 * DAY + HOUR - LATE_US)


def test_a_log_that_told_of_pulls_and_is_silent_is_waited_for(vault, feed):
    """Of what a bucket serves nobody else may tell, and its logs may be broken, or late."""
    steady(feed, 0, 10 * HOUR)
    feed.put(11 * HOUR, 1, source="s3", repository=None, status=200)
    feed.put(12 * HOUR, 2, source="falco", action="alert", method=None, repository=None)
    steady(feed, 13 * HOUR, 100 * HOUR, number=500)
    feed.archive()
    assert answers(vault)["coverage"]["until"] == text(11 * HOUR)
    feed.put(101 * HOUR, 3, source="s3", action="log", method=None, repository=None, digest=None)
    feed.archive()
    assert answers(vault)["coverage"]["until"] == text(101 * HOUR - LATE_US)


def test_times_that_cannot_be_true_make_nothing_known_or_idle(vault, feed):
    feed.put(0, 1, digest=digest(1))
    steady(feed, HOUR, 30 * HOUR)
    feed.put(31 * HOUR, 2, digest=digest(2), time="9999-01-01T00:00:00.000000Z")
    feed.archive(33 * HOUR)
    answer = answers(vault)
    assert by_target(answer)[digest(2), "team/app"]["last_pull"] == text(31 * HOUR)
    feed.put(0, 4, received=10_000 * DAY, digest=digest(4), time=text(34 * HOUR))
    feed.archive(35 * HOUR)
    assert answers(vault)["coverage"]["until"] <= text(36 * HOUR)
    feed.put(36 * HOUR, 5, digest=digest(5))
    feed.archive(37 * HOUR)
    assert idle(answers(vault)) <= 37 * 3600


# Persons


def test_who_it_was_is_forgotten_with_the_month_and_the_counts_stay(vault, feed, tmp_path):
    for n in range(20):
        feed.put(n * HOUR, n, digest=digest(1), address=f"10.0.0.{n}", actor=f"person-{n}")
    feed.archive()
    before = answers(vault, tmp_path, keep=True)
    stored = b"".join(vault.store.get(entry.key) for entry in vault.store.list("audit/access/"))
    local = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"person-1" not in stored + local
    assert b"10.0.0." not in local
    (month,) = Months(vault).known()
    Months(vault).erase(month)
    assert answers(vault, tmp_path) == before
    assert answers(vault) == before  # what is kept tells numbers, and of nobody
    assert Months(vault).derived(month, "access statistics") is None
    anew = answers(vault, rules=AccessRules(["agent=x"]))  # counted of what is left
    (found,) = anew["targets"]
    assert (found["pulls"], found["clients"]) == (20, {})


def test_hashes_of_clients_need_the_key_of_the_month(vault, feed):
    other = new_vault()
    feed.put(0, 1)
    feed.archive()
    twin = Feed(other, feed._patch)
    twin.put(0, 1)
    twin.archive()

    def sketches(of):
        made = statistics(of)
        made.bring_up_to_date()
        with made.view() as view:
            (found,) = view.targets()
            return set(found.clients.values())

    assert len(sketches(vault) | sketches(other)) == 2


def test_a_sealed_and_signed_vault_keeps_them_sealed_and_signed(monkeypatch, tmp_path):
    host, alice = Identity.generate(), Identity.generate()
    key = SigningKey.generate()
    keys = Keys(key, (key.public,), (host,))
    vault = new_vault(keys, sealing=Sealing((alice.public,)))
    feed = Feed(vault, monkeypatch)
    feed.put(0, 1, digest=digest(1))
    feed.archive()
    right = answers(vault, keep=True)
    document, data = sorted((entry.key for entry in vault.store.list("audit/access/")), key=len)
    assert data.endswith(".age")
    assert digest(1).encode() not in vault.store.get(data)
    as_alice = Vault(vault.store, Keys(None, (key.public,), (alice,)))
    made = statistics(as_alice)
    assert made.bring_up_to_date().loaded == 1
    assert answers(as_alice) == right
    stranger = SigningKey.generate()
    forged = Vault(vault.store, Keys(stranger, (stranger.public, key.public), (host,)))
    was = vault.store.get(document)
    vault.store.delete(document)
    statistics(forged)
    answers(forged, keep=True)
    assert vault.store.get(document) != was
    made = statistics(as_alice)
    assert made.bring_up_to_date().loaded == 0
    assert answers(as_alice) == right


def test_a_copy_counts_for_itself_and_nothing_minds_what_is_kept(vault, feed, tmp_path):
    steady(feed, 0, 10 * HOUR)
    feed.put(11 * HOUR, 1, digest=digest(1), address="10.0.0.1")
    feed.archive()
    right = answers(vault, keep=True)
    assert not verify_audit(vault, progress=NO_PROGRESS).problems
    other = new_vault()
    assert copy_audit(vault, other, progress=NO_PROGRESS).links == 1
    assert not list(other.store.list("audit/access/"))
    assert answers(other, keep=True) == right
    assert chains(other) == chains(vault)


def test_what_is_kept_is_never_locked():
    assert is_locked_kind("audit/0123/00000001.json")
    assert not is_locked_kind("audit/access/0123.json")
