"""A restore into a registry's storage: right places, nothing deleted, nothing outside."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from registry_build import BASE, digest_of
from registry_place import Wrapper

from regvault.errors import DigestMismatchError, ObjectNotFoundError, RefusedError
from regvault.registry.writer import DistributionTarget

if TYPE_CHECKING:
    from registry_place import Place

A, B = digest_of(b"a"), digest_of(b"b")


def keys(place):
    return {entry.key for entry in place.store.list()}


def test_what_is_written_is_what_a_registry_would_have(place: Place):
    other = type(place)(type(place.store)(), place.flavour) if place.root is None else None
    target = DistributionTarget(place.store)
    target.put_blob(A, io.BytesIO(b"a"), 1)
    target.put_small_blob(B, b"b")
    assert target.put_layer("team/app", A)
    assert target.put_revision("team/app", B)
    assert target.put_history("team/app", "v1", B)
    target.put_tag("team/app", "v1", B)
    target.barrier()
    if other:
        for data in (b"a", b"b"):
            other.build.blob(data)
        other.build.layer("team/app", A)
        other.build.revision("team/app", B)
        other.build.tag("team/app", "v1", B)
        assert {e.key: place.store.get(e.key) for e in place.store.list()} == {
            e.key: other.store.get(e.key) for e in other.store.list()
        }
    links = place.links("team/app")
    assert links.findings == ()
    assert links.layers == (A,)
    assert links.tags[0].current == B
    assert dict(place.source().blobs()) == {A: 1, B: 1}
    assert target.blob_size(A) == 1
    with target.open_blob(A) as reader:
        assert reader.read() == b"a"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_bytes_that_are_not_the_digest_are_refused_and_what_was_there_stays(place, algorithm):
    digest = digest_of(b"right", algorithm)
    target = DistributionTarget(place.store)
    for data in (b"wrong", b"righ", b"rightt"):
        with pytest.raises(DigestMismatchError):
            target.put_blob(digest, io.BytesIO(data), 5)
    assert target.blob_size(digest) is None
    with pytest.raises(ObjectNotFoundError):
        target.open_blob(digest)
    target.put_blob(digest, io.BytesIO(b"right"), 5)
    with pytest.raises(DigestMismatchError):
        target.put_blob(digest, io.BytesIO(b"wrong"), 5)
    assert place.source().read_blob(digest, limit=9) == b"right"


def test_a_damaged_blob_is_replaced(place: Place):
    place.build.blob(b"", digest=A)
    target = DistributionTarget(place.store)
    assert target.blob_size(A) == 0
    target.put_blob(A, io.BytesIO(b"a"), 1)
    assert target.blob_size(A) == 1


@pytest.mark.parametrize("damage", [None, b"", B.encode(), A.encode() + b"\n"])
def test_good_links_are_left_alone_and_wrong_ones_replaced(place: Place, damage):
    links = [
        place.build.layer("a", A, damage),
        place.build.revision("a", A, damage),
        place.build.history("a", "v1", A, damage),
    ]
    before = [place.store.head(key) for key in links]
    target = DistributionTarget(place.store)
    wrote = [
        target.put_layer("a", A),
        target.put_revision("a", A),
        target.put_history("a", "v1", A),
    ]
    assert wrote == [damage is not None] * 3
    if damage is None:
        assert [place.store.head(key) for key in links] == before
    assert [place.store.get(key) for key in links] == [A.encode()] * 3


def test_a_new_link_beside_old_ones_is_written(place: Place):
    place.build.layer("a", A)
    place.build.tag("a", "v1", A)
    target = DistributionTarget(place.store)
    assert target.put_layer("a", B)
    assert target.put_history("a", "v1", B)
    assert target.put_history("a", "v2", B)
    assert not target.put_layer("a", B)


def test_where_a_tag_points(place: Place):
    target = DistributionTarget(place.store)
    assert target.tag("a", "v1") is None
    target.put_tag("a", "v1", A)
    assert target.tag("a", "v1") == A
    target.put_tag("a", "v1", B)
    assert target.tag("a", "v1") == B
    place.build.current("a", "v1", A, b"")
    assert target.tag("a", "v1") == ""


BAD_NAMES = ["../../etc", "a/../b", "/a", "a//b", "A", "", "a\n", "_layers", "x" * 300]
BAD_TAGS = ["..", "../x", "a/b", "", "a\0", "a\n"]
BAD_DIGESTS = ["sha256:../../x", "sha256:" + "A" * 64, "", "md5:x", f"{A}\n", f"{A}/../x"]


def test_no_hostile_name_becomes_a_path(place: Place):
    target = DistributionTarget(place.store)
    calls = []
    for name in BAD_NAMES:
        calls += [
            lambda name=name: target.put_layer(name, A),
            lambda name=name: target.put_revision(name, A),
            lambda name=name: target.put_history(name, "v1", A),
            lambda name=name: target.put_tag(name, "v1", A),
            lambda name=name: target.tag(name, "v1"),
        ]
    for tag in BAD_TAGS:
        calls += [
            lambda tag=tag: target.put_history("a", tag, A),
            lambda tag=tag: target.put_tag("a", tag, A),
        ]
    for digest in BAD_DIGESTS:
        calls += [
            lambda digest=digest: target.put_layer("a", digest),
            lambda digest=digest: target.put_revision("a", digest),
            lambda digest=digest: target.put_history("a", "v1", digest),
            lambda digest=digest: target.put_tag("a", "v1", digest),
            lambda digest=digest: target.put_blob(digest, io.BytesIO(b""), 0),
            lambda digest=digest: target.put_small_blob(digest, b""),
            lambda digest=digest: target.blob_size(digest),
            lambda digest=digest: target.open_blob(digest),
        ]
    for call in calls:
        with pytest.raises(RefusedError):
            call()
    assert keys(place) == set()


def test_nothing_is_deleted_and_durable_links_are_not_bought_one_by_one(place: Place):
    calls = []

    class Watching(Wrapper):
        pass

    for method in ("put", "put_stream", "delete", "barrier"):

        def watch(self, *args, method=method, **words):
            calls.append(method)
            return getattr(self._store, method)(*args, **words)

        setattr(Watching, method, watch)
    if place.flavour == "tree":
        for method in (
            "scandir",
            "sweep_seen",
            "stat_children",
            "read_children",
            "create_files",
        ):
            setattr(Watching, method, property(lambda s, m=method: getattr(s._store, m)))
    target = DistributionTarget(Watching(place.store))
    target.put_layer("a", A)
    target.put_tag("a", "v1", A)
    target.put_small_blob(A, b"a")
    target.barrier()
    one = "put_stream" if place.flavour == "tree" else "put"
    assert calls == [one, one, one, "barrier"]
    assert f"{BASE}/repositories/a/_manifests/tags/v1/current/link" in keys(place)


def test_a_tag_that_is_pushed_meanwhile_stays_where_a_store_can_tell(place: Place):
    tells = place.flavour == "tree"  # on object storage the last one wins
    target = DistributionTarget(place.store)
    target.put_tag("a", "pushed", B)
    target.put_tag("a", "same", A)
    tags = {"pushed": A, "same": A, "new": A}
    assert target.put_tags("a", tags, only_new=tags) == (["pushed"] if tells else [])
    now = {tag: target.tag("a", tag) for tag in tags}
    assert now == {"pushed": B if tells else A, "same": A, "new": A}
    assert target.put_tags("a", tags) == []
    assert target.tag("a", "pushed") == A
