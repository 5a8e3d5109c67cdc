"""What a collection is let take, what keeps it from beginning, and what is proven afterwards."""

from __future__ import annotations

import time

import pytest
import sealed_world
from collecting import Collector, Trial, all_blobs, delete, fill_with_garbage, needed
from world import BASE, World, blob_key, layer_key, noise, revision_key, tree

from regvault.errors import LeaseHeldError, NotFoundError, RefusedError, VaultDamagedError
from regvault.ops.sample import build_sample
from regvault.ops.tier.garbage.proof import Loss
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore
from regvault.vault.keys import new_run_id
from regvault.vault.lease import Lease
from regvault.vault.prune_lock import PruneLock

GARBAGE = {"orphan", "layer", "gone manifest", "gone config", "gone layer"}


@pytest.fixture(params=["memory", "local"])
def made(request, tmp_path):
    """A registry with garbage, and a vault that has all of it."""
    if request.param == "memory":
        world = World(cache=str(tmp_path / "cache"))
    else:
        world = World(LocalStore(tmp_path / "registry", create=True), cache=str(tmp_path / "cache"))
    for store in (world.registry, world.store):
        if isinstance(store, MemoryStore):
            store.clock_ns = time.time_ns()
    world.digests = fill_with_garbage(world)
    world.snapshot()
    return world


@pytest.fixture
def collector(monkeypatch):
    return Collector(monkeypatch)


def garbage(made):
    return {made.digests[name] for name in GARBAGE}


def unneeded(plan):
    return {digest for digest, _ in plan.census.blobs(kept=False)}


class TestPlan:
    def test_what_an_image_needs_is_no_garbage(self, made):
        """Rule 15: through nested indexes, whatever has a link, tagged or not."""
        plan = Trial(made).look()
        assert unneeded(plan) == garbage(made)
        blobs, revisions = needed(made.registry, untagged=False)
        assert unneeded(plan) == all_blobs(made.registry) - blobs
        assert (plan.census.stay, plan.census.go) == (len(revisions), 0)
        found = plan.to_json()
        sizes = [len(made.registry.get(blob_key(digest))) for digest in garbage(made)]
        assert found["unneeded"]["bytes"] == sum(sizes)
        assert [each["bytes"] for each in found["unneeded"]["largest"]] == sorted(sizes)[::-1]
        assert found["saved"]["month"] == pytest.approx(sum(sizes) / 2**30 * 0.023)
        assert found["refusals"] == []

    def test_what_no_tag_reaches_is_to_go_where_that_is_asked_for(self, made):
        plan = Trial(made, untagged=True).look()
        blobs, revisions = needed(made.registry, untagged=True)
        assert unneeded(plan) == all_blobs(made.registry) - blobs
        going = {digest for _, digest in plan.going()}
        assert going == {made.digests[name] for name in ("untagged", "referrer", "former")}
        assert plan.census.stay == len(revisions)
        assert made.digests["child layer"] not in unneeded(plan)

    @pytest.mark.parametrize("untagged", [False, True])
    def test_of_a_large_sample_the_same_is_needed_as_counted_by_hand(self, untagged):
        world = World()
        build_sample(world.registry, images=40, large=1 << 12)
        plan = Trial(world, untagged=untagged, without_vault=True).look()
        blobs, revisions = needed(world.registry, untagged=untagged)
        assert unneeded(plan) == all_blobs(world.registry) - blobs
        assert plan.census.stay == len(revisions)

    def test_what_one_repository_drops_and_another_needs_stays(self, made):
        shared = made.push.image("one", layers=(noise(1500, "both"),))
        made.push.image("two", "1", layers=(noise(1500, "both"),))
        plan = Trial(made, untagged=True, without_vault=True).look()
        assert shared.digest in {digest for _, digest in plan.going()}
        assert not set(shared.closure()) & unneeded(plan)

    def test_it_says_what_snapshots_keep_of_what_goes(self, made):
        """What goes here and is nowhere else is gone for good."""
        made.push.image("old", "1", layers=(noise(3333, "in the first snapshot only"),))
        made.snapshot()
        made.remove("old")
        made.snapshot()
        found = Trial(made).look().to_json()["vault"]
        assert found["snapshot"] == "prod@2"  # the third shrank, and is held
        assert found["kept_blobs"] == 3 + 1  # and the layer that a link names
        assert found["nowhere_blobs"] == 4
        assert found["nowhere_bytes"] == sum(
            len(made.registry.get(blob_key(made.digests[name]))) for name in GARBAGE - {"layer"}
        )

    def test_a_link_of_nothing_hides_what_it_was_for(self, made):
        """A registry goes by what a link says: what its path says would be swept."""
        key = revision_key("app", made.digests["child"])
        for content in (b"", made.digests["first"].encode()):
            made.push.write(key, content)
            plan = Trial(made).look()
            assert "link-" in plan.refusals()[0].message
        made.push.write(key, made.digests["child"].encode())
        assert Trial(made).look().refusals() == []

    def test_a_manifest_that_cannot_be_read_hides_what_it_needs(self, made):
        made.push.write(blob_key(made.digests["child"]), b"{}")
        assert "manifest-damaged" in Trial(made).look().refusals()[0].message
        # One that is not there needs nothing: registries pass it over.
        delete(made.registry, blob_key(made.digests["child"]))
        plan = Trial(made).look()
        assert plan.refusals() == []
        assert plan.census.missing == 1


