from __future__ import annotations

import random
import subprocess
import threading
from shutil import which

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_build import RUN, digest_of

from regvault.errors import VaultDamagedError
from regvault.storage.memory import MemoryStore
from regvault.vault.cache import CatalogCache
from regvault.vault.catalog import MERGE_AT, Catalog
from regvault.vault.keys import blob_key, parse_segment_key, segment_key
from regvault.vault.segment import Location, Segment, parse_line, write_segment

DIGESTS = [digest_of(b"%d" % n, a) for n in range(30) for a in ("sha256", "sha384", "sha512")]
PLACES = st.builds(
    lambda digest, key, offset, length, size, proof: Location(
        digest, key or blob_key(digest), offset, length, size, proof
    ),
    st.sampled_from(DIGESTS),
    st.sampled_from(["", "packs/a.tar", "meta/b.tar.zst", "packs/c.tar"]),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    st.sampled_from(["store", "regvault"]),
)


def one_place(place):
    return place.digest, place.key


def write(store, places, level=0, run=RUN, supersedes=()):
    lines = sorted(place.line() for place in places)
    key = write_segment(store, lines, level=level, run=run, supersedes=supersedes)
    return Segment(store, parse_segment_key(key))


def large(count=20_000, seed=0):
    rng = random.Random(seed)
    return sorted(
        Location(
            digest_of(rng.randbytes(8)),
            f"packs/{rng.randrange(100):064x}.tar",
            rng.randrange(1 << 26),
            9,
            9,
            "regvault",
        )
        for _ in range(count)
    )


@given(st.lists(PLACES, min_size=1, unique_by=one_place))
def test_a_look_up_finds_what_a_full_scan_finds(places):
    segment = write(MemoryStore(), places)
    scanned = [parse_line(line) for line in segment.read()]
    assert sorted(scanned) == sorted(places)
    for digest in DIGESTS:
        assert sorted(segment.lookup(digest)) == sorted(p for p in places if p.digest == digest)


def test_many_lines_of_one_digest_that_fill_frames_are_all_found():
    digest, other = digest_of(b"x"), digest_of(b"y")
    places = [Location(digest, f"packs/{n:064x}.tar", n, 1, 1, "store") for n in range(6000)]
    segment = write(MemoryStore(), [*places, Location(other, blob_key(other), 0, 1, 1, "store")])
    assert len(segment.table().frames) > 3
    assert segment.lookup(digest) == places
    assert len(segment.lookup(other)) == 1


def test_a_cold_look_up_is_two_small_range_reads():
    store = MemoryStore()
    places = large()
    name = write(store, places).name
    reads = []

    class Counting:
        def get(self, key, *, start=0, length=None):
            data = store.get(key, start=start, length=length)
            reads.append(len(data))
            return data

    for place in places[::4000]:
        reads.clear()
        assert Segment(Counting(), name).lookup(place.digest) == [place]
        assert len(reads) <= 3  # a digest may begin in the frame before
        assert sum(reads) < 500_000


def test_a_table_longer_than_the_first_read_is_read_again():
    store = MemoryStore()
    superseded = [
        segment_key(0, DIGESTS[0], DIGESTS[0], RUN, digest_of(b"%d" % n)[7:]) for n in range(600)
    ]
    segment = write(store, large(10), 1, supersedes=superseded)
    assert segment.table().supersedes == superseded


