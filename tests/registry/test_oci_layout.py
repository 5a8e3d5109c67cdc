"""An exported layout is one that skopeo, crane and oras read."""

from __future__ import annotations

import io
import json

import pytest
from registry_build import Builder, digest_of

from regvault.errors import RefusedError
from regvault.registry.oci_layout import REF_NAME, OciLayoutTarget
from regvault.registry.reader import DistributionSource
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore


@pytest.fixture(params=["memory", "local"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "o", create=True)


@pytest.fixture
def registry():
    return Builder(MemoryStore())


def export(builder, target, repository="a", tags=None):
    """As a restore does: blobs, links, tags, each durable before the next."""
    source = DistributionSource(builder.store, kind="x")
    for digest, size in source.blobs():
        reader, _ = source.open_blob(digest)
        target.put_blob(digest, reader, size)
    target.barrier()
    links = source.survey(repository).links()
    for digest in links.layers:
        target.put_layer(repository, digest)
    for digest in links.revisions:
        target.put_revision(repository, digest)
    target.barrier()
    for tag in links.tags:
        if tags is None or tag.name in tags:
            target.put_history(repository, tag.name, tag.current)
            target.put_tag(repository, tag.name, tag.current)
    target.finish()


def index_of(store):
    return json.loads(store.get("index.json"))


def names_of(store):
    return {
        each.get("annotations", {}).get(REF_NAME): each["digest"]
        for each in index_of(store)["manifests"]
    }


def test_a_layout_has_its_mark_its_index_and_all_blobs(store, registry):
    one = registry.image("a", "v1", "latest", seed=1)
    two = registry.image("a", "v2", seed=2)
    both = registry.index("a", "all", children=[one, two])
    export(registry, OciLayoutTarget(store))
    assert json.loads(store.get("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    assert index_of(store)["schemaVersion"] == 2
    assert names_of(store) == {
        "v1": one.digest, "latest": one.digest, "v2": two.digest, "all": both.digest
    }  # fmt: skip
    for each in index_of(store)["manifests"]:
        data = store.get("blobs/" + each["digest"].replace(":", "/"))
        assert digest_of(data) == each["digest"]
        assert len(data) == each["size"]
        assert json.loads(data)["mediaType"] == each["mediaType"]
    blobs = {entry.key for entry in store.list("blobs/")}
    assert len(blobs) == len(list(DistributionSource(registry.store, kind="x").blobs()))


def test_nothing_is_to_be_seen_before_the_end(store, registry):
    image = registry.image("a", "v1")
    target = OciLayoutTarget(store)
    target.put_small_blob(image.digest, image.manifest)
    target.put_tag("a", "v1", image.digest)
    assert {entry.key.partition("/")[0] for entry in store.list()} == {"blobs"}
    assert target.tag("a", "v1") == image.digest
    target.finish()
    assert names_of(store) == {"v1": image.digest}
    before = store.head("index.json")
    target.finish()
    assert store.head("index.json") == before


def test_an_export_adds_to_what_is_there(store, registry):
    old = registry.image("a", "v1", "moves", seed=1)
    export(registry, OciLayoutTarget(store))
    index = index_of(store)
    index["annotations"] = {"kept": "yes"}
    index["manifests"][0]["platform"] = {"os": "linux", "architecture": "amd64"}
    store.put("index.json", json.dumps(index).encode())
    new = registry.image("a", "moves", "v2", seed=2)
    export(registry, OciLayoutTarget(store), tags=["moves", "v2"])
    after = names_of(store)
    assert after == {"v1": old.digest, "moves": new.digest, "v2": new.digest}
    assert index_of(store)["annotations"] == {"kept": "yes"}
    assert OciLayoutTarget(store).tag("a", "v1") == old.digest
    assert OciLayoutTarget(store).tag("a", "no") is None


def test_signatures_can_be_found_though_no_tag_leads_to_them(store, registry):
    image = registry.image("a", "v1", seed=1)
    signature = json.dumps(
        {**json.loads(image.manifest), "artifactType": "x/sig",
         "subject": {"mediaType": "m", "digest": image.digest, "size": 1}}
    ).encode()  # fmt: skip
    registry.revision("a", registry.blob(signature))
    registry.image("a", seed=2)
    export(registry, OciLayoutTarget(store))
    assert names_of(store) == {"v1": image.digest, None: digest_of(signature)}
    export(registry, OciLayoutTarget(store))
    assert len(index_of(store)["manifests"]) == 2


def test_an_export_without_any_tag_lists_what_no_index_lists(store, registry):
    one = registry.image("a", seed=1)
    both = registry.index("a", children=[one])
    export(registry, OciLayoutTarget(store))
    assert names_of(store) == {None: both.digest}


def test_two_repositories_with_one_tag_are_not_mixed_up(store, registry):
    one = registry.image("a", "v1", seed=1)
    two = registry.image("team/b", "v1", seed=2)
    target = OciLayoutTarget(store)
    export(registry, target, "a")
    with pytest.raises(RefusedError) as caught:
        target.put_tag("team/b", "v1", two.digest)
    assert "full names" in caught.value.hint
    full = OciLayoutTarget(MemoryStore(), full_names=True)
    export(registry, full, "a")
    export(registry, full, "team/b")
    assert names_of(full._store) == {"a:v1": one.digest, "team/b:v1": two.digest}


def test_a_tag_whose_manifest_was_not_written_is_refused_and_the_index_stays(store, registry):
    export(registry, OciLayoutTarget(store))
    image = registry.image("a", "v1")
    target = OciLayoutTarget(store)
    target.put_tag("a", "v1", image.digest)
    with pytest.raises(RefusedError, match="was not written"):
        target.finish()
    assert [entry.key for entry in store.list("index")] == []
    target.put_blob(image.digest, io.BytesIO(image.manifest), len(image.manifest))
    target.finish()
    assert names_of(store) == {"v1": image.digest}


@pytest.mark.parametrize(
    ("key", "data"),
    [
        ("index.json", b"{"),
        ("index.json", b"[]"),
        ("index.json", b'{"manifests": [1]}'),
        ("oci-layout", b'{"imageLayoutVersion": "2.0.0"}'),
        ("oci-layout", b""),
    ],
)
def test_what_is_no_layout_of_this_version_is_left_alone(store, registry, key, data):
    store.put(key, data)
    registry.image("a", "v1")
    with pytest.raises(RefusedError):
        export(registry, OciLayoutTarget(store))
    assert store.get(key) == data


@pytest.mark.parametrize(("repository", "tag"), [("../a", "v1"), ("a", "../v1"), ("a", "")])
def test_no_hostile_name_is_written(store, repository, tag):
    with pytest.raises(RefusedError):
        OciLayoutTarget(store).put_tag(repository, tag, digest_of(b""))
    with pytest.raises(RefusedError):
        OciLayoutTarget(store).put_small_blob("sha256:../x", b"")
