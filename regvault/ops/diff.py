"""The verb `diff`: what changed between two snapshots, or a snapshot and a live registry.

The cost is that of the difference: leaves that two repository lists share are not loaded, states
with the same digest are not opened, and of a live registry whose fingerprints a snapshot has only
those repositories are read whose links changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import NotFoundError, UsageError
from regvault.oci.grammar import InvalidNameError, glob_matcher, unmatched
from regvault.ops.diff_sides import LiveSide, SnapshotSide
from regvault.vault.tree import diff as tree_diff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.state import Line
    from regvault.ops.diff_sides import OneRepository, Side

__all__ = ["DiffResult", "RepositoryChange", "TagChange", "check_globs", "diff"]


class TagChange(NamedTuple):
    """One tag that is not the same.

    Attributes:
        tag: its name.
        old, new: where it points in A and in B; None: it is not there; "": nobody knows.
    """

    tag: str
    old: str | None
    new: str | None

    @property
    def change(self) -> str:
        """`added`, `removed` or `moved`."""
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "moved"


@dataclass(slots=True)
class RepositoryChange:
    """How one repository differs.

    Attributes:
        name: of the repository.
        change: `added`, `removed` or `changed`.
        tags: that are not the same, by name.
        revisions_added, revisions_removed: digests, sorted.
        blobs_added, blobs_removed: how many layers and configs.
        added: digest -> size of blobs and manifests that are new in this repository.
        bytes_added: of those that B holds.
        lost, recovered: digests in both of which only A, or only B, has the bytes.
        history: how many entries of tags' histories differ.
    """

    name: str
    change: str
    tags: list[TagChange] = field(default_factory=list)
    revisions_added: list[str] = field(default_factory=list)
    revisions_removed: list[str] = field(default_factory=list)
    blobs_added: int = 0
    blobs_removed: int = 0
    added: dict[str, int | None] = field(default_factory=dict)
    bytes_added: int = 0
    lost: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    history: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document; see `DiffResult.to_json`."""
        return {
            "repository": self.name,
            "change": self.change,
            "tags": [{"change": tag.change, **tag._asdict()} for tag in self.tags],
            "revisions_added": self.revisions_added,
            "revisions_removed": self.revisions_removed,
            "blobs_added": self.blobs_added,
            "blobs_removed": self.blobs_removed,
            "bytes_added": self.bytes_added,
            "lost": self.lost,
            "recovered": self.recovered,
            "history_changed": self.history,
        }


@dataclass(slots=True)
class DiffResult:
    """How B differs from A.

    Attributes:
        a, b: what was compared: `registry@sequence`, or a location.
        repositories: those that differ, in byte order of their names.
        bytes_added: of what B holds and A does not, in no repository; each blob once.
        unreadable: repositories of a live side that could not be read, and were not compared.
    """

    a: str
    b: str
    repositories: list[RepositoryChange] = field(default_factory=list)
    bytes_added: int = 0
    unreadable: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether anything differs."""
        return bool(self.repositories)

    def exit_code(self, *, asked: bool) -> int:
        """Return 3 where something could not be read; else, where `asked`, 1 if they differ."""
        if self.unreadable:
            return 3
        return 1 if asked and self.differs else 0

    def totals(self) -> dict[str, int]:
        """Return how much differs, in numbers."""
        tags = [tag.change for each in self.repositories for tag in each.tags]
        changes = [each.change for each in self.repositories]
        return {
            "repositories_added": changes.count("added"),
            "repositories_removed": changes.count("removed"),
            "repositories_changed": changes.count("changed"),
            "tags_added": tags.count("added"),
            "tags_removed": tags.count("removed"),
            "tags_moved": tags.count("moved"),
            "revisions_added": sum(len(each.revisions_added) for each in self.repositories),
            "revisions_removed": sum(len(each.revisions_removed) for each in self.repositories),
            "bytes_added": self.bytes_added,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the document of `diff`.

        `a`, `b`: what was compared: `registry@sequence`, or a location. `differs`. `totals`:
        numbers of `repositories_`, `tags_` and `revisions_` `added`, `removed`, `changed` or
        `moved`, and `bytes_added`: of all that B holds and A does not, each blob once.
        `repositories`: those that differ: `repository`, `change` (`added`, `removed`, `changed`),
        `tags` (`change`: `added`, `removed` or `moved`; `tag`; `old`, `new`: digests, null where it
        is not there, "" where nobody knows), `revisions_added`, `revisions_removed`: digests;
        `blobs_added`, `blobs_removed`: numbers of layers and configs; `bytes_added`: new in this
        repository; `lost`, `recovered`: digests that both have, but of which only A, or only B, has
        the bytes; `history_changed`: how many entries of tags' histories differ. `unreadable`:
        repositories of a live side that could not be read and were not compared.
        """
        return {
            "a": self.a,
            "b": self.b,
            "differs": self.differs,
            "totals": self.totals(),
            "repositories": [each.to_json() for each in self.repositories],
            "unreadable": self.unreadable,
        }


