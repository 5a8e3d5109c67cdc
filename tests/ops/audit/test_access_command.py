"""`regvault audit access`, and what `audit archive` does for it."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest
from events import body, digest
from world import World

from regvault.audit.spool import Spool
from regvault.cli.main import run
from regvault.model.event import time_text
from regvault.ops.audit.access import beside
from regvault.ops.audit.access.statistics import AccessStatistics
from regvault.storage.local import LocalStore
from regvault.vault.audit.chain import chains

SPOOLED = 40


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A vault with a snapshot, and a spool of events of the last hours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGVAULT_CACHE", str(tmp_path / "cache"))
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "vault").mkdir()
    return World(store=LocalStore(str(tmp_path / "vault")))


def put(tmp_path, *events):
    """Put events of the last hour into the spool, ten seconds apart; of today in any case."""
    now = time.time_ns()
    began = max(now - 10**9 * 3600, now - now % (86400 * 10**9))
    step = min(10**10, (now - began) // (len(events) + 1))
    spool = Spool(str(tmp_path / "spool"))
    spool.append(
        [
            body(number, **{"time": time_text(began + number * step), "source": "nginx", **more})
            for number, more in enumerate(events)
        ]
    )


def archived(tmp_path, *options):
    return run(
        ["audit", "archive", "--spool", str(tmp_path / "spool"), "--vault", "./vault", *options]
    )


def shown(capsys, *options):
    capsys.readouterr()
    assert run(["audit", "access", "--vault", "./vault", "--json", *options]) == 0
    first, *rows = map(json.loads, capsys.readouterr().out.splitlines())
    return first["coverage"], rows


def test_archiving_counts_and_the_command_shows_it(site, tmp_path, capsys):
    put(tmp_path, *({"digest": digest(n % 3), "status": 200} for n in range(SPOOLED)))
    assert archived(tmp_path) == 0
    (file,) = (tmp_path / "cache").glob("*/access-*.sqlite")
    assert file.stat().st_size > 10_000
    coverage, rows = shown(capsys)
    assert [row["pulls"] for row in rows] == [14, 13, 13]
    assert coverage["since"] <= coverage["until"]
    row = rows[0]
    assert row["windows"] == {"1d": 14, "7d": 14, "30d": 14, "90d": 14}
    assert set(row) == {
        "digest", "repository", "tag", "kind", "last_pull", "first_pull", "last_push", "pulls",
        "windows", "decayed", "clients", "known_since", "idle_s", "frozen_s",
    }  # fmt: skip
    assert len(shown(capsys, "--digest", digest(1))[1]) == 1
    assert not shown(capsys, "--repo", "other/**")[1]
    assert not shown(capsys, "--idle-for", "1h")[1]
    assert not shown(capsys, "--ignore", "agent=secret-agent/*")[1]
    (never,) = shown(capsys, "--digest", digest(50))[1]
    assert (never["pulls"], never["last_pull"]) == (0, None)


def test_tables_for_people_and_for_programs(site, tmp_path, capsys):
    put(tmp_path, {"digest": digest(1), "status": 200}, {"digest": digest(2), "status": 200})
    archived(tmp_path)
    capsys.readouterr()
    assert run(["audit", "access", "--vault", "./vault"]) == 0
    told = capsys.readouterr()
    assert "team/app@sha256:0000" in told.out
    assert "1 times (1/1/1/1 in 1/7/30/90 days), 1 client, idle" in told.out
    assert "What happened is known from" in told.err
    assert run(["audit", "access", "--vault", "./vault", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["digest"], row["pulls"], row["pulls_7d"]) for row in rows] == [
        (digest(1), "1", "1"),
        (digest(2), "1", "1"),
    ]


def test_of_several_streams_it_is_said_how_far_each_goes(site, tmp_path, capsys):
    put(tmp_path, {"digest": digest(1), "status": 200})
    archived(tmp_path)
    (tmp_path / "spool").rename(tmp_path / "first")
    put(tmp_path, {"digest": digest(2), "status": 200})
    archived(tmp_path)
    one, other = chains(site.vault())
    capsys.readouterr()
    assert run(["audit", "access", "--vault", "./vault"]) == 0
    told = capsys.readouterr().err
    assert f"Chain {one} tells of" in told
    assert f"Chain {other} tells of" in told
    coverage, _ = shown(capsys, "--aside", one)
    assert list(coverage["chains"]) == [other]


def test_without_events_nothing_is_known(site, capsys):
    assert run(["audit", "access", "--vault", "./vault", "--idle-for", "1s"]) == 0
    told = capsys.readouterr()
    assert not told.out
    assert "Nothing is known" in told.err


def test_a_pull_by_a_tag_may_have_been_of_what_the_tag_is_in_a_snapshot(site, tmp_path, capsys):
    image = site.push.image("team/app", "v1", layers=(b"a layer",))
    site.snapshot()
    other = digest(3)
    put(
        tmp_path,
        {"digest": image.digest, "status": 200},
        {"digest": other, "status": 200},
        *({"digest": digest(4), "status": 200} for _ in range(300)),
        {"digest": None, "tag": "v1", "status": 200},
    )
    archived(tmp_path)
    _, rows = shown(capsys)
    (open_tag,) = (row for row in rows if row["tag"] == "v1")
    assert open_tag["pulls"] == 1
    statistics = AccessStatistics(site.vault(), beside_rules())
    statistics.bring_up_to_date()
    with statistics.view() as view:
        from regvault.ops.audit.access.open_tags import named_by_snapshots

        named = named_by_snapshots(site.vault(), view)
        assert named == {image.digest: [("team/app", "v1")]}
        assert view.of_digest(image.digest, named[image.digest]).pulls == 2
    statistics.close()


def beside_rules():
    from regvault.policy.access import AccessRules

    return AccessRules()


def test_the_configuration_says_who_is_no_client(site, tmp_path, capsys, monkeypatch):
    put(tmp_path, {"digest": digest(1), "status": 200})
    config = tmp_path / "regvault.yaml"
    config.write_text("vaults: {vault: {location: ./vault}}\naudit: {ignore: [agent=secret-*]}\n")
    archived(tmp_path)
    assert not shown(capsys)[1]
    config.write_text("audit: {ignore: [who=secret]}\n")
    assert run(["audit", "access", "--vault", "./vault"]) == 2
    assert "who is to be ignored" in capsys.readouterr().err


def test_what_is_wrong_is_said(site, capsys):
    for options in (
        ["--aside", "0" * 24],
        ["--digest", "sha256:1"],
        ["--ignore", "b"],
        ["--ignore", "address=x"],
    ):
        assert run(["audit", "access", "--vault", "./vault", *options]) == 2
    assert "10.1.0.0/16" in capsys.readouterr().err


def test_events_are_archived_whatever_becomes_of_the_statistics(
    site, tmp_path, capsys, monkeypatch
):
    def fail(*_):
        raise RuntimeError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(beside.AccessStatistics, "bring_up_to_date", fail)
        put(tmp_path, {"digest": digest(1), "status": 200})
        assert archived(tmp_path) == 0
        assert "not up to date: no luck" in capsys.readouterr().err
    assert [row["pulls"] for row in shown(capsys)[1]] == [1]


def test_a_damaged_segment_is_named(site, tmp_path, capsys):
    put(tmp_path, {"digest": digest(1), "status": 200})
    archived(tmp_path)
    (segment,) = (tmp_path / "vault" / "audit").glob("*/*.jsonl.zst")
    data = segment.read_bytes()
    segment.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    for file in (tmp_path / "cache").glob("*/access-*"):
        file.unlink()
    assert run(["audit", "access", "--vault", "./vault"]) == 4
    assert "is damaged" in capsys.readouterr().err
