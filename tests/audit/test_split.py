"""Records cut in two are put together again byte for byte, whoever made them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from regvault.audit.envelope import message_of
from regvault.audit.intake import body_of
from regvault.audit.split import message_from, split, split_ours
from regvault.audit.told import Persons, Told
from regvault.model.event import ALWAYS, OPTIONAL, PERSONAL, new_event
from regvault.model.stream import Message

EVENT = new_event(
    "2026-11-20T03:00:00.000000Z",
    "pull",
    "distribution",
    '{"a":"b","actor":"not me"}',
    method="GET",
    repository="team/app",
    tag="v1",
    digest="sha256:" + "a" * 64,
    duration_ms=1.5,
    actor="alice",
    address="10.0.0.1",
    useragent="crane/0.22",
    references=["sha256:" + "b" * 64],
    size=12,
)
HEAD = b'{"seq":7,"spool":"0123456789abcdef","received":"2026-11-20T03:00:01.000000Z",'


def ours(**changes) -> Message:
    return message_of(HEAD + body_of({**EVENT, "id": "one", **changes})[1:])


def test_what_is_read_of_an_event_are_all_its_fields():
    assert {each.name for each in fields(Told)} == {*ALWAYS, *OPTIONAL}
    assert {each.name for each in fields(Persons)} == {*PERSONAL, "raw_base64"}


def test_our_own_records_take_the_short_way():
    parts = split_ours(ours())
    assert parts == split(ours(), "x")
    assert parts.event.id == "one"
    assert parts.event.references == EVENT["references"]
    assert parts.persons.actor == "alice"
    assert b"\t" not in parts.personal


#: Each takes the place of text in the record's value.
CHANGES = [
    (b'"seq":7', b'"seq":7.0'),
    (b'"seq":7', b'"seq":"7"'),
    (b'"seq":7', b'"seq":8'),
    (b'"sequence":"7"', b'"sequence":"07"'),
    (b'"id":"one"', b'"id":"\\u006fne"'),
    (b'"id":"one"', b'"id":"o\\"e"'),
    (b'"id":"one"', b'"id":"o"e"'),
    (b'"id":"one"', b'"id":1'),
    (b'"id":"one"', b'"id":"one","id":"two"'),
    (b'"action":"pull"', b'"action": "pull"'),
    (b'"tag":"v1"', b'"tag":1'),
    (b'"tag":"v1",', b'"tag":"v1","unknown":2,'),
    (b'"size":12', b'"size":12,"joined":[{"a":1,"actor":"bob"}]'),
    (b'"actor":"alice"', b'"actor":"al\\u0069ce"'),
    (b'"actor":"alice"', b'"actor":"alice","more":1'),
    (b'"actor":"alice",', b""),
    (b'"useragent"', b'"tag":"v2","useragent"'),
    (b'"received":"2026-11-20T', b'"received":"20261120T'),
    (b'"received":"2026-11-20T03:00:01.000000Z"', b'"received":"later"'),
    (b'"subject":"team/app"', b'"subject":"team/other"'),
    (b'"datacontenttype"', b'"dataContentType"'),
    (b"}}", b"}}\n"),
    (b"}}", b"} }"),
    (b"}}", b'},"more":1}'),
    (b'{"specversion"', b'{"x":"{,\\"data\\":","specversion"'),
    (b"crane", b"cr\xffne"),
    (b"crane", b"cr\\ud800ne"),
]


def test_a_record_that_differs_from_ours_in_any_way_is_kept_byte_for_byte():
    for old, new in CHANGES:
        for count in (1, -1):
            message = ours()
            message = message._replace(value=message.value.replace(old, new, count))
            assert message.value != ours().value, old
            assert message_from(*split(message, "x")[:2]) == message, (old, new)


TEXT = st.text(max_size=8) | st.none()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)


@given(
    event=st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys((*ALWAYS, *OPTIONAL, *PERSONAL), TEXT | JSON),
            "x": JSON,
        },
    ),
    key=st.binary(max_size=4) | st.none(),
    ascii_only=st.booleans(),
    stamp=st.integers(-1, 2**41),
)
def test_any_record_is_kept_byte_for_byte(event, key, ascii_only, stamp):
    document = json.loads(ours().value)
    document["data"] |= event
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=ascii_only)
    message = Message(key, text.encode("utf-8", "surrogatepass"), stamp, (("h", b"1"),))
    assert message_from(*split(message, "x")[:2]) == message


@given(at=st.integers(0, 900), byte=st.integers(0, 255))
def test_a_record_with_a_changed_byte_is_kept_byte_for_byte(at, byte):
    message = ours()
    value = bytearray(message.value)
    value[at % len(value)] = byte
    changed = message._replace(value=bytes(value))
    assert message_from(*split(changed, "x")[:2]) == changed


#: What readers of the archive could not bear.
NONE_OF_OURS = [
    {"time": "~"},
    {"time": ""},
    {"time": "2026-11-27Tgarbage"},
    {"time": "2026-02-30T00:00:00.000000Z"},
    {"method": ["GET"]},
    {"status": "200"},
    {"status": 1000},
    {"duration_ms": "long"},
    {"request_id": ["x"]},
    {"kind": ["x"]},
    {"references": [1]},
    {"size": -1},
    {"useragent": 1},
    {"joined": [{"raw": "x"}]},
]
RECEIVED = ["0001-01-01T00:00:00.000000Z", "1999-99-99T00:00:00.000000Z", "    -  -  ", "2026-11"]


def test_what_is_no_event_for_who_reads_it_is_none():
    for changes in NONE_OF_OURS:
        message = ours(**changes)
        parts = split(message, "x")
        assert parts.event.action == "unparsed", changes
        assert message_from(*parts[:2]) == message
    for received in RECEIVED:
        value = ours().value.replace(b"2026-11-20T03:00:01.000000Z", received.encode())
        parts = split(ours()._replace(value=value), "x")
        assert parts.event.action == "unparsed", received
    for seq in (b"9223372036854775808", b"-1", b"1e3"):
        value = ours().value.replace(b'"seq":7,', b'"seq":%b,' % seq)
        assert split(ours()._replace(value=value), "x").event.action == "unparsed", seq
    for stamp in (-(2**63), 2**63 - 1):
        assert split(Message(None, b"none", stamp), "x").event.action == "unparsed"