def check_globs(a: Side, b: Side, globs: tuple[str, ...]) -> None:
    """Refuse a misspelled name, of which nothing would be said to differ.

    Raises:
        NotFoundError: a glob matches no repository of either.
    """
    missing = unmatched(globs, chain(a.names(), b.names()) if globs else ())
    if missing:
        raise NotFoundError(
            f"neither {a.label} nor {b.label} has a repository {', '.join(missing)}",
            hint="See what a snapshot has: regvault ls SNAPSHOT",
        )


def diff(a: Side, b: Side, *, globs: tuple[str, ...] = ()) -> DiffResult:
    """Return how B differs from A.

    Args:
        a: a snapshot, or a live registry.
        b: another; two snapshots are of one vault.
        globs: of repositories; () means all.

    Raises:
        UsageError: a glob is none.
    """
    try:
        matches = glob_matcher(globs) if globs else None
    except InvalidNameError as error:
        raise UsageError(str(error), hint="For example team/app, team/* or team/**.") from None
    result = DiffResult(a.label, b.label)
    if isinstance(a, SnapshotSide) and isinstance(b, SnapshotSide):
        result.repositories = list(_between_snapshots(a, b, matches))
    else:
        result.repositories = list(_between(a, b, matches))
    _count_bytes(a, b, result)
    for side in (a, b):
        if isinstance(side, LiveSide):
            result.unreadable += side.unreadable
    return result


def _count_bytes(a: Side, b: Side, result: DiffResult) -> None:
    """Count what is new in each repository, and what is new in all of them."""
    sizes: dict[str, int | None] = {}
    for each in result.repositories:
        sizes.update(each.added)
    if isinstance(a, LiveSide) or isinstance(b, LiveSide):
        digests = sorted(sizes)
        sizes = dict(zip(digests, b.sizes(digests), strict=True))
    for each in result.repositories:
        each.bytes_added = sum(sizes[digest] or 0 for digest in each.added)
    digests = sorted(sizes)
    before = zip(digests, a.sizes(digests), strict=True)
    result.bytes_added = sum(sizes[digest] or 0 for digest, size in before if size is None)


# -- two snapshots ------------------------------------------------------------------------------


def _between_snapshots(
    a: SnapshotSide, b: SnapshotSide, matches: Callable[[str], bool] | None
) -> Iterator[RepositoryChange]:
    old, new = a.opened.repository_tree(), b.opened.repository_tree()
    # Both lines of a repository are neighbours, but either may come first.
    waiting: tuple[str, dict[bool, str]] | None = None
    for is_new, line in tree_diff(old, new):
        entry = (b if is_new else a).opened.entry_of(line)
        if matches is not None and not matches(entry.name):
            continue
        if waiting is not None and waiting[0] == entry.name:
            waiting[1][is_new] = entry.state
            continue
        if waiting is not None:
            yield from _states(a, b, *waiting)
        waiting = entry.name, {is_new: entry.state}
    if waiting is not None:
        yield from _states(a, b, *waiting)


