"""Records that know only a tag are told by a digest, too: by what the tag was then."""

from __future__ import annotations

import json

import pytest
from events import archive, body, digest, new_vault, spooled

from regvault.audit.spool import Reader, Spool
from regvault.ops.audit.live import in_spool
from regvault.ops.audit.query import Events
from regvault.ops.audit.select import Wanted

A, B = digest(1), digest(2)


def log(number, **more):
    """A proxy's record: a tag, no digest."""
    made = json.loads(body(number, digest=None, **{"tag": "v1", "status": 200, **more}))
    return json.dumps({**made, "source": "nginx"}).encode()


def told(number, **more):
    """A registry's notification."""
    return json.dumps({**json.loads(body(number, **more)), "source": "distribution"}).encode()


RECORDS = [
    log(90),  # before anybody knew what v1 was
    told(100, action="push", method="PUT", tag="v1", digest=A),
    log(150),
    told(160, tag="v1", digest=A, address="10.0.0.9"),
    log(161, address="10.0.0.9", duration_ms=12.5),
    log(162, repository="team/other"),
    log(163, tag="v2"),
    log(164, status=404, method="GET"),
    told(200, action="push", method="PUT", tag="v1", digest=B),
    log(250),
    told(300, action="push", method="PUT", tag="v1", digest=A),
    log(350),
    told(400, action="delete", method="DELETE", tag="v1", digest=None),
    log(450),
]


@pytest.fixture(params=["archive", "index", "spool"])
def events(request, tmp_path, monkeypatch):
    monkeypatch.setattr("regvault.ops.audit.indexing.LINKS", 2)
    place = spooled(tmp_path / "spool")
    if request.param == "spool":
        Spool(place).append(RECORDS)
        return Events(None, [lambda: in_spool(Reader(place))])
    vault = new_vault()
    for at in range(0, len(RECORDS), 14 if request.param == "archive" else 2):
        Spool(place).append(RECORDS[at : at + (14 if request.param == "archive" else 2)])
        archive(place, vault)
    return Events(vault)


def pulls(events, wanted):
    found = events.requests(
        Wanted(digests=frozenset({wanted}), actions=frozenset({"pull"}), succeeded=True)
    )
    return [int(event["id"][1:]) for event in found]


def test_pulls_by_tag_are_told_by_what_the_tag_was(events):
    assert pulls(events, A) == [150, 160, 350]
    assert pulls(events, B) == [250]
    assert pulls(events, digest(3)) == []


def test_the_record_of_a_proxy_joins_that_of_the_registry(events):
    found = events.requests(Wanted(digests=frozenset({A}), actions=frozenset({"pull"})))
    both = next(event for event in found if event["id"] == "e160")
    assert both["duration_ms"] == 12.5
    assert [each["id"] for each in both["joined"]] == ["e161"]


def test_only_what_can_be_meant_is_read(events):
    if events.archived is None:
        return
    found = list(events.archived.find(Wanted(tagged=frozenset({("team/app", "v1")}), bare=True)))
    assert [event["id"] for event in found] == [
        f"e{number}" for number in (90, 150, 161, 164, 250, 350, 400, 450)
    ]
