"""Access statistics: only real pulls count, each once; the same whenever and wherever counted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import threading
import time

import pytest
from events import digest, new_vault
from streams import DAY, HOUR, RULES, SECOND, START, Feed, answers, by_target, statistics, text

from regvault.audit.formats.detect import FORMATS
from regvault.audit.intake import events_of
from regvault.errors import TemporaryError
from regvault.ops.audit.access.link import time_us
from regvault.ops.audit.access.tables import Tables
from regvault.ops.audit.query import Events
from regvault.ops.audit.select import Wanted
from regvault.policy.access import AccessRules
from regvault.storage.wrappers import CrashError, FaultyStore
from regvault.vault.audit.chain import chains
from regvault.vault.envelope import write_document
from regvault.vault.frames import compress, decompress
from regvault.vault.vault import Vault


@pytest.fixture
def vault():
    return new_vault()


@pytest.fixture
def feed(vault, monkeypatch):
    return Feed(vault, monkeypatch)


def pulls(vault):
    """Return how many pulls `query` finds of each digest."""
    wanted = Wanted(actions=frozenset({"pull"}), succeeded=True, read=True)
    found: dict[str, int] = {}
    for event in Events(vault).requests(wanted):
        found[event["digest"]] = found.get(event["digest"], 0) + 1
    return found


def counted(answer):
    found: dict[str, int] = {}
    for each in answer["targets"]:
        if each["pulls"]:
            found[each["digest"]] = found.get(each["digest"], 0) + each["pulls"]
    return found


def test_a_hundred_pulls_are_a_hundred_whoever_tells_of_them(vault, feed):
    dice = random.Random(1)
    told = []
    for n in range(100):
        us = n * 40_000
        told.append((us + dice.random() * 9000, "distribution", {"tag": "v1", "digest": digest(1)}))
        told.append(
            (us + dice.random() * 300_000, "nginx", {"tag": "v1", "digest": None, "status": 200})
        )
        told.append(
            (us + dice.random() * 5000, "distribution-log",
             {"tag": "v1", "digest": None, "status": 200})
        )  # fmt: skip
    told.sort(key=lambda each: each[0])
    for number, (us, source, more) in enumerate(told):
        feed.put(us, number, source=source, address="10.0.0.7", **more)
        if number % 37 == 36:
            feed.archive()
    feed.archive()
    assert pulls(vault) == {digest(1): 100}
    assert counted(answers(vault)) == {digest(1): 100}


def test_what_stands_in_for_a_lost_notification_is_counted_once(vault, feed):
    more = {"tag": None, "digest": digest(1), "address": "10.0.0.7"}
    for n in range(10):
        us = n * 10 * SECOND
        feed.put(us, 3 * n, source="distribution-log", status=200, **more)
        feed.put(us, 3 * n + 1, source="distribution-log", status=200, reconstructed=True, **more)
        if n % 2:  # it came after all
            feed.put(us, 3 * n + 2, source="distribution", **more)
    feed.archive()
    assert pulls(vault) == {digest(1): 10}


def test_a_hundred_pulls_of_real_records_are_a_hundred_of_each_thing(vault, feed):
    """As distribution notifies and logs them, and nginx in front of it, which counts seconds."""
    now = "2026-11-05T05:00:00.000000Z"
    records = []
    for n in range(100):
        us = DAY + n * 170_000
        moment = text(us)
        name, which = ("manifests", digest(1)) if n % 2 else ("blobs", digest(2))
        uri = f"/v2/team/app/{name}/{'v1' if n % 2 else which}"
        kind = "vnd.oci.image.manifest.v1+json" if n % 2 else "octet-stream"
        notified = {
            "id": f"01a20a82-9bdb-79ac-8e07-7e83754c{n:04d}",
            "timestamp": moment,
            "action": "pull",
            "target": {"mediaType": f"application/{kind}", "digest": which, "size": 5,
                       "repository": "team/app", **({"tag": "v1"} if n % 2 else {})},
            "request": {"id": f"r{n}", "addr": "10.0.0.7:46626", "method": "GET",
                        "useragent": "containerd/1.7"},
            "actor": {"name": "alice"},
        }  # fmt: skip
        logged = {
            "http.request.id": f"r{n}", "http.request.method": "GET", "http.request.uri": uri,
            "http.request.remoteaddr": "10.0.0.7:46626", "http.response.status": 200,
            "http.request.useragent": "containerd/1.7", "http.response.duration": "3.9ms",
            "level": "info", "msg": "response completed", "time": moment,
        }  # fmt: skip
        second = moment[11:19]
        line = (
            f'10.0.0.7 - alice [04/Nov/2026:{second} +0000] "GET {uri} HTTP/1.1" 200 419 "-" '
            '"containerd/1.7"'
        )
        envelope = json.dumps({"events": [notified]}).encode()
        records.append((us, events_of(envelope, {}, now)[0]))
        records.append((us + 10, FORMATS["distribution"]().feed(json.dumps(logged), now)[0]))
        records.append((us + 200_000, FORMATS["nginx"]().feed(line, now)[0]))
    records.sort(key=lambda each: each[0])
    for number, (us, made) in enumerate(records):
        more = {name: value for name, value in made.items() if name not in ("id", "time")}
        feed.put(us, number, received=us, **more, time=made["time"])
        if number % 50 == 49:
            feed.archive()
    answer = answers(vault)
    assert pulls(vault) == counted(answer) == {digest(1): 50, digest(2): 50}
    assert [each["kind"] for each in answer["targets"]] == ["manifest", "blob"]


def test_only_gets_by_real_clients_are_access(vault, feed):
    robot = "robot$library+Trivy-0a1b2c3d-0a1b-4c3d-8e9f-0a1b2c3d4e5f"
    others = [
        {"method": "HEAD"},
        {"status": 404},
        {"status": 500},
        {"action": "list"},
        {"action": "scan", "method": None},
        {"action": "replicate", "method": None},
        {"useragent": "trivy/0.57.1"},
        {"useragent": "go-containerregistry/v0.20.2 clair/4.8"},
        {"useragent": "Grype/0.80"},
        {"useragent": "harbor-registry-client"},
        {"useragent": "regclient/regsync (v0.11.7)"},
        {"useragent": "kube-probe/1.31"},
        {"useragent": "Boto3/1.36.1 md/Botocore#1.36.1 regvault/0.1"},
        {"actor": robot},
    ]
    real = [
        {},
        {"method": None},
        {"status": 200},
        {"status": 206},
        {"status": 307},
        {"useragent": None, "actor": None, "address": None},
        {"useragent": "skopeo/1.16.1"},
        {"useragent": "containerd/v1.7.23"},
        {"useragent": "regclient/regctl (v0.11.7)"},
        {"actor": "robot$library+ci"},
    ]
    for number, more in enumerate([*others, *real]):
        feed.put(number * HOUR, number, digest=digest(number), **more)
    feed.archive()
    found = {each["digest"] for each in answers(vault)["targets"]}
    assert found == {digest(len(others) + n) for n in range(len(real))}


def test_one_record_that_names_a_scanner_makes_its_request_a_scan(vault, feed):
    feed.put(0, 1, source="harbor", digest=digest(1), useragent=None)
    feed.put(SECOND, 2, source="nginx", digest=digest(1), useragent="trivy/0.57", status=200,
             actor="person-1", address="10.1.2.1")  # fmt: skip
    feed.archive()
    assert not answers(vault)["targets"]


def test_a_site_names_others_that_are_no_clients(vault, feed):
    feed.put(0, 1, useragent="mirror-of-ours/2")
    feed.put(HOUR, 2, actor="robot$sync")
    feed.put(2 * HOUR, 3, address="10.9.8.7")
    feed.put(3 * HOUR, 4, address="2001:db8::9")
    feed.put(4 * HOUR, 5)
    feed.archive()
    assert len(answers(vault)["targets"]) == 5
    rules = AccessRules(
        ["agent=mirror-of-*", "actor=robot$sync", "address=10.9.0.0/16", "address=2001:db8::/32"]
    )
    assert [each["digest"] for each in answers(vault, rules=rules)["targets"]] == [digest(5)]


def test_what_stands_in_for_a_record_of_a_log_is_no_pull_of_its_own(vault, feed):
    feed.put(0, 1, source="nginx", digest=digest(1), status=200)
    feed.put(0, 2, source="nginx", digest=digest(1), status=200, reconstructed=True)
    feed.archive()
    assert counted(answers(vault)) == {digest(1): 1}


def test_a_tag_is_what_it_was_at_that_time(vault, feed):
    feed.put(0, 1, action="push", method="PUT", tag="v1", digest=digest(1))
    feed.put(HOUR, 2, source="nginx", tag="v1", digest=None, status=200)
    feed.put(2 * HOUR, 3, action="push", method="PUT", tag="v1", digest=digest(2))
    feed.put(3 * HOUR, 4, source="nginx", tag="v1", digest=None, status=200)
    feed.put(3 * HOUR + 5 * SECOND, 5, source="nginx", tag="v1", digest=None, status=200)
    feed.archive()
    assert counted(answers(vault)) == {digest(1): 1, digest(2): 2}


def test_what_only_a_tag_is_known_of_stays_open_and_nothing_of_it_is_idle(vault, feed):
    feed.put(0, 1, digest=digest(5))
    feed.put(10 * HOUR, 2, source="nginx", tag="v1", digest=None, status=200)
    feed.put(20 * HOUR, 3, action="push", method="PUT", tag="v1", digest=digest(1))
    feed.put(30 * HOUR, 4, digest=digest(5))
    feed.archive()
    made = statistics(vault)
    made.bring_up_to_date()
    with made.view() as view:
        found = {(each.digest, each.tag): each.pulls for each in view.targets()}
        assert found[None, "v1"] == 1
        assert view.of_digest(digest(9)).pulls == 0
        assert view.of_digest(digest(9), [("team/app", "v1")]).pulls == 1
        assert view.idle_us(view.of_digest(digest(9))) == 27 * HOUR
        assert view.idle_us(view.of_digest(digest(9), [("team/app", "v1")])) == 17 * HOUR


def test_what_was_pushed_is_not_idle_since_before(vault, feed):
    feed.put(0, 1, digest=digest(5))
    feed.put(20 * HOUR, 2, action="push", method="PUT", tag="v1", digest=digest(1))
    feed.put(40 * HOUR, 3, digest=digest(5))
    feed.archive()
    found = by_target(answers(vault))[digest(1), "team/app"]
    assert (found["last_pull"], found["pulls"]) == (None, 0)
    assert found["idle_s"] == 17 * 3600


def test_a_download_that_was_redirected_counts_once_and_alone_where_nobody_else_saw_it(vault, feed):
    s3 = {"repository": None, "actor": None, "kind": "blob"}
    feed.put(0, 1, digest=digest(1), kind="blob", address="10.0.0.1")
    feed.put(SECOND // 2, 2, source="distribution-log", digest=digest(1), status=307,
             address="10.0.0.1", actor=None)  # fmt: skip
    feed.put(SECOND, 3, source="s3", digest=digest(1), status=200, address="192.0.2.7", **s3)
    feed.put(HOUR, 4, source="cloudfront", digest=digest(2), status=206, address="192.0.2.8", **s3)
    feed.put(2 * HOUR, 5, source="s3", digest=digest(3), status=403, **s3)
    feed.archive()
    answer = answers(vault)
    assert counted(answer) == {digest(1): 1, digest(2): 1}
    assert by_target(answer)[digest(1), "team/app"]["kind"] == "blob"
    assert by_target(answer)[digest(2), None]["last_pull"] == text(HOUR)


def test_logs_of_buckets_and_of_a_cdn_count_as_they_are_written(vault, feed):
    """A registry's notification, and what S3, CloudTrail and CloudFront say of the download."""
    hexed = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    key = f"registry/docker/registry/v2/blobs/sha256/2c/{hexed}/data"
    s3 = (
        f"{'79a59df900b949e5' * 4} bucket [05/Nov/2026:03:00:01 +0000] 192.0.2.3 - 3E57427F3EXAMPLE"
        f' REST.GET.OBJECT {key} "GET /{key}?X-Amz-Algorithm=AWS4-HMAC-SHA256 HTTP/1.1" 200 - 26629'
        ' 26629 70 10 "-" "containerd/1.7.22" - s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdt= '
        "SigV4 ECDHE QueryString bucket.s3.eu-central-1.amazonaws.com TLSv1.2 - -"
    )
    trail = json.dumps(
        {
            "eventVersion": "1.11",
            "eventTime": "2026-11-05T03:00:01Z",
            "eventSource": "s3.amazonaws.com",
            "eventName": "GetObject",
            "sourceIPAddress": "192.0.2.3",
            "userAgent": "[containerd/1.7.22]",
            "requestParameters": {"bucketName": "bucket", "key": key},
            "additionalEventData": {"AuthenticationMethod": "QueryString"},
        }
    )
    fields = ["-"] * 33
    fields[:12] = [
        "2026-11-05", "03:00:01", "FRA60-P1", "26629", "192.0.2.3", "GET",
        "d111.cloudfront.net", f"/{key}", "200", "-", "containerd/1.7.22", "-",
    ]  # fmt: skip
    now = "2026-11-05T05:00:00.000000Z"
    us = time_us("2026-11-05T03:00:00.500000Z") - START
    lines = {"s3": s3, "cloudtrail": trail, "cloudfront": "\t".join(fields)}
    feed.put(us, 1, digest=f"sha256:{hexed}", kind="blob", repository="team/app")
    for number, (source, line) in enumerate(lines.items(), 2):
        (made,) = FORMATS[source]().feed(line, now)
        assert (made["action"], made["source"]) == ("pull", source)
        more = {name: value for name, value in made.items() if name != "id"}
        feed.put(us + HOUR, number, **more)
    feed.put(us + 2 * HOUR, 9, digest=digest(9))
    feed.archive()
    (found,) = (each for each in answers(vault)["targets"] if each["digest"] != digest(9))
    assert (found["digest"], found["pulls"], found["kind"]) == (f"sha256:{hexed}", 1, "blob")


