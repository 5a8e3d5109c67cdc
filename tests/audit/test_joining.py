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
        ),
        max_size=30,
    )
)
def test_no_record_is_lost_and_none_is_there_twice(told):
    events = by_time(
        record(source, at, n, tag=tag, status=status)
        for n, (source, at, tag, status) in enumerate(told)
    )
    ids = []
    for event in joined(events):
        ids += [event["id"], *(other["id"] for other in event.get("joined", ()))]
    assert sorted(ids) == sorted(event["id"] for event in events)
