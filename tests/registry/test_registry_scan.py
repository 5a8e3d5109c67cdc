"""All repositories and blobs are found, in order, whatever lies between them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_build import BASE, Builder, digest_of
from registry_place import Failing, FailingTree, Wrapper

from regvault.errors import (
    NotFoundError,
    ObjectNotFoundError,
    SourceError,
    SourceUnavailableError,
    StoreAccessError,
    StoreMissingError,
    StoreUnavailableError,
)
from regvault.model.registry import Finding, Kind
from regvault.registry.parallel_list import Split, list_in_order
from regvault.registry.reader import DistributionSource
from regvault.registry.scan_flat import Block, in_name_order
from regvault.storage.memory import MemoryStore

if TYPE_CHECKING:
    from registry_place import Place

A = digest_of(b"a")
TRICKY = [
    "0", "a", "a-b", "a-b/c", "a-b/c-d", "a.b", "a.b/x", "a/0", "a/0-1", "a/0/z", "a/b", "a/b-c",
    "a/b/c", "a0", "a0/b", "a_b", "a__b/c", "ab", "b/c/d/e", "b/c-d", "z-1", "z-1-2", "z/1",
]  # fmt: skip
COMPONENT = st.sampled_from(["a", "b", "0", "a-b", "a.b", "a_b", "a0", "a-0", "ab"])
NAMES = st.lists(COMPONENT, min_size=1, max_size=3).map("/".join)


def fill(place, names):
    for name in names:
        place.build.layer(name, A)


class TestOrder:
    def test_repositories_come_in_byte_order_of_their_names(self, place: Place):
        fill(place, TRICKY)
        source = place.source()
        assert list(source.repositories()) == sorted(TRICKY)
        assert [survey.repository for survey in source.surveys()] == sorted(TRICKY)
        some = ["z/1", "a", "a-b", "gone"]
        assert [s.repository for s in source.surveys(some)] == ["a", "a-b", "gone", "z/1"]
        assert source.survey("a").fingerprint in {
            s.fingerprint for s in source.surveys() if s.repository == "a"
        }

    @given(st.sets(NAMES, max_size=12), st.integers(0, 5))
    def test_for_any_names_and_little_memory(self, names, held):
        blocks = [Block(name, keys=["x"]) for name in sorted(names, key=lambda n: n + "/_")]
        by_name = {block.name: block for block in blocks}
        got = [b.name for b in in_name_order(iter(blocks), by_name.get, held_keys=held)]
        assert got == sorted(names)

    @settings(max_examples=25, deadline=None)
    @given(names=st.sets(NAMES, max_size=8))
    def test_for_any_names_in_directories(self, tmp_path_factory, names):
        from regvault.storage.local import LocalStore

        store = LocalStore(tmp_path_factory.mktemp("r"), create=True)
        for name in names:
            Builder(store).layer(name, A)
        source = DistributionSource(store, kind="x")
        assert list(source.repositories()) == sorted(names)
        source.close()

    def test_what_is_held_back_is_bounded(self):
        names = [f"a/{number:04}" for number in range(3000)]
        blocks = [Block(name, keys=["x"] * 10) for name in [*names, "a"]]
        seen = []

        def count(blocks):
            for block in blocks:
                seen.append(block.name)
                yield block

        pulls = []
        ordered = in_name_order(
            count(blocks), lambda name: pulls.append(name) or blocks[-1], held_keys=100
        )
        assert next(ordered).name == "a"
        assert len(seen) <= 12
        assert [block.name for block in ordered] == names
        assert pulls == ["a"]


def test_a_repository_is_what_holds_manifests_or_layers(place: Place):
    place.build.layer("team/layers", A)
    place.build.revision("team/revisions", A)
    place.build.write("repositories/team/uploads/_uploads/1/data", b"x")
    place.build.blob(b"a")
    assert list(place.source().repositories()) == ["team/layers", "team/revisions"]


def test_an_empty_registry_has_nothing(place: Place):
    place.build.blob(b"a")
    source = place.source()
    assert list(source.repositories()) == list(source.surveys()) == list(source.findings()) == []
    assert dict(source.blobs()) == {A: 1}


class TestStrays:
    def test_names_that_no_registry_takes_are_said_and_skipped(self, place: Place):
        fill(place, ["a", "team/b"])
        for name in ("A", "team/-x", "a/b..c"):
            place.build.write(f"repositories/{name}/_layers/sha256/{'0' * 64}/link", b"")
        source = place.source()
        assert list(source.repositories()) == ["a", "team/b"]
        list(source.blobs())
        assert {(f.kind, f.subject) for f in source.findings()} == {
            (Kind.INVALID_NAME, f"repositories/{name}") for name in ("A", "team/-x", "a/b..c")
        }

    def test_strays_among_blobs_and_names(self, place: Place):
        fill(place, ["a"])
        place.build.blob(b"a")
        where = f"blobs/sha256/{A[7:9]}"
        place.build.write(f"{where}/{A[7:]}/data.12ab.tmp", b"half")
        place.build.write(f"{where}/nothex/data", b"x")
        place.build.write("blobs/stray", b"x")
        place.build.write("repositories/stray.tmp", b"x")
        place.build.write("repositories/team/stray", b"x")
        if place.root:
            os.utime(place.root / f"{BASE}/{where}/{A[7:]}/data", ns=(0, 0))
        source = place.source()
        assert dict(source.blobs()) == {A: 1}
        found = {(f.kind, f.subject.removesuffix("/data")) for f in source.findings()}
        assert found == {
            (Kind.TEMPORARY_FILE, f"{where}/{A[7:]}/data.12ab.tmp"),
            (Kind.UNKNOWN_FILE, f"{where}/nothex"),
            (Kind.UNKNOWN_FILE, "blobs/stray"),
            (Kind.TEMPORARY_FILE, "repositories/stray.tmp"),
            (Kind.UNKNOWN_FILE, "repositories/team/stray"),
        }
        assert all(finding.repository == "" for finding in source.findings())

    def test_an_unreadable_namespace_is_said(self, tree: Place):
        fill(tree, ["a/x", "b", "c"])
        source = tree.source(FailingTree(tree.store, f"{BASE}/repositories/a"))
        surveys = list(source.surveys())
        assert [survey.repository for survey in surveys] == ["a", "b", "c"]
        assert [bool(survey.fingerprint) for survey in surveys] == [False, True, True]
        (finding,) = surveys[0].links().findings[:1]
        assert finding.kind is Kind.UNREADABLE
        assert finding.repository == "a"
        assert any(f.kind is Kind.UNREADABLE for f in source.findings())

    def test_a_namespace_that_could_not_be_read_once_is_never_taken_for_empty(self, tree: Place):
        """Its survey succeeds, and still what lies below it was not seen."""
        fill(tree, ["a/x", "b"])
        broken = FailingTree(tree.store, f"{BASE}/repositories/a")
        source = tree.source(broken)
        assert list(source.repositories()) == ["a", "b"]
        broken._part = "none"
        survey = source.survey("a")
        assert survey.fingerprint == ""
        assert [finding.kind for finding in survey.links().findings] == [Kind.UNREADABLE]

    def test_unreadable_blobs_are_said(self, tree: Place):
        tree.build.blob(b"a")
        other = tree.build.blob(b"b")
        source = tree.source(FailingTree(tree.store, f"blobs/sha256/{A[7:9]}"))
        assert dict(source.blobs()) == {other: 1}
        (finding,) = source.findings()
        assert finding[:3] == ("", Kind.UNREADABLE, f"blobs/sha256/{A[7:9]}")


class TestRaces:
    """What vanishes or appears while it is looked at."""

    @pytest.mark.parametrize("method", ["scandir", "stat_children", "read_children"])
    def test_a_directory_that_vanishes_stops_nothing(self, tree: Place, method):
        for name in ("a", "b", "c"):
            tree.build.image(name, "v1", seed=name)
        kept = tree.source().survey("c")

        class Vanishing(FailingTree):
            gone = False

        def vanish(self, prefix, *args, **words):
            if f"{BASE}/repositories/b" in prefix and not self.gone:
                self.gone = True
                os.rename(tree.root / f"{BASE}/repositories/b", tree.root / "moved")
            return getattr(self._store, method)(prefix, *args, **words)

        setattr(Vanishing, method, vanish)
        source = tree.source(Vanishing(tree.store, "none"))
        surveys = {survey.repository: survey for survey in source.surveys()}
        assert surveys.keys() >= {"a", "c"}
        assert surveys["c"].fingerprint == kept.fingerprint
        for survey in surveys.values():
            assert all(f.kind is not Kind.UNREADABLE for f in survey.links().findings)

    @pytest.mark.parametrize("call", range(9))
    def test_a_push_meanwhile_shows_no_tag_without_its_image(self, tree: Place, call):
        """A survey looks in the reverse of the order in which a registry writes."""
        tree.build.image("a", "v1", seed=1)
        pushed = []
        calls = 0

        class Pushing(FailingTree):
            pass

        def slowly(method):
            def look(self, *args, **words):
                nonlocal calls
                if calls == call:
                    pushed.append(tree.build.image("a", "v2", seed=2))
                calls += 1
                return getattr(self._store, method)(*args, **words)

            return look

        for method in ("scandir", "stat_children", "read_children"):
            setattr(Pushing, method, slowly(method))
        links = tree.source(Pushing(tree.store, "none")).survey("a").links()

        (image,) = pushed
        if "v2" in [tag.name for tag in links.tags if tag.current]:
            assert image.digest in links.revisions
        if image.digest in links.revisions:
            assert {image.config, *image.layers} <= set(links.layers)

    def test_links_that_change_after_the_survey_change_the_next_fingerprint(self, place: Place):
        place.build.image("a", "v1", seed=1)
        survey = place.source().survey("a")
        new = place.build.image("a", "v1", seed=2)
        links = survey.links()
        assert place.source().survey("a").fingerprint != survey.fingerprint
        assert links.tags[0].name == "v1"
        assert new.digest in place.links("a").revisions

    def test_a_repository_that_appears_meanwhile_breaks_no_order(self, flat: Place):
        fill(flat, ["a-b", "c"])
        source = flat.source()
        surveys = source.surveys()
        first = next(surveys)
        fill(flat, ["a"])
        assert [first.repository, *(s.repository for s in surveys)] == ["a-b", "c"]


class TestBlobs:
    def test_all_in_order_with_their_sizes(self, place: Place):
        blobs = {
            place.build.blob(data, digest=digest_of(data, algorithm)): len(data)
            for algorithm in ("sha512", "sha256", "sha384")
            for data in (b"x" * n for n in range(20))
        }
        assert list(place.source().blobs()) == sorted(blobs.items())

    def test_a_blob_is_read_or_is_not_there(self, place: Place):
        place.build.blob(b"abc")
        digest, missing = digest_of(b"abc"), digest_of(b"missing")
        source = place.source()
        reader, size = source.open_blob(digest)
        with reader:
            assert (reader.read(), size) == (b"abc", 3)
        assert source.read_blob(digest, limit=3) == b"abc"
        assert source.stat_blob(digest) == 3
        assert source.stat_blob(missing) is None
        store, key = source.blob_object(digest)
        assert store.get(key) == b"abc"
        with pytest.raises(SourceError, match="more than 2"):
            source.read_blob(digest, limit=2)
        for call in (source.open_blob, lambda d: source.read_blob(d, limit=9)):
            with pytest.raises(ObjectNotFoundError):
                call(missing)
            with pytest.raises(SourceError):
                call("sha256:../../x")

    def test_errors_of_the_store_are_the_source_s(self, place: Place):
        digest = place.build.blob(b"abc")

        class Broken(Failing):
            def head(self, key):
                self._check(key)

            def open(self, key, *, start=0, length=None):
                self._check(key)

        for error, expected in (
            (StoreAccessError, SourceError),
            (StoreUnavailableError, SourceUnavailableError),
            (StoreMissingError, SourceUnavailableError),
        ):
            source = DistributionSource(Broken(place.store, "data", error), kind="x")
            for call in (source.open_blob, source.stat_blob):
                with pytest.raises(expected):
                    call(digest)

    def test_a_stream_that_breaks_is_the_source_s_fault(self):
        class Breaking(Wrapper):
            def head(self, key):
                return self._store.head(key)

            def open(self, key, *, start=0, length=None):
                class Reader:
                    size = 3

                    def read(self, _size=-1):
                        raise StoreUnavailableError("gone")

                    readinto = read

                return Reader()

        build = Builder(MemoryStore())
        digest = build.blob(b"abc")
        reader, _ = DistributionSource(Breaking(build.store), kind="x").open_blob(digest)
        with pytest.raises(SourceUnavailableError):
            reader.read()
        with pytest.raises(SourceUnavailableError):
            reader.readinto(bytearray(1))
        assert not hasattr(reader, "fileno")


class TestCheck:
    def test_a_registry_is_one(self, place: Place):
        fill(place, ["a"])
        place.source().check()

    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            (None, "holds `docker/`"),
            ("blobs/x/y", "three levels further up"),
            ("registry/v2/x", "one level further up"),
        ],
    )
    def test_no_registry_is_said_with_what_to_do(self, place: Place, key, hint):
        if key:
            place.store.put(key, b"")
        with pytest.raises(NotFoundError) as caught:
            place.source().check()
        assert hint in caught.value.hint


class TestParallelList:
    @settings(deadline=None, max_examples=40)
    @given(
        st.sets(
            st.text("abc/", min_size=1, max_size=5).filter(lambda k: "//" not in k), max_size=40
        ),
        st.sets(st.text("abc/", max_size=3), max_size=6),
        st.integers(1, 4),
    )
    def test_it_is_what_one_list_is(self, names, bounds, threads):
        store = MemoryStore()
        for name in names:
            store.put("p/" + name.strip("/") + "!", b"")
        expected = list(store.list("p/"))
        with mock.patch("regvault.registry.parallel_list._CHUNK", 3):
            chunks = list_in_order(
                store,
                "p/",
                threads=threads,
                split=lambda last: Split(["p/" + bound for bound in bounds] + [last]),
                serial_keys=3,
            )
            got = [entry for chunk in chunks for entry in chunk]
        assert got == expected

    def many(self):
        store = MemoryStore()
        for number in range(12_000):
            store._store(f"p/{number:05}", b"", "")
        return store

    def split(self, _last):
        return Split([f"p/{number:02}" for number in range(12)], self.whole)

    whole = False

    @pytest.mark.parametrize("whole", [False, True])
    def test_many_keys_in_order(self, whole):
        self.whole = whole
        store = self.many()
        chunks = list_in_order(store, "p/", threads=4, split=self.split)
        keys = [entry.key for chunk in chunks for entry in chunk]
        assert keys == sorted(store._objects)

    def test_one_that_fails_is_raised_and_leaves_no_thread(self):
        store = self.many()

        class Broken(Wrapper):
            def list(self, prefix="", *, after=""):
                for entry in self._store.list(prefix, after=after):
                    if entry.key == "p/07500":
                        raise StoreUnavailableError("gone")
                    yield entry

        before = threading.active_count()
        chunks = list_in_order(Broken(store), "p/", threads=4, split=self.split)
        keys = []
        with pytest.raises(StoreUnavailableError):
            keys.extend(entry.key for chunk in chunks for entry in chunk)
        assert threading.active_count() == before

    def test_one_that_is_left_alone_leaves_no_thread(self):
        before = threading.active_count()
        chunks = list_in_order(self.many(), "p/", threads=4, split=self.split)
        for _ in range(6):
            next(chunks)
        chunks.close()
        assert threading.active_count() == before


def test_many_repositories_are_split_and_all_found(monkeypatch):
    monkeypatch.setattr("regvault.registry.parallel_list._CHUNK", 10)
    store = MemoryStore()
    build = Builder(store)
    for number in range(60):
        build.image(f"team-{number % 5}/app-{number}", "v1", seed=number)
        build.image(f"app{number}", "v1", seed=number)
    monkeypatch.setattr("regvault.registry.walk_flat.list_in_order", eager)
    source = DistributionSource(store, kind="x", threads=4)
    plain = {s.repository: s.links() for s in source.surveys()}
    assert len(plain) == 120
    assert list(plain) == sorted(plain)
    for name, links in plain.items():
        assert links == source.survey(name).links()
    assert len(dict(source.blobs())) == 240
    source.close()


def eager(store, prefix, *, threads, split):
    return list_in_order(store, prefix, threads=threads, split=split, serial_keys=100)


def test_a_slow_file_system_is_asked_by_several_threads(tree: Place, monkeypatch):
    monkeypatch.setattr("regvault.registry.pace._SLOW_S", 0.0)
    monkeypatch.setattr("regvault.registry.pace._TRIAL_FILES", 1)
    names = [f"r{number:03}" for number in range(60)]
    fill(tree, names)
    plain = {s.repository: s.fingerprint for s in tree.source(threads=1).surveys()}
    threads = set()

    class Watching(FailingTree):
        def scandir(self, prefix):
            threads.add(threading.get_ident())
            return self._store.scandir(prefix)

    found = tree.source(Watching(tree.store, "none"), threads=4).surveys()
    assert {s.repository: s.fingerprint for s in found} == plain
    assert list(plain) == names
    assert len(threads) > 1


def test_bad_names_are_no_paths(place: Place):
    source = place.source()
    for name in ("../x", "", "A"):
        with pytest.raises(SourceError):
            source.survey(name)
        with pytest.raises(SourceError):
            source.surveys([name])


def test_a_finding_sorts_and_compares():
    assert Finding("a", Kind.UPLOAD, "x") < Finding("b", Kind.UPLOAD, "x")
