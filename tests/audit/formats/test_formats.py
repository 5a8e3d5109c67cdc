"""What each line of a log becomes. A field that is wrong here is wrong in every report."""

from __future__ import annotations

import json
from typing import Any

import pytest
import samples as s

from regvault.audit.formats import cloudfront, falco, s3_access
from regvault.audit.formats.common import http_event
from regvault.audit.formats.detect import FORMATS, PARSERS, Auto
from regvault.model.event import ALWAYS, OPTIONAL, PERSONAL, new_event

PULL = {
    "action": "pull",
    "method": "GET",
    "kind": "manifest",
    "repository": "team/app",
    "tag": "v1",
    "status": 200,
    "time": "2026-11-20T02:00:00.000000Z",
    "actor": "alice",
    "address": "10.0.0.7",
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "NGINX": ("nginx", {**PULL, "size": 419, "duration_ms": None}),
    "NGINX_TIMES": ("nginx", {**PULL, "duration_ms": 5.0}),
    "NGINX_NAMED": (
        "nginx",
        {**PULL, "duration_ms": 123.0, "request_id": "7e5d1c", "address": "192.0.2.9"},
    ),
    "INGRESS": (
        "nginx",
        {
            "action": "login",
            "status": 401,
            "actor": None,
            "duration_ms": 5.0,
            "request_id": "7e5d1c0a3b5c4d6e8f90a1b2c3d4e5f6",
            "address": "10.42.0.1",
        },
    ),
    "APACHE_COMMON": (
        "combined",
        {
            "action": "pull",
            "method": "HEAD",
            "kind": "blob",
            "digest": s.BLOB,
            "time": "2026-11-20T08:00:00.000000Z",
            "useragent": None,
            "size": None,
        },
    ),
    "APACHE_VHOST": (
        "combined",
        {"action": "push", "actor": "bob", "address": "192.0.2.1", "useragent": 'say "hi"'},
    ),
    "APACHE_GARBAGE": ("combined", {"action": "log", "method": None, "status": 400}),
    "HARBOR_PROXY": (
        "nginx",
        {
            "action": "login",
            "repository": "library/app",
            "time": s.NOW,
            "duration_ms": 13.0,
            "address": "172.18.0.1",
        },
    ),
    "TRAEFIK_CLF": (
        "traefik",
        {"action": "list", "duration_ms": 12.0, "address": "10.0.0.7", "actor": "alice"},
    ),
    "TRAEFIK": (
        "traefik",
        {
            **PULL,
            "time": "2026-11-20T03:00:00.123456Z",
            "actor": None,
            "duration_ms": 12.345678,
            "request_id": "abc-1",
            "useragent": "docker/27.3.1",
        },
    ),
    "NGINX_JSON": (
        "nginx",
        {
            "action": "list",
            "repository": "team/app",
            "time": "2026-11-20T03:00:00.000000Z",
            "duration_ms": 12.0,
            "address": "192.0.2.9",
            "request_id": "7e5d1c0a3b5c4d6e8f90a1b2c3d4e5f6",
        },
    ),
    "HAPROXY": (
        "haproxy",
        {
            **PULL,
            "time": "2026-11-20T03:00:00.655000Z",
            "actor": None,
            "address": "10.0.1.2",
            "duration_ms": 109.0,
            "size": 2750,
            "useragent": None,
        },
    ),
    "HAPROXY_SYSLOG": (
        "haproxy",
        {
            **PULL,
            "time": "2026-11-20T03:00:00.655000Z",
            "actor": None,
            "address": "10.0.1.2",
        },
    ),
    "HAPROXY_TLS": ("haproxy", {"action": "login", "status": 503, "duration_ms": 12.0}),
    "HARBOR_PULL": (
        "harbor",
        {
            "action": "pull",
            "kind": "manifest",
            "repository": "library/app",
            "tag": "v1",
            "digest": s.BLOB,
            "actor": "alice",
            "time": "2026-11-20T03:00:00.123456Z",
            "status": None,
        },
    ),
    "HARBOR_PUSH_OLD": (
        "harbor",
        {
            "action": "push",
            "repository": "library/app",
            "tag": None,
            "digest": s.BLOB,
            "actor": "robot$ci",
            "time": "2022-09-30T09:36:28.500000Z",
        },
    ),
    "HARBOR_DELETE": (
        "harbor",
        {"action": "delete", "kind": None, "repository": "library/app", "tag": None},
    ),
    "HARBOR_LOGIN": ("harbor", {"action": "login", "actor": "alice", "status": None}),
    "HARBOR_CHANGE": ("harbor", {"action": "change", "reason": "create robot", "actor": "admin"}),
    "HARBOR_SYSLOG": ("harbor", {"action": "pull", "repository": "library/app", "tag": "v1"}),
    "HARBOR_FAILED": (
        "harbor",
        {
            "action": "login",
            "status": 401,
            "actor": "bob",
            "address": "10.0.0.9",
            "useragent": "docker/27.3.1",
            "request_id": "4aa4444a",
            "reason": "authentication failed",
        },
    ),
    "HARBOR_FILE": ("harbor", {"action": "login", "status": 401, "actor": "bob"}),
    "HARBOR_TOKEN": ("token", {"action": "login", "status": 400, "source": "token"}),
    "HARBOR_OTHER": (
        "harbor",
        {
            "action": "log",
            "severity": "warning",
        },
    ),
    "TOKEN_FAILED": (
        "token",
        {
            "action": "login",
            "status": 401,
            "actor": "bob",
            "address": "10.0.0.9",
            "repository": "team/app",
            "time": "2026-11-20T03:00:00.123456Z",
        },
    ),
    "TOKEN_GIVEN": (
        "token",
        {"action": "login", "status": 200, "actor": "alice", "repository": "team/app"},
    ),
    "TOKEN_UNMATCHED": (
        "token",
        {"action": "log", "severity": "warning", "reason": "did not match any authz rule"},
    ),
    # The line after it is the failure: it would count twice.
    "TOKEN_PASSWORD": ("token", {"action": "log", "reason": "authentication failed"}),
    "CRI": ("cri", {**PULL, "source": "combined"}),
    "DOCKER": (
        "cri",
        {"action": "login", "status": 401, "time": "2026-11-20T03:00:00.500000Z"},
    ),
    "FALCO": (
        "falco",
        {
            "action": "alert",
            "registry": "reg.example:5000",
            "repository": "team/app",
            "tag": "v1",
            "digest": s.MANIFEST,
            "severity": "notice",
            "reason": "Terminal shell in container",
            "instance": "node1",
            "actor": None,
            "time": "2026-11-20T03:00:00.123456Z",
        },
    ),
    "FALCO_KUBERNETES": (
        "falco",
        {"action": "alert", "repository": "team/app", "tag": "v2", "actor": "alice"},
    ),
    "S3": (
        "s3",
        {
            "action": "pull",
            "kind": "blob",
            "digest": s.BLOB,
            "repository": None,
            "status": 200,
            "duration_ms": 70.0,
            "size": 2662992,
            "address": "192.0.2.3",
            "actor": None,  # presigned: the registry redirected it
            "useragent": "containerd/1.7.22",
            "request_id": "3E57427F3EXAMPLE",
        },
    ),
    "CLOUDTRAIL": (
        "cloudtrail",
        {
            "action": "pull",
            "digest": s.BLOB,
            "status": 200,
            "actor": "arn:aws:iam::123456789012:user/mallory",  # around the registry
            "useragent": "aws-cli/2.15",
            "size": 2662992,
        },
    ),
    "CLOUDFRONT": (
        "cloudfront",
        {
            "action": "pull",
            "kind": "blob",
            "digest": s.BLOB,
            "duration_ms": 1.0,
            "address": "192.0.2.9",
            "useragent": "docker/27.3.1",
            "size": 2390282,
        },
    ),
}  # fmt: skip


