"""What links say, in each state that a push, a deletion or a crash may leave behind."""

from __future__ import annotations

import os

import pytest
from registry_build import BASE, digest_of
from registry_place import Failing, FailingTree, Place, Wrapper

from regvault.errors import ObjectNotFoundError, SourceUnavailableError, StoreUnavailableError
from regvault.model.registry import Finding, Kind, RepositoryLinks, TagLinks

EMPTY = RepositoryLinks((), (), (), ())
A, B = digest_of(b"a"), digest_of(b"b")


def test_everything_that_a_repository_has_is_listed_in_order(place: Place):
    one = place.build.image("team/app", "v1", "latest", seed=1)
    two = place.build.image("team/app", "latest", seed=2)
    by_digest = place.build.image("team/app", seed=3)
    links = place.links("team/app")
    both = tuple(sorted({one.digest, two.digest}))
    assert links.tags == (
        TagLinks("latest", two.digest, both),
        TagLinks("v1", one.digest, (one.digest,)),
    )
    assert links.revisions == tuple(sorted({one.digest, two.digest, by_digest.digest}))
    assert links.layers == tuple(
        sorted({d for i in (one, two, by_digest) for d in (i.config, *i.layers)})
    )
    assert links.findings == ()
    assert place.sleeps == []


def test_what_is_nested_in_a_repository_is_not_its_own(place: Place):
    outer = place.build.image("a", "v1", seed=1)
    place.build.image("a/b", "v2", seed=2)
    place.build.image("a-b", "v3", seed=3)
    place.build.image("a/0", "v4", seed=4)
    assert [tag.name for tag in place.links("a").tags] == ["v1"]
    assert place.links("a").revisions == (outer.digest,)


def test_a_repository_that_is_gone_is_empty(place: Place):
    place.build.image("a", "v1")
    assert place.links("gone") == EMPTY
    assert place.source().survey("gone").fingerprint


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_digests_of_each_algorithm(place: Place, algorithm):
    digest = digest_of(b"x", algorithm)
    place.build.layer("a", digest)
    place.build.revision("a", digest)
    place.build.tag("a", "v1", digest)
    assert place.links("a") == RepositoryLinks(
        (TagLinks("v1", digest, (digest,)),), (digest,), (digest,), ()
    )


def test_an_empty_link_whose_path_says_it_all_is_damage_and_still_listed(place: Place):
    place.build.layer("a", A, b"")
    place.build.revision("a", B, b"")
    place.build.tag("a", "v1", B)
    links = place.links("a")
    assert links.layers == (A,)
    assert links.revisions == (B,)
    assert {(f.kind, f.subject) for f in links.findings} == {
        (Kind.LINK_EMPTY, A),
        (Kind.LINK_EMPTY, B),
    }


@pytest.mark.parametrize("content", [B.encode(), A.encode() + b"\n", b"\xff", A.encode()[:40]])
def test_a_link_that_says_something_else_than_its_path_is_damage_and_still_listed(place, content):
    place.build.layer("a", A, content)
    place.build.revision("a", A, content)
    place.build.history("a", "v1", A, content)
    place.build.current("a", "v1", A)
    links = place.links("a")
    assert links.layers == links.revisions == (A,)
    assert links.tags == (TagLinks("v1", A, (A,)),)
    assert {(f.kind, f.subject, f.detail) for f in links.findings} == {
        (Kind.LINK_INVALID, A, "layer link"),
        (Kind.LINK_INVALID, A, "revision link"),
        (Kind.LINK_INVALID, A, "history of :v1"),
    }


@pytest.mark.parametrize("content", [b"", b"rubbish", b"md5:00", A.encode() + b"\n"])
def test_a_tag_whose_link_is_lost_keeps_its_history(place: Place, content):
    place.build.revision("a", A)
    place.build.history("a", "v1", A)
    place.build.current("a", "v1", A, content)
    links = place.links("a")
    assert links.tags == (TagLinks("v1", None, (A,)),)
    (finding,) = links.findings
    assert finding[:4] == ("a", Kind.TAG_UNREADABLE, ":v1", ":v1")


def test_a_tag_without_current_is_a_crash_or_a_deletion(place: Place):
    place.build.revision("a", A)
    place.build.history("a", "v1", A)
    links = place.links("a")
    assert links.tags == (TagLinks("v1", None, (A,)),)
    assert links.findings == (Finding("a", Kind.TAG_WITHOUT_CURRENT, ":v1"),)


