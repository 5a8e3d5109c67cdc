"""Whether a vault could bring back whatever a collection wrongly takes; and what it keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regvault.errors import VaultDamagedError
from regvault.ops.opened import Opened, states_ahead
from regvault.ops.verify.presence import check_presence
from regvault.ops.verify.report import Report
from regvault.vault.keys import blob_key
from regvault.vault.presence import KeySizes
from regvault.vault.reach import needed_keys

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from regvault.model.progress import Progress
    from regvault.ops.tier.garbage.census import Census
    from regvault.vault.catalog import Catalog
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Backing", "look_into"]

_FREE, _NEEDED = 0, 1


@dataclass(frozen=True, slots=True)
class Backing:
    """What a vault has of a registry.

    Attributes:
        vault: its location.
        root: of the snapshot that was looked into.
        registry: what the chain of the registry is named by.
        lacking, lacking_bytes: blobs that images of the registry need now, and that it has not.
        revisions: manifests of the registry that it does not know in their repository.
        kept, kept_bytes: blobs that nobody needs, and that older snapshots keep; None where that
            is not known.
    """

    vault: str
    root: Root
    registry: str
    lacking: int
    lacking_bytes: int
    revisions: int
    kept: int | None
    kept_bytes: int | None

    @property
    def whole(self) -> bool:
        """Whether it could bring back every image."""
        return not self.lacking and not self.revisions

    def to_json(self, unneeded: tuple[int, int]) -> dict[str, Any]:
        """Return its part of the document; see `GarbagePlan.to_json`."""
        gone, gone_bytes = unneeded
        return {
            "location": self.vault,
            "snapshot": str(self.root.name),
            "lacking_blobs": self.lacking,
            "lacking_bytes": self.lacking_bytes,
            "lacking_revisions": self.revisions,
            "kept_blobs": self.kept,
            "kept_bytes": self.kept_bytes,
            "nowhere_blobs": None if self.kept is None else gone - self.kept,
            "nowhere_bytes": None if self.kept_bytes is None else gone_bytes - self.kept_bytes,
        }


def look_into(
    vault: Vault,
    root: Root,
    census: Census,
    *,
    progress: Progress,
    threads: int,
    cache_base: str | None,
) -> Backing:
    """Compare a snapshot with what images of the registry need now.

    Args:
        vault: where it is.
        root: of the snapshot.
        census: of the registry.
        progress: is told how far it is.
        threads: that list.
        cache_base: directory of the local caches; None keeps nothing.

    Raises:
        VaultDamagedError: the snapshot's own objects are not all there.
    """
    report = Report()
    seen = check_presence(vault, [root], report, progress, threads)
    try:
        if report.count:
            raise VaultDamagedError(
                f"{report.count} objects that snapshot {root.name} needs are missing in "
                f"{vault.store.location}: {report.problems[0].key}"
            )
        with Opened(vault, root, cache_base=cache_base) as opened:
            revisions = _compare(opened, census, progress)
            kept = _kept(vault, census, opened.catalog, seen, progress)
    finally:
        seen.close()
    lacking, nbytes = census.lacking()
    count, kept_bytes = kept or (None, None)
    location = vault.store.location
    return Backing(
        location, root, root.name.registry, lacking, nbytes, revisions, count, kept_bytes
    )


def _compare(opened: Opened, census: Census, progress: Progress) -> int:
    """Note the blobs that a snapshot lacks; return how many manifests it does not know.

    Each repository is compared with its own state there: a restore of an image brings no more.
    """
    progress.phase("Comparing with the vault", total_items=census.repositories)
    unknown = 0
    entries = states_ahead(opened.entries(), opened.objects, opened.vault)
    entry = next(entries, None)
    for name, looked in census.looked():
        while entry is not None and entry.name < name:
            entry = next(entries, None)
        known: Container[str] = ()
        held: Container[str] = ()
        tags: Mapping[str, str] = {}
        if entry is not None and entry.name == name:
            state = opened.state(entry)
            known, held, tags = state.revisions, state.held(), state.tags
        needed = (*looked.stay, *looked.linked, *looked.unlinked)
        census.note_lacking(digest for digest in needed if digest not in held)
        moved = (tag for tag, digest in looked.tags.items() if tags.get(tag) != digest)
        census.note_retagged(name, moved)
        unknown += sum(digest not in known for digest in looked.stay)
        progress.advance(1)
    return unknown


def _kept(
    vault: Vault, census: Census, catalog: Catalog, seen: KeySizes, progress: Progress
) -> tuple[int, int] | None:
    """Return how many of the blobs that nobody needs some snapshot keeps, and their bytes.

    None: it cannot be known, since a list of objects cannot be read.
    """
    unneeded, _ = census.totals(kept=False)
    if not unneeded:
        return 0, 0
    progress.phase("Looking for what older snapshots keep", total_items=unneeded)
    catalog.prepare(unneeded)
    wanted = KeySizes()
    try:
        for digest, _ in census.blobs(kept=False):
            for key in _keys(vault, catalog, digest):
                if seen.get(key) is not None:
                    wanted[key] = _FREE
            progress.advance(1)
        try:
            lists = [vault.object_list(each) for each in vault.all_roots()]
            for key in needed_keys(lists, vault.amendments):
                if wanted.get(key) is not None:
                    wanted[key] = _NEEDED
        except VaultDamagedError as error:
            progress.warn(f"what older snapshots keep is not known: {error.message}")
            return None
        count = nbytes = 0
        for digest, size in census.blobs(kept=False):
            if any(wanted.get(key) == _NEEDED for key in _keys(vault, catalog, digest)):
                count += 1
                nbytes += size
        return count, nbytes
    finally:
        wanted.close()


def _keys(vault: Vault, catalog: Catalog, digest: str) -> Iterator[str]:
    """Yield the objects that may hold a blob."""
    yield blob_key(vault.seal.name(digest))
    for place in catalog.find(digest):
        yield place.key
