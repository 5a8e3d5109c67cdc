"""The verb `find`: where a digest occurs, in which snapshots, as what; or where a tag pointed.

Neighbouring snapshots are compared by the digests of their repositories' states: a state is looked
into once, however many snapshots have it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import NotFoundError
from regvault.oci.grammar import is_digest
from regvault.ops.find_places import chains, expand, places
from regvault.ops.find_uses import Uses, occurrence
from regvault.ops.opened import Opened
from regvault.vault.catalog import Catalog, vault_cache
from regvault.vault.tree import diff as tree_diff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.ops.find_uses import Occurrence
    from regvault.policy.references import Reference
    from regvault.vault.root import Root
    from regvault.vault.segment import Location
    from regvault.vault.vault import Vault

__all__ = ["FoundDigest", "FoundTag", "Range", "find_digest", "find_tag"]


class Range(NamedTuple):
    """Snapshots in a row, of one registry.

    Attributes:
        registry: permanent name.
        first, last: sequences; the chain may have gaps in between (forgotten ones, voids).
        since, until: when those two were started.
        snapshots: how many they are.
    """

    registry: str
    first: int
    last: int
    since: str
    until: str
    snapshots: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they are."""
        return self._asdict()


@dataclass(slots=True)
class FoundDigest:
    """Where a digest is.

    Attributes:
        digest: whole.
        size: bytes, or None where nobody has them.
        occurrences: (range of snapshots, what it is there).
        places: where its bytes lie in the vault.
        damaged: roots that could not be read, and were passed over.
    """

    digest: str
    size: int | None = None
    occurrences: list[tuple[Range, Occurrence]] = field(default_factory=list)
    places: list[tuple[Location, bool]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def exit_code(self) -> int:
        """Return 4 where a root could not be read."""
        return 4 if self.damaged else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document of `find DIGEST`.

        `digest`. `size`: bytes, null where the vault does not hold it. `occurrences`: one for each
        registry, repository and run of snapshots in which it is the same: `registry`, `first`,
        `last`: sequences; `since`, `until`: when those were started; `snapshots`: how many;
        `repository`; `as`: what it is: `manifest`, `layer`, `config`, `unused` (a layer link that
        no manifest needs), `blob` (one of the three before: an identity that opens names only does
        not tell), `missing` (a tag or a manifest names it, and it was not there); `media_type`: of
        a manifest, else null; `held`: that snapshot has its bytes; `tags`: that point to it;
        `former_tags`: that did before; `indexes`: that list it; `images`: manifests that need it,
        the first 100; `image_count`: all of them; `referrers`: manifests whose subject it is;
        `damage`: kinds of damage at the source that name it. `places`: where its bytes lie:
        `object`, `offset`, `length` (of a meta object: of the frame that holds it), `proof`: who
        proved the bytes against the digest, the `store` or `regvault`; `there`: the object is
        there. `damaged_snapshots`: whose roots cannot be read, and which were not looked into.
        """
        return {
            "digest": self.digest,
            "size": self.size,
            "occurrences": [
                {**where.to_json(), **what.to_json()} for where, what in self.occurrences
            ],
            "places": [
                {
                    "object": place.key,
                    "offset": place.offset,
                    "length": place.length,
                    "proof": place.proof,
                    "there": there,
                }
                for place, there in self.places
            ],
            "damaged_snapshots": self.damaged,
        }


@dataclass(slots=True)
class FoundTag:
    """Where a tag pointed over time.

    Attributes:
        reference: as asked for.
        ranges: (range of snapshots, digest), by registry, the oldest first; the digest is "" where
            nobody knows where it pointed. Where there was no such tag there is no range.
        damaged: roots that could not be read, and were passed over.
    """

    reference: Reference
    ranges: list[tuple[Range, str]] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def exit_code(self) -> int:
        """Return 4 where a root could not be read."""
        return 4 if self.damaged else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document of `find REPO:TAG`.

        `repository`, `tag`. `ranges`: by registry, the oldest first: `registry`, `first`, `last`:
        sequences; `since`, `until`: when those were started; `snapshots`: how many; `digest`: where
        it pointed, null where nobody knows. Where there was no such tag there is no range.
        `damaged_snapshots`: whose roots cannot be read, and which were not looked into.
        """
        return {
            "repository": self.reference.repository,
            "tag": self.reference.tag,
            "ranges": [
                {**where.to_json(), "digest": digest or None} for where, digest in self.ranges
            ],
            "damaged_snapshots": self.damaged,
        }


class _Open:
    """Runs of snapshots that are still going on: what -> the first and the last of them."""

    def __init__(self) -> None:
        self._open: dict[Any, tuple[Root, Root, int]] = {}
        self.closed: list[tuple[Range, Any]] = []

    def see(self, root: Root, found: set[Any]) -> None:
        """Take what one snapshot has; what is not among it ends."""
        for what in [what for what in self._open if what not in found]:
            self._close(what)
        for what in found:
            first, _, count = self._open.get(what, (root, root, 0))
            self._open[what] = first, root, count + 1

    def _close(self, what: Any) -> None:
        first, last, count = self._open.pop(what)
        name = first.name
        where = Range(
            name.title,
            name.sequence,
            last.name.sequence,
            first.started,
            last.started,
            count,
        )
        self.closed.append((where, what))

    def finish(self) -> list[tuple[Range, Any]]:
        """End all; return them, the oldest first."""
        for what in list(self._open):
            self._close(what)
        return sorted(self.closed, key=lambda pair: (pair[0].registry, pair[0].first))


# -- a tag --------------------------------------------------------------------------------------


def find_tag(vault: Vault, reference: Reference, *, registry: str | None = None) -> FoundTag:
    """Return where a tag pointed in each snapshot.

    Args:
        vault: where.
        reference: repository and tag.
        registry: only this one.

    Raises:
        NotFoundError: no snapshot has such a tag.
    """
    assert reference.tag is not None
    result = FoundTag(reference)
    prefix = f"tag {reference.tag} ".encode()
    with _catalog(vault, None) as catalog:
        for _, roots in chains(vault, registry, result.damaged):
            runs = _Open()
            state, where = "", set[str]()
            for root in roots:
                opened = Opened(vault, root, catalog=catalog)
                entry = opened.entry(reference.repository)
                if entry is None:
                    state, where = "", set()
                elif entry.state != state:
                    lines = opened.state_tree(entry.state).with_prefix(prefix)
                    state, where = entry.state, {_value(line) for line in lines}
                runs.see(root, where)
            result.ranges += runs.finish()
    if not result.ranges and not result.damaged:
        raise NotFoundError(
            f"no snapshot has {reference}",
            hint="See what a snapshot has: regvault ls [SNAPSHOT] REPO",
        )
    return result


def _value(line: bytes) -> str:
    digest = line.decode("ascii", "replace").rpartition(" ")[2]
    return digest if is_digest(digest) else ""


# -- a digest -----------------------------------------------------------------------------------


def find_digest(
    vault: Vault,
    text: str,
    *,
    registry: str | None = None,
    repository: str | None = None,
    cache_base: str | None = None,
    all_images: bool = False,
) -> FoundDigest:
    """Return where a digest occurs.

    Args:
        vault: where.
        text: a digest, or the beginning of one with its algorithm.
        registry: only in this one.
        repository: only in this one.
        cache_base: directory of the local caches; None keeps nothing.
        all_images: name all images that need it, not only the first ones.

    Raises:
        NotFoundError: nowhere.
        UsageError: several digests begin so.
    """
    with _catalog(vault, cache_base) as catalog:
        digest = text if is_digest(text) else expand(vault, catalog, text)
        result = FoundDigest(digest)
        for _, roots in chains(vault, registry, result.damaged):
            result.occurrences += _chain(
                vault, roots, catalog, Uses(digest, all_images=all_images), repository
            )
        catalog.prepare(1)
        result.places = list(places(vault, catalog, digest))
    if result.places:
        result.size = result.places[0][0].size
    result.occurrences.sort(key=lambda each: (each[0].registry, each[1].repository, each[0].first))
    if not result.occurrences and not result.damaged and (repository or not result.places):
        raise NotFoundError(
            f"no snapshot has {digest}" + (f" in {repository}" if repository else ""),
            hint="Only what a snapshot names can be found; see: regvault snapshots",
        )
    return result


def _catalog(vault: Vault, cache_base: str | None) -> _Closing:
    return _Closing(Catalog(vault.store, vault_cache(cache_base, vault.id), vault.seal))


class _Closing:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def __enter__(self) -> Catalog:
        return self._catalog

    def __exit__(self, *_: object) -> None:
        self._catalog.close()


def _chain(
    vault: Vault, roots: Iterator[Root], catalog: Catalog, uses: Uses, repository: str | None
) -> list[tuple[Range, Occurrence]]:
    """Follow one registry from snapshot to snapshot."""
    runs = _Open()
    here: dict[str, Occurrence] = {}
    before: Opened | None = None
    for root in roots:
        opened = Opened(vault, root, catalog=catalog)
        old = before.repository_tree() if before is not None else None
        changed: dict[str, str | None] = {}
        for is_new, line in tree_diff(old, opened.repository_tree()):
            entry = opened.entry_of(line)
            if repository in (None, entry.name) and (is_new or entry.name not in changed):
                changed[entry.name] = entry.state if is_new else None
        hurt = _damage(opened, uses.digest)
        # Damage is no part of a state: where it comes or goes, the repository is looked at again.
        for name in {*here, *hurt} - set(changed):
            known = here[name].damage if name in here else ()
            if repository in (None, name) and known != hurt.get(name, ()):
                known_entry = opened.entry(name)
                changed[name] = known_entry.state if known_entry is not None else None
        for name, state in changed.items():
            here.pop(name, None)
            found = occurrence(opened, name, state, uses, hurt.get(name, ()))
            if found is not None:
                here[name] = found
        runs.see(root, set(here.values()))
        before = opened
    return runs.finish()


def _damage(opened: Opened, digest: str) -> dict[str, tuple[str, ...]]:
    """Return repository -> kinds of damage that name a digest."""
    found: dict[str, set[str]] = {}
    for line in opened.damage():
        if line.subject == digest:
            found.setdefault(line.repository, set()).add(line.kind)
    return {name: tuple(sorted(kinds)) for name, kinds in found.items()}
