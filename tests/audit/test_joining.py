"""Records of one request, from several sources: counted once, and none is dropped."""

import random

from hypothesis import given
from hypothesis import strategies as st

from regvault.audit.joining import joined
from regvault.model.event import PERSONAL, new_event, time_text

DIGEST = "sha256:" + "ab" * 32
START = 1_763_600_000 * 10**9


def record(source, at_ms, number=0, **more):
    event = new_event(
        time_text(START + int(at_ms * 10**6)),
        more.pop("action", "pull"),
        source,
        f"{source} {number}",
        **{"method": "GET", "repository": "team/app", "address": "10.0.0.7", **more},
    )
    return {
        "seq": number,
        "spool": "s",
        "received": event["time"],
        **event,
        "id": f"{source}{number}",
    }


def by_time(events):
    return sorted(events, key=lambda event: event["time"])


def test_a_hundred_pulls_are_a_hundred_whoever_tells_of_them():
    dice = random.Random(1)
    events = []
    for n in range(100):
        at = n * 40  # many at once
        events.append(record("distribution", at + dice.random() * 9, n, tag="v1", digest=DIGEST))
        events.append(record("nginx", at + 10 + dice.random() * 300, n, tag="v1", status=200))
        events.append(record("distribution-log", at + dice.random() * 5, n, tag="v1", status=200))
    found = list(joined(by_time(events)))
    assert len(found) == 100
    raws = {event["raw"] for event in found} | {
        other["raw"] for event in found for other in event["joined"]
    }
    assert raws == {event["raw"] for event in events}
    assert all(event["source"] == "distribution" for event in found)
    assert all(event["status"] == 200 for event in found)
    assert all(list(event)[-4:] == list(PERSONAL) for event in found)


def test_what_one_lacks_another_tells():
    found = list(
        joined(
            [
                record("distribution", 0, tag="v1", digest=DIGEST, actor="alice"),
                record("nginx", 30, tag="v1", status=200, duration_ms=12.5, useragent="skopeo"),
            ]
        )
    )
    (event,) = found
    assert (event["digest"], event["actor"], event["id"]) == (DIGEST, "alice", "distribution0")
    assert (event["status"], event["duration_ms"], event["useragent"]) == (200, 12.5, "skopeo")
    assert event["joined"][0]["raw"] == "nginx 0"


def test_a_request_id_joins_what_nothing_else_does():
    one = record("distribution", 0, tag="v1", request_id="r1")
    other = record("distribution-log", 1500, digest=DIGEST, address="::1", request_id="r1")
    assert len(list(joined([one, other]))) == 1


def test_a_request_id_of_several_notifications_joins_the_one_of_the_same_digest():
    of_request = {"action": "delete", "method": "DELETE", "request_id": "r1"}
    manifest = record("distribution", 0, digest=DIGEST, **of_request)
    tag = record("distribution", 1, 1, tag="v9", **of_request)
    proxy = record("haproxy", 2, digest=DIGEST, status=202, action="delete", method="DELETE")
    log = record("distribution-log", 3, digest=DIGEST, status=202, **of_request)
    for order in ([manifest, tag, proxy, log], [tag, manifest, log, proxy]):
        told = [{**event, "time": time_text(START + n * 10**6)} for n, event in enumerate(order)]
        found = {event["id"]: event for event in joined(told)}
        assert "joined" not in found[tag["id"]]
        others = {other["source"] for other in found[manifest["id"]]["joined"]}
        assert others == {"distribution-log", "haproxy"}


def test_what_differs_stays_apart():
    one = record("distribution", 0, tag="v1", digest=DIGEST)
    for other in (
        record("nginx", 10, tag="v2", status=200),
        record("nginx", 10, tag="v1", status=404),
        record("nginx", 10, tag="v1", address="10.0.0.8"),
        record("nginx", 10, tag="v1", method="HEAD"),
        record("nginx", 10, tag="v1", repository="team/base"),
        record("nginx", 2100, tag="v1", status=200),
        record("nginx", 10),
        record("distribution", 10, 1, tag="v1", digest=DIGEST),
        record("nginx", 10, tag="v1", method=None),
    ):
        assert len(list(joined([one, other]))) == 2, other


def test_who_sends_one_request_id_with_all_requests_hides_none():
    events = []
    for n in range(10):
        events += [
            record("nginx", n * 10, n, tag="v1", status=200, request_id="mine"),
            record("haproxy", n * 10 + 1, n, tag="v1", status=200, request_id="mine"),
        ]
    events.append(record("haproxy", 100, 10, tag="v2", status=200, request_id="mine"))
    assert len(list(joined(by_time(events)))) == 11


def test_a_long_answer_is_joined_by_its_end_whoever_tells_of_its_beginning():
    blob = {"kind": "blob", "digest": DIGEST}
    events = [
        record("haproxy", 0, **blob, status=200, duration_ms=60_000.0),
        record("nginx", 30_000, 1, **blob, status=200),  # another, in between
        record("distribution", 59_990, **blob),
        record("nginx", 60_010, 2, **blob, status=200, duration_ms=60_005.0),
    ]
    found = list(joined(events))
    assert [[e["id"], *(o["id"] for o in e.get("joined", ()))] for e in found] == [
        ["nginx1"],
        ["distribution0", "haproxy0", "nginx2"],
    ]
    assert found[1]["duration_ms"] == 60_000.0


def test_what_a_log_pretends_is_not_held_for_years():
    held = record("haproxy", 0, tag="v1", status=200, duration_ms=1e12)
    after = [record("nginx", 3000 + n, n, tag="v1", status=200) for n in range(3)]
    assert next(joined(iter([held, *after])))["id"] == "haproxy0"


