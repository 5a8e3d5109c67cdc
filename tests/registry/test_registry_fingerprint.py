"""Every change of a link changes the fingerprint, and nothing else does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from registry_build import BASE, digest_of

if TYPE_CHECKING:
    from registry_place import Place

A, B, C = (digest_of(data) for data in (b"a", b"b", b"c"))


def build(place: Place) -> None:
    place.build.image("a", "v1", "v2", seed=1)
    place.build.image("a", "v2", seed=2)
    place.build.layer("a", A)
    place.build.revision("a", A)
    place.build.image("a/b", "v1", seed=3)


def print_of(place: Place, repository="a") -> str:
    found = place.source().survey(repository).fingerprint
    assert found.startswith(f"distribution-{place.flavour}:1:")
    return found


def delete(place: Place, key: str) -> None:
    place.store.delete(key)
    if place.root and "/index/" in key:
        # As a registry does: it removes the directory of an entry, never the link alone.
        (place.root / key).parent.rmdir()


V1 = f"{BASE}/repositories/a/_manifests/tags/v1"
CHANGES = {
    "a layer is linked": lambda p: p.build.layer("a", B),
    "a revision is pushed": lambda p: p.build.revision("a", B),
    "a tag is pushed": lambda p: p.build.tag("a", "v3", A),
    "a tag moves": lambda p: p.build.tag("a", "v1", A),
    "a tag moves back": lambda p: p.build.current("a", "v2", first(p)),
    "a tag's history grows": lambda p: p.build.history("a", "v1", C),
    "a history of another algorithm begins": lambda p: p.build.history(
        "a", "v1", digest_of(b"", "sha512")
    ),
    "a tag's history shrinks": lambda p: delete(p, f"{V1}/index/{first(p).replace(':', '/')}/link"),
    "a tag loses its current": lambda p: p.store.delete(f"{V1}/current/link"),
    "a layer link is deleted": lambda p: p.store.delete(p.build.layer("a", A)),
    "a revision link is deleted": lambda p: p.store.delete(p.build.revision("a", A)),
    "a current link is damaged": lambda p: p.build.current("a", "v1", A, b""),
    "a layer link is damaged": lambda p: p.build.layer("a", A, b""),
    "a layer link lies": lambda p: p.build.layer("a", A, B.encode()),
    "a revision link lies": lambda p: p.build.revision("a", A, B.encode()),
    "a layer link is written again": lambda p: p.build.layer("a", A),
}


def first(place: Place) -> str:
    return place.store.get(f"{V1}/current/link").decode()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(place: Place, change):
    build(place)
    before = print_of(place)
    CHANGES[change](place)
    assert print_of(place) != before


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda p: p.build.tag("a/b", "v9", A),
        lambda p: p.build.image("a-b", "v1"),
        lambda p: p.build.blob(b"new"),
        lambda p: p.build.write("repositories/a/_uploads/1/data", b"x"),
        lambda p: None,
    ],
)
def test_an_unchanged_repository_keeps_its_fingerprint(place: Place, elsewhere):
    build(place)
    before = print_of(place)
    elsewhere(place)
    assert print_of(place) == before
    surveys = {each.repository: each.fingerprint for each in place.source().surveys()}
    assert surveys["a"] == before


def test_a_repository_is_not_taken_for_another_with_the_same_links(place: Place):
    build(place)
    assert print_of(place, "gone") != print_of(place, "gone-too")


@pytest.mark.parametrize("which", ["layer", "revision", "history"])
def test_what_changed_within_two_seconds_is_not_settled(place: Place, which):
    build(place)
    place.ahead_ns = 0
    assert place.source().survey("a").fingerprint == ""
    place.ahead_ns = 3 * 10**9
    assert place.source().survey("a").fingerprint
    getattr(place.build, which)(*(("a", "v1", C) if which == "history" else ("a", C)))
    place.ahead_ns = 1_900_000_000
    assert place.source().survey("a").fingerprint == ""


def test_a_change_within_one_tick_and_of_one_size_is_seen_for_tags(tree: Place):
    """distribution 2.8 rewrites links in place: same inode, same size, maybe the same mtime."""
    build(tree)
    link = tree.root / V1 / "current/link"
    status = link.stat()
    before = print_of(tree)
    with link.open("r+b") as file:
        file.write(A.encode())
    os.utime(link, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert link.stat().st_ino == status.st_ino
    assert print_of(tree) != before


def test_a_file_restored_with_its_old_times_is_seen_by_its_inode(tree: Place):
    build(tree)
    key = tree.build.layer("a", A)
    status = (tree.root / key).stat()
    before = print_of(tree)
    tree.build.layer("a", A, B.encode())
    os.utime(tree.root / key, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert print_of(tree) != before


def test_names_and_numbers_do_not_run_into_each_other(place: Place):
    place.build.tag("a", "v1", A)
    place.build.tag("b", "v", A)
    place.build.tag("b", "1", A)
    assert print_of(place, "a") != print_of(place, "b")