# Counts


def test_windows_decay_and_clients_are_counted(vault, feed):
    for day in range(200):
        for n in range(day % 3 + 1):
            us = (day - 180) * DAY + n * HOUR
            feed.put(us, day * 3 + n, digest=digest(1), actor=f"u{n}", address="10.0.0.1")
        if day % 20 == 19:
            feed.archive()
    found = by_target(answers(vault))[digest(1), "team/app"]
    count = [day % 3 + 1 for day in range(200)]
    assert found["pulls"] == sum(count)
    assert found["windows"] == {"1d": count[-1], "7d": sum(count[-7:]), "30d": sum(count[-30:]),
                                "90d": sum(count[-90:])}  # fmt: skip
    exact = sum(n * 2 ** -((199 - day) / 7) for day, n in enumerate(count))
    assert found["decayed"]["7d"] == pytest.approx(exact, rel=1e-4)
    assert set(found["clients"].values()) == {3}


def test_many_clients_are_estimated_and_none_is_named(vault, feed):
    for n in range(3000):
        feed.put(n * 10 * SECOND, n, digest=digest(1), address=f"10.7.{n % 1000 // 250}.{n % 250}",
                 actor=None)  # fmt: skip
    feed.archive()
    found = by_target(answers(vault, keep=True))[digest(1), "team/app"]
    (clients,) = found["clients"].values()
    assert 600 < clients < 1500


