from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_build import BASE, Builder, digest_of

from regvault.oci.grammar import InvalidNameError
from regvault.registry import layout
from regvault.registry.layout import Place, What, classify
from regvault.storage.memory import MemoryStore

A = digest_of(b"a")
DIGESTS = st.builds(
    digest_of, st.binary(max_size=4), st.sampled_from(["sha256", "sha384", "sha512"])
)
NAMES = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)?(/[a-z0-9]+)*", fullmatch=True).filter(
    lambda name: len(name) <= 255
)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True).filter(str.isascii)


@given(NAMES.filter(str.isascii), TAGS, DIGESTS)
def test_every_path_is_what_it_was_made_for(name, tag, digest):
    assert classify(layout.blob_key(digest)) == Place(What.BLOB, digest=digest)
    assert classify(layout.layer_key(name, digest)) == Place(What.LAYER, name, digest)
    assert classify(layout.revision_key(name, digest)) == Place(What.REVISION, name, digest)
    assert classify(layout.current_key(name, tag)) == Place(What.CURRENT, name, "", tag)
    assert classify(layout.history_key(name, tag, digest)) == Place(What.HISTORY, name, digest, tag)
    assert layout.parse_link(digest.encode()) == digest


def test_the_paths_are_those_of_a_registry():
    build = Builder(MemoryStore())
    build.blob(b"a")
    assert layout.layer_key("a/b", A) == build.layer("a/b", A)
    assert layout.revision_key("a/b", A) == build.revision("a/b", A)
    assert layout.history_key("a/b", "v", A) == build.history("a/b", "v", A)
    assert layout.current_key("a/b", "v") == build.current("a/b", "v", A)
    assert layout.blob_key(A) in {entry.key for entry in build.store.list()}


HEX = A.partition(":")[2]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("repositories/a/_uploads/1/data", What.UPLOAD),
        ("repositories/a/_uploads/1/hashstates/sha256/0", What.UPLOAD),
        (f"repositories/a/_layers/sha256/{HEX}/link.x.tmp", What.TEMPORARY),
        (f"blobs/sha256/{HEX[:2]}/{HEX}/data.x.tmp", What.TEMPORARY),
        (f"blobs/sha256/00/{HEX}/data", What.UNKNOWN),
        (f"blobs/sha256/{HEX[:2]}/{HEX}/link", What.UNKNOWN),
        (f"blobs/md5/{HEX[:2]}/{HEX}/data", What.UNKNOWN),
        (f"repositories/A/_layers/sha256/{HEX}/link", What.INVALID_NAME),
        (f"repositories/a/../b/_layers/sha256/{HEX}/link", What.INVALID_NAME),
        ("repositories/a/_manifests/tags/-x/current/link", What.INVALID_NAME),
        ("repositories/a/_manifests/tags/x/current/data", What.UNKNOWN),
        ("repositories/a/_manifests/revisions/sha256/00/link", What.UNKNOWN),
        ("repositories/a/stray", What.UNKNOWN),
        ("repositories/_layers/x", What.UNKNOWN),
        ("elsewhere", What.UNKNOWN),
    ],
)
def test_what_is_no_link_is_never_taken_for_one(key, what):
    assert classify(f"{BASE}/{key}").what is what


@given(st.text(alphabet="ab/_.-0\n\0", max_size=30))
def test_no_key_whatever_stops_a_scan(rest):
    for prefix in (layout.BLOBS, layout.REPOSITORIES, layout.REPOSITORIES + "a/_manifests/tags/"):
        assert isinstance(classify(prefix + rest).what, What)


@given(st.binary(max_size=80))
def test_a_link_is_a_digest_or_nothing(content):
    assert layout.parse_link(content) is None
    assert layout.parse_link(A.encode() + content) == (None if content else A)


@pytest.mark.parametrize("name", ["", "A", "a/../b", "/a", "a\n"])
def test_no_path_is_made_of_a_bad_name(name):
    for make in (layout.layer_key, layout.revision_key):
        with pytest.raises(InvalidNameError):
            make(name, A)