class TestWhatIsInTheWay:
    def test_a_vault_that_lacks_something(self, made, collector):
        made.push.image("new", "1", layers=(noise(1200, "since the snapshot"),))
        trial = Trial(made)
        plan = trial.look()
        assert (plan.backing.lacking, plan.backing.revisions) == (3, 1)
        with pytest.raises(RefusedError, match="lacks 3 blobs") as caught:
            trial.run()
        assert "--without-vault" in caught.value.hint
        assert collector.runs == 0
        made.snapshot()
        assert Trial(made).look().refusals() == []
        assert Trial(made, without_vault=True).look().refusals() == []

    def test_a_vault_that_lost_an_object(self, made):
        made.lose(*made.keys("meta/"))
        with pytest.raises(VaultDamagedError, match="missing"):
            Trial(made).look()

    def test_a_blob_in_another_repository_of_the_snapshot_is_no_help(self, made):
        """A restore of an image brings what the snapshot has in that repository."""
        image = made.push.image("tools/cli", "1", layers=(noise(3000, 1), noise(2500, "shared")))
        plan = Trial(made).look()
        assert image.digest == made.digests["first"]
        assert plan.backing.revisions == 1

    def test_uploads_in_flight_and_fresh_blobs(self, made, collector):
        """distribution sweeps what is pushed and has no manifest yet."""
        path = f"{BASE}/repositories/app/_uploads/0a/data"
        made.push.write(path, b"half")
        trial = Trial(made)
        trial.source = made.source()
        plan = trial.look()
        assert (plan.in_flight, plan.stale) == ([], 1)  # by its clock an hour has passed
        assert plan.refusals() == []
        now = made.source().now_ns
        made.source = lambda store=None: _now(World.source(made, store))
        plan = Trial(made).look()
        assert plan.in_flight == ["repositories/app/_uploads/0a"]
        assert plan.fresh == len(GARBAGE)
        (refusal,) = plan.refusals()
        assert "uploads are in flight (1)" in refusal.message
        assert "--allow-fresh" in refusal.hint
        assert Trial(made, allow_fresh=True).look().refusals() == []
        assert now() > 0
        assert collector.runs == 0

    def test_an_upload_to_what_is_no_repository_yet(self, made):
        made.push.write(f"{BASE}/repositories/first/push/_uploads/0b/startedat", b"now")
        made.source = lambda store=None: _now(World.source(made, store))
        assert Trial(made).look().in_flight == ["repositories/first/push/_uploads/0b"]

    @pytest.mark.parametrize("change", ["tag", "layer", "repository", "gone", "upload", "goes on"])
    def test_a_push_between_plan_and_collection(self, made, collector, change):
        upload = f"{BASE}/repositories/app/_uploads/0a/data"
        made.push.write(upload, b"half")
        trial = Trial(made)
        trial.look()
        if change == "tag":
            made.push.tag("app", "1", made.digests["child"])
        elif change == "layer":
            made.push.link(layer_key("app", made.digests["orphan"]), made.digests["orphan"])
        elif change == "repository":
            made.push.image("aaa", "1", layers=(b"new",))
        elif change == "gone":
            made.remove("tools/cli")
        elif change == "upload":
            made.push.write(f"{BASE}/repositories/app/_uploads/0c/data", b"half")
        else:
            made.push.write(upload, b"more of it")
        with pytest.raises(RefusedError, match="in use"):
            trial.run()
        assert collector.runs == 0
        assert garbage(made) <= all_blobs(made.registry)

    def test_it_waits_until_enough_time_has_passed_to_tell(self, made, collector, monkeypatch):
        slept = []
        monkeypatch.setattr("time.sleep", slept.append)
        collector.takes(made.registry, garbage(made))
        trial = Trial(made, quiet_s=30.0)
        trial.look()
        import regvault.ops.tier.garbage as module

        result = module.collect_garbage(
            trial.plan,
            trial.source,
            ["x"],
            progress=made.progress,
            vault=trial.vault,
            sleep=slept.append,
        )
        assert result.exit_code() == 0
        assert 25 < slept[0] <= 30

    def test_a_snapshot_at_work(self, made, collector):
        first = f"{1:024x}"
        with Lease(made.store, made.vault().id, first, role="writer", registry="prod"):
            with pytest.raises(LeaseHeldError) as caught:
                Trial(made).run()
        assert caught.value.exit_code == 11
        assert collector.runs == 0

    def test_a_snapshot_that_was_forgotten_since(self, made, collector):
        from regvault.ops.forget import forget, plan_forget_named

        trial = Trial(made)
        trial.look()
        made.push.image("more", "1", layers=(b"more",))
        made.snapshot()
        vault = made.vault()
        forget(vault, plan_forget_named(vault, [made.root(1)]), progress=made.progress)
        with pytest.raises(NotFoundError, match="forgotten just now"):
            trial.run()
        assert collector.runs == 0