# The same whenever, wherever


def random_events(dice, feeds, count, *, lag=0):
    """Put random events into feeds, some of which come late or out of order."""
    us = 0
    for number in range(count):
        us += dice.choice([0, 1000, 300_000, SECOND, SECOND, 20 * SECOND, HOUR, 5 * HOUR])
        feed = dice.choice(feeds)
        happened = us - dice.choice([0, 0, 0, 500_000, 40 * SECOND, 4 * HOUR, 9 * DAY])
        tag = dice.choice(["v1", "v2", None])
        which = digest(dice.randrange(4)) if tag is None or dice.random() < 0.5 else None
        kind = dice.random()
        more = {"method": "GET", "action": "pull"}
        if kind < 0.15 and which:
            more = {"method": "PUT", "action": "push"}
        elif kind < 0.2:
            more = {"method": "HEAD", "action": "pull"}
        source = dice.choice(["distribution", "nginx", "distribution-log", "s3"])
        if source == "s3":
            which, tag, more["repository"] = digest(dice.randrange(4)), None, None
        feed.put(
            happened, number, received=us, tag=tag, digest=which, source=source,
            address=f"10.0.0.{dice.randrange(3)}", actor=f"p{dice.randrange(3)}",
            useragent=dice.choice(["docker/27", "docker/27", "trivy/1"]),
            status=None if source == "distribution" else dice.choice([200, 200, 404]), **more,
        )  # fmt: skip
        if dice.random() < 0.05:
            dice.choice(feeds).archive() if feed.events else None
        yield number
    for feed in feeds:
        if feed.events:
            feed.archive()