def test_a_tag_that_points_to_a_revision_that_is_gone_is_listed_as_it_is(place: Place):
    place.build.tag("a", "v1", A)
    links = place.links("a")
    assert links.tags == (TagLinks("v1", A, (A,)),)
    assert links.revisions == ()


def test_an_empty_tag_directory_is_no_tag(tree: Place):
    tree.build.image("a", "v1")
    (tree.root / BASE / "repositories/a/_manifests/tags/v2/current").mkdir(parents=True)
    links = tree.links("a")
    assert [tag.name for tag in links.tags] == ["v1"]
    assert links.findings == (Finding("a", Kind.EMPTY_TAG, ":v2"),)


def test_temporary_files_are_named_and_hide_nothing(place: Place):
    place.build.image("a", "v1")
    layer = place.build.layer("a", A)
    current = "repositories/a/_manifests/tags/v1/current/link.0d1c.tmp"
    only = "repositories/a/_manifests/tags/v2/current/link.0d1c.tmp"
    beside = layer.removeprefix(f"{BASE}/") + ".77aa.tmp"
    for key in (current, only, beside):
        place.build.write(key, b"sha256:half")
    if place.root:
        age_links(place, seconds=60)
    links = place.links("a")
    assert A in links.layers
    assert [tag.name for tag in links.tags] == ["v1"]
    assert {(f.kind, f.subject) for f in links.findings} == {
        (Kind.TEMPORARY_FILE, current),
        (Kind.TEMPORARY_FILE, only),
        (Kind.TEMPORARY_FILE, beside),
        (Kind.EMPTY_TAG, ":v2"),
    }


def age_links(place: Place, seconds: float) -> None:
    """Let all links be older than what was done to their directories since."""
    for link in place.root.rglob("link"):
        status = link.stat()
        os.utime(link, ns=(status.st_atime_ns, status.st_mtime_ns - int(seconds * 1e9)))


def test_a_deleted_revision_leaves_a_directory_that_is_nothing(tree: Place):
    one = tree.build.image("a", "v1", seed=1)
    tree.store.delete(tree.build.revision("a", A))
    links = tree.links("a")
    assert links.revisions == (one.digest,)
    assert links.findings == ()


def test_uploads_are_noticed_and_are_no_links(place: Place):
    place.build.image("a", "v1")
    place.build.write("repositories/a/_uploads/1234/startedat", b"now")
    place.build.write("repositories/a/_uploads/1234/data", b"half")
    assert place.kinds("a") == [(Kind.UPLOAD, "repositories/a/_uploads/1234")]


def test_what_no_registry_writes_is_noticed_and_stops_nothing(place: Place):
    place.build.image("a", "v1")
    strays = [
        "repositories/a/_layers/sha256/nothex/link",
        "repositories/a/_manifests/revisions/sha256/abc/link",
    ]
    for key in strays:
        place.build.write(key, b"x")
    place.build.write("repositories/a/_manifests/tags/-v/current/link", A.encode())
    found = place.kinds("a")
    assert (Kind.INVALID_NAME, "repositories/a/_manifests/tags/-v") in found
    unknown = {
        subject.removesuffix("/link") for kind, subject in found if kind is Kind.UNKNOWN_FILE
    }
    assert unknown == {key.removesuffix("/link") for key in strays}


class TestEmptyLinksAreReadAgain:
    """A registry 2.8 or 3.0 truncates a link before it writes it."""

    def test_at_least_three_times_over_a_second_with_one_wait_for_all(self, tree: Place):
        for digest in (A, B):
            tree.build.layer("a", digest, b"")
            tree.build.revision("a", digest, b"")
        tree.build.current("a", "v1", A, b"")
        links = tree.links("a")
        assert len(tree.sleeps) >= 3
        assert 1 <= sum(tree.sleeps) < 3
        assert len(links.findings) == 5

    @pytest.mark.parametrize("round_", [1, 2, 3])
    def test_and_what_was_only_being_written_is_no_damage(self, tree: Place, round_):
        tree.build.revision("a", A)
        tree.build.layer("a", A, b"")
        tree.build.current("a", "v1", A, b"")
        survey = tree.source().survey("a")

        def finish():
            if len(tree.sleeps) == round_:
                tree.build.layer("a", A)
                tree.build.current("a", "v1", A)

        tree.on_sleep = finish
        links = survey.links()
        assert links.findings == ()
        assert links.tags == (TagLinks("v1", A, ()),)
        assert len(tree.sleeps) == round_

    def test_and_what_vanished_meanwhile_is_not_listed(self, tree: Place):
        key = tree.build.layer("a", A, b"")
        tree.on_sleep = lambda: tree.store.delete(key)
        assert tree.links("a") == EMPTY