#: Of formats whose events have another source: a registry's notifications are no lines of its log.
SOURCES = {"cri": "combined", "distribution": "distribution-log", "harbor": "harbor-log"}


@pytest.mark.parametrize("how", ["named", "auto"])
@pytest.mark.parametrize("sample", CASES)
def test_a_line_becomes_its_event(sample: str, how: str) -> None:
    name, expected = CASES[sample]
    line = s.ALL[sample]
    (event,) = FORMATS[name if how == "named" else "auto"]().feed(line, s.NOW)
    assert {key: event.get(key) for key in expected} == expected
    assert event["raw"] == line
    if "source" not in expected and how == "named":
        assert event["source"] == SOURCES.get(name, name)
    order = [*ALWAYS, *OPTIONAL, *PERSONAL]
    assert [key for key in order if key in event] == list(event)


def test_all_formats_have_a_sample() -> None:
    assert set(FORMATS) - {"auto", "distribution"} == {name for name, _ in CASES.values()}
    assert set(PARSERS) < set(FORMATS)


def test_an_event_of_a_request_is_what_new_event_makes() -> None:
    made = http_event(
        s.NOW, "nginx", "raw", "POST", f"/v2/a/blobs/uploads/?mount={s.BLOB}&from=b", 201, 1.5, 9,
        "alice", "10.0.0.7", "docker", "id1",
    )  # fmt: skip
    known = new_event(
        s.NOW, "mount", "nginx", "raw", method="POST", repository="a", digest=s.BLOB, status=201,
        duration_ms=1.5, actor="alice", address="10.0.0.7", useragent="docker", kind="blob",
        from_repository="b", request_id="id1",
    )  # fmt: skip
    assert list(made.items()) == list(known.items())