def test_a_record_goes_to_its_own_request_where_an_id_tells():
    many = {"tag": "v1", "status": 200}
    events = [
        record("haproxy", 0, 1, **many),
        record("distribution", 1, 1, tag="v1", request_id="r1"),
        record("distribution", 2, 2, tag="v1", request_id="r2"),
        record("distribution-log", 3, 2, **many, request_id="r2"),
        record("distribution-log", 4, 1, **many, request_id="r1"),
    ]
    found = [{e["id"], *(o["id"] for o in e["joined"])} for e in joined(events)]
    assert found == [
        {"haproxy1", "distribution1", "distribution-log1"},
        {"distribution2", "distribution-log2"},
    ]


def test_the_log_of_another_request_is_no_part_of_a_notification():
    one = record("distribution", 0, tag="v1", request_id="r1")
    other = record("distribution-log", 5, tag="v1", status=200, request_id="r2")
    assert len(list(joined([one, other]))) == 2


def test_two_users_behind_one_address_keep_their_own_records():
    events = [
        record("distribution", 0, 1, tag="v1", actor="alice"),
        record("distribution", 1, 2, tag="v1", actor="bob"),
        record("nginx", 2, 2, tag="v1", status=200, actor="bob"),
        record("nginx", 3, 1, tag="v1", status=200, actor="alice"),
        record("distribution", 4, 3, tag="v1", actor="service"),
        record("nginx", 5, 3, tag="v1", status=200, actor="carol"),  # logged in by the proxy
    ]
    found = [(e["id"], e["joined"][0]["id"]) for e in joined(events)]
    assert found == [
        ("distribution1", "nginx1"),
        ("distribution2", "nginx2"),
        ("distribution3", "nginx3"),
    ]


def test_the_access_log_of_a_registry_is_told_from_that_of_a_proxy():
    made = []
    for n in range(10):
        of_registry = record("combined", n * 10, n, tag="v1", status=200, address="10.9.9.9")
        of_registry["raw"] = f'"GET /v2/team/app/manifests/v1 HTTP/1.1" 200 {n} "" "docker"'
        of_proxy = record("combined", n * 10 + 2, 100 + n, tag="v1", status=200)
        of_proxy["raw"] = f'"GET /v2/team/app/manifests/v1 HTTP/1.1" 200 {n} "-" "docker"'
        made += [of_registry, record("distribution", n * 10 + 1, n, tag="v1"), of_proxy]
    found = list(joined(made))
    assert len(found) == 10
    assert all(len(event["joined"]) == 2 for event in found)
    assert all(event["address"] == "10.0.0.7" for event in found)


def test_logins_and_steps_of_uploads_are_counted_once_too():
    base = {"action": "login", "repository": None, "status": 401}
    step = {"action": "upload", "method": "PATCH", "status": 202}
    for about in (base, step):
        events = [
            record(source, n * 10 + at, n, **about)
            for n in range(10)
            for at, source in enumerate(("distribution-log", "nginx", "haproxy"))
        ]
        found = list(joined(events))
        assert len(found) == 10
        assert all(len(event["joined"]) == 2 for event in found)
    elsewhere = record("nginx", 1, **base, address="10.0.0.8")
    assert len(list(joined([record("distribution-log", 0, **base), elsewhere]))) == 2


def test_a_request_that_failed_in_several_ways_is_one():
    lines = [
        record("distribution-log", n, n, method="PUT", tag="v1", status=400, request_id="r1")
        for n in range(3)
    ]
    assert len(list(joined(lines))) == 1


def test_a_download_that_was_redirected_is_of_the_request_of_its_digest():
    blob = {"repository": None, "digest": DIGEST, "address": "192.0.2.7"}
    events = [
        record("distribution", 0, 1, digest=DIGEST),
        record("distribution-log", 20, 2, digest=DIGEST, status=307),
        record("s3", 400, 3, status=200, **blob),
        record("cloudtrail", 500, 4, status=200, **blob),
        record("distribution", 600, 5, digest=DIGEST, address="10.0.0.9"),
        record("s3", 900, 6, status=206, **blob),
    ]
    found = list(joined(events))
    assert [len(event["joined"]) for event in found] == [3, 1]
    assert [event["repository"] for event in found] == ["team/app", "team/app"]
    others = (
        record("s3", 100, 7, status=200, **{**blob, "digest": "sha256:" + "cd" * 32}),
        record("s3", 100, 7, status=403, **blob),
        record("s3", 2100, 7, status=200, **blob),
        record("s3", 100, 7, status=200, method="HEAD", **blob),
        record("nginx", 100, 7, status=200, **blob),
    )
    for other in others:
        assert len(list(joined([events[0], other]))) == 2, other


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["distribution", "nginx", "haproxy"]),
            st.integers(0, 5000),
            st.sampled_from(["v1", "v2", None]),
            st.sampled_from([200, 404, None]),
            st.sampled_from([None, 1.5, 3000.0]),
            st.sampled_from([None, "r1", "r2"]),
        ),
        max_size=30,
    )
)
def test_no_record_is_lost_and_none_is_there_twice(told):
    events = by_time(
        record(source, at, n, tag=tag, status=status, duration_ms=took, request_id=own)
        for n, (source, at, tag, status, took, own) in enumerate(told)
    )
    ids = []
    for event in joined(events):
        ids += [event["id"], *(other["id"] for other in event.get("joined", ()))]
    assert sorted(ids) == sorted(event["id"] for event in events)
