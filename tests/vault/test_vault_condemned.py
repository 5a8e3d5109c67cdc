from __future__ import annotations

import hashlib
import json
from io import BytesIO

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from vault_build import RUN, VAULT

from regvault.errors import UnknownFormatError, VaultDamagedError
from regvault.storage.memory import MemoryStore
from regvault.vault.condemned import parse_condemned, read_condemned
from regvault.vault.frames import HEADER_BYTES, compress, decompress, lines_of
from regvault.vault.keys import condemned_key
from regvault.vault.parties import void_document


def condemn(keys, number, **changes):
    header = {"type": "condemned", "format": 1, "features": [], "vault": VAULT, "slot": number}
    text = "".join(f"{line}\n" for line in (json.dumps({**header, **changes}), *sorted(keys)))
    seal = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "signatures": []})
    return compress(text.encode() + seal.encode() + b"\n")


def put(store, number, keys=None):
    """Fill a slot with a list, or with a void."""
    key = condemned_key(number)
    data = void_document(VAULT, key, RUN) if keys is None else condemn(keys, number)
    store.put(key, data, if_none_match=True)


KEYS = st.sets(st.integers(0, 99).map(lambda n: f"packs/{n:02d}.tar"), max_size=10)


@given(st.lists(st.none() | KEYS, max_size=8))
def test_every_key_of_every_list_is_condemned(lists):
    store = MemoryStore()
    for number, keys in enumerate(lists, start=1):
        put(store, number, keys)
    assert read_condemned(store, VAULT) == {key for keys in lists for key in keys or ()}


def test_a_reader_begins_at_the_newest_list_that_repeats_the_earlier_ones():
    store = MemoryStore()
    put(store, 99, {"packs/99.tar"})  # those before it may be gone from a copy
    put(store, 100, {"packs/99.tar", "packs/100.tar"})
    put(store, 101, {"packs/101.tar"})
    assert read_condemned(store, VAULT) == {"packs/99.tar", "packs/100.tar", "packs/101.tar"}


def test_a_void_in_place_of_a_repeating_list_does_not_free_what_came_before():
    store = MemoryStore()
    for number in range(1, 100):
        put(store, number, {f"packs/{number}.tar"})
    put(store, 100)
    put(store, 101, {"packs/101.tar"})
    condemned = read_condemned(store, VAULT)
    assert {"packs/1.tar", "packs/99.tar", "packs/101.tar"} <= condemned


@pytest.mark.parametrize("lost", [1, 2])
def test_a_list_that_is_gone_stops_whoever_would_reuse(lost):
    store = MemoryStore()
    for number in (1, 2, 3):
        put(store, number, {f"packs/{number}.tar"})
    store.delete(condemned_key(lost))
    with pytest.raises(VaultDamagedError, match="gone"):
        read_condemned(store, VAULT)


def test_no_flipped_byte_of_a_list_is_believed():
    data = condemn({"packs/a.tar", "packs/b.tar"}, 7)
    keys = ["packs/a.tar", "packs/b.tar"]
    assert parse_condemned(data, 7, VAULT) == keys
    refused = 0
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 4
        try:
            assert parse_condemned(bytes(wrong), 7, VAULT) == keys  # a flag of the frame, no more
        except VaultDamagedError:
            refused += 1
    assert refused > len(data) - 10


@pytest.mark.parametrize("changes", [{"slot": 8}, {"vault": "f" * 32}, {"type": "void"}])
def test_a_list_of_another_slot_or_vault_is_refused(changes):
    with pytest.raises(VaultDamagedError):
        parse_condemned(condemn({"packs/a.tar"}, 7, **changes), 7, VAULT)


@pytest.mark.parametrize("changes", [{"format": 2}, {"features": ["sealed"]}])
def test_a_list_from_the_future_is_refused(changes):
    with pytest.raises(UnknownFormatError):
        parse_condemned(condemn({"packs/a.tar"}, 7, **changes), 7, VAULT)


def test_an_empty_list_condemns_nothing():
    assert parse_condemned(condemn((), 1), 1, VAULT) == []
    assert read_condemned(MemoryStore(), VAULT) == set()


def test_a_list_whose_checksum_is_wrong_is_refused():
    """Invariant 7: zstd's own checksum tells of damage, not of who wrote another list."""
    text = decompress(condemn({"packs/a.tar", "packs/b.tar"}, 7), "x", 1 << 20)
    with pytest.raises(VaultDamagedError, match="checksum"):
        parse_condemned(compress(text.replace(b"packs/a", b"packs/A")), 7, VAULT)


def test_a_list_that_list_does_not_show_is_found():
    """Invariant 4: a LIST that stops early frees nothing."""

    class Hiding(MemoryStore):
        def list(self, prefix="", *, after=""):
            hidden = condemned_key(2)
            return (e for e in super().list(prefix, after=after) if e.key != hidden)

    store = Hiding()
    put(store, 1, {"packs/1.tar"})
    put(store, 2, {"packs/2.tar"})
    assert read_condemned(store, VAULT) == {"packs/1.tar", "packs/2.tar"}


def test_a_list_that_holds_more_than_it_declares_is_not_read():
    """Invariant 8: nothing decompresses to more than was declared."""
    text = b"b\n" * (4 << 20)
    writer = zstandard.ZstdCompressor().compressobj(size=len(text))
    data = bytearray(writer.compress(text) + writer.flush())
    assert int.from_bytes(data[6:10], "little") == len(text)
    data[6:10] = (1000).to_bytes(4, "little")
    rest = BytesIO(data)
    head = rest.read(HEADER_BYTES)
    seen = []
    with pytest.raises(VaultDamagedError):
        seen.extend(lines_of(rest, head, "x", 1 << 30, longest=10))
    assert len(seen) <= 500
