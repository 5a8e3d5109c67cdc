from __future__ import annotations

import hashlib
import random
import zlib
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from regvault.errors import VaultDamagedError
from regvault.vault.frames import compress, decompress
from regvault.vault.keys import tree_key
from regvault.vault.tree import ChunkRef, Node, Tree, TreeBuilder, diff, parse

LINES = st.lists(
    st.binary(min_size=1, max_size=40).filter(lambda line: b"\n" not in line), unique=True
).map(sorted)


class Chunks:
    """Keeps chunks in memory, and counts what is read."""

    def __init__(self, *, keyed=False):
        self.keyed = keyed
        self.data = {}
        self.loaded = []

    def put(self, data):
        sha256 = hashlib.sha256(data).hexdigest()
        self.data[f"sha256:{sha256}"] = data
        return ChunkRef(f"sha256:{sha256}", tree_key(sha256), len(data))

    def load(self, ref):
        self.loaded.append(ref.digest)
        if self.keyed:
            assert ref.key == tree_key(ref.digest.partition(":")[2])
            assert ref.size == len(self.data[ref.digest])
        return parse(self.data[ref.digest], ref.digest, "test", keyed=self.keyed)

    def build(self, lines):
        builder = TreeBuilder("test", self.put, keyed=self.keyed)
        for line in lines:
            builder.add(line)
        ref = builder.finish()
        assert ref.entries == len(lines)
        return Tree(ref.top, self.load)


def many(count, seed=0):
    rng = random.Random(seed)
    return sorted({b"%016x some text" % rng.getrandbits(64) for _ in range(count)})


@given(LINES, st.booleans(), st.binary(max_size=10))
def test_lines_come_back_as_they_were(lines, keyed, start):
    tree = Chunks(keyed=keyed).build(lines)
    assert list(tree.lines()) == lines
    assert list(tree.lines(start)) == [line for line in lines if line >= start]
    assert list(tree.with_prefix(start)) == [line for line in lines if line.startswith(start)]


@pytest.mark.parametrize("keyed", [False, True])
def test_a_deep_tree_comes_back_in_order_and_from_any_line(keyed):
    lines = many(60_000)
    chunks = Chunks(keyed=keyed)
    tree = chunks.build(lines)
    assert list(tree.lines()) == lines
    refs = list(tree.chunks())
    assert {ref.digest for ref in refs} == set(chunks.data)
    assert len(tree.leaves()) > 50
    for at in (0, 1, 30_000, len(lines) - 1):
        chunks.loaded.clear()
        walk = tree.lines(lines[at])
        assert next(walk) == lines[at]
        assert len(chunks.loaded) <= 3  # one for each level


def test_chunks_end_where_the_format_says():
    chunks = Chunks()
    lines = many(20_000)
    tree = chunks.build(lines)
    for ref in tree.leaves()[:-1]:
        held = chunks.load(ref).lines
        assert zlib.crc32(held[-1]) & 511 == 0 or len(held) == 4096
        assert len(held) >= 16
        assert not any(zlib.crc32(line) & 511 == 0 for line in held[15:-1])


def test_a_chunk_of_long_lines_ends_at_a_mebibyte():
    chunks = Chunks()
    lines = [b"%08d" % n + b"x" * 50_000 for n in range(100)]
    tree = chunks.build(lines)
    assert list(tree.lines()) == lines
    assert all(len(decompress(data, "", 4 << 20)) < 1_200_000 for data in chunks.data.values())


@settings(max_examples=40, deadline=None)  # a busy machine takes its time
@given(st.integers(0, 19_999), st.sampled_from(["add", "remove", "change"]))
def test_a_change_of_one_line_rewrites_few_chunks(at, what):
    chunks = Chunks()
    lines = LARGE
    chunks.build(lines)
    before = set(chunks.data)
    changed = list(lines)
    if what == "remove":
        del changed[at]
    elif what == "add":
        changed.insert(at + 1, changed[at] + b"x")
    else:
        changed[at] += b"x"
    chunks.build(changed)
    assert len(set(chunks.data) - before) <= 4


LARGE = many(20_000)


@given(st.data())
def test_a_difference_is_exact_whatever_is_shared(data):
    chunks = Chunks()
    lines = LARGE[:4000]
    drop = data.draw(st.sets(st.integers(0, len(lines) - 1), max_size=8))
    add = data.draw(st.sets(st.binary(min_size=1, max_size=20), max_size=8))
    new = sorted(
        {line for n, line in enumerate(lines) if n not in drop}
        | {line for line in add if b"\n" not in line}
    )
    old_tree, new_tree = chunks.build(lines), chunks.build(new)
    expected = sorted(
        [(line, False) for line in set(lines) - set(new)]
        + [(line, True) for line in set(new) - set(lines)]
    )
    assert [(line, added) for added, line in diff(old_tree, new_tree)] == expected
    assert all(added for added, _ in diff(None, new_tree))
    assert list(diff(old_tree, old_tree)) == []