@pytest.mark.parametrize("seed", range(12))
def test_whenever_it_is_counted_and_from_wherever_the_answers_are_the_same(
    seed, vault, monkeypatch, tmp_path
):
    dice = random.Random(seed)
    feeds = [Feed(vault, monkeypatch, f"s{n}") for n in range(seed % 3 + 1)]
    for feed in feeds:
        feed.put(0, -1 - len(feed.name), digest=digest(0))
    for number in random_events(dice, feeds, 120):
        if number % 9 == 0:
            answers(vault, tmp_path / "often", keep=number % 27 == 0)
    often = answers(vault, tmp_path / "often", keep=True)
    kept = answers(vault, tmp_path / "kept")  # what the vault has
    for entry in list(vault.store.list("audit/access/")):
        vault.store.delete(entry.key)
    anew = answers(vault, tmp_path / "anew")
    assert often == anew
    assert kept == anew
    assert answers(vault) == anew


def test_a_chain_that_comes_days_later_counts_as_if_it_had_been_there(vault, monkeypatch, tmp_path):
    """Its records are joined with those that were counted: all is counted anew, in order."""
    one, other = Feed(vault, monkeypatch, "one"), Feed(vault, monkeypatch, "two")
    for n in range(50):
        one.put(n * DAY, n, digest=digest(1), address="10.0.0.1")
        other.put(n * DAY + 1000, 100 + n, digest=digest(1), address="10.0.0.1", source="nginx",
                  status=200)  # fmt: skip
        one.archive()
    assert counted(answers(vault, tmp_path)) == {digest(1): 50}
    other.archive()
    assert counted(answers(vault, tmp_path)) == {digest(1): 50}
    assert counted(answers(vault)) == {digest(1): 50}