def test_threads_that_share_a_segment_find_their_own_lines():
    store, places = MemoryStore(), large(12_000)
    segment = write(store, places)
    wrong = []

    def look(seed):
        rng = random.Random(seed)
        for _ in range(60):
            place = rng.choice(places)
            if segment.lookup(place.digest) != [place]:
                wrong.append(place)

    threads = [threading.Thread(target=look, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_zstd_by_hand_prints_the_lines():
    store, places = MemoryStore(), large(9000)
    segment = write(store, places)
    data = store.get(segment.name.key)
    expected = b"".join(sorted(place.line() + b"\n" for place in places))
    opener = zstandard.ZstdDecompressor()
    assert opener.stream_reader(data, read_across_frames=True).read() == expected
    if zstd := which("zstd"):
        done = subprocess.run([zstd, "-dcq"], input=data, capture_output=True, check=True)
        assert done.stdout == expected


@settings(max_examples=60)
@given(st.data())
def test_no_flipped_byte_of_a_segment_is_kept(data):
    store = MemoryStore()
    name = write(store, SOME).name
    whole = bytearray(store.get(name.key))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    store.put(name.key, bytes(whole))
    with pytest.raises(VaultDamagedError):
        list(Segment(store, name).read())
    cache = CatalogCache(None)
    with pytest.raises(VaultDamagedError):
        cache.synchronise([Segment(store, name)])
    assert cache.loaded() == set()
    assert cache.find(SOME[0].digest) == []


SOME = large(200)


def test_a_segment_under_the_name_of_another_is_refused():
    """Invariant 7: each frame of it is whole, and the table fits."""
    store = MemoryStore()
    name = write(store, SOME).name
    other = write(store, large(200, seed=1), run="f" * 24).name
    store.put(name.key, store.get(other.key))
    with pytest.raises(VaultDamagedError, match="what its name says"):
        list(Segment(store, name).read())


def test_a_segment_that_is_cut_off_is_refused():
    store = MemoryStore()
    name = write(store, SOME).name
    whole = store.get(name.key)
    for length in (0, 10, 100, len(whole) - 20, len(whole) - 1):
        store.put(name.key, whole[:length])
        with pytest.raises(VaultDamagedError):
            list(Segment(store, name).read())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"sha256:ab - 0 1 1 store",
        b"md5:" + b"a" * 32 + b" - 0 1 1 store",
        b"sha256:" + b"z" * 64 + b" - 0 1 1 store",
        b"sha256:" + b"a" * 64 + b" - -1 1 1 store",
        b"sha256:" + b"a" * 64 + b" - 0 x 1 store",
        b"sha256:" + b"a" * 64 + b" - 0 1 1",
        b"sha256:" + b"a" * 64 + b" \xff 0 1 1 store",
    ],
)
def test_a_hostile_line_is_refused(line):
    with pytest.raises(VaultDamagedError):
        parse_line(line)


def test_lines_out_of_order_are_a_bug_and_leave_nothing():
    store = MemoryStore()
    with pytest.raises(ValueError, match="out of order"):
        write_segment(store, [b"b", b"a"], level=0, run=RUN)
    assert write_segment(store, [], level=0, run=RUN) is None
    assert list(store.list()) == []


# The catalog and its cache


def test_the_cache_holds_the_segments_of_todays_list_and_no_others(tmp_path):
    store = MemoryStore()
    one, two = large(50, 1), large(50, 2)
    first = write(store, one)
    cache = CatalogCache(str(tmp_path))
    cache.synchronise([first])
    assert cache.find(one[0].digest) == [one[0]]
    second = write(store, two)
    cache.synchronise([first, second])
    assert cache.loaded() == {first.name.key, second.name.key}
    assert cache.find(two[0].digest) == [two[0]]
    cache.synchronise([second])
    assert cache.loaded() == {second.name.key}
    assert cache.find(one[0].digest) == []
    cache.close()
    again = CatalogCache(str(tmp_path))
    assert again.loaded() == {second.name.key}
    assert again.find(two[0].digest) == [two[0]]
    places = sorted((p for p in two if p.key == two[0].key), key=lambda p: (p.offset, p.digest))
    assert again.members(two[0].key) == places


@given(st.lists(st.lists(PLACES, min_size=1, unique_by=one_place), max_size=3))
def test_the_cache_finds_what_the_segments_say(parts):
    store = MemoryStore()
    segments = [write(store, part, run=f"{n:024x}") for n, part in enumerate(parts)]
    cached, plain = Catalog(store, None), Catalog(store, None)
    cached.prepare(1 << 30)
    for digest in DIGESTS:
        keys = {place.key for place in plain.find(digest)}
        assert {place.key for place in cached.find(digest)} == keys
        assert set(cached.find(digest)) <= {p for s in segments for p in s.lookup(digest)}