DONE = [
    ("login", None, None, None, 200),
    ("upload", "team/app", None, None, 202),
    ("push", "team/app", None, s.BLOB, 201),
    ("upload", "team/app", None, None, 202),
    ("push", "team/app", None, s.CONFIG, 201),
    ("mount", "team/other", None, s.BLOB, 201),
    ("push", "team/app", "v1", None, 201),
    ("pull", "team/app", "v1", None, 200),
    ("pull", "team/app", None, s.MANIFEST, 200),
    ("pull", "team/app", None, s.BLOB, 200),
    ("pull", "team/app", "nope", None, 404),
    ("list", "team/app", None, None, 200),
    ("list", None, None, None, 200),
    ("delete", "team/app", None, s.MANIFEST, 202),
]  # fmt: skip
"""What curl did with the right password, after it tried none and a wrong one."""


@pytest.mark.parametrize("name", ["distribution", "auto"])
def test_a_real_log_of_distribution_in_json_tells_what_was_done(name: str) -> None:
    stream = FORMATS[name]()
    events = [
        e for line in s.lines("distribution-2.8.2.json.log") for e in stream.feed(line, s.NOW)
    ]
    said = [e for e in events if e["action"] != "log"]
    assert [e["status"] for e in said[:2]] == [401, 401]
    assert said[0]["action"] == "login"
    assert said[1]["reason"].startswith("error authorizing context: basic authentication challenge")
    keys = ("action", "repository", "tag", "digest", "status")
    assert [tuple(e[key] for key in keys) for e in said[2:]] == DONE
    assert {e["source"] for e in events} == {"distribution-log"}
    assert {e["address"] for e in said} == {"127.0.0.1"}
    failed = said[12]
    assert failed["actor"] == "alice"
    assert failed["reason"] == "manifest unknown"
    assert failed["duration_ms"] == pytest.approx(3.811677)
    assert failed["request_id"] == "ab374c21-4f05-401d-8a4b-64f308677d74"
    assert failed["time"] == "2026-11-27T17:15:43.099869Z"
    assert "size" not in failed
    assert said[9]["size"] == 419
    assert not any("bob" in (e.get("reason") or "") for e in events)