def _now(source):
    """Look at once, not an hour later."""
    later = source.now_ns
    source.now_ns = lambda: later() - 3_600_000_000_000
    return source


class TestProof:
    def test_what_was_foreseen_goes(self, made, collector):
        before = tree(made.registry)
        collector.takes(made.registry, garbage(made))
        result = Trial(made).run()
        assert result.exit_code() == 0
        found = result.to_json()
        assert found["freed"]["blobs"] == len(GARBAGE)
        assert found["freed"]["bytes"] == found["plan"]["unneeded"]["bytes"]
        assert found["left"]["blobs"] == found["loss_count"] == 0
        assert found["proven"]["blobs"] == len(all_blobs(made.registry))
        assert found["alone"] is True
        after = tree(made.registry)
        assert before.keys() - after.keys() == {blob_key(digest) for digest in garbage(made)}

    def test_what_stays_there_is_said(self, made, collector):
        collector.takes(made.registry, [made.digests["orphan"]])
        result = Trial(made).run()
        assert (result.proof.freed, result.proof.left) == (1, len(GARBAGE) - 1)
        assert result.exit_code() == 3

    def test_a_collection_that_failed_is_looked_at_all_the_same(self, made, collector):
        collector.status = 1
        collector.takes(made.registry, garbage(made))
        result = Trial(made).run()
        assert result.exit_code() == 1
        assert result.proof.freed == len(GARBAGE)
        collector.takes(made.registry, [made.digests["child layer"]])
        made.push.blob(b"more garbage")
        assert Trial(made).run().exit_code() == 3

    def test_whatever_single_thing_is_lost_is_told_and_comes_back(self, made, collector):
        """Rule 16: each blob and each link, whatever the collection says that it did."""
        everything = tree(made.registry)
        blobs, _ = needed(made.registry, untagged=False)
        lost = 0
        for key in everything:
            collector.do = lambda key=key: delete(made.registry, key)
            trial = Trial(made)
            result = trial.run()
            is_blob = key.startswith(f"{BASE}/blobs/")
            matters = (
                key in {blob_key(digest) for digest in blobs}
                or "/_manifests/revisions/" in key
                or key.endswith("/current/link")
                or ("/_layers/" in key and made.digests["layer"].partition(":")[2] not in key)
            )
            if not matters:
                assert result.proof.loss_count == 0, key
                assert result.proof.freed == is_blob, key
            else:
                lost += 1
                assert result.exit_code() == 3, key
                assert result.proof.hurt, key
                assert result.proof.hurt[0].images, key
                trial.restore(result.proof)
                assert made.registry.get(key) == everything[key]
            for name, data in everything.items():
                if not _there(made.registry, name):
                    assert not matters or name != key
                    made.push.write(name, data)
        assert lost > 40

    def test_a_blob_of_another_size_is_lost(self, made, collector):
        digest = made.digests["child layer"]
        collector.do = lambda: made.push.write(blob_key(digest), b"")
        trial = Trial(made)
        result = trial.run()
        assert result.proof.losses == [Loss("", "blob-size", digest)]
        (hurt,) = result.proof.hurt
        assert hurt.images == [":all"]
        trial.restore(result.proof)
        assert Trial(made).look().refusals() == []

    def test_all_of_a_repository(self, made, collector):
        everything = tree(made.registry)
        collector.do = lambda: made.remove("app")
        trial = Trial(made)
        result = trial.run()
        (hurt,) = result.proof.hurt
        assert hurt.repository == "app"
        assert set(hurt.tags) == {"1", "all", "moved"}
        trial.restore(result.proof)
        history = {key for key in everything if "/index/" in key}
        unused = layer_key("app", made.digests["layer"])
        assert everything.keys() - tree(made.registry).keys() <= {*history, unused}

    def test_the_commands_bring_back_each_image_once(self, made, collector):
        """An index brings its children: one digest stands for all."""
        collector.takes(made.registry, [made.digests["child layer"], made.digests["child"]])
        result = Trial(made).run()
        (hurt,) = result.proof.hurt
        tagged = made.registry.get(f"{BASE}/repositories/app/_manifests/tags/all/current/link")
        assert hurt.digests == [tagged.decode()]
        (line,) = result.proof.commands(["regvault", "--to", "fs:/srv/my registry"])
        assert line == (
            "regvault --to 'fs:/srv/my registry' --repo app "
            f"--no-referrers --digest {tagged.decode()}"
        )

    def test_it_is_mended_at_once_and_proven_again(self, made, collector):
        collector.takes(made.registry, [*garbage(made), made.digests["child layer"]])
        trial = Trial(made)
        result = trial.run(mend=trial.restore)
        assert result.exit_code() == 3
        assert result.mended.loss_count == 0
        assert result.to_json()["repaired"] == {"loss_count": 0, "losses": []}

    def test_what_was_damaged_before_is_no_loss(self, made, collector):
        delete(made.registry, blob_key(made.digests["child layer"]))
        collector.takes(made.registry, garbage(made))
        result = Trial(made).run()
        assert result.exit_code() == 0
        assert result.plan.to_json()["missing_blobs"] == 1

    def test_a_push_meanwhile_that_lost_a_layer(self, made, collector):
        def push_and_sweep():
            image = made.push.image("late", "1", layers=(b"a layer", b"another"))
            delete(made.registry, blob_key(image.blobs[1]))

        collector.do = push_and_sweep
        result = Trial(made).run()
        assert result.exit_code() == 3
        assert [loss.what for loss in result.proof.losses] == ["pushed"]
        assert ("late", "new repository") in result.proof.changed

    def test_a_tag_that_moved_meanwhile_is_said(self, made, collector):
        def push():
            made.push.tag("app", "1", made.digests["child"])

        collector.do = push
        result = Trial(made).run()
        assert result.exit_code() == 3
        assert result.proof.loss_count == 0
        assert result.proof.changed == [("app", f":1 points to {made.digests['child']}")]


