"""Histories of accesses, as people have them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from regvault.errors import UsageError
from regvault.ops.tier.trace import ASSUMED_BYTES, read_sizes, read_trace
from regvault.policy.access import AccessRules

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
DAY = 86_400


def blob(digest, repository="team/app"):
    return f"/v2/{repository}/blobs/{digest}"


def table(*rows, header="time,client,method,uri,status,bytes,useragent"):
    return [header + "\n", *(",".join(map(str, row)) + "\n" for row in rows)]


def read(lines, *ignored, **more):
    return read_trace(lines, rules=AccessRules(ignored), **more)


def test_a_line_of_a_uri_is_enough_and_order_is_time():
    found = read(["uri\n", f"{blob(A)}\n", f"{blob(B)}\n", f"{blob(A)}\n"], horizon=30.0)
    assert found.history.counts.tolist() == [2, 1]
    assert found.history.times.tolist() == [5, 25, 15]
    assert (found.days, found.begin, found.assumed) == (30, None, 2)
    assert found.history.sizes.tolist() == [ASSUMED_BYTES] * 2
    assert read(["uri\n", f"{blob(A)}\n"]).days == 730.5


def test_all_fields():
    began = 1_735_689_600
    found = read(
        table(
            (began - 10 * DAY, "10.0.0.1", "PUT", blob(A), 201, 700, ""),
            (began, "10.0.0.2", "GET", blob(A), 200, 700, "containerd/1.7"),
            (began + DAY, "10.0.0.2", "GET", f"/v2/team/app/manifests/{B}", 200, 500, ""),
            (began + 2 * DAY, "10.0.0.2", "GET", blob(A), 206, 10, ""),
        )
    )
    history = found.history
    assert found.begin == began
    assert found.days == pytest.approx(2, abs=0.001)
    assert history.sizes.tolist() == [700, 500]
    assert history.born.tolist() == [-10, 1]
    assert history.movable.tolist() == [True, False]
    assert history.times.tolist() == [0, 2, 1]
    assert (found.lines, found.ignored, found.unreadable, found.assumed) == (4, 0, 0, 0)


def test_who_is_no_client_and_what_is_no_read():
    agent = "trivy/0.58"
    found = read(
        table(
            (0, "1.1.1.1", "GET", blob(A), 200, 9, "containerd"),
            (1, "1.1.1.1", "HEAD", blob(A), 200, 9, "containerd"),
            (2, "1.1.1.1", "GET", blob(A), 404, 9, "containerd"),
            (3, "1.1.1.1", "GET", blob(A), 200, 9, agent),
            (4, "10.9.0.7", "GET", blob(A), 200, 9, "containerd"),
            (5, "1.1.1.1", "GET", "/v2/team/app/tags/list", 200, 9, "containerd"),
            (6, "1.1.1.1", "POST", "/v2/team/app/blobs/uploads/", 202, 9, "containerd"),
            (7, "1.1.1.1", "GET", "/v2/", 200, 9, "containerd"),
        ),
        "address=10.9.0.0/16",
    )
    assert found.history.counts.tolist() == [1]
    assert found.ignored == 7


def test_events_of_the_audit_stream():
    event = {
        "time": "2026-11-20T03:00:00.000000Z", "action": "pull", "method": "GET", "status": 200,
        "repository": "team/app", "digest": A, "kind": "blob", "size": 42, "address": "10.0.0.1",
        "useragent": "containerd/1.7", "actor": None,
    }  # fmt: skip
    lines = [
        json.dumps(event),
        json.dumps({**event, "digest": B, "kind": "manifest", "action": "push", "method": "PUT"}),
        json.dumps({**event, "digest": B, "kind": "manifest", "method": "HEAD"}),
        json.dumps({**event, "digest": A, "time": "2026-11-21T03:00:00.000000Z"}),
        json.dumps({**event, "digest": None, "action": "login"}),
        json.dumps({**event, "digest": C, "useragent": "clair/4.7"}),
        json.dumps({**event, "digest": A, "action": "delete", "method": "DELETE",
                    "time": "2026-11-22T03:00:00+00:00"}),
        json.dumps({**event, "digest": B, "time": "2026-11-23T03:00:00"}),
    ]  # fmt: skip
    found = read(lines)
    history = found.history
    # The digest that only a scanner read is none of this history.
    assert history.sizes.tolist() == [42, 42]
    assert history.times.tolist() == [0, 1, 3]
    assert history.deleted.tolist() == [True, False]
    assert history.ended[0] == 2
    assert found.ignored == 3


def test_blobs_of_object_storage_and_pushes_by_query():
    key = f"/docker/registry/v2/blobs/sha256/aa/{'a' * 64}/data?X-Amz-Date=1"
    upload = f"/v2/team/app/blobs/uploads/1?digest=sha256%3A{'b' * 64}"
    found = read(
        table(
            (0, "1.1.1.1", "GET", blob(A), 200, 5, ""),
            (1, "1.1.1.1", "GET", key, 200, 5, ""),
            (1, "1.1.1.1", "PUT", upload, 201, 0, ""),
            (2, "1.1.1.1", "GET", blob(B), 200, 7, ""),
            (3, "1.1.1.1", "GET", "/v2/team/app/manifests/v1", 200, 7, ""),
        )
    )
    assert found.history.counts.tolist() == [2, 1, 1]
    assert found.history.movable.tolist() == [True, True, False]


def test_repositories_are_groups_and_their_projects_families():
    found = read(
        table(
            *((0, "1.1.1.1", "GET", blob(f"sha256:{number:064x}", name), 200, 5, "")
              for number, name in enumerate(["a/x", "a/y", "b/x", "a/x", "lone"]))
        )
    )  # fmt: skip
    assert found.history.groups.tolist() == [0, 1, 2, 0, 3]
    assert found.families.tolist() == [0, 0, 1, 2]


def test_very_many_repositories_take_no_more_memory(monkeypatch):
    monkeypatch.setattr("regvault.ops.tier.trace._GROUPS", 2)
    monkeypatch.setattr("regvault.ops.tier.trace._FAMILIES", 3)
    names = [f"p{number // 4}/r{number}" for number in range(40)] + ["p0/r0"] * 3 + ["p1/r5"] * 2
    found = read(
        table(
            *((0, "1.1.1.1", "GET", blob(f"sha256:{number:064x}", name), 200, 5, "")
              for number, name in enumerate(names))
        )
    )  # fmt: skip
    assert len(found.families) <= 2 + 4
    assert found.history.groups[0] == found.history.groups[40]
    assert found.history.groups[1] == found.history.groups[2]
    assert set(found.history.groups.tolist()) == set(range(len(found.families)))


def test_sizes_from_elsewhere():
    sizes = read_sizes(["digest,size\n", f"{A},1000\n"])
    assert sizes == read_sizes([json.dumps({"digest": A, "size": 1000})])
    found = read(["uri\n", f"{blob(A)}\n", f"{blob(B)}\n"], sizes=sizes)
    assert found.history.sizes.tolist() == [1000, ASSUMED_BYTES]
    assert found.assumed == 1


def test_a_horizon_cuts_off_what_comes_later():
    rows = [(day * DAY, "1.1.1.1", "GET", blob(A), 200, 5, "") for day in (0, 10, 40)]
    rows.append((50 * DAY, "1.1.1.1", "GET", blob(B), 200, 5, ""))
    found = read(table(*rows), horizon=30.0)
    assert found.days == 30
    assert found.history.counts.tolist() == [2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "empty"),
        (["\n", "  \n"], "empty"),
        (["time,status\n", "1,200\n"], "no field"),
        (["uri\n"], "nothing is read"),
        (table((0, "a", "HEAD", blob(A), 200, 1, "")), "nothing is read"),
        (["{}\n", "{not json\n", "[" * 100_000 + "\n"], "3 unreadable"),
        (['["uri"]\n'], "no field"),
    ],
)
def test_what_is_no_history(lines, message):
    with pytest.raises(UsageError, match=message):
        read(lines)


@pytest.mark.parametrize("lines", [["digest,size\n", f"{A},-1\n"], ["digest,size\n", f"{A}\n"],
                                   [json.dumps({"digest": A})], ["a,b\n"], []])  # fmt: skip
def test_what_is_no_file_of_sizes(lines):
    with pytest.raises(UsageError, match="sizes"):
        read_sizes(lines)


def test_garbage_among_lines_costs_those_lines():
    good = (0, "1.1.1.1", "GET", blob(A), 200, 5, "")
    found = read(
        table(
            good,
            ("nan", "", "", blob(A), "many", "1e99", ""),
            ("2026-13-45", "", "GET", blob(A), "", "", ""),
            ("", "", "", "", "", "", ""),
            ("9" * 400, "", "GET", blob(B), 200, 5, ""),
            (1, "not an address", "GET", blob(A), 200, -5, "x"),
        )
    )
    assert found.unreadable == 1
    # What has no time among lines that have one is not counted.
    assert found.history.counts.tolist() == [2]
    assert np.isfinite(found.history.times).all()
    assert found.history.sizes.tolist() == [5]
