"""Histories of accesses, as people have them."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from regvault.errors import UsageError
from regvault.ops.tier.lines import read_sizes
from regvault.ops.tier.trace import ASSUMED_BYTES, ASSUMED_MANIFEST_BYTES, read_trace
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
            (began - 10 * DAY, "10.0.0.1", "PUT", blob(A), 201, 9000, ""),
            (began, "10.0.0.2", "GET", blob(A), 200, 700, "containerd/1.7"),
            (began + DAY, "10.0.0.2", "GET", f"/v2/team/app/manifests/{B}", 200, 500, ""),
            (began + 2 * DAY, "10.0.0.2", "GET", blob(A), 206, 10, ""),
        )
    )
    history = found.history
    assert found.begin == began
    assert found.days == pytest.approx(2, abs=0.001)
    assert history.sizes.tolist() == [700, 500]
    assert history.born.tolist() == [-10, 0]  # where pushes are told, it was there before
    assert history.movable.tolist() == [True, False]
    assert history.times.tolist() == [0, 2, 1]
    assert (found.lines, found.ignored, found.unreadable, found.assumed) == (4, 0, 0, 0)
    assert (found.untimed, found.unread) == (0, 0)


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
    assert found.days == pytest.approx(8 / DAY)  # as long as anyone looked on


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
    assert history.movable.tolist() == [True, False]
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
    assert found.families.tolist() == [0, 0, 1, 2, 3]  # the last is of what no line names


def test_very_many_repositories_take_no_more_memory(monkeypatch):
    monkeypatch.setattr("regvault.policy.tiering.history._GROUPS", 2)
    monkeypatch.setattr("regvault.policy.tiering.history._FAMILIES", 3)
    names = [f"p{number // 4}/r{number}" for number in range(40)] + ["p0/r0"] * 3 + ["p1/r5"] * 2
    found = read(
        table(
            *((0, "1.1.1.1", "GET", blob(f"sha256:{number:064x}", name), 200, 5, "")
              for number, name in enumerate(names))
        )
    )  # fmt: skip
    assert len(found.families) <= 2 + 4 + 1
    assert found.history.groups[0] == found.history.groups[40]
    assert found.history.groups[1] == found.history.groups[2]
    assert set(found.history.groups.tolist()) == set(range(len(found.families) - 1))


def test_sizes_from_elsewhere_and_what_nobody_reads():
    sizes = read_sizes(["digest,size\n", f"{A},1000\n", f"{C},77\n"])
    assert sizes == read_sizes(
        [json.dumps({"digest": A, "size": 1000}), json.dumps({"digest": C, "size": 77})]
    )
    found = read(["uri\n", f"{blob(A)}\n", f"{blob(B)}\n"], sizes=sizes)
    assert found.history.sizes.tolist() == [1000, ASSUMED_BYTES, 77]
    assert found.history.counts.tolist() == [1, 1, 0]
    assert found.history.start[2] == 0
    assert (found.assumed, found.unread) == (1, 1)
    assert len(found.families) == found.history.groups.max() + 1


def test_sizes_are_those_of_whole_answers():
    found = read(
        table(
            (0, "1.1.1.1", "PUT", blob(A), 201, 245, ""),
            (1, "1.1.1.1", "GET", blob(A), 307, 250, ""),
            (2, "1.1.1.1", "GET", blob(B), 206, 10, ""),
            (3, "1.1.1.1", "GET", blob(B), 200, 5000, ""),
            (4, "1.1.1.1", "GET", "/v2/team/app/manifests/v1", 304, 0, ""),
        )
    )
    assert found.history.sizes.tolist() == [ASSUMED_BYTES, 5000, ASSUMED_MANIFEST_BYTES]


def test_times_as_others_write_them():
    rows = [
        ("20/Nov/2026:03:00:00 +0000", blob(A)),
        ("20/Nov/2026:05:00:00 +0100", blob(A)),
        (" 2026-11-20T05:00:00Z", blob(A)),
    ]
    found = read(table(*rows, header="time_local,request_uri"))
    assert found.history.times.tolist() == pytest.approx([0, 1 / 24, 2 / 24])
    rows = [("2026-11-20T03:00:00+00:00", blob(A), "Trivy/0.5"), ("yesterday", blob(A), "x"),
            ("", blob(A), "x"), ("2026-11-21T03:00:00+00:00", blob(A), "x")]  # fmt: skip
    found = read(table(*rows, header="time_iso8601,uri,http_user_agent"))
    assert found.history.counts.tolist() == [1]
    assert (found.ignored, found.untimed) == (1, 2)


def test_times_that_nobody_understands_are_no_order():
    with pytest.raises(UsageError, match="2 without a time that can be read"):
        read(table(("2026/01/01", blob(A)), ("2026/01/02", blob(A)), header="time,uri"))


def test_the_order_of_lines_is_nothing_where_they_have_times():
    chance = random.Random(3)
    rows = [
        (chance.randrange(5) * DAY, "1.1.1.1", "GET", blob(f"sha256:{n % 7:064x}", f"p/r{n % 3}"),
         200, 1000 + n % 7, "")
        for n in range(60)
    ]  # fmt: skip
    first = read(table(*rows))
    for _ in range(5):
        chance.shuffle(rows)
        again = read(table(*rows))
        for one, other in zip(first.history, again.history, strict=True):
            if one is not first.history.groups:
                np.testing.assert_array_equal(one, other)


def test_a_deletion_in_one_repository_of_two_ends_nothing():
    rows = [
        (0, "1.1.1.1", "GET", blob(A, "a/x"), 200, 9, ""),
        (DAY, "1.1.1.1", "DELETE", blob(A, "b/y"), 202, 0, ""),
        (0, "1.1.1.1", "GET", blob(B, "a/x"), 200, 9, ""),
        (0, "1.1.1.1", "DELETE", blob(B, "a/x"), 202, 0, ""),
        (0, "1.1.1.1", "GET", blob(C, "a/x"), 200, 9, ""),
        (DAY, "1.1.1.1", "DELETE", blob(C, "a/x"), 202, 0, ""),
        (9 * DAY, "1.1.1.1", "HEAD", blob(A, "a/x"), 200, 9, ""),
    ]
    found = read(table(*rows))
    assert found.days == pytest.approx(9, abs=0.001)
    assert found.history.deleted.tolist() == [False, True]
    assert found.history.ended.tolist() == pytest.approx([9, 1], abs=0.001)
    event = {"action": "delete", "kind": "tag", "digest": A, "time": 10, "repository": "a/x"}
    assert read([json.dumps({"uri": blob(A), "time": 5}), json.dumps(event)]).ignored == 1


def test_beside_a_registry_other_names_are_no_content():
    found = read(["uri\n", "/service/token\n", f"{blob(A)}\n", "/favicon.ico\n"])
    assert (len(found.history.sizes), found.ignored) == (1, 2)


def test_a_stray_quote_costs_its_line_only():
    rows = table(*((n, "1.1.1.1", "GET", blob(A), 200, 5, "") for n in range(5)))
    rows[2] = f'1,1.1.1.1,GET,{blob(A)},200,5,"bad agent\n'
    assert read(rows).history.counts.tolist() == [5]
    rows[3] = "2,1.1.1.1,GET," + "x" * 200_000 + ',200,5,"\n'
    assert read(rows).unreadable == 1


def test_a_byte_order_mark_is_no_part_of_a_name():
    assert read(["\ufeffuri,time\n", f"{blob(A)},5\n"]).begin == 5
    assert read(["\ufeff" + json.dumps({"uri": blob(A), "time": 5})]).begin == 5


def test_a_horizon_cuts_off_what_comes_later():
    rows = [(day * DAY, "1.1.1.1", "GET", blob(A), 200, 5, "") for day in (0, 10, 40)]
    rows.append((50 * DAY, "1.1.1.1", "GET", blob(B), 200, 5, ""))
    found = read(table(*rows), horizon=30.0)
    assert found.days == 30
    assert found.history.counts.tolist() == [2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "nothing in the file"),
        (["\n", "  \n"], "nothing in the file"),
        (["time,status\n", "1,200\n"], "no field"),
        (["uri,uri\n"], "twice"),
        (["\x1f\ufffd\x08"], "compressed"),
        (["time,uri\n", f"0,{blob(A)}\n", f"9e11,{blob(A)}\n"], "10416667 days"),
        (["time,method,uri\n", "5,DELETE,x\n", ",GET,x\n"], "nothing is read"),
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
                                   [json.dumps({"digest": A})], ["a,b\n"], [], ["digest\n"],
                                   ['{"digest": "a", "size": Infinity}'],
                                   ["digest,size\n", f"{A},{10**20}\n"]])  # fmt: skip
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
    assert (found.unreadable, found.untimed) == (1, 3)
    assert found.history.counts.tolist() == [2]
    assert np.isfinite(found.history.times).all()
    assert found.history.sizes.tolist() == [5]
    large = json.dumps({"uri": "a", "bytes": 10**400, "status": 10**400, "time": 10**400})
    assert read([large, '{"uri": "a", "time": 1}']).untimed == 1
