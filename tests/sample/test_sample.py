"""The sample is a registry that a client would accept, and the same one each time."""

from __future__ import annotations

import json

import pytest
from sample_layout import BASE, LINK, Layout, sha256, unpacked
from sample_store import Storekeeper

from regvault.ops.sample import build_sample, change_sample

SMALL = {"images": 25, "large": 1 << 14}


def built(**options):
    store = Storekeeper()
    return store, build_sample(store, **{**SMALL, **options})


@pytest.fixture(scope="module")
def sample():
    store, summary = built()
    return store, summary, Layout(store.objects)


def test_every_blob_is_what_its_digest_says(sample):
    _, _, layout = sample
    assert {digest: sha256(data) for digest, data in layout.blobs.items()} == {
        digest: digest for digest in layout.blobs
    }


def test_every_descriptor_has_the_size_and_a_blob_behind_it(sample):
    _, _, layout = sample
    for manifest in layout.manifests.values():
        descriptors = [*manifest.get("manifests", ()), *manifest.get("layers", ())]
        descriptors += [manifest[name] for name in ("config", "subject") if name in manifest]
        for each in descriptors:
            assert len(layout.blobs[each["digest"]]) == each["size"]


def test_every_repository_has_all_links_of_its_images(sample):
    _, _, layout = sample
    for repository in layout.repositories.values():
        for digest in repository.revisions:
            manifest = layout.manifest(digest)
            children = {each["digest"] for each in manifest.get("manifests", ())}
            blobs = {each["digest"] for each in manifest.get("layers", ())}
            blobs |= {each["blobSum"] for each in manifest.get("fsLayers", ())}
            blobs |= {manifest["config"]["digest"]} if "config" in manifest else set()
            assert children <= repository.revisions
            assert blobs <= repository.layers
        for tag, digest in repository.tags.items():
            assert digest in repository.revisions
            assert digest in repository.history[tag] <= repository.revisions


def test_layers_unpack_to_the_diff_ids_of_their_config(sample):
    _, _, layout = sample
    images = layout.images()
    assert len(images) > 40
    for manifest in images.values():
        config = json.loads(layout.blobs[manifest["config"]["digest"]])
        diff_ids, contents = zip(
            *(unpacked(layout.blobs[each["digest"]]) for each in manifest["layers"]), strict=True
        )
        assert all(contents)
        assert config["rootfs"]["diff_ids"] == list(diff_ids)
        filled = [line for line in config["history"] if not line.get("empty_layer")]
        assert len(filled) == len(diff_ids)


def test_an_index_gives_each_image_the_platform_of_its_config(sample):
    _, _, layout = sample
    platforms = set()
    for manifest in layout.manifests.values():
        for child in manifest.get("manifests", ()):
            if "platform" in child:
                digest = layout.manifest(child["digest"])["config"]["digest"]
                config = json.loads(layout.blobs[digest])
                assert child["platform"].items() <= config.items()
                platforms.add(child["platform"]["architecture"])
    assert platforms == {"amd64", "arm64"}


def test_it_has_one_of_everything(sample):
    _, _, layout = sample
    assert {"library/base", "team/app", "team/app/tools"} <= layout.repositories.keys()
    assert layout.media_types() == {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "schema 1",
    }
    tools, app = layout.repositories["team/app/tools"], layout.repositories["team/app"]

    bundle = layout.manifest(tools.tags["bundle"])
    assert {each["mediaType"] for each in bundle["manifests"]} == {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
    }

    subject = app.tags["latest"]
    fallback = subject.replace(":", "-")
    assert f"{fallback}.sig" in app.tags
    listed = layout.manifest(app.tags[fallback])["manifests"]
    referrers = {digest for digest, each in layout.manifests.items() if "subject" in each}
    assert {each["digest"] for each in listed} == referrers
    for each in listed:
        manifest = layout.manifest(each["digest"])
        assert manifest["subject"]["digest"] == subject
        assert manifest["artifactType"] == each["artifactType"]

    assert len(app.history["latest"]) == 12
    tagged = set(app.tags.values())
    children = {
        each["digest"]
        for digest in app.revisions
        for each in layout.manifest(digest).get("manifests", ())
    }
    assert len(app.revisions - tagged - children) == 3

    used = {
        each["digest"]
        for digest in tools.revisions
        for manifest in [layout.manifest(digest)]
        for each in [*manifest.get("layers", ()), manifest.get("config", {"digest": ""})]
    }
    assert len(tools.layers - used) == 1

    owners = [d for each in layout.repositories.values() for d in each.layers]
    assert any(owners.count(digest) >= 10 for digest in set(owners))


def test_schema_1_is_the_payload_without_signatures(sample):
    _, _, layout = sample
    digest = layout.repositories["legacy/billing"].tags["0.9"]
    manifest = layout.manifest(digest)
    assert "signatures" not in manifest
    assert "mediaType" not in manifest
    assert len(manifest["history"]) == len(manifest["fsLayers"])
    # As the reference implementation marshals it, else it would not verify after signing.
    canonical = json.dumps(manifest, indent=3, separators=(",", ": ")).encode()
    assert layout.blobs[digest] == canonical