def test_what_two_trees_share_is_not_read_to_compare_them():
    chunks = Chunks()
    old = chunks.build(LARGE)
    new = chunks.build([*LARGE[:10_000], LARGE[10_000] + b"x", *LARGE[10_001:]])
    chunks.loaded.clear()
    assert len(list(diff(old, new))) == 2
    assert len(chunks.loaded) <= 8


def test_lines_out_of_order_are_a_bug_not_a_tree():
    builder = TreeBuilder("test", Chunks().put)
    builder.add(b"b")
    for line in (b"a", b"b"):
        with pytest.raises(ValueError, match="out of order"):
            builder.add(line)


HEAD = b"regvault-tree 1 test 0\n"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"regvault-tree 2 test 0\na\n",
        b"regvault-tree 1 other 0\na\n",
        b"regvault-tree 1 test x\na\n",
        b"regvault-tree 1 test -1\na\n",
        b"regvault-tree 1 test 9\na\n",
        HEAD + b"a",
        HEAD + b"b\na\n",
        HEAD + b"a\na\n",
        b"regvault-tree 1 test 1\nsha256:ab\n",
        b"regvault-tree 1 test 1\nsha256:ab x first\n",
        b"regvault-tree 1 test 1\nsha256:ab 1 b\nsha256:ab 1 a\n",
        b"regvault-tree 1 test 1\nsha256:\xff 1 a\n",
    ],
)
@pytest.mark.parametrize("keyed", [False, True])
def test_a_hostile_chunk_is_refused(text, keyed):
    with pytest.raises(VaultDamagedError):
        parse(compress(text), "trees/x.zst", "test", keyed=keyed)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_chunk_are_refused(data):
    with pytest.raises(VaultDamagedError):
        parse(data, "trees/x.zst", "test")


def test_a_chunk_that_declares_too_much_is_not_opened():
    bomb = zstandard.ZstdCompressor().compress(HEAD + b"\0" * (5 << 20))
    with pytest.raises(VaultDamagedError, match="declares"):
        parse(bomb, "trees/x.zst", "test")
    without_size = zstandard.ZstdCompressor(write_content_size=False).compress(HEAD)
    with pytest.raises(VaultDamagedError, match="declares"):
        parse(without_size, "trees/x.zst", "test")


@pytest.mark.parametrize(
    "below", [[b"d"], [b"a"], []], ids=["another first line", "out of order", "empty"]
)
def test_an_index_that_does_not_fit_its_chunks_is_refused(below):
    chunks = Chunks()

    def leaf(lines):
        return chunks.put(compress(HEAD + b"".join(line + b"\n" for line in lines)))

    first, second = leaf([b"a", b"b"]), leaf(below)
    text = b"regvault-tree 1 test 1\n%s 2 a\n%s 1 c\n" % (
        first.digest.encode(),
        second.digest.encode(),
    )
    tree = Tree(chunks.put(compress(text)), chunks.load)
    with pytest.raises(VaultDamagedError, match="index"):
        list(tree.lines())


def test_a_chunk_of_another_level_is_refused():
    chunks = Chunks()
    leaf = chunks.put(compress(HEAD + b"a\n"))
    text = b"regvault-tree 1 test 2\n%s 1 a\n" % leaf.digest.encode()
    with pytest.raises(VaultDamagedError, match="index"):
        list(Tree(chunks.put(compress(text)), chunks.load).lines())


def test_leaves_are_in_order_and_disjoint():
    chunks = Chunks()
    tree = chunks.build(LARGE)
    held = [chunks.load(ref).lines for ref in tree.leaves()]
    assert all(a[-1] < b[0] for a, b in pairwise(held))
    assert tree.leaf_lines(tree.leaves()[0]) == held[0]


def test_a_tree_that_names_a_chunk_twice_is_no_endless_work():
    """A few chunks could else be walked 2^40 times."""
    loaded = []

    def load(ref):
        loaded.append(ref)
        level = int(ref.digest)
        if level == 0:
            return Node(0, [b"a", b"b"], [])
        below = ChunkRef(str(level - 1))
        return Node(8, [], [(below, 1, b"a"), (below, 1, b"b")])

    tree = Tree(ChunkRef("40"), load)
    for walk in (tree.chunks, tree.leaves, tree.lines):
        with pytest.raises(VaultDamagedError):
            list(walk())
    assert len(loaded) < 20
