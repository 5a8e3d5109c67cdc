"""All that a log says is hostile: no line may stop the audit, slow it, or put a lie in a name."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
import samples as s
from hypothesis import given, settings
from hypothesis import strategies as st

from regvault.audit.formats.detect import FORMATS
from regvault.model.event import ACTIONS, ALWAYS, OPTIONAL, PERSONAL
from regvault.oci.grammar import is_digest, is_repository, is_tag

REAL = [*s.lines("distribution-2.8.2.json.log")[:8], *s.lines("distribution-2.8.2.text.log")[:4]]
LINES = [*s.ALL.values(), *REAL]
KEYS = {*ALWAYS, *OPTIONAL, *PERSONAL}
STREAMS = {name: make() for name, make in FORMATS.items()}


def check(event: dict[str, Any], line: str) -> None:
    """Assert what holds of every event, whatever the line was."""
    assert event["raw"] == line
    assert set(event) <= KEYS
    assert event["action"] in ACTIONS
    assert len(event["time"]) == 27
    assert event["time"][-1] == "Z"
    for name in ("repository", "from_repository"):
        assert event.get(name) is None or is_repository(event[name])
    assert event["tag"] is None or is_tag(event["tag"])
    assert event["digest"] is None or is_digest(event["digest"])
    assert event["status"] is None or 100 <= event["status"] <= 999
    assert event["duration_ms"] is None or 0 <= event["duration_ms"] <= 1e21
    for name in ("actor", "useragent", "address", "request_id", "registry", "instance"):
        value = event.get(name)
        assert value is None or (value not in ("", "-") and len(value) <= 1024)
    for name in ("reason", "severity"):
        assert name not in event or 0 < len(event[name]) <= 200
    assert orjson.loads(orjson.dumps(event))["raw"] == line


def feed_all(line: str) -> None:
    for name, make in FORMATS.items():
        if name in {"auto", "cri"}:
            stream = make()  # a part of a line would be joined with the next
            events = stream.feed(line, s.NOW) + stream.flush()
            assert len(events) <= 1 or "\n" in line
        else:
            events = STREAMS[name].feed(line, s.NOW)
        for event in events:
            check(event, line)


@given(st.text())
def test_no_text_stops_a_format(line: str) -> None:
    feed_all(line)


PIECES = [
    '"', "\\", "[", "]", "{", "}", "-", " ", "/", "%2f", "\n", "9" * 400, "1e999", "-1", "\x00",
    "\u2028", "\u0663", "../", "null", "true",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Give a sample with some of its parts cut out, doubled, swapped, or put in from another."""
    line = draw(st.sampled_from(LINES))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(line)))
        end = min(len(line), at + draw(st.integers(0, 40)))
        other = draw(st.sampled_from(LINES))
        begin = draw(st.integers(0, len(other)))
        new = draw(
            st.one_of(
                st.text(max_size=5),
                st.sampled_from(PIECES),
                st.just(other[begin : begin + 40]),
            )
        )  # fmt: skip
        line = line[:at] + new + line[end:]
    return line


@given(mutated())
@settings(max_examples=400)
def test_no_mutated_sample_stops_a_format_or_makes_a_name(line: str) -> None:
    feed_all(line)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["../..", "-", s.BLOB, "1e9", "GET", "/v2/a/manifests/v1", "2026-11-20T03:00:00Z"]
    ),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=4), SCALARS, max_size=2),
)
OBJECTS = [orjson.loads(line) for line in LINES if line.startswith("{")]


@given(st.data())
@settings(max_examples=300)
def test_a_field_of_json_may_be_anything(data: st.DataObject) -> None:
    obj = dict(data.draw(st.sampled_from(OBJECTS)))
    for key in data.draw(st.lists(st.sampled_from(sorted(obj)), max_size=4)):
        obj[key] = data.draw(VALUES)
        if isinstance(obj[key], dict) and data.draw(st.booleans()):
            obj[key] = {"key": data.draw(VALUES), "arn": data.draw(VALUES)}
    feed_all(orjson.dumps(obj).decode())


MIB = 1 << 20
LONG = {
    "one letter": "a" * MIB,
    "spaces": " " * MIB,
    "quotes": '"' * MIB,
    "backslashes": "\\" * MIB,
    "commas": "1.1.1.1," * (MIB // 8),
    "braces": "{" * MIB,
    "brackets": '{"a":' + "[" * MIB,
    "objects": '{"msg":' * (MIB // 7),
    "tabs": "2026-11-20\t" * (MIB // 11),
    "pairs": 'time="2026-11-20T03:00:00Z" ' + "a=b " * (MIB // 4),
    "pairs that are escaped": 'time="' + '\\"' * (MIB // 2),
    "a user": s.NGINX.replace("alice", "alice " * (MIB // 6)),
    "a URI": s.NGINX.replace("/v2/team", "/v2/" + "team/" * (MIB // 5)),
    "a URI of escapes": s.NGINX.replace("/v2/team", "/v2/" + "%2f" * (MIB // 3)),
    "a query": s.NGINX.replace("/v1", "/v1?" + "digest=&" * (MIB // 8)),
    "an agent": s.NGINX.replace("docker", "docker" * (MIB // 6)),
    "an agent of escapes": s.NGINX.replace("docker", '\\"' * (MIB // 2)),
    "a tail": s.NGINX + " rt=" * (MIB // 4),
    "a tail of quotes": s.NGINX + ' "' * (MIB // 2),
    "addresses": "1.1.1.1, " * (MIB // 9) + s.NGINX,
    "captured headers": s.HAPROXY.replace("docker", "docker|" * (MIB // 7)),
    "an operator": s.HARBOR_PULL.replace("alice", '" resourceType="' * (MIB // 16)),
    "a resource": s.HARBOR_PULL + "]: action:" * (MIB // 10),
    "fields": s.HARBOR_FAILED.replace("10.0.0.9", "client IP=" * (MIB // 10)),
    "scopes": s.TOKEN_FAILED.replace("[{", "[" + "{repository x [pull]} {" * (MIB // 22)),
    "a name of glog": s.TOKEN_FAILED.replace("bob", ":***@1.1.1.1 [" * (MIB // 14)),
    "a key": s.S3.replace("registry/docker", "%2525" * (MIB // 5)),
    "syslog's data": "<134>1 2026-11-20T03:00:00Z h a p m " + '[a b="]"' * (MIB // 8),
    "syslog's tag": "Nov 20 03:00:00 " + "a.b/" * (MIB // 4),
    "a container's line": "2026-11-20T03:00:00Z stdout F " + "[" * MIB,
    "a container's nest": "2026-11-20T03:00:00Z stdout F " * (MIB // 30),
    "fields of CloudFront": s.CLOUDFRONT_HEADER + " a" * (MIB // 2),
    "numbers": '{"status":' + "9" * MIB + "}",
}


@pytest.mark.parametrize("what", LONG)
def test_a_line_of_a_mebibyte_takes_no_longer_than_reading_it(what: str) -> None:
    line = LONG[what]
    for name, make in FORMATS.items():
        stream = make()
        began = time.process_time()
        events = stream.feed(line, s.NOW) + stream.flush()
        took = time.process_time() - began
        assert took < 1, f"{name}: {took:.2f} s"
        for event in events:
            check(event, line)


def test_long_uris_are_not_remembered() -> None:
    from regvault.audit.formats import uri

    before = uri._cached.cache_info().currsize
    for number in range(50):
        uri.read("GET", f"/v2/{number:0300}/manifests/v1", 200)
    assert uri._cached.cache_info().currsize == before