@pytest.mark.parametrize("damage", ["garbage", "empty", "older"])
def test_a_broken_cache_file_is_made_anew(tmp_path, damage):
    store = MemoryStore()
    segment = write(store, SOME)
    cache = CatalogCache(str(tmp_path))
    cache.synchronise([segment])
    cache.close()
    path = tmp_path / "catalog.sqlite"
    if damage == "garbage":
        path.write_bytes(b"no database at all, but long enough to be one" * 500)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        data = bytearray(path.read_bytes())
        data[60:64] = (999).to_bytes(4, "big")  # user_version
        path.write_bytes(data)
    again = CatalogCache(str(tmp_path))
    again.synchronise([segment])
    assert again.find(SOME[0].digest) == [SOME[0]]
    again.close()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    cache = CatalogCache(str(tmp_path / "file" / "below"))
    cache.synchronise([write(MemoryStore(), SOME)])
    assert cache.find(SOME[0].digest) == [SOME[0]]


def test_eight_segments_become_one_that_supersedes_them():
    store = MemoryStore()
    parts = [large(30, seed) for seed in range(8)]
    segments = [write(store, part, run=f"{n:024x}") for n, part in enumerate(parts)]
    condemned = {parts[0][0].key}
    catalog = Catalog(store, None)
    (key,) = catalog.merge(RUN, condemned)
    name = parse_segment_key(key)
    assert name.level == 1
    assert name.run == RUN
    merged = Segment(store, name)
    assert set(merged.table().supersedes) == {segment.name.key for segment in segments}
    everything = {place for part in parts for place in part}
    expected = {place for place in everything if place.key not in condemned}
    assert {parse_line(line) for line in merged.read()} == expected
    # The old ones are still there: only prune deletes.
    fresh = Catalog(store, None)
    assert [segment.name.key for segment in fresh.segments()] == [key]
    assert {place for one in everything for place in fresh.find(one.digest)} == expected
    assert catalog.merge(RUN, set()) == []


def test_seven_segments_are_left_alone():
    store = MemoryStore()
    for seed in range(7):
        write(store, large(5, seed), run=f"{seed:024x}")
    assert Catalog(store, None).merge(RUN, set()) == []


def test_a_segment_that_was_merged_and_deleted_meanwhile_is_listed_again():
    store = MemoryStore()
    old = write(store, SOME)
    catalog = Catalog(store, None)
    catalog.segments()
    write(store, SOME, level=1, supersedes=[old.name.key])
    store.delete(old.name.key)
    catalog.prepare(1 << 30)
    assert catalog.find(SOME[0].digest) == [SOME[0]]


@pytest.mark.parametrize("harm", [lambda _: b"", lambda data: data[:-9], lambda data: data[9:]])
def test_a_damaged_segment_that_is_superseded_is_no_damage(harm):
    """Where it is locked it stays for weeks, and nobody could mend the catalog until then."""
    store = MemoryStore()
    lowest = write(store, SOME).name.key
    middle = write(store, SOME, level=1, supersedes=[lowest]).name.key
    top = write(store, SOME, level=2, supersedes=[middle])
    store.put(middle, harm(store.get(middle)))
    catalog = Catalog(store, None)
    assert top.name.key in [segment.name.key for segment in catalog.segments()]
    assert middle not in [segment.name.key for segment in catalog.segments()]
    assert catalog.damaged == {}


def test_a_merged_segment_tells_also_what_those_before_it_superseded():
    """A damaged segment that a repair superseded does not come back when that one is damaged."""
    store = MemoryStore()
    lowest = write(store, SOME).name.key
    gone = write(store, SOME, run="e" * 24).name.key
    middle = [write(store, SOME, level=1, supersedes=[lowest, gone]).name.key]
    middle += [write(store, SOME, level=1, run=f"{n:024x}").name.key for n in range(1, MERGE_AT)]
    store.delete(gone)
    (top,) = Catalog(store, None).merge("f" * 24, set())
    (found,) = Catalog(store, None).segments()
    assert found.name.key == top
    assert found.table().supersedes == sorted([lowest, *middle])
    store.put(lowest, b"")
    store.put(middle[0], b"")
    catalog = Catalog(store, None)
    assert [segment.name.key for segment in catalog.segments()] == [top]
    assert catalog.damaged == {}


def test_a_segments_key_says_what_it_holds():
    segment = write(MemoryStore(), SOME)
    assert parse_segment_key(segment.name.key) == segment.name
    assert segment.name.may_hold(SOME[0].digest)
    assert not segment.name.may_hold("sha256:" + "0" * 64)
    assert segment.lookup("sha512:" + "0" * 128) == []
    for key in ("catalog/x", "catalog/0-a-b-c-d.zst", segment.name.key + ".zst"):
        assert parse_segment_key(key) is None
