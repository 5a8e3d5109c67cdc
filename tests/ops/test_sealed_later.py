"""A recipient who was added later: what is sealed to others is not called damaged."""

from __future__ import annotations

import pytest
from sealed_world import ALICE, AS_BOB, AS_HOST, BOB, opened, verified, with_snapshot
from world import World, digest_of, flip, noise, tree

from regvault.errors import CredentialError
from regvault.ops.find import find_digest
from regvault.ops.keys import change_recipients
from regvault.ops.listing import list_repositories, list_snapshots
from regvault.ops.opened import Opened
from regvault.vault.signing import Keys

BOTH = Keys(identities=(BOB, ALICE))


@pytest.fixture
def made() -> World:
    """One snapshot of before, one of after Bob was added: it shares an image with the first."""
    made = with_snapshot()
    change_recipients(opened(made, AS_HOST), add=[BOB.public])
    made.push.image("team/new", "1", layers=(noise(4000, "new"), noise(1 << 20, "newer")))
    made.push.image("team/mixed", "1", layers=(noise(1 << 20, "large"), noise(3000, "app")))
    made.snapshot()
    return made


def restored(made: World, sequence: int, keys: Keys, **options):
    made.trust, before = keys, made.trust
    try:
        return made.restore(sequence, **options)
    finally:
        made.trust = before


def test_lists_show_what_is_sealed_to_others_and_call_it_no_damage(made):
    rows = list(list_snapshots(opened(made, AS_BOB)))
    assert [(str(row.slot.root.name), row.state) for row in rows] == [
        ("production@1", "complete"),
        ("production@2", "complete"),
    ]
    assert [row.to_json()["opened"] for row in rows] == [False, True]
    assert rows[0].to_json()["damage"] is None
    assert verified(made, AS_BOB).exit_code() == 0


def test_what_is_sealed_to_others_asks_for_another_identity(made):
    vault = opened(made, AS_BOB)
    (first, _) = (row.slot.root for row in list_snapshots(vault))
    with pytest.raises(CredentialError, match="sealed to others") as raised:
        list(list_repositories(Opened(vault, first)))
    assert raised.value.exit_code == 12
    assert "older one's identity as well" in raised.value.hint
    with pytest.raises(CredentialError, match="sealed to others"):
        restored(made, 1, AS_BOB)


def test_what_opens_comes_back_and_the_rest_asks_for_another_identity(made):
    result, target = restored(made, 2, AS_BOB)
    assert result.exit_code() == 12
    assert {problem.reason for problem in result.plan.problems} <= {"sealed", "incomplete"}
    back = tree(target)
    assert noise(4000, "new") in back.values()
    assert noise(3000, "app") not in back.values()
    result, target = restored(made, 2, BOTH)
    assert result.exit_code() == 0
    assert tree(target) == tree(made.registry)


def test_a_layer_that_is_sealed_to_others_is_no_damage(made):
    result, _ = restored(made, 2, AS_BOB, globs=("team/mixed",))
    assert result.exit_code() == 12
    assert "sealed" in {problem.reason for problem in result.plan.problems}


@pytest.mark.parametrize("prefix", ["trees/", "packs/", "blobs/"])
def test_damage_of_what_is_sealed_to_others_is_damage(made, prefix):
    first = opened(made, AS_HOST).object_list(made.root(1))
    for ref in first.with_prefix(prefix):
        made.spoil(ref.key, lambda data: flip(data, 40))
    result, _ = restored(made, 2, AS_BOB)
    assert result.exit_code() == 4


def test_the_host_finds_what_it_cannot_open_by_the_names_that_it_knows(made):
    """Which images need a layer it cannot tell."""
    layer = digest_of(noise(3000, "app"))
    found = find_digest(opened(made, AS_HOST), layer)
    where = {(what.repository, what.what, run.first, run.last) for run, what in found.occurrences}
    assert where == {("team/app", "blob", 1, 2), ("team/mixed", "blob", 2, 2)}
    assert found.places
    found = find_digest(opened(made, BOTH), layer)
    assert {what.what for _, what in found.occurrences} == {"layer"}