@pytest.mark.parametrize("part", ["tags/v1/current", "tags/v1/"])
def test_one_unreadable_link_hides_no_other(place: Place, part):
    one = place.build.image("a", "v1", "v2", seed=1)
    place.build.image("a", "v2", seed=2)
    wrapper = FailingTree if place.flavour == "tree" else Failing
    if place.flavour == "md5":
        place.build.current("a", "v1", A)  # not told by its ETag
    survey = place.source(wrapper(place.store, part)).survey("a")
    if place.flavour == "tree":
        assert survey.fingerprint == ""
    links = survey.links()
    assert one.digest in links.revisions
    assert {tag.name: tag.current for tag in links.tags}["v2"] is not None
    assert any(f.kind is Kind.UNREADABLE and "v1" in f.subject for f in links.findings)


@pytest.mark.parametrize("part", ["/_layers/sha256", "/_manifests/revisions", "/_manifests/tags"])
def test_an_unreadable_directory_is_said_and_never_taken_for_an_unchanged_one(tree: Place, part):
    tree.build.image("a", "v1", seed=1)
    survey = tree.source(FailingTree(tree.store, part)).survey("a")
    assert survey.fingerprint == ""
    assert any(f.kind is Kind.UNREADABLE and "denied" in f.detail for f in survey.links().findings)


def test_a_source_that_is_out_of_reach_ends_the_scan(place: Place):
    place.build.image("a", "v1", seed=1)
    wrapper = FailingTree if place.flavour == "tree" else Failing
    store = wrapper(place.store, "tags/v1", StoreUnavailableError)
    place.build.current("a", "v1", A)
    surveys = place.source(store).surveys()
    with pytest.raises(SourceUnavailableError):
        [survey.links() for survey in surveys]


class TestObjectStorage:
    def test_where_tags_point_follows_from_list_alone(self, md5: Place):
        for number in range(5):
            md5.build.image("a", f"v{number}", "latest", seed=number)
        links = md5.links("a")
        assert len(links.tags) == 6
        assert all(tag.current for tag in links.tags)
        assert md5.store.gets == []

    def test_a_tag_that_list_cannot_tell_is_read(self, md5: Place):
        md5.build.image("a", "v1", seed=1)
        md5.build.current("a", "v2", A)
        links = md5.links("a")
        assert {tag.name: tag.current for tag in links.tags}["v2"] == A
        assert len(md5.store.gets) == 1

    def test_opaque_etags_do_not_mean_one_get_a_link(self, flat: Place):
        gets = []

        class Counting(Wrapper):
            def get(self, key, *, start=0, length=None):
                gets.append(key)
                return self._store.get(key, start=start, length=length)

        for number in range(100):
            flat.build.layer("a", digest_of(b"%d" % number))
        links = flat.links("a")
        assert len(links.layers) == 100
        source = flat.source(Counting(flat.store))
        assert source.survey("a").links() == links
        assert 0 < len(gets) <= 20

    def test_a_wrong_link_of_the_right_size_is_found_by_its_etag(self, md5: Place):
        for number in range(100):
            md5.build.layer("a", digest_of(b"%d" % number))
        md5.build.layer("a", A, B.encode())
        (finding,) = md5.links("a").findings
        assert (finding.kind, finding.subject) == (Kind.LINK_INVALID, A)

    def test_a_link_that_vanishes_between_list_and_get_stops_nothing(self, flat: Place):
        flat.build.image("a", "v1", seed=1)
        key = flat.build.current("a", "v2", A)
        survey = flat.source().survey("a")
        flat.store.delete(key)
        with pytest.raises(ObjectNotFoundError):
            flat.store.get(key)
        assert [tag.name for tag in survey.links().tags] == ["v1"]
