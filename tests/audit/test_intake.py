"""What comes over HTTP: told apart by content; what is no event is kept, never refused."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.audit.intake import bodies_of, events_of
from regvault.audit.spool.record import MAX_BYTES
from regvault.model.event import ALWAYS, OPTIONAL, PERSONAL

NOW = "2026-11-20T03:00:00.000000Z"
DIGEST = "sha256:" + "ab" * 32
LAYER = "sha256:" + "cd" * 32

# As distribution 3.1.1 sent it for `oras push` (request, actor and source as they were).
PUSH = {
    "id": "01a20a82-9bdb-79ac-8e07-7e83754cc132",
    "timestamp": "2026-11-23T22:24:21.467634912Z",
    "action": "push",
    "target": {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": DIGEST,
        "size": 547,
        "length": 547,
        "repository": "team/app",
        "url": f"http://127.0.0.1:5000/v2/team/app/manifests/{DIGEST}",
        "tag": "v1",
        "references": [
            {"mediaType": "application/vnd.oci.empty.v1+json", "digest": LAYER, "size": 2},
        ],
    },
    "request": {
        "id": "01a20a82-9bd5-7b44-a4eb-7059f862fcbb",
        "addr": "127.0.0.1:46626",
        "host": "127.0.0.1:5000",
        "method": "PUT",
        "useragent": "oras/1.3.6",
    },
    "actor": {"name": "alice"},
    "source": {"addr": "vm:5000", "instanceID": "01a20a82-4800-73dc-8f6e-9824c461a9d9"},
}
# From the documentation of Harbor 2.15, "Configure Webhook Notifications", default payload.
HARBOR = {
    "type": "PUSH_ARTIFACT",
    "occur_at": 1586922308,
    "operator": "admin",
    "event_data": {
        "resources": [
            {
                "digest": DIGEST,
                "tag": "latest",
                "resource_url": "hub.harbor.com/test-webhook/debian:latest",
            }
        ],
        "repository": {
            "date_created": 1586922308,
            "name": "debian",
            "namespace": "test-webhook",
            "repo_full_name": "test-webhook/debian",
            "repo_type": "private",
        },
    },
}
# As `src/pkg/notifier/formats/cloudevents.go` of Harbor v2.15 makes it for a pull by digest.
HARBOR_CLOUD = {
    "specversion": "1.0",
    "requestid": "2eedfab8-61d3-4f3c-8ec3-8f82d1ec4c84",
    "id": "4b2f89a6-548d-4c12-9993-a1f5790b97d2",
    "source": "/projects/1/webhook/policies/3",
    "type": "harbor.artifact.pulled",
    "datacontenttype": "application/json",
    "time": "2023-03-06T06:08:43Z",
    "data": {
        "resources": [
            {
                "digest": DIGEST,
                "tag": DIGEST,
                "resource_url": f"harbor.dev/library/busybox@{DIGEST}",
            }
        ],
        "repository": {
            "name": "busybox",
            "namespace": "library",
            "repo_full_name": "library/busybox",
            "repo_type": "public",
        },
    },
    "operator": "robot$library+scanner-Trivy-51fe4548-bbe5-11ed-9217-0242ac14000d",
}

# As Falco 0.41 writes an alert with `json_output: true`, by `http_output` too.
FALCO = {
    "hostname": "node1",
    "output": "03:00:00.123456789: Notice A shell was spawned in a container (user=root)",
    "output_fields": {
        "container.image.repository": "reg.example:5000/team/app",
        "container.image.tag": "v1",
        "evt.time": 1795143600123456789,
    },
    "priority": "Notice",
    "rule": "Terminal shell in container",
    "source": "syscall",
    "tags": ["container", "shell"],
    "time": "2026-11-20T03:00:00.123456789Z",
}


def one(document, headers=None):
    (event,) = events_of(json.dumps(document).encode(), headers or {}, NOW)
    return event


def ordered(event):
    """Return whether the fields stand in the order that an archive relies on."""
    names = ["id", *[name for name in ALWAYS if name not in {"seq", "spool", "received", "id"}]]
    head = list(event)[: len(names)]
    tail = [name for name in event if name in PERSONAL]
    middle = [name for name in event if name in OPTIONAL]
    rest = [name for name in event if name == "raw_base64"]
    return (
        head == names
        and tail == list(PERSONAL)
        and middle == [name for name in OPTIONAL if name in event]
        and list(event) == head + middle + tail + rest
    )


def test_a_push_to_distribution():
    event = one({"events": [PUSH]})
    raw = event.pop("raw")
    assert json.loads(raw) == {"events": [PUSH]}
    assert event == {
        "id": "01a20a82-9bdb-79ac-8e07-7e83754cc132",
        "time": "2026-11-23T22:24:21.467634Z",
        "action": "push",
        "method": "PUT",
        "repository": "team/app",
        "tag": "v1",
        "digest": DIGEST,
        "status": None,
        "duration_ms": None,
        "source": "distribution",
        "kind": "manifest",
        "media_type": "application/vnd.oci.image.manifest.v1+json",
        "size": 547,
        "references": [LAYER],
        "request_id": "01a20a82-9bd5-7b44-a4eb-7059f862fcbb",
        "registry": "127.0.0.1:5000",
        "instance": "01a20a82-4800-73dc-8f6e-9824c461a9d9",
        "actor": "alice",
        "address": "127.0.0.1",
        "useragent": "oras/1.3.6",
    }


@pytest.mark.parametrize(
    ("action", "target", "expected"),
    [
        ("pull", {"mediaType": "application/octet-stream", "digest": LAYER}, "blob"),
        ("mount", {"digest": LAYER, "fromRepository": "team/base"}, "blob"),
        # A tag deletion of 3.1.1: "digest":"", "mediaType":"", "size":0 and the tag.
        ("delete", {"mediaType": "", "digest": "", "size": 0, "tag": "v1"}, "tag"),
        ("delete", {"digest": DIGEST}, None),
    ],
)
def test_what_kind_of_thing_an_event_of_distribution_is_about(action, target, expected):
    target = {"repository": "team/app", **target}
    event = one({"events": [{**PUSH, "action": action, "target": target}]})
    assert event["action"] == action
    assert event.get("kind") == expected
    assert event["repository"] == "team/app"
    assert event.get("from_repository") == target.get("fromRepository")
    assert ordered(event)


def test_several_events_of_one_envelope_keep_each_its_own_record():
    second = {**PUSH, "id": "01a20a82-9bdb-79ac-8e07-7e83754cc133"}
    events = events_of(json.dumps({"events": [PUSH, second]}).encode(), {}, NOW)
    assert [event["id"] for event in events] == [PUSH["id"], second["id"]]
    assert [json.loads(event["raw"]) for event in events] == [PUSH, second]


def test_a_push_to_harbor():
    event = one(HARBOR)
    assert event["action"] == "push"
    assert event["time"] == "2020-04-15T03:45:08.000000Z"
    assert (event["repository"], event["tag"]) == ("test-webhook/debian", "latest")
    assert event["digest"] == DIGEST
    assert event["actor"] == "admin"
    assert event["registry"] == "hub.harbor.com"
    assert event["id"] == one(HARBOR)["id"]
    assert event["id"] != one({**HARBOR, "occur_at": 1586922309})["id"]
    assert ordered(event)


def test_several_resources_of_harbor_are_several_events():
    resources = HARBOR["event_data"]["resources"] * 3
    document = {**HARBOR, "event_data": {**HARBOR["event_data"], "resources": resources}}
    events = events_of(json.dumps(document).encode(), {}, NOW)
    assert len({event["id"] for event in events}) == 3


def test_a_pull_from_harbor_as_a_cloudevent():
    event = one(HARBOR_CLOUD)
    assert event["id"] == HARBOR_CLOUD["id"]
    assert (event["action"], event["method"]) == ("pull", "GET")
    assert (event["repository"], event["tag"], event["digest"]) == ("library/busybox", None, DIGEST)
    assert event["request_id"] == HARBOR_CLOUD["requestid"]
    assert event["source"] == "harbor"
    assert event["actor"].startswith("robot$library+scanner")


def test_an_alert_of_falco_and_the_same_by_falcosidekick():
    event = one(FALCO)
    assert (event["action"], event["source"]) == ("alert", "falco")
    assert event["time"] == "2026-11-20T03:00:00.123456Z"
    assert (event["repository"], event["tag"]) == ("team/app", "v1")
    assert (event["registry"], event["instance"]) == ("reg.example:5000", "node1")
    assert (event["severity"], event["reason"]) == ("notice", "Terminal shell in container")
    assert json.loads(event["raw"]) == FALCO
    assert event["id"] == one(FALCO)["id"]
    assert event["id"] != one({**FALCO, "time": "2026-11-20T03:00:00.123456788Z"})["id"]
    assert ordered(event)
    uuid = "5a5c5a0a-6d2e-4a3f-9b63-0d3f4c1f6c11"
    sent_on = one({"uuid": uuid, **FALCO})
    assert sent_on["id"] == uuid
    told = ("id", "raw")
    assert [sent_on[k] for k in event if k not in told] == [
        event[k] for k in event if k not in told
    ]
    without_text = {name: value for name, value in FALCO.items() if name != "output"}
    assert one(without_text)["action"] == "alert"


@pytest.mark.parametrize("binary", [False, True])
def test_an_alert_that_falcosidekick_sends_as_a_cloudevent(binary):
    headers = {"specversion": "1.0", "id": "a1", "source": "https://falco.org"}
    headers |= {"type": "falco.rule.output.v1", "time": FALCO["time"], "rule": FALCO["rule"]}
    if binary:
        event = one(FALCO, {f"ce-{name}": value for name, value in headers.items()})
    else:
        event = one({**headers, "data": FALCO})
    assert (event["action"], event["source"], event["tag"]) == ("alert", "falco", "v1")
    assert json.loads(event["raw"]) == {**headers, "data": FALCO}
    assert event["id"] == one({**headers, "data": FALCO})["id"]
    assert ordered(event)


def test_several_alerts_of_falco_one_a_line():
    others = [{**FALCO, "rule": f"alert {number}"} for number in range(3)]
    body = "".join(json.dumps(alert) + "\n" for alert in others).encode()
    events = events_of(body, {}, NOW)
    assert [event["reason"] for event in events] == ["alert 0", "alert 1", "alert 2"]
    assert [json.loads(event["raw"]) for event in events] == others
    assert len({event["id"] for event in events}) == 3
    # All of them, or it is kept whole as what it is not.
    (event,) = events_of(body + b"and more\n", {}, NOW)
    assert event["action"] == "unparsed"


@pytest.mark.parametrize("prefix", ["zotregistry", "com.example.registry"])
def test_an_image_in_zot_as_a_binary_cloudevent(prefix):
    """Fields as in `pkg/extensions/events/events.go` of zot v2.1."""
    manifest = json.dumps({"config": {"digest": LAYER}, "layers": [{"digest": DIGEST}]})
    data = {
        "name": "team/app",
        "reference": "v1",
        "digest": DIGEST,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "manifest": manifest,
    }
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "93b0b8a9-3ce5-4b5c-9d2a-7d3c6e0a1b2c",
        "ce-source": "zotregistry.dev",
        "ce-type": f"{prefix}.image.updated",
        "ce-time": "2026-11-20T02:00:00Z",
    }
    event = one(data, headers)
    assert (event["source"], event["action"], event["tag"]) == ("zot", "push", "v1")
    assert event["references"] == [LAYER, DIGEST]
    assert event["id"] == headers["ce-id"]
    headers["ce-type"] = f"{prefix}.image.deleted"
    assert one(data, headers)["action"] == "delete"
    headers["ce-type"] = f"{prefix}.repository.created"
    assert one(data, headers)["reason"] == f"{prefix}.repository.created"


def test_ids_of_other_senders_do_not_meet():
    made = {"specversion": "1.0", "id": "1", "type": "x", "source": "a"}
    assert one(made)["id"] != one({**made, "source": "b"})["id"]
    assert one(made)["id"] == one(made)["id"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"junk",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff\xfe{}",
        b"[" * 5000,
        b'{"events":[]}',
        b'{"events":{}}',
        b'{"events":[{"id":"x"}]}',
        b'{"events":[{"action":"pull"}, 7]}',
        b'{"specversion":"1.0"}',
        b'{"events":[{"action":"pull","target":{"repository":"\\ud800"}}]}',
    ],
)
def test_what_is_no_event_is_kept_with_the_reason(body):
    (event,) = events_of(body, {}, NOW)
    assert event["action"] == "unparsed"
    assert event["reason"]
    kept = event["raw"].encode()
    if "raw_base64" in event:
        kept = base64.b64decode(event["raw_base64"])
    assert kept == body
    assert event["id"] == events_of(body, {}, NOW)[0]["id"]
    assert ordered(event)


def test_hostile_names_never_come_out_as_names():
    target = {"repository": "../../etc", "tag": "a/b", "digest": "sha256:x", "size": 1 << 80}
    event = one({"events": [{**PUSH, "target": target, "timestamp": "9999999-99-99"}]})
    assert [event[name] for name in ("repository", "tag", "digest")] == [None] * 3
    assert "size" not in event
    assert event["time"] == NOW


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@given(
    st.sampled_from([{"events": [PUSH]}, HARBOR, HARBOR_CLOUD]),
    st.lists(st.sampled_from(["events", "data", "event_data", "resources", "target", "time", 0])),
    json_values,
)
def test_no_value_at_any_place_breaks_it(document, path, value):
    document = json.loads(json.dumps(document))
    at = document
    for step in path:
        below = at.get(step) if isinstance(at, dict) else at[0] if at else None
        if not isinstance(below, (dict, list)):
            break
        at = below
    if isinstance(at, dict):
        for name in at:
            at[name] = value
    elif at:
        at[0] = value
    body = json.dumps(document).encode()
    for data in bodies_of(body, {}, NOW):
        event = json.loads(data)
        assert event["id"]
        assert ordered(event)


@given(st.binary(max_size=200))
def test_no_bytes_break_it(body):
    for data in bodies_of(body, {"ce-specversion": "1.0"}, NOW):
        assert json.loads(data)["id"]


def parts(body, headers=None):
    """Return the events of a body as a spool has them; none is larger than it takes."""
    found = bodies_of(body, headers or {}, NOW)
    assert max(map(len, found)) < MAX_BYTES - 200
    return [json.loads(data) for data in found]


DEEP = b"[" * 300 + b"]" * 300


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"events":[{"action":"pull"},{"action":"pull","x":' + DEEP + b"}]}", {}),
        (b'[{"specversion":"1.0","type":"a","x":' + DEEP + b"}]", {}),
        (DEEP, {"ce-specversion": "1.0", "ce-type": "a"}),
        (DEEP, {}),
        (b"[" * 100_000, {}),
    ],
)
def test_what_has_too_many_levels_is_kept(body, headers):
    (event,) = parts(body, headers)
    assert event["action"] == "unparsed"
    assert event["raw"] == body.decode()


def test_a_header_that_is_no_utf8_is_taken_as_it_is():
    headers = {"ce-specversion": "1.0", "ce-type": b"a\xff".decode("utf-8", "surrogateescape")}
    (event,) = parts(b"{}", headers)
    assert (event["action"], event["source"]) == ("other", "cloudevents")
    assert event["reason"] == "a\\udcff"


def test_an_event_that_no_spool_takes_is_cut():
    body = b'{"events":[{"action":"pull","id":"a","x":"' + b'\\"' * 4_194_250 + b'"}]}'
    (event,) = parts(body)
    assert event["action"] == "pull"
    assert body.decode().startswith(event["raw"])
    assert len(event["raw"]) == 1 << 20
    assert f"of {len(body)} characters of raw 1048576 are kept" in event["reason"]
    assert list(event)[-4:] == ["actor", "address", "useragent", "raw"]


CLOUD = b'{"specversion":"1.0","type":"a"}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[' + b",".join([b'{"action":"pull"}'] * 10_001) + b"]}",
        b"[" + b",".join([CLOUD] * 10_001) + b"]",
        b"[" + b",".join([b'{"events":[{"action":"pull"},{"action":"pull"}]}'] * 5_001) + b"]",
        b"[[" + CLOUD + b"]]",
        b"[" * 200 + b'"' + b"x" * 100_000 + b'"' + b"]" * 200,
    ],
)
def test_a_body_holds_so_many_events_and_no_lists_of_lists(body):
    (event,) = parts(body)
    assert event["action"] == "unparsed"
    assert event["raw"] == body.decode()


def test_a_body_of_as_many_events_as_are_taken():
    assert len(parts(b'{"events":[' + b",".join([b'{"action":"pull"}'] * 10_000) + b"]}")) == 10_000


def test_what_is_made_of_a_body_is_not_many_times_its_size():
    """Each event of a payload of Harbor has all of it as `raw`."""
    data = {**HARBOR["event_data"], "resources": [{"tag": "a", "x": "y" * 1000}] * 1000}
    body = json.dumps({**HARBOR, "event_data": data}).encode()
    (event,) = parts(body)
    assert event["action"] == "unparsed"
    assert "1000 events have more than" in event["reason"]
    few = {**HARBOR["event_data"], "resources": [{"tag": "a"}] * 100}
    assert len(parts(json.dumps({**HARBOR, "event_data": few}).encode())) == 100