def _states(
    a: SnapshotSide, b: SnapshotSide, name: str, states: dict[bool, str]
) -> Iterator[RepositoryChange]:
    old, new = states.get(False), states.get(True)
    if old == new:
        return  # only the fingerprint changed
    lines = tree_diff(
        a.opened.state_tree(old) if old else None, b.opened.state_tree(new) if new else None
    )
    differences = ((is_new, (b if is_new else a).parse(line)) for is_new, line in lines)
    change = "changed" if old and new else "added" if new else "removed"
    yield _change(name, change, differences)


# -- a live registry on one side, or on both ----------------------------------------------------


def _between(a: Side, b: Side, matches: Callable[[str], bool] | None) -> Iterator[RepositoryChange]:
    lefts, rights = (iter(side.repositories(matches)) for side in (a, b))
    left, right = next(lefts, None), next(rights, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.name < right.name):
            assert left is not None
            yield from _sets(left.name, left, None)
            left = next(lefts, None)
        elif left is None or right.name < left.name:
            yield from _sets(right.name, None, right)
            right = next(rights, None)
        else:
            if not left.fingerprint or left.fingerprint != right.fingerprint:
                yield from _sets(left.name, left, right)
            left, right = next(lefts, None), next(rights, None)


def _sets(
    name: str, left: OneRepository | None, right: OneRepository | None
) -> Iterator[RepositoryChange]:
    """Compare what links say; sizes and blobs that no link names are known of snapshots only."""
    old = left.lines() if left else iter(())
    new = right.lines() if right else iter(())
    if old is None or new is None:
        return
    before, after = _comparable(old), _comparable(new)
    change = "changed" if left and right else "added" if right else "removed"
    differences = [(False, line) for line in before - after]
    differences += [(True, line) for line in after - before]
    if differences or change != "changed":
        yield _change(name, change, differences)


def _comparable(lines: Iterable[Line]) -> set[Line]:
    return {
        line._replace(size=0, value="") if line.what in ("rev", "layer") else line
        for line in lines
        if line.what in ("rev", "layer", "tag", "was")
    }


# -- both ---------------------------------------------------------------------------------------


def _change(name: str, change: str, differences: Iterable[tuple[bool, Line]]) -> RepositoryChange:
    result = RepositoryChange(name, change)
    tags: dict[str, dict[bool, str]] = {}
    kinds: dict[bool, dict[str, Line]] = {False: {}, True: {}}
    for is_new, line in differences:
        if line.what == "tag":
            tags.setdefault(line.name, {})[is_new] = line.value
        elif line.what == "was":
            result.history += 1
        elif line.what in ("rev", "layer", "blob"):
            # A blob that got or lost its link, or its bytes, is on both sides.
            kinds[is_new].setdefault(line.name, line)
    old, new = kinds[False], kinds[True]
    for tag in sorted(tags):
        result.tags.append(TagChange(tag, tags[tag].get(False), tags[tag].get(True)))
    for digest, line in new.items():
        if digest in old:
            if old[digest].size is None and line.size is not None:
                result.recovered.append(digest)
            elif old[digest].size is not None and line.size is None:
                result.lost.append(digest)
            continue
        if line.what == "rev":
            result.revisions_added.append(digest)
        else:
            result.blobs_added += 1
        result.added[digest] = line.size
    for digest, line in old.items():
        if digest not in new:
            if line.what == "rev":
                result.revisions_removed.append(digest)
            else:
                result.blobs_removed += 1
    for found in (
        result.revisions_added,
        result.revisions_removed,
        result.lost,
        result.recovered,
    ):
        found.sort()
    return result