def test_killed_at_any_moment_each_link_counts_once(vault, feed, tmp_path):
    for n in range(60):
        for m in range(20):
            feed.put(n * HOUR + m * SECOND, n * 20 + m, digest=digest(m), address=f"10.0.0.{m}")
        feed.archive()
    right = answers(vault)
    dice = random.Random(5)
    place = tmp_path / "killed"
    killed = 0
    while True:
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                statistics(vault, place).bring_up_to_date()
            os._exit(0)
        time.sleep(dice.random() * 0.04)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if status == 0:
            break
        killed += 1
        if killed % 4 == 0:
            made = statistics(vault, place)
            made.bring_up_to_date(limit=2)
            made.close()
    assert answers(vault, place) == right


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_struck_down_while_it_is_kept_in_the_vault_nothing_is_false(vault, feed, tmp_path, when):
    feed.put(0, 0)
    feed.archive()
    answers(vault, tmp_path, keep=True)
    for n in range(1, 6):
        feed.put(n * HOUR, n)
        feed.archive()
    right = answers(vault)
    turn, crashed = 0, True
    while crashed:
        turn += 1
        faulty = FaultyStore(vault.store)
        faulty.crash_at(turn, when=when)
        crashed = False
        try:
            answers(Vault(faulty), tmp_path, keep=True)
        except CrashError:
            crashed = True
        assert answers(vault) == right, turn
        assert answers(vault, tmp_path) == right, turn
    assert turn > 2


def test_a_damaged_file_of_the_cache_is_made_anew(vault, feed, tmp_path):
    for n in range(30):
        feed.put(n * HOUR, n)
    feed.archive()
    right = answers(vault, tmp_path)
    (file,) = tmp_path.glob("access-*.sqlite")
    data = bytearray(file.read_bytes())
    for place in range(100, len(data), 400):
        data[place] ^= 0x5A
    file.write_bytes(bytes(data))
    assert answers(vault, tmp_path) == right
    file.write_bytes(b"no database")
    assert answers(vault, tmp_path) == right


