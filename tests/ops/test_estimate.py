from __future__ import annotations

import itertools
import json
import time
from types import SimpleNamespace

import pytest
from looking import Lab

from regvault.config.price_files import DEFAULT_PRICES, load_prices
from regvault.errors import NotFoundError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.estimate import EstimateOptions, estimate
from regvault.ops.sample import change_sample
from regvault.policy.prices import GB, monthly_cost
from regvault.registry.layout import blob_key
from regvault.registry.reader import DistributionSource
from regvault.storage.memory import MemoryStore

PRICES = load_prices(DEFAULT_PRICES)


def look(lab, vault=None, clock=None, **more):
    clock = clock or itertools.count(0, 0.001).__next__
    found = estimate(
        lab.source, EstimateOptions(PRICES, **more), progress=NO_PROGRESS, vault=vault, clock=clock
    )
    return found, json.loads(json.dumps(found.to_json()))


def test_a_first_full_is_just_what_was_estimated():
    lab = Lab()
    _, document = look(lab)
    root = lab.snapshot()
    counts = root.counts.to_json()
    for name in ("repositories", "tags", "blobs", "bytes"):
        assert document[name] == counts[name], name
    # A root counts a manifest once for each repository that has it.
    assert document["revision_links"] == counts["revisions"]
    assert document["revisions"] < counts["revisions"]
    assert (document["orphan_blobs"], document["missing_blobs"]) == (0, 0)
    assert document["findings"] == {}
    assert document["growth"] is None


def test_large_blobs_are_raw_and_the_others_are_packed():
    lab = Lab()
    digest = "sha256:" + "a" * 64
    lab.registry.put(blob_key(digest), b"x" * (1 << 20))
    key = f"docker/registry/v2/repositories/team/app/_layers/sha256/{'a' * 64}/link"
    lab.registry.put(key, digest.encode())
    _, document = look(lab)
    assert (document["raw_blobs"], document["raw_bytes"]) == (1, 1 << 20)
    assert document["packed_blobs"] == document["blobs"] - 1
    assert document["packed_bytes"] == lab.summary.bytes


def test_orphans_are_not_counted_and_missing_blobs_are_told():
    lab = Lab()
    lab.registry.put(blob_key("sha256:" + "b" * 64), b"nobody needs this")
    lab.lose_blob(lab.tag("service/auth:1.0"))
    _, document = look(lab)
    assert (document["orphan_blobs"], document["orphan_bytes"]) == (1, 17)
    assert document["missing_blobs"] == 1
    assert document["blobs"] == lab.summary.blobs - 1


def test_the_rate_is_that_of_the_sample_and_the_sample_ends_in_time():
    lab = Lab()
    ticks = itertools.count(0, 0.5)
    found, document = look(lab, clock=ticks.__next__, sample_s=2.0)
    assert found.sampled_s <= 3.0
    assert 0 < document["sample"]["bytes"] < lab.summary.bytes
    assert document["bytes_per_second"] == pytest.approx(found.sampled_bytes / found.sampled_s)
    assert document["first_full_seconds"] == pytest.approx(found.nbytes / found.rate)
    _, document = look(lab, sample_s=0.0)
    assert document["bytes_per_second"] is None
    assert document["first_full_seconds"] is None


def test_a_blob_that_vanishes_does_not_end_it():
    lab = Lab()
    source = lab.source

    class Vanishing:
        def __getattr__(self, name):
            return getattr(source, name)

        def open_blob(self, digest):
            lab.registry.delete(blob_key(digest))
            return source.open_blob(digest)

    found = estimate(Vanishing(), EstimateOptions(PRICES, sample_s=0.01), progress=NO_PROGRESS)
    assert found.sampled == 0
    assert found.rate is None


def test_the_vault_says_how_the_registry_grows(monkeypatch):
    lab = Lab()
    first = lab.snapshot()
    change = change_sample(lab.registry)
    soon = lab.snapshot()
    assert soon.counts.nbytes > first.counts.nbytes
    # Within a day growth says nothing.
    assert look(lab, vault=lab.vault)[1]["growth"] is None
    later = SimpleNamespace(time_ns=lambda: time.time_ns() + 3 * 86400 * 10**9)
    monkeypatch.setattr("regvault.ops.snapshot.take.time", later)
    second = lab.snapshot()
    _, document = look(lab, vault=lab.vault)
    days = (second.started_at - first.started_at).total_seconds() / 86400
    assert document["growth"]["registry"] == "prod"
    assert document["growth"]["bytes_per_day"] == pytest.approx(change.bytes / days)
    assert document["costs"]["classes"]["STANDARD"]["month_in_a_year"] > 0
    # Another registry's snapshots say nothing about this one.
    _, document = look(Lab(registry="other"), vault=lab.vault)
    assert document["growth"] is None


def test_costs_are_list_prices_with_their_date():
    cost = monthly_cost(PRICES, nbytes=100 * GB, objects=20_000)
    assert cost["STANDARD"] == pytest.approx((2.30, 0.10))
    assert cost["STANDARD_IA"] == pytest.approx((1.25, 0.20))
    assert cost["GLACIER_IR"] == pytest.approx((0.40, 0.40))
    _, document = look(Lab())
    assert document["costs"]["list_prices"]
    assert document["costs"]["as_of"] == PRICES.as_of


def test_no_registry_there():
    empty = DistributionSource(MemoryStore("empty"), kind="distribution-s3")
    with pytest.raises(NotFoundError):
        estimate(empty, EstimateOptions(PRICES), progress=NO_PROGRESS)


def test_an_empty_registry_costs_nothing():
    lab = Lab()
    lab.delete("/repositories/")
    lab.delete("/blobs/")
    lab.registry.put("docker/registry/v2/x", b"")
    found, document = look(lab)
    assert (found.objects, document["bytes"], document["first_full_seconds"]) == (0, 0, None)