def test_a_real_log_of_distribution_in_text_says_the_same_as_json() -> None:
    stream = FORMATS["distribution"]()
    events = [
        e for line in s.lines("distribution-2.8.2.text.log") for e in stream.feed(line, s.NOW)
    ]
    said = [e for e in events if e["action"] != "log"]
    keys = ("action", "repository", "tag", "digest", "status")
    found = [tuple(e[key] for key in keys) for e in said]
    assert found[:2] == [("login", None, None, None, 401)] * 2
    assert found[2:-1] == DONE[: len(found) - 3]
    assert found[-1] == DONE[10]
    assert said[-1]["reason"] == "manifest unknown"
    assert said[2]["duration_ms"] == pytest.approx(5.361937)


def test_a_real_access_log_of_distribution_says_the_same() -> None:
    stream = FORMATS["combined"]()
    events = [
        e for line in s.lines("distribution-2.8.2.access.log") for e in stream.feed(line, s.NOW)
    ]
    keys = ("action", "repository", "tag", "digest", "status")
    found = [tuple(e[key] for key in keys) for e in events]
    assert found == [("login", None, None, None, 401)] * 2 + DONE
    assert events[0]["time"] == "2026-11-27T17:15:42.000000Z"
    assert events[7]["from_repository"] == "team/app"


PROXIED = [
    ("upload", "POST", "team/app", None, 202),
    ("upload", "PATCH", "team/app", None, 202),
    ("push", "PUT", "team/app", "digest", 201),
    ("push", "PUT", "team/app", "v0", 201),
    ("pull", "HEAD", "team/app", "v0", 200),
    ("pull", "GET", "team/app", "v0", 200),
    ("pull", "GET", "team/app", "digest", 200),
    ("pull", "GET", "team/app", "missing", 404),
    ("pull", "HEAD", "team/app", "v1", 401),
    ("pull", "GET", "team/app", "v1", 401),
    ("delete", "DELETE", "team/app", "digest", 202),
]
"""What crane did through proxies, after it had looked for what it pushed."""


@pytest.mark.parametrize("how", ["named", "auto"])
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("nginx-1.22.1.combined.log", "nginx"),
        ("nginx-1.22.1.json.log", "nginx"),
        ("haproxy-2.6.12.http.log", "haproxy"),
        ("haproxy-2.6.12.json.log", "haproxy"),
    ],
)
def test_a_real_log_of_a_proxy_tells_what_was_asked(file: str, name: str, how: str) -> None:
    stream = FORMATS[name if how == "named" else "auto"]()
    events = [event for line in s.lines(file) for event in stream.feed(line, s.NOW)]
    assert [event["raw"] for event in events] == s.lines(file)
    said = [
        (e["action"], e["method"], e["repository"], e["tag"] or (e["digest"] and "digest"))
        for e in events
    ]
    found = [(*what, event["status"]) for what, event in zip(said, events, strict=True)]
    assert found[-len(PROXIED) :] == PROXIED
    assert found[-len(PROXIED) - 2 : -len(PROXIED)] == [
        ("pull", "HEAD", "team/app", "v0", 404),
        ("pull", "HEAD", "team/app", "digest", 404),
    ]
    is_text = file.endswith("combined.log")
    assert {event["source"] for event in events} == {
        "combined" if is_text and how == "auto" else name
    }
    missing = events[-4]
    assert missing["address"] == "127.0.0.2"
    assert missing["time"][:17] == "2026-11-27T20:45:"
    assert (missing["duration_ms"] is None) == is_text
    if ".json" in file:
        assert missing["request_id"]
        assert missing["useragent"].startswith("crane/")
    if name == "nginx":
        assert [event["actor"] for event in events[-4:]] == ["bob", "alice", "alice", "alice"]


def test_json_of_haproxy_is_none_of_nginx_whichever_was_read_before() -> None:
    stream = FORMATS["auto"]()
    lines = [s.lines(f"{name}.json.log")[-1] for name in ("nginx-1.22.1", "haproxy-2.6.12")]
    sources = [event["source"] for line in lines * 2 for event in stream.feed(line, s.NOW)]
    assert sources == ["nginx", "haproxy"] * 2