def test_writes_come_in_a_registrys_order(sample):
    store, _, _ = sample
    there: dict[str, bytes] = {}

    def blob(digest):
        name = digest.removeprefix("sha256:")
        return there[f"{BASE}/blobs/sha256/{name[:2]}/{name}/data"]

    for key, data in store.writes:
        if link := LINK.fullmatch(key):
            digest = data.decode()
            content, path = blob(digest), digest.replace(":", "/")
            repository = f"{BASE}/repositories/{link['repository']}"
            if link["revision"]:
                manifest = json.loads(content)
                for child in manifest.get("manifests", ()):
                    name = child["digest"].replace(":", "/")
                    assert f"{repository}/_manifests/revisions/{name}/link" in there
                for each in manifest.get("layers", ()):
                    name = each["digest"].replace(":", "/")
                    assert f"{repository}/_layers/{name}/link" in there
            elif link["index"]:
                assert f"{repository}/_manifests/revisions/{path}/link" in there
            elif link["current"]:
                tag = f"{repository}/_manifests/tags/{link['tag']}"
                assert f"{tag}/index/{path}/link" in there
        there[key] = data
    assert there == store.objects
    assert store.barriers == [len(store.writes)]


def test_the_summary_is_what_is_there(sample):
    _, summary, layout = sample
    assert list(summary.repositories) == sorted(layout.repositories)
    assert summary.tags == {
        f"{name}:{tag}": digest
        for name, each in layout.repositories.items()
        for tag, digest in each.tags.items()
    }
    assert list(summary.tags) == sorted(summary.tags)
    assert summary.revisions == sum(len(each.revisions) for each in layout.repositories.values())
    assert summary.blobs == len(layout.blobs)
    assert summary.bytes == sum(map(len, layout.blobs.values()))


def test_the_same_seed_makes_the_same_registry_another_one_another(sample):
    store, summary, _ = sample
    again, said = built()
    assert again.objects == store.objects
    assert again.writes == store.writes
    assert said == summary
    other, _ = built(seed=1)
    same = store.objects.keys() & other.objects.keys()
    assert not any("/blobs/" in key and len(store.objects[key]) > 10_000 for key in same)


def test_the_default_is_quick_to_copy_and_has_large_layers():
    store = Storekeeper()
    summary = build_sample(store)
    assert 20e6 < summary.bytes < 40e6
    sizes = [len(data) for key, data in store.objects.items() if key.endswith("/data")]
    assert sum(size >= 1 << 20 for size in sizes) >= 10
    assert sum(size < 1 << 16 for size in sizes) > 200


def test_scale_multiplies_the_ordinary_images():
    small, large = Layout(built()[0].objects), Layout(built(scale=8)[0].objects)
    assert len(large.images()) == len(small.images()) + 7 * SMALL["images"]
    assert len(large.repositories) > len(small.repositories)


def test_without_ordinary_images_there_still_is_one_of_everything():
    store, summary = built(images=0)
    assert not any(name.startswith("service/") for name in summary.repositories)
    assert change_sample(store).deleted


@pytest.mark.parametrize("seed", [1, 2])
def test_a_change_pushes_moves_deletes_and_adds(seed):
    store, _ = built()
    before = Layout(dict(store.objects))
    change = change_sample(store, seed=seed)
    after = Layout(store.objects)

    def tags(layout):
        return {
            f"{name}:{tag}": digest
            for name, each in layout.repositories.items()
            for tag, digest in each.tags.items()
        }

    old, new = tags(before), tags(after)
    assert {k: v for k, v in new.items() if k not in old} == change.pushed
    assert {k: v for k, v in new.items() if k in old and old[k] != v} == change.moved
    assert tuple(k for k in old if k not in new) == change.deleted
    assert change.pushed
    assert change.moved
    assert len(change.deleted) == 1
    assert after.repositories.keys() - before.repositories.keys() == {change.added}
    fresh = after.blobs.keys() - before.blobs.keys()
    assert (len(fresh), sum(len(after.blobs[d]) for d in fresh)) == (change.blobs, change.bytes)
    assert before.blobs.keys() <= after.blobs.keys()
    for name, each in before.repositories.items():
        now = after.repositories[name]
        assert each.revisions <= now.revisions
        assert len(now.tags) >= 0.9 * len(each.tags)
    for manifest in after.images().values():
        config = json.loads(after.blobs[manifest["config"]["digest"]])
        layers = [unpacked(after.blobs[each["digest"]])[0] for each in manifest["layers"]]
        assert config["rootfs"]["diff_ids"] == layers


def test_changes_follow_from_the_seed_and_can_be_repeated():
    one, two = built()[0], built()[0]
    for _ in range(3):
        assert change_sample(one, seed=7) == change_sample(two, seed=7)
    assert one.objects == two.objects
    assert change_sample(one, seed=7).deleted == ()
