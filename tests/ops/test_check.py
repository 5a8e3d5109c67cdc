"""`check` counts what is there now, by permanent ids, and says of every miss why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from world import World, fill, flip, noise

from regvault.errors import NotFoundError, StoreUnavailableError
from regvault.model.progress import NO_PROGRESS
from regvault.model.whereabouts import NOT_LOCKED, Lock, Whereabouts
from regvault.ops.check import RegistryAt, VaultAt, check, record
from regvault.ops.confirm import confirm, plan_confirm
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.verify import VerifyOptions, verify
from regvault.ops.verify.data import Sample
from regvault.policy.rule321 import Declared, Rule
from regvault.storage.local import LocalStore
from regvault.storage.local_facts import whereabouts
from regvault.storage.memory import MemoryStore
from regvault.vault.copied import copied_document
from regvault.vault.envelope import read_document, write_document
from regvault.vault.keys import root_key
from regvault.vault.root import RootName
from regvault.vault.vault import Vault

PROVEN = Rule(verify_data_s=1e9)


def store() -> MemoryStore:
    made = MemoryStore("copy")
    made.clock_ns = int(datetime.now(UTC).timestamp() * 1e9)
    return made


def vault_at(world, name, *, declared=None, locked=False, domain=None) -> VaultAt:
    """A vault in memory, on a thing of its own."""
    where = domain or f"box {name}"
    return VaultAt(
        name=name,
        location=f"memory:{name}",
        open=lambda: Vault(world.store),
        whereabouts=lambda _: Whereabouts(f"place {name}", where, where, "disk"),
        lock=lambda *_: Lock(held=True, detail="locked") if locked else NOT_LOCKED,
        declared=Declared(**(declared or {})),
    )


def registry_at(world, *, permanent="prod", location=None, open_=None) -> RegistryAt:
    return RegistryAt(
        name="prod",
        permanent=permanent,
        location=location or world.registry.location,
        endpoint="",
        open=open_ or world.source,
        whereabouts=lambda: Whereabouts("place live", "box live", "box live", "disk"),
    )


@pytest.fixture
def main():
    """A registry, a snapshot of it that is proven, and a copy in another vault."""
    world = World(store=store())
    fill(world)
    world.snapshot()
    world.verified()
    return world


@pytest.fixture
def off(main):
    other = World(store=store())
    copied(main, other)
    other.verified()
    return other


def copied(source, *targets):
    options = CopyOptions(threads=2)
    copy(source.vault(), [t.vault() for t in targets], options, progress=NO_PROGRESS)


def checked(main, off, *, later=timedelta(), live=True, rule=None, vaults=None, **more):
    vaults = vaults or [
        vault_at(main, "main"),
        vault_at(off, "off", declared={"offsite": True}, locked=True),
    ]
    registries = [registry_at(main, **more)] if live else []
    now = datetime.now(UTC) + later
    return check(vaults, registries, rule or Rule(), now=now, progress=NO_PROGRESS)


def missed(result) -> set[str]:
    return {v.part for r in result.registries for v in r.verdicts if not v.met}


def reasons(result, part) -> str:
    found = [v for r in result.registries for v in r.verdicts if v.part == part]
    return " ".join(reason.message for verdict in found for reason in verdict.reasons)


def codes(result) -> set[str]:
    return {reason.code for r in result.registries for v in r.verdicts for reason in v.reasons}


def test_a_registry_its_vault_and_a_locked_copy_elsewhere_meet_all_of_it(main, off):
    result = checked(main, off)
    assert (missed(result), result.exit_code(), result.met) == (set(), 0, True)
    (registry,) = result.registries
    assert [copy.facts.name for copy in registry.copies] == ["prod", "main", "off"]
    assert registry.ids == [main.root().registry_id]
    document = json.loads(json.dumps(result.to_json()))
    live, first, second = document["registries"][0]["copies"]
    assert (live["kind"], live["repositories"], live["counts"]) == ("registry", 2, True)
    assert first["restorable"]["root"] == second["restorable"]["root"] == main.root().sha256
    assert (first["newest"]["origin"], second["newest"]["origin"]) == (None, main.vault().id)
    assert second["immutable"] == {"seen": True, "detail": "locked"}
    assert second["verified"]["data_at"] is not None


def test_nothing_is_written_without_being_asked(main, off):
    before = main.keys(), off.keys()
    checked(main, off)
    assert (main.keys(), off.keys()) == before


def test_the_record_is_a_document_of_each_vault_that_says_what_was_found(main, off):
    result = checked(main, off, later=timedelta(days=2))
    record(result, progress=NO_PROGRESS)
    (key,) = main.keys("evidence/")
    assert off.keys("evidence/") == [key]
    for world in (main, off):
        identity = world.vault().id
        body = read_document(world.store.get(key), key, types=("check",), vault=identity).body
        assert (body["met"], body["registries"][0]["registry"]) == (False, "prod")
        assert body["run"] in key
    main.verified()  # nothing of the vault minds it
    main.snapshot()
    copied(main, off)


def test_a_vault_that_cannot_be_written_is_named_and_fails_nothing(main, off):
    def refuse(*_, **__):
        raise StoreUnavailableError("it is read-only")

    result = checked(main, off)
    main.store.put = refuse
    record(result, progress=main.progress)
    assert list(result.records) == [off.store.location]
    assert "read-only" in main.progress.warnings[-1]


def test_old_snapshots_and_old_proofs_are_misses(main, off):
    assert missed(checked(main, off, later=timedelta(hours=27))) == {"rpo"}
    assert missed(checked(main, off, later=timedelta(days=9))) == {"rpo", "errors"}
    late = checked(main, off, later=timedelta(days=36), rule=Rule(max_age_s=1e9))
    assert missed(late) == {"errors"}
    assert "its data was last verified in full 36 d ago" in reasons(late, "errors")


def test_a_copy_that_is_not_fed_any_more_falls_behind(main, off):
    main.push.image("app", "9", layers=(noise(10, 9),))
    main.snapshot()
    rule = Rule(max_behind_s=0.0)
    result = checked(main, off, rule=rule)
    assert missed(result) == {"rpo"}
    assert "off: prod@1 is" in reasons(result, "rpo")
    assert "behind the newest" in reasons(result, "rpo")
    copied(main, off)
    assert missed(checked(main, off, rule=rule)) == set()


def test_a_held_snapshot_is_an_error_until_it_is_confirmed_and_the_one_before_counts(main, off):
    main.remove("app")
    main.snapshot()
    result = checked(main, off)
    assert (missed(result), result.exit_code()) == ({"errors"}, 3)
    assert "prod@2 is held" in reasons(result, "errors")
    assert result.registries[0].copies[1].facts.newest == "prod@1"
    vault = main.vault()
    confirm(vault, plan_confirm(vault, main.root(2)), by="a@b")
    assert missed(checked(main, off)) == set()


def test_a_vault_that_cannot_be_reached_does_not_count(main, off):
    def refuse():
        raise StoreUnavailableError("no answer", hint="Check the network.")

    gone = VaultAt("off", "s3://x", refuse, whereabouts, NOT_LOCKED, Declared(offsite=True))
    result = checked(main, off, vaults=[vault_at(main, "main"), gone])
    assert (missed(result), result.exit_code()) == (
        {"copies", "offsite", "immutable", "errors"},
        3,
    )
    assert "off does not count: no answer" in reasons(result, "copies")
    with pytest.raises(StoreUnavailableError):
        checked(main, off, vaults=[gone], live=False)


def test_a_registry_that_is_gone_or_empty_does_not_count(main, off):
    def refuse():
        raise NotFoundError("no registry", hint="Is it mounted?")

    assert missed(checked(main, off, open_=refuse)) == {"copies", "errors"}
    for entry in list(main.registry.list()):
        if "/repositories/" in entry.key:
            main.registry.delete(entry.key)
    result = checked(main, off)
    assert missed(result) == {"copies", "errors"}
    assert "has no repository" in reasons(result, "copies")


class TestDamage:
    """A damaged vault is exit code 4, and no copy that one may rely on."""

    def damaged(self, main, off, code):
        result = checked(main, off)
        assert code in codes(result), codes(result)
        assert result.exit_code() == 4
        assert {"copies", "errors"} <= missed(result)
        assert "main does not count" in reasons(result, "copies")

    def test_a_root_that_cannot_be_read(self, main, off):
        main.spoil(root_key("prod", 1), lambda _: b"{}\n{}\n")
        self.damaged(main, off, "damaged")

    def test_a_gap_in_the_chain(self, main, off):
        main.snapshot()
        main.lose(root_key("prod", 1))
        self.damaged(main, off, "damaged")

    def test_a_list_of_objects_that_is_gone(self, main, off):
        main.lose(main.root().objects.base.top.key)
        self.damaged(main, off, "damaged")

    def test_a_verification_that_found_something_until_one_as_deep_finds_nothing(self, main, off):
        key = main.keys("packs/")[0]
        whole = main.spoil(key, flip)
        main.verify()
        self.damaged(main, off, "verification-failed")
        main.spoil(key, lambda _: whole)
        main.verify("metadata")
        self.damaged(main, off, "verification-failed")
        main.verified()
        assert checked(main, off).met

    def test_identity_of_the_vault(self, main, off):
        main.spoil("vault.json", lambda _: b"{}\n")
        self.damaged(main, off, "vault-damaged")


class TestProof:
    def test_parts_that_make_up_all_data_are_a_proof_of_it(self, main, off):
        fresh = World(store=store())
        copied(main, fresh)
        vaults = [vault_at(fresh, "main"), vault_at(off, "off", declared={"offsite": True})]

        def parts(*numbers):
            for part in numbers:
                options = VerifyOptions(read_data=Sample(None, part, 3), threads=1)
                verify(fresh.vault(), options, progress=NO_PROGRESS)
            return codes(checked(main, off, vaults=vaults))

        assert "data-never-verified" in parts(1, 3)
        assert "data-never-verified" in parts(1)
        assert "data-never-verified" not in parts(2)

    def test_a_random_share_is_never_a_proof_of_all(self, main, off):
        fresh = World(store=store())
        copied(main, fresh)
        options = VerifyOptions(read_data=Sample(99.0), threads=1)
        verify(fresh.vault(), options, progress=NO_PROGRESS)
        vaults = [vault_at(fresh, "main")]
        found = codes(checked(main, off, vaults=vaults))
        assert "data-never-verified" in found
        assert "metadata-never-verified" not in found

    def test_quick_proves_neither(self, main, off):
        fresh = World(store=store())
        copied(main, fresh)
        fresh.verify("quick")
        found = codes(checked(main, off, vaults=[vault_at(fresh, "main")]))
        assert {"data-never-verified", "metadata-never-verified"} <= found


class TestWhichRegistry:
    def test_another_registry_of_the_same_name_is_no_copy(self, main, off):
        stranger = World(MemoryStore("elsewhere"), store())
        stranger.push.image("other", "1", layers=(noise(10, 1),))
        stranger.snapshot()
        stranger.verified()
        vaults = [vault_at(main, "main"), vault_at(off, "off"), vault_at(stranger, "stranger")]
        result = checked(main, off, vaults=vaults)
        assert [c.facts.name for c in result.registries[0].copies] == ["prod", "main", "off"]
        notes = " ".join(result.registries[0].notes)
        assert "stranger has a prod too, but another registry" in notes
        # Without a name, both are judged, each for itself.
        result = checked(main, off, vaults=vaults, live=False)
        assert [len(r.copies) for r in result.registries] == [2, 1]

    def test_a_registry_at_the_same_place_of_another_host_is_no_copy(self, main, off):
        twin = World(MemoryStore("registry"), store())
        twin.push.image("zebra", "1", layers=(noise(10, 1),))
        twin.snapshot()
        root = twin.root()
        assert root.source["location"] == main.root().source["location"]
        result = checked(main, off, vaults=[vault_at(main, "main"), vault_at(twin, "twin")])
        assert "another-registry" in codes(result)
        assert "twin does not count" in reasons(result, "copies")

    def test_a_registry_that_lost_most_of_its_repositories_is_still_the_same(self, main, off):
        for number in range(130):
            main.push.image(f"aa/{number:03}", "1", layers=(noise(10, 1),))
        main.snapshot()
        for number in range(130):
            main.remove(f"aa/{number:03}")
        assert "another-registry" not in codes(checked(main, off))

    def test_a_snapshot_of_a_part_of_a_large_registry_is_of_it(self, main, off):
        for number in range(130):
            main.push.image(f"aa/{number:03}", "1", layers=(noise(10, 1),))
        assert "another-registry" not in codes(checked(main, off))

    def test_a_registry_that_has_moved_is_found_by_its_name(self, main, off):
        result = checked(main, off, location="memory:new-place")
        assert missed(result) == set()
        assert "matched by the name prod alone" in " ".join(result.registries[0].notes)

    def test_a_registry_without_a_name_is_found_by_its_place(self, main, off):
        result = checked(main, off, permanent=None)
        assert missed(result) == set()
        assert result.registries[0].name == "prod"

    def test_a_vault_without_it_is_named(self, main, off):
        empty = World(store=store())
        vaults = [vault_at(main, "main"), vault_at(off, "off"), vault_at(empty, "empty")]
        assert (
            "no snapshot of it is in: empty"
            in checked(main, off, vaults=vaults).registries[0].notes
        )

    def test_what_nobody_asked_for_is_named(self, main, off):
        main.snapshot(registry="test")
        other = World(MemoryStore("second"), main.store, name="second")
        other.push.image("b", "1", layers=(noise(10, 1),))
        other.snapshot()
        assert checked(main, off).notes == ["not checked, as it was not named: second"]

    def test_two_snapshots_in_one_slot_are_an_error(self, main, off):
        off.store.clock_ns += 1
        main.snapshot()
        data = main.store.get(root_key("prod", 2))
        body = json.loads(data.split(b"\n")[0])
        body["finished"] = "2030-01-01T00:00:00.000Z"
        forged = copied_document(
            write_document(body)[0],
            vault=off.vault().id,
            slot=root_key("prod", 2),
            run="0" * 24,
            changes={},
        )
        off.store.put(root_key("prod", 2), forged)
        result = checked(main, off)
        assert "diverged" in codes(result)
        assert "prod@2 is another snapshot than in main" in reasons(result, "errors")


def test_a_snapshot_cannot_be_younger_than_the_store_says(main, off):
    """A host that was taken over may write any time into a root."""
    root = main.root()
    data = main.store.get(root.name.key)
    body = json.loads(data.split(b"\n")[0])
    body["started"] = "2099-01-01T00:00:00.000Z"
    main.store.put(root.name.key, write_document(body)[0])
    result = checked(main, off, later=timedelta(hours=27), live=False)
    (registry,) = [r for r in result.registries if "from-the-future" in codes(result)]
    assert "rpo" in missed(result)
    assert registry.copies[0].facts.age_s > 26 * 3600


def test_nothing_to_check_is_an_error():
    vaults = [vault_at(World(store=store()), "empty")]
    with pytest.raises(NotFoundError, match="nothing to check"):
        check(vaults, [], Rule(), now=datetime.now(UTC), progress=NO_PROGRESS)


def test_one_bucket_behind_two_endpoints_is_one_copy_unless_it_is_declared_to_be_a_replica(
    main, off
):
    def at(endpoint, domain):
        where = Whereabouts(f"bucket of {endpoint}", endpoint, f"bucket of {endpoint}", "object")
        return VaultAt(
            endpoint,
            "s3://bucket/vault",
            main.vault,
            lambda _: where,
            lambda *_: NOT_LOCKED,
            Declared(domain=domain),
        )

    aliases = [at("a.example.com", None), at("b.example.com", None)]
    result = checked(main, off, vaults=aliases, live=False)
    assert "a.example.com are one and the same place" in reasons(result, "copies")
    replicas = [at("a.example.com", None), at("b.example.com", "site-b")]
    result = checked(main, off, vaults=replicas, live=False)
    assert [v.found for v in result.registries[0].verdicts][:2] == [2, 2]


def test_two_vaults_on_one_disk_are_one_domain(tmp_path):
    """With real directories, and what the kernel says of them."""
    world = World(LocalStore(tmp_path / "r", create=True), LocalStore(tmp_path / "a", create=True))
    fill(world)
    world.snapshot()
    other = World(store=LocalStore(tmp_path / "b", create=True))
    copied(world, other)

    def at(each, name, domain):
        return VaultAt(
            name,
            each.store.location,
            lambda: Vault(each.store),
            lambda opened: whereabouts(opened.root),
            lambda *_: NOT_LOCKED,
            Declared(domain=domain),
        )

    vaults = [at(world, "a", "site-a"), at(other, "b", "site-b")]
    result = checked(world, other, vaults=vaults, location=world.registry.location)
    assert "domain-contradicted" in codes(result)
    vaults = [at(world, "a", None), at(other, "b", None)]
    result = checked(world, other, vaults=vaults, live=False)
    assert "a and b are lost together" in reasons(result, "media")


def test_a_forgotten_root_is_no_gap(main, off):
    main.push.image("app", "9", layers=(noise(10, 9),))
    main.snapshot()
    vault = main.vault()
    forget(
        vault,
        plan_forget_named(vault, [vault.read_slot(RootName("prod", 1))]),
        by=lambda: "a@b",
        progress=NO_PROGRESS,
    )
    copied(main, off)
    assert missed(checked(main, off)) == set()
