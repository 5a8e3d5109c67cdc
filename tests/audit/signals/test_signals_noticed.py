"""Each signal: raised when it should be, once, ended once, and never by what is usual."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noticing import START, engine, made, told

from regvault.audit.formats.distribution_log import parse
from regvault.audit.signals.newcomers import network_of
from regvault.audit.signals.windows import Window
from regvault.model.event import PERSONAL

DIGEST = [f"sha256:{n:064x}" for n in range(200)]


@pytest.fixture
def watcher(tmp_path):
    return engine(tmp_path)


def failing(number, at, **more):
    return made(number, at, "login", status=401, actor="bob", repository=None, **more)


def test_failures_to_authenticate_over_one_percent_are_told_once_and_their_end_once(watcher):
    # 1 % exactly is not over it.
    events = [made(n, n) if n % 100 else failing(n, n) for n in range(1, 201)]
    assert told(watcher, events) == []
    events = [failing(n, n) for n in range(201, 211)]
    assert told(watcher, events) == [("auth-failures", "begin")]
    assert watcher.active()["auth-failures"] == 1
    assert told(watcher, [made(n, n) for n in range(211, 900)]) == [("auth-failures", "end")]
    assert watcher.active()["auth-failures"] == 0


def test_few_requests_say_nothing(watcher):
    assert told(watcher, [failing(n, n) for n in range(99)]) == []
    assert told(watcher, [failing(99, 99)]) == [("auth-failures", "begin")]


def test_a_share_near_its_bound_does_not_begin_and_end_all_the_time(watcher):
    events = [failing(n, n) if n % 90 == 0 else made(n, n) for n in range(3000)]
    assert told(watcher, events).count(("auth-failures", "begin")) <= 1


def test_what_every_client_is_asked_first_is_no_failure(watcher):
    question = {"status": 401, "actor": None}
    events = []
    for n in range(0, 600, 3):
        events += [
            made(n, n, "login", repository=None, **question),  # GET /v2/
            made(n + 1, n, **question),  # and then for the image, before it shows a password
            made(n + 2, n),
        ]
    assert told(watcher, events) == []


def test_a_client_that_is_refused_again_and_again_is_one_that_fails(watcher):
    events = [made(n, n, status=401, address="10.0.0.9") for n in range(200)]
    assert told(watcher, events) == [("auth-failures", "begin")]


def test_a_login_that_failed_on_harbors_pages_is_a_failure_though_it_names_nobody(watcher):
    failed = {"status": 401, "actor": None, "repository": None, "method": None}
    events = [made(n, n, "login", "harbor-log", **failed) for n in range(200)]
    assert told(watcher, events) == [("auth-failures", "begin")]


@pytest.mark.parametrize(
    "message",
    [
        'error authorizing context: basic authentication challenge for realm "x": {}',
        "error authorizing context: {}",
    ],
)
def test_distribution_tells_a_wrong_password_from_none(watcher, message):
    def line(words, agent):
        return json.dumps(
            {
                "level": "warning",
                "msg": message.format(words),
                "time": "2026-11-27T20:42:12.137049849Z",
                "http.request.method": "GET",
                "http.request.uri": "/v2/a/b/manifests/x",
                "http.request.remoteaddr": "127.0.0.1:44560",
                "http.request.useragent": agent,
                "http.request.id": "6c3b0e1f-21ce-4219-9114-c583ca980d54",
                "go.version": "go1.26",
            }
        )

    def events(words, agent):
        for n in range(200):
            event = parse(line(words, agent), "")
            yield {**made(n, n), **event, "id": f"{words}{n}", "time": made(n, n)["time"]}

    for words in ("invalid authorization credential", "authorization token required"):
        assert told(watcher, events(words, "curl")) == []
    # What a client calls itself cannot hide it.
    found = told(watcher, events("authentication failure", "insufficient scope"))
    assert found == [("auth-failures", "begin")]


def test_each_log_is_judged_by_itself(watcher):
    events = []
    for n in range(150):
        events += [failing(n, n, source="nginx"), failing(n, n, source="traefik")]
    assert told(watcher, events) == [("auth-failures", "begin")] * 2


def test_pulls_of_which_more_than_five_in_a_hundred_are_slow_are_told(watcher):
    def pulls(first, slow_every):
        for n in range(first, first + 200):
            took = 501.0 if n % slow_every == slow_every - 1 else 20.0
            yield made(n, n, duration_ms=took)

    assert told(watcher, pulls(0, 21)) == []
    (begun,) = [s for e in pulls(1000, 10) for s in watcher.take(e)]
    assert (begun["signal"], begun["state"], begun["threshold"]) == ("pull-latency", "begin", 500.0)
    assert 250 < begun["value"] <= 1000
    assert told(watcher, pulls(2000, 1000)) == [("pull-latency", "end")]


def test_pushes_heads_and_failures_are_no_slow_pulls(watcher):
    slow = [
        {"action": "push", "method": "PUT"},
        {"action": "pull", "method": "HEAD"},
        {"action": "pull", "method": "GET", "status": 404},
        {"action": "list", "method": "GET"},
    ]
    events = [made(n, n, duration_ms=9999.0, **slow[n % 4]) for n in range(800)]
    assert told(watcher, events) == []


def deleting(number, at, target=None, **more):
    digest = DIGEST[number if target is None else target]
    return made(number, at, "delete", digest=digest, method="DELETE", status=202, **more)


def test_mass_deletion_is_told_with_who_did_most_of_it(watcher):
    events = [deleting(n, n, actor="eve" if n % 3 else "bob") for n in range(50)]
    found = [s for e in events for s in watcher.take(e)]
    (signal,) = found
    assert (signal["signal"], signal["state"], signal["value"]) == ("mass-deletion", "begin", 50)
    assert (signal["actor"], signal["repository"]) == ("eve", "team/app")
    assert told(watcher, [deleting(n, n) for n in range(50, 100)]) == []
    assert told(watcher, [made(300, 800)]) == [("mass-deletion", "end")]


def test_a_deletion_that_several_tell_of_counts_once(watcher):
    events = []
    for n in range(30):
        request = {"request_id": f"r{n}"}
        events += [
            deleting(n, n, source="distribution", **request),
            # 2.8 tells of each tag of the manifest, too.
            {**made(n, n, "delete", source="distribution", tag=f"v{n}", **request)},
            deleting(n, n, source="distribution-log", **request),
            deleting(n, n, source="nginx"),
        ]
    assert told(watcher, events) == []
    failed = [{**deleting(n, 40), "status": 405} for n in range(60, 160)]
    assert told(watcher, failed) == []


def pushing(number, at, actor, tag="v1", digest=None, **more):
    name = DIGEST[number] if digest is None else digest
    return made(number, at, "push", "distribution", tag=tag, digest=name, actor=actor, **more)


def test_a_tag_that_somebody_new_overwrites_is_told_and_never_again(watcher):
    assert told(watcher, [pushing(1, 1, "ci"), pushing(2, 2, "ci")]) == []
    (found,) = watcher.take(pushing(3, 3, "eve"))
    assert (found["signal"], found["repository"], found["tag"]) == (
        "tag-new-actor",
        "team/app",
        "v1",
    )
    assert (found["actor"], found["digest"]) == ("eve", DIGEST[3])
    assert told(watcher, [pushing(4, 4, "eve"), pushing(5, 5, "ci")]) == []


def test_a_new_tag_the_same_content_and_a_log_of_the_same_push_are_no_overwriting(watcher):
    watcher.take(pushing(1, 1, "ci"))
    assert told(watcher, [pushing(2, 2, "eve", tag="other")]) == []
    assert told(watcher, [pushing(3, 3, "bob", digest=DIGEST[1])]) == []
    log = made(4, 4, "push", "nginx", tag="v1", method="PUT", status=201, actor="mallory")
    assert told(watcher, [log]) == []


def test_where_nobody_logs_in_a_network_is_the_actor(watcher):
    events = [pushing(1, 1, None, address="10.0.0.1"), pushing(2, 2, None, address="10.0.0.200")]
    assert told(watcher, events) == []
    assert told(watcher, [pushing(3, 3, None, address="10.9.9.9")]) == [("tag-new-actor", None)]


def pulling(number, at, address, actor=None, **more):
    return made(number, at, address=address, actor=actor, **more)


def test_the_first_pull_from_a_network_is_told_once(watcher):
    # Not the very first, which there is nothing to compare with.
    assert told(watcher, [pulling(1, 1, "10.0.0.7"), pulling(2, 2, "10.0.0.99")]) == []
    assert told(watcher, [pulling(3, 3, "203.0.113.9", status=404)]) == []
    (found,) = watcher.take(pulling(4, 700, "203.0.113.9", "alice"))
    assert (found["signal"], found["address"], found["actor"]) == (
        "new-network",
        "203.0.113.9",
        "alice",
    )
    assert told(watcher, [pulling(5, 800, "203.0.113.10", "alice")]) == []
    assert told(watcher, [pulling(6, 2000, "203.0.113.10")]) == []


def test_a_known_user_in_a_network_that_only_others_use_is_told(watcher):
    first = [pulling(1, 1, "10.0.0.7", "ci"), pulling(2, 1000, "10.1.0.7", "bob")]
    for event in first:
        watcher.take(event)
    # Somebody new in a known network is not.
    assert told(watcher, [pulling(3, 3000, "10.1.0.7", "carol")]) == []
    assert told(watcher, [pulling(4, 4000, "10.1.0.9", "ci")]) == [("new-network", None)]


def test_networks():
    assert network_of("10.1.2.3") == network_of("::ffff:10.1.2.99") == "10.1.2.0/24"
    assert network_of("2001:db8:1:2::3") == network_of("2001:db8:1:ffff::") == "2001:db8:1::/48"
    assert network_of("fe80::1%eth0") == "fe80::/48"
    assert network_of("host.example") == "host.example"


def test_nothing_is_new_until_it_was_learned_what_is_usual(tmp_path):
    day = 86400
    watcher = engine(tmp_path, learning_s=7 * day)
    # However old the events are that come first: it is a matter of when they came in.
    early = [
        pushing(1, -90 * day, "ci", received=0),
        pushing(2, 1, "bob"),
        pulling(3, 2, "10.0.0.7"),
        pulling(4, 6 * day, "192.0.2.1"),
    ]
    assert told(watcher, early) == []
    late = [pushing(5, 7 * day, "bob"), pulling(6, 7 * day, "192.0.2.9")]
    assert told(watcher, late) == []
    assert told(watcher, [pushing(7, 8 * day, "eve"), pulling(8, 8 * day, "198.51.100.1")]) == [
        ("tag-new-actor", None),
        ("new-network", None),
    ]


def test_one_wrong_clock_does_not_make_all_that_follows_late(watcher):
    future = made(0, 10**9, received=0.0, status=200)
    assert told(watcher, [future]) == []
    assert told(watcher, [failing(n, n) for n in range(1, 150)]) == [("auth-failures", "begin")]


def test_after_a_crash_the_same_events_make_the_same_signals(tmp_path):
    events = [failing(n, n) for n in range(150)] + [deleting(n, n + 150) for n in range(60)]
    whole = engine(tmp_path / "whole")
    expected = [s for e in events for s in whole.take(e)]
    for cut in (1, 98, 101, 149, 205):
        place = tmp_path / f"cut-{cut}"
        before = engine(place)
        found = [s for e in events[:cut] for s in before.take(e)]
        before._memory.commit(**before.saved())
        lost = [s for e in events[cut : cut + 40] for s in before.take(e)]  # and a crash
        after = engine(place)
        again = [s for e in events[cut:] for s in after.take(e)]
        assert found + again == expected
        assert lost == again[: len(lost)]


def test_only_fields_for_persons_tell_of_persons(tmp_path):
    watcher = engine(tmp_path)
    events = [deleting(n, n, actor="eve-person", address="10.66.77.88") for n in range(50)]
    events += [pushing(1, 51, "ci"), pushing(2, 52, "eve-person", address="10.66.77.88")]
    events += [pulling(4, 2000, "192.0.2.1"), pulling(3, 3000, "10.66.77.88", "eve-person")]
    events += [failing(n + 10, n + 4000, address="10.66.77.88") for n in range(120)]
    found = [s for e in events for s in watcher.take(e)]
    assert {s["signal"] for s in found} == {
        "mass-deletion",
        "tag-new-actor",
        "new-network",
        "auth-failures",
    }
    for signal in found:
        public = json.dumps({k: v for k, v in signal.items() if k not in PERSONAL})
        for secret in ("eve-person", "10.66.77", "bob"):
            assert secret not in public
    watcher._memory.commit(**{k: v for k, v in watcher.saved().items() if k == "began"})
    watcher._memory.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"eve-person" not in stored
    assert b"10.66.77" not in stored


def test_what_lasts_ends_when_nothing_comes_any_more(watcher):
    told(watcher, [failing(n, n) for n in range(150)] + [deleting(n, n + 150) for n in range(60)])
    assert watcher.tick(START + 211) == []
    ended = watcher.tick(START + 210 + 601)
    assert {(s["signal"], s["state"]) for s in ended} == {
        ("auth-failures", "end"),
        ("mass-deletion", "end"),
    }
    assert watcher.tick(START + 9999) == []


def test_own_events_reconstructed_ones_and_gaps_are_counted_and_not_judged(watcher):
    events = [
        made(1, 1, "gap", "regvault", missing=50, status=None),
        made(2, 2, "signal", "regvault", status=None),
        made(3, 3, source="distribution-log", reconstructed=True, address="198.51.100.1"),
        made(4, 4, "log", "nginx", status=None, method=None),
    ]
    assert told(watcher, events) == []
    counts = watcher.counts
    assert (counts.gaps, counts.missing, counts.reconstructed) == (1, 50, 1)


def test_a_window_adds_up_what_is_in_it_whatever_the_order():
    window = Window(30.0, 1)
    for moment in (100.0, 105.0, 103.0, 80.0, 129.5):
        window.add(moment, [1])
    assert window.totals == [4]
    assert window.add(99.0, [1]) is False
    other = Window(30.0, 1)
    other.load(json.loads(json.dumps(window.save())))
    assert other.totals == window.totals
    assert other.since == window.since


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "at": st.floats(-1e9, 1e9),
                "action": st.sampled_from(["pull", "push", "delete", "login", "gap", "list"]),
                "source": st.sampled_from(["distribution", "distribution-log", "nginx", "token"]),
                "repository": st.sampled_from([None, "a", "b/c"]),
                "tag": st.sampled_from([None, "v1", "v2"]),
                "digest": st.sampled_from([None, *DIGEST[:3]]),
                "status": st.sampled_from([None, 200, 202, 401, 404, 999]),
                "duration_ms": st.one_of(st.none(), st.floats(0, 1e12)),
                "actor": st.one_of(st.none(), st.text(max_size=3)),
                "address": st.one_of(st.none(), st.ip_addresses().map(str), st.text(max_size=5)),
                "request_id": st.sampled_from([None, "r1", "r2"]),
            }
        ),
        max_size=60,
    )
)
def test_no_event_stops_it_and_a_restart_changes_nothing(tmp_path_factory, described):
    place = tmp_path_factory.mktemp("any")
    events = [made(n, received=float(n), **each) for n, each in enumerate(described)]
    bounds = {"auth_requests": 3, "pulls": 3, "deletions": 3}
    whole = engine(place / "whole", **bounds)
    expected = [s["id"] for event in events for s in whole.take(event)]
    cut = len(events) // 2
    first = engine(place / "cut", **bounds)
    found = [s["id"] for event in events[:cut] for s in first.take(event)]
    first._memory.commit(**first.saved())
    second = engine(place / "cut", **bounds)
    assert found + [s["id"] for event in events[cut:] for s in second.take(event)] == expected