def test_the_time_of_a_line_of_haproxy_in_json_is_when_the_request_began() -> None:
    line = {"frontend": "f", "backend": "b", "status": 200, "request": "GET /v2/ HTTP/1.1"}
    for told, expected in (
        ({"time_ms": 1_795_812_345_500, "Ta": 1500}, "2026-11-27T20:45:44.000000Z"),
        ({"time": "27/Nov/2026:20:45:44.250"}, "2026-11-27T20:45:44.250000Z"),
        ({"date": "27/Nov/2026:21:45:44 +0100"}, "2026-11-27T20:45:44.000000Z"),
        ({"Ts": 1_795_812_344}, "2026-11-27T20:45:44.000000Z"),
        ({"time_ms": "soon"}, s.NOW),
    ):
        (event,) = FORMATS["haproxy"]().feed(json.dumps({**line, **told}), s.NOW)
        assert event["time"] == expected, told


def test_distribution_3_tells_the_name_where_its_router_knew_it() -> None:
    # distribution 3.1.2, `response completed` with `vars.*`; a URI that says less.
    line = (
        '{"auth.user.name":"alice","go.version":"go1.25.3","http.request.id":"a","http.request.method":'
        '"GET","http.request.remoteaddr":"[::1]:40112","http.request.uri":"/v2/x",'
        '"http.response.duration":"1m2.5s","http.response.status":200,"http.response.written":3,"level":"info",'
        f'"msg":"response completed","time":"2026-11-20T04:00:00.5+01:00","vars.name":"team/app",'
        f'"vars.digest":"{s.BLOB}"}}'
    )  # fmt: skip
    (event,) = FORMATS["auto"]().feed(line, s.NOW)
    assert event["repository"] == "team/app"
    assert event["digest"] == s.BLOB
    assert event["address"] == "::1"
    assert event["duration_ms"] == 62_500
    assert event["time"] == "2026-11-20T03:00:00.500000Z"


FIELDS = 'resourceType="user" time="2026-11-20 03:00:00 +0000"]'


@pytest.mark.parametrize(
    ("line", "actor", "action"),
    [
        # The operator of a failed login is what was sent: it could pretend to be another line.
        (
            f'[operator="x"]: action:pull, resource:a/b:v1" {FIELDS}: action:login, resource:x',
            None,
            "log",
        ),
        (
            f'[operator="x" {FIELDS}: action:pull, resource:a" {FIELDS}: action:login, resource:',
            None,
            "log",
        ),
        (
            '[operator="x" resourceType="artifact" time="?"]: action:pull, resource:../etc:v1',
            "x",
            "pull",
        ),
    ],
)
def test_a_forged_line_of_harbor_is_no_pull_of_a_repository(
    line: str, actor: str | None, action: str
) -> None:
    line = f"2026-11-20T03:00:01Z [INFO] [/pkg/auditext/manager.go:86]{line}"
    (event,) = FORMATS["harbor"]().feed(line, s.NOW)
    assert (event["actor"], event["action"]) == (actor, action)
    assert event["repository"] is None


def test_a_quote_in_a_user_agent_does_not_end_it() -> None:
    forged = '\\" 200 5 \\"-\\" \\"x'
    line = (
        '10.0.0.7 - - [20/Nov/2026:03:00:00 +0000] "GET /v2/a/manifests/v1 HTTP/1.1" 404 5 "-" '
        f'"{forged}"'
    )
    (event,) = FORMATS["combined"]().feed(line, s.NOW)
    assert event["status"] == 404
    assert event["useragent"] == '" 200 5 "-" "x'


def test_who_tried_and_was_refused_is_told() -> None:
    line = '10.0.0.7 - eve [20/Nov/2026:03:00:00 +0000] "GET {} HTTP/1.1" 401 5 "-" "-"'
    (pulled,) = FORMATS["nginx"]().feed(line.format("/v2/a/manifests/v1"), s.NOW)
    (tried,) = FORMATS["nginx"]().feed(line.format("/v2/"), s.NOW)
    assert (pulled["actor"], pulled["status"]) == ("eve", 401)
    assert tried["actor"] == "eve"


