from __future__ import annotations

import json

import pytest
from looking import Lab

from regvault.errors import UsageError
from regvault.ops.confirm import confirm, plan_confirm, who


@pytest.fixture
def held():
    lab = Lab()
    lab.snapshot()
    lab.delete("/repositories/service/")
    assert lab.snapshot().held is not None
    return lab


def test_the_plan_shows_what_would_be_accepted(held):
    plan = plan_confirm(held.vault, held.resolve("2"))
    document = plan.to_json()
    assert document["snapshot"] == "prod@2"
    assert document["held"]["against"] == 1
    assert not document["confirmed"]
    assert document["counts"]["repositories"] == 5
    assert document["counts_before"]["repositories"] == 13
    assert not list(held.store.list("records/"))  # a plan writes nothing


def test_a_confirmed_snapshot_becomes_latest(held):
    assert held.resolve("latest").name.sequence == 1
    vault = held.vault
    result = confirm(vault, plan_confirm(vault, held.resolve("2")), by="me@here", reason="cleaned")
    assert held.resolve("latest").name.sequence == 2
    body = json.loads(held.store.get(result.record).splitlines()[0])
    root = held.resolve("2")
    assert body["type"] == "confirmations"
    assert (body["registry"], body["sequence"], body["root"]) == ("prod", 2, root.sha256)
    assert (body["by"], body["reason"]) == ("me@here", "cleaned")
    # What comes next is measured against it.
    assert held.snapshot().held is None


def test_confirming_twice_is_no_error_and_writes_nothing(held):
    vault = held.vault
    confirm(vault, plan_confirm(vault, held.resolve("2")), by=who())
    again = held.vault
    plan = plan_confirm(again, held.resolve("2"))
    result = confirm(again, plan, by=who())
    assert result.record is None
    assert result.to_json()["confirmed"]
    assert len(list(held.store.list("records/confirmations/"))) == 1


def test_what_was_never_held_is_refused(held):
    with pytest.raises(UsageError, match="not held"):
        plan_confirm(held.vault, held.resolve("1"))


def test_an_endless_reason_is_refused(held):
    vault = held.vault
    with pytest.raises(UsageError):
        confirm(vault, plan_confirm(vault, held.resolve("2")), by="a", reason="x" * 1001)


def test_the_snapshot_that_it_was_compared_with_may_be_gone(held):
    vault = held.vault
    root = held.resolve("2")
    held.store.delete("snapshots/prod/00000001.json")
    assert plan_confirm(vault, root).to_json()["counts_before"] is None
