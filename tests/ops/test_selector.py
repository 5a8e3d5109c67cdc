from __future__ import annotations

import json

import pytest
from looking import Lab

from regvault.errors import NotFoundError, UsageError, VaultDamagedError
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.sample import change_sample
from regvault.vault.envelope import write_document
from regvault.vault.keys import root_key
from regvault.vault.parties import void_document
from regvault.vault.root import RootName
from regvault.vault.stub import stub_document


@pytest.fixture(scope="module")
def shrunk():
    """prod@1 is whole, prod@2 too, prod@3 is held: half of the registry is gone."""
    lab = Lab()
    lab.snapshot()
    change_sample(lab.registry)
    lab.snapshot()
    lab.delete("/repositories/service/")
    lab.delete("/repositories/team/")
    assert lab.snapshot().held is not None
    return lab


def test_latest_passes_over_a_held_snapshot(shrunk):
    assert str(shrunk.resolve("latest").name) == "prod@2"
    assert str(shrunk.resolve("prod@latest").name) == "prod@2"
    assert str(shrunk.resolve("tomorrow" if False else "now").name) == "prod@2"


def test_a_held_snapshot_can_be_had_by_its_number(shrunk):
    assert shrunk.resolve("3").name.sequence == 3


def test_a_time_copied_from_a_list_finds_its_snapshot(shrunk):
    first = shrunk.resolve("1")
    assert shrunk.resolve(first.started).name.sequence == 1
    second = shrunk.resolve("2")
    assert shrunk.resolve(second.started).name.sequence == 2


def test_nothing_that_old_says_how_old_there_is(shrunk):
    with pytest.raises(NotFoundError) as caught:
        shrunk.resolve("2020-01-01")
    assert caught.value.exit_code == 10
    assert "prod@1" in caught.value.hint


def test_no_such_registry_lists_those_there_are(shrunk):
    with pytest.raises(NotFoundError, match="staging") as caught:
        shrunk.resolve("staging@latest")
    assert "prod" in caught.value.hint


def test_no_such_number(shrunk):
    with pytest.raises(NotFoundError, match="prod@9"):
        shrunk.resolve("9")


def test_several_registries_and_none_named():
    lab = Lab()
    lab.snapshot()
    lab.snapshot("staging")
    with pytest.raises(NotFoundError, match="prod, staging") as caught:
        lab.resolve("latest")
    assert "prod@latest" in caught.value.hint
    assert str(lab.resolve("staging@latest").name) == "staging@1"


def test_an_empty_vault_says_so():
    with pytest.raises(NotFoundError, match="no snapshot yet"):
        Lab().resolve("latest")


def test_only_held_snapshots_name_the_way_out():
    lab = Lab()
    for key in [entry.key for entry in lab.registry.list() if "/repositories/" in entry.key]:
        lab.registry.delete(key)
    assert lab.snapshot().held is not None
    with pytest.raises(NotFoundError, match="only held") as caught:
        lab.resolve("latest")
    assert "regvault confirm prod@1" in caught.value.hint
    vault = lab.vault
    confirm(vault, plan_confirm(vault, lab.resolve("1")), by="a@b", reason="it is empty")
    assert lab.resolve("latest").name.sequence == 1


def test_voids_and_forgotten_ones_are_told_apart():
    lab = Lab()
    lab.snapshot()
    lab.snapshot()
    root = lab.vault.read_slot(RootName("prod", 1))
    lab.store.put(root_key("prod", 1), stub_document(lab.vault.id, root, "0" * 24))
    void = void_document(lab.vault.id, root_key("prod", 3), "0" * 24)
    lab.store.put(root_key("prod", 3), void)
    with pytest.raises(NotFoundError, match="forgotten"):
        lab.resolve("1")
    with pytest.raises(NotFoundError, match="ended before"):
        lab.resolve("3")
    assert lab.resolve("latest").name.sequence == 2


def test_a_damaged_newest_root_never_silently_becomes_an_older_snapshot():
    lab = Lab()
    lab.snapshot()
    lab.snapshot()
    key = root_key("prod", 2)
    lab.store.put(key, lab.store.get(key).replace(b'"complete":true', b'"complete":tru3'))
    with pytest.raises(VaultDamagedError) as caught:
        lab.resolve("latest")
    assert caught.value.exit_code == 4
    assert "prod@1" in caught.value.hint
    assert lab.resolve("1").name.sequence == 1


def test_a_registrys_name_alone_is_no_snapshot(shrunk):
    with pytest.raises(UsageError):
        shrunk.resolve("prod")


def test_a_confirmation_of_another_root_frees_nothing(shrunk):
    lab = Lab()
    lab.store = shrunk.store
    body = {
        "type": "confirmations", "format": 1, "features": [], "vault": lab.vault.id,
        "run": "0" * 24, "at": "2026-01-01T00:00:00.000Z",
        "registry": "prod", "sequence": 3, "root": "f" * 64,
    }  # fmt: skip
    key = f"records/confirmations/{'0' * 24}.json"
    lab.store.put(key, write_document(body)[0])
    try:
        assert lab.resolve("latest").name.sequence == 2
    finally:
        lab.store.delete(key)
    assert json.loads(write_document(body)[0].splitlines()[0])["sequence"] == 3