@pytest.mark.parametrize(
    ("stamp", "now", "expected"),
    [
        ("Nov 20 03:00:00", "2026-11-20T12:00:00.000000Z", "2026-11-20T03:00:00.000000Z"),
        ("Dec 31 23:59:59", "2027-01-01T00:00:05.000000Z", "2026-12-31T23:59:59.000000Z"),
        ("Jan  1 00:00:01", "2026-12-31T23:59:59.000000Z", "2027-01-01T00:00:01.000000Z"),
        ("Feb 29 01:00:00", "2026-11-20T12:00:00.000000Z", "2024-02-29T01:00:00.000000Z"),
        ("Feb 30 01:00:00", "2026-11-20T12:00:00.000000Z", "2026-11-20T12:00:00.000000Z"),
    ],
)
def test_a_time_without_a_year_is_the_latest_there_was(stamp: str, now: str, expected: str) -> None:
    line = f"{stamp} 172.18.0.1 proxy[823]: {s.HARBOR_PROXY}"
    (event,) = FORMATS["nginx"]().feed(line, now)
    assert event["time"] == expected
    assert event["action"] == "login"
    assert event["raw"] == line


def test_falco_may_send_one_alert_over_lines_or_one_a_line() -> None:
    spread = s.FALCO.replace(",", ",\n")
    assert [e["reason"] for e in falco.parse_body(spread, s.NOW)] == ["Terminal shell in container"]
    several = f"{s.FALCO}\n{s.FALCO_KUBERNETES}\nnonsense\n"
    assert [e["tag"] for e in falco.parse_body(several, s.NOW)] == ["v1", "v2"]


def test_a_file_of_cloudtrail_gives_its_downloads_one_by_one() -> None:
    other = s.CLOUDTRAIL.replace("GetObject", "PutObject")
    text = f'{{"Records": [{s.CLOUDTRAIL},\n {other}, {s.CLOUDTRAIL}]}}'
    events = list(s3_access.records(text, s.NOW))
    assert [(e["action"], e["raw"]) for e in events] == [("pull", s.CLOUDTRAIL)] * 2
    cut = list(s3_access.records(text[:-20], s.NOW))
    assert [e["action"] for e in cut] == ["pull", "gap"]
    assert list(s3_access.records("nonsense", s.NOW)) == []
    deep = '{"Records":[' + '{"a":' * 100_000
    assert [e["action"] for e in s3_access.records(deep, s.NOW)] == ["gap"]


def test_what_is_no_download_of_a_blob_is_none() -> None:
    for change in ("REST.GET.OBJECT", "REST.HEAD.OBJECT"), ("/data", "/link"), ("/2c/", "/2d/"):
        (event,) = FORMATS["s3"]().feed(s.S3.replace(*change), s.NOW)
        assert (event["action"], event["digest"]) == ("log", None)
        assert event["time"] == "2026-11-20T03:00:38.000000Z"


def test_cloudfront_names_its_fields_in_the_header() -> None:
    for name in ("cloudfront", "auto"):
        stream = FORMATS[name]()
        assert stream.feed("#Version: 1.0", s.NOW) == []
        assert stream.feed(s.CLOUDFRONT_HEADER, s.NOW) == []
        (event,) = stream.feed(s.CLOUDFRONT_OWN, s.NOW)
        assert (event["digest"], event["status"], event["duration_ms"]) == (s.BLOB, 206, 500.0)
    assert cloudfront.parse(s.CLOUDFRONT_OWN, s.NOW) is None


def test_a_line_of_no_format_is_a_log_event_with_all_of_it() -> None:
    for name in FORMATS:
        stream = FORMATS[name]()
        (event,) = stream.feed("what is this?", s.NOW)
        assert event == new_event(s.NOW, "log", name, "what is this?")
        assert stream.feed("", s.NOW) == []


def test_lines_of_many_formats_in_one_stream_are_each_read_as_their_own() -> None:
    stream = Auto()
    for _ in range(3):
        for sample, (_name, expected) in CASES.items():
            (event,) = stream.feed(s.ALL[sample], s.NOW)
            assert event["action"] == expected["action"], sample
            assert event["raw"] == s.ALL[sample]
