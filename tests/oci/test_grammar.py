from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.oci.grammar import (
    ALGORITHMS,
    Digest,
    InvalidNameError,
    glob_matcher,
    is_component,
    is_digest,
    is_hex,
    is_repository,
    is_tag,
    parse_digest,
)

GOOD_NAMES = ["a", "library/base", "a-b", "a--b", "a.b", "a_b", "a__b", "0/1/2", "x" * 255]
BAD_NAMES = [
    "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "-a", "a-", "a.", "_a", "a/_layers",
    "..", "a/../b", "a\n", "a\0", "é", "a b", "x" * 256, "٣", "a/" * 127 + "ab",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_that_a_registry_takes_are_taken(name):
    assert is_repository(name)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_path_is_made_of_a_name_that_a_registry_refuses(name):
    assert not is_repository(name)
    assert not is_component(name)


@given(st.text(alphabet="ab0._-/\n\0Aé", max_size=12))
def test_a_name_is_components_joined_by_slashes(name):
    assert is_repository(name) == all(is_component(part) for part in name.split("/"))


@given(st.text(max_size=20))
def test_whatever_is_a_name_is_a_safe_path(name):
    if is_repository(name):
        assert re.fullmatch(r"[a-z0-9._/-]+", name)
        assert not any(part in {"", ".", ".."} or part[0] == "_" for part in name.split("/"))


@pytest.mark.parametrize("tag", ["latest", "_", "1.0", "A-b_c.d", "x" * 128])
def test_tags_that_a_registry_takes(tag):
    assert is_tag(tag)


@pytest.mark.parametrize("tag", ["", ".", "..", "-a", "a\n", "a/b", "é", "x" * 129, "a:b"])
def test_no_path_is_made_of_what_is_no_tag(tag):
    assert not is_tag(tag)


@pytest.mark.parametrize(("algorithm", "size"), ALGORITHMS.items())
def test_digests_of_every_algorithm(algorithm, size):
    digest = f"{algorithm}:{'a' * size}"
    assert is_digest(digest)
    assert parse_digest(digest) == Digest(algorithm, "a" * size)
    assert str(parse_digest(digest)) == digest
    assert is_hex(algorithm, "0" * size)
    for bad in (digest + "\n", digest[:-1], digest + "a", digest.upper(), f" {digest}"):
        assert not is_digest(bad)
        with pytest.raises(InvalidNameError):
            parse_digest(bad)


def test_algorithms_that_are_not_known_are_no_digests():
    assert not is_digest("md5:" + "a" * 32)
    assert not is_hex("md5", "a" * 32)
    assert not is_digest("sha256:" + "a" * 128)


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("team/*", ["team/a"], ["team", "team/a/b", "teams/a", "xteam/a"]),
        ("team/**", ["team/a", "team/a/b"], ["team", "teams/a"]),
        ("team/", ["team/a", "team/a/b"], ["team", "teams"]),
        ("**/app", ["app", "a/app", "a/b/app"], ["myapp", "a/myapp", "app/x"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["a", "z", "az", "a/bz"]),
        ("**", ["a", "a/b"], []),
        ("*", ["a"], ["a/b"]),
        ("team", ["team"], ["team/a", "Team", "teamx"]),
        ("a.b", ["a.b"], ["axb"]),
        ("v?", ["v1"], ["v", "v12", "v/"]),
        ("v[0-2]", ["v1"], ["v3"]),
        ("v[!0-2]", ["v3"], ["v1", "v/"]),
        ("T*", [], ["team"]),
        ("**-x", ["a/b-x"], ["a/b"]),
    ],
)
def test_a_glob_selects_what_it_says(glob, yes, no):
    match = glob_matcher([glob])
    assert [name for name in yes if not match(name)] == []
    assert [name for name in no if match(name)] == []


def test_any_of_several_globs_is_enough_and_none_matches_nothing():
    assert glob_matcher(["a", "b/*"])("b/c")
    assert not glob_matcher([])("a")


@pytest.mark.parametrize("glob", ["", "/a", "a[b", "[", "[z-a]", "a" * 5000])
def test_a_glob_that_makes_no_sense_is_an_error_and_selects_nothing_silently(glob):
    with pytest.raises(InvalidNameError):
        glob_matcher([glob])


@given(
    st.text(alphabet="a0-._/*?[]!^&~|\\", min_size=1, max_size=10), st.text("a0-._/", max_size=9)
)
def test_any_glob_either_works_or_is_refused(glob, name):
    try:
        match = glob_matcher([glob])
    except InvalidNameError:
        return
    assert match(name) in {True, False}
    if not set(glob) & set("*?[") and not glob.endswith("/"):
        assert match(name) == (glob == name)