class TestHolding:
    def test_snapshots_and_prunes_wait_while_it_collects(self, made, collector):
        said = []

        def others():
            with pytest.raises(LeaseHeldError) as caught:
                made.snapshot()
            said.append(caught.value.message)
            with pytest.raises(LeaseHeldError):
                PruneLock(made.store, made.vault().id, new_run_id(), wait_s=0, say=said.append)

        collector.do = others
        Trial(made).run()
        assert [text.partition(" of ")[0] for text in said] == ["another snapshot", "A snapshot"]
        assert made.snapshot().exit_code() == 0
        made.verified()

    def test_a_snapshot_that_ran_all_the_same_is_noticed(self, made, collector):
        """Where the lease was ended from outside, or two hosts began at once."""

        def end_and_snapshot():
            for key in made.keys("leases/"):
                made.store.delete(key)
            made.push.image("meanwhile", "1", layers=(b"x",))
            made.snapshot()

        collector.do = end_and_snapshot
        result = Trial(made).run()
        assert result.alone is False
        assert any("ran while" in each for each in made.progress.warnings)

    def test_without_a_vault_nothing_is_written_anywhere(self, made, collector):
        before = tree(made.store)
        collector.takes(made.registry, garbage(made))
        result = Trial(made, without_vault=True).run()
        assert result.exit_code() == 0
        assert result.alone is None
        assert tree(made.store) == before


def _there(store, key):
    from regvault.errors import ObjectNotFoundError

    try:
        store.head(key)
    except ObjectNotFoundError:
        return False
    return True


class TestSealed:
    """The host that backs up can read names, and no contents: it says what is lost all the same."""

    @pytest.fixture
    def sealed(self):
        world = sealed_world.fresh()
        world.name = "prod"
        world.registry.clock_ns = time.time_ns()
        world.digests = fill_with_garbage(world)
        world.push.image("old", "1", layers=(noise(1 << 20, "raw"), noise(40, "small")))
        world.snapshot()
        return world

    def test_what_it_has_and_what_it_keeps(self, sealed):
        plan = Trial(sealed).look()
        assert plan.refusals() == []
        assert plan.backing.root.name.title == "prod"
        sealed.remove("old")
        plan = Trial(sealed).look()
        assert (plan.backing.kept, plan.unneeded[0]) == (4 + 1, 4 + len(GARBAGE))
        sealed.push.image("new", "1", layers=(b"new",))
        assert (plan := Trial(sealed).look()).backing.lacking == 3
        assert plan.backing.revisions == 1

    def test_what_is_lost_comes_back_by_who_can_open_it(self, sealed, collector):
        collector.takes(sealed.registry, [sealed.digests["child layer"], *garbage(sealed)])
        trial = Trial(sealed)
        result = trial.run()
        assert result.exit_code() == 3
        assert result.proof.hurt[0].images == [":all"]
        sealed.trust = sealed_world.AS_ALICE
        trial.restore(result.proof)
        sealed.trust = sealed_world.AS_HOST
        assert Trial(sealed).look().empty
