from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.errors import UnknownFormatError, VaultDamagedError
from regvault.vault.envelope import (
    from_time,
    load_object,
    read_document,
    to_time,
    write_document,
)

VAULT, OTHER = "a" * 32, "b" * 32
KEY = "snapshots/r/00000001.json"


def body(kind="void", vault=VAULT, **fields):
    return {"type": kind, "format": 1, "features": [], "vault": vault, **fields}


def read(data, *types, vault=VAULT):
    return read_document(data, KEY, types=types or ("void",), vault=vault)


def copied(**changes):
    """Return a root of another vault as `copy` leaves it: its two lines, and an amendment."""
    amendment = body(
        "amendment", slot=KEY, origin=OTHER, changes=[["trees/a.zst", "trees/b.zst", 3, "c" * 64]]
    )
    first, _ = write_document(body("root", OTHER))
    second, _ = write_document({**amendment, **changes})
    return first + second


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_a_document_is_read_as_it_was_written(fields):
    whole = {**fields, **body()}
    data, digest = write_document(whole)
    document = read(data)
    assert document.body == whole
    assert document.sha256 == digest == hashlib.sha256(data.split(b"\n")[0]).hexdigest()
    assert document.amendment is None


@pytest.mark.parametrize(
    "data", [write_document(body(note="é"))[0], copied()], ids=["two lines", "four lines"]
)
@pytest.mark.parametrize("bit", [1, 0x20, 0x80])
def test_no_flipped_byte_is_believed(data, bit):
    types = ("void", "root")
    read(data, *types)
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= bit
        with pytest.raises(VaultDamagedError):
            read(bytes(wrong), *types)


@pytest.mark.parametrize("count", [1, 10, 100])
def test_a_document_that_is_cut_off_is_refused(count):
    data = copied()
    with pytest.raises(VaultDamagedError):
        read(data[:-count], "root")
    with pytest.raises(VaultDamagedError):
        read(data + b"x" * count, "root")


@pytest.mark.parametrize(
    "fields", [{"format": 2}, {"features": ["later"]}, {"features": [{}]}, {"features": "later"}]
)
def test_what_a_newer_version_wrote_is_refused_not_misread(fields):
    with pytest.raises(UnknownFormatError):
        read(write_document({**body(), **fields})[0])


def test_a_document_of_another_kind_or_vault_is_refused():
    data = write_document(body())[0]
    with pytest.raises(VaultDamagedError, match="not a root"):
        read(data, "root")
    with pytest.raises(VaultDamagedError, match="another vault"):
        read(data, vault=OTHER)
    for line in (b"[]", b'"x"', b"1", b"null", b"{}", b"{"):
        seal = json.dumps({"sha256": hashlib.sha256(line).hexdigest(), "signatures": []})
        with pytest.raises(VaultDamagedError):
            read(b"%s\n%s\n" % (line, seal.encode()))


def test_a_copied_root_belongs_where_its_amendment_says():
    document = read(copied(), "root")
    assert document.body["vault"] == OTHER
    assert document.amendment["changes"] == [["trees/a.zst", "trees/b.zst", 3, "c" * 64]]
    assert (
        document.sha256 == read(write_document(body("root", OTHER))[0], "root", vault=None).sha256
    )
    with pytest.raises(VaultDamagedError, match="another vault"):
        read(copied(origin="c" * 32), "root")
    with pytest.raises(VaultDamagedError, match="another vault"):
        read(copied(vault=OTHER), "root")
    with pytest.raises(VaultDamagedError, match="another slot"):
        read(copied(slot="snapshots/r/00000002.json"), "root")


@pytest.mark.parametrize(
    "line",
    [
        rb'{"a":"\ud800"}',
        rb'{"a":["\uDC00\uD800"]}',
        rb'{"\ud83d":1}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":%s}' % (b"9" * 101),
        b'{"a":1,"a":1}',
    ],
)
def test_what_cannot_be_written_again_is_refused(line):
    with pytest.raises(ValueError, match=r"surrogate|JSON|infinite|twice"):
        load_object(line)
    assert load_object(rb'{"a":"\ud83d\ude00","b":1e9}') == {"a": "\U0001f600", "b": 1e9}


@given(st.integers(0, 4_000_000_000_000))
def test_times_keep_their_milliseconds(ms):
    text = to_time(ms * 1_000_000)
    assert round(from_time(text).timestamp() * 1000) == ms
    assert text.endswith("Z")


def test_a_time_without_its_zone_is_none():
    with pytest.raises(ValueError, match="zone"):
        from_time("2026-01-01T00:00:00")