def test_what_is_kept_and_damaged_is_not_believed(vault, feed, tmp_path):
    for n in range(30):
        feed.put(n * HOUR, n)
    feed.archive()
    right = answers(vault, keep=True)
    for entry in list(vault.store.list("audit/access/")):
        was = vault.store.get(entry.key)
        for place in range(0, len(was), max(1, len(was) // 40)):
            vault.store.put(entry.key, was[:place] + bytes([was[place] ^ 1]) + was[place + 1 :])
            assert answers(vault) == right, (entry.key, place)
        vault.store.delete(entry.key)
        assert answers(vault) == right
        vault.store.put(entry.key, was)


def test_what_is_kept_and_was_changed_is_not_believed(vault, feed):
    """Rows that are whole by themselves, but not those that the document names."""
    for n in range(3):
        feed.put(n * HOUR, n, digest=digest(1))
    feed.archive()
    right = answers(vault, keep=True)
    (key,) = (entry.key for entry in vault.store.list("audit/access/") if ".zst" in entry.key)
    frame = decompress(vault.store.get(key)[8:], key, 1 << 20)
    false = compress(frame.replace(b'"team/app"', b'"team/bad"'))
    assert len(frame) == len(decompress(false, key, 1 << 20))
    data = b"%08x" % len(false) + false
    vault.store.put(key, data)
    assert answers(vault) == right
    document = f"audit/access/{RULES.id}.json"
    was = vault.store.get(document)
    changed = re.sub(rb'"size":\d+', b'"size":%d' % len(data), was)
    body = changed.split(b"\n")[0]
    sha256 = hashlib.sha256(body).hexdigest().encode()
    vault.store.put(document, body + b'\n{"sha256":"' + sha256 + b'","signatures":[]}\n')
    assert answers(vault) == right


def forge(vault, lines):
    """Put other rows in the place of what is kept, so that all checksums are right."""
    document = f"audit/access/{RULES.id}.json"
    body = json.loads(vault.store.get(document).split(b"\n")[0])
    frame = compress(b"\n".join(lines))
    data = b"%08x" % len(frame) + frame
    vault.store.put(body["object"]["key"], data)
    body["object"] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    vault.store.put(document, write_document(body)[0])


def test_whatever_is_kept_it_is_refused_or_answers(vault, feed):
    for n in range(8):
        feed.put(n * HOUR, n, digest=digest(n % 2), tag="v1")
        feed.put(n * HOUR, 50 + n, action="push", method="PUT", tag="v2", digest=digest(n))
        feed.put(n * HOUR, 70 + n, source="nginx", tag="v9", digest=None, status=200)
    feed.archive()
    answers(vault, keep=True)
    (key,) = (entry.key for entry in vault.store.list("audit/access/") if ".zst" in entry.key)
    rows = decompress(vault.store.get(key)[8:], key, 1 << 20).split(b"\n")
    forge(vault, rows)
    assert statistics(vault).bring_up_to_date().loaded == 1
    dice = random.Random(3)
    false = [None, -1, 0, 7, 2**63, 2**70, 1.5, "", "x" * 2000, "\x00", "0g", [], {}, True]
    loaded = 0
    for _ in range(300):
        changed = [json.loads(row) for row in rows]
        row = dice.choice(changed)
        row[dice.randrange(len(row))] = dice.choice(false)
        if dice.random() < 0.1:
            row.pop()
        if dice.random() < 0.1:
            changed.append(list(dice.choice(changed)))
        forge(vault, [json.dumps(row).encode() for row in changed])
        made = statistics(vault)
        loaded += made.bring_up_to_date().loaded
        with made.view() as view:
            for access in view.targets():
                view.to_json(access, view.of_digest(access.digest or ""))
            view.coverage_json()
        made.close()
    assert 0 < loaded < 200


def test_two_at_once_count_each_link_once(vault, feed, tmp_path):
    for n in range(5):
        feed.put(n * HOUR, n, digest=digest(1))
        feed.archive()
    right = answers(vault)
    mine = statistics(vault, tmp_path)
    mine.bring_up_to_date(limit=2)
    with pytest.raises(TemporaryError, match="another process has"):
        Tables(str(tmp_path), RULES.id, wait_s=0.1)
    other = threading.Thread(target=lambda: found.append(answers(vault, tmp_path)))
    found = []
    other.start()
    mine.bring_up_to_date(limit=1)
    mine.close()
    other.join()
    assert found == [right]


def test_a_bit_that_flipped_in_the_cache_is_not_taken_for_the_truth(vault, feed, tmp_path):
    for n in range(30):
        feed.put(n * HOUR, n, digest=digest(1))
    feed.archive()
    right = answers(vault, tmp_path)
    (file,) = tmp_path.glob("access-*.sqlite")
    was = file.read_bytes()
    assert digest(1).encode() in was
    file.write_bytes(was.replace(digest(1).encode(), digest(3).encode()))
    assert answers(vault, tmp_path) == right


def test_what_is_kept_takes_the_place_of_what_was(vault, feed, tmp_path):
    for n in range(5):
        feed.put(n * HOUR, n)
        feed.archive()
        answers(vault, tmp_path, keep=True)
        assert len(list(vault.store.list("audit/access/"))) == min(n, 1) + 2
    assert chains(vault) == [name for name in chains(vault) if name != "access"]
