"""One snapshot, opened: its repositories, their states, its damage. Takes no lease."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple, Self

from regvault.errors import VaultDamagedError
from regvault.model.store import HierarchicalStore
from regvault.oci.grammar import is_digest, is_repository
from regvault.ops.images import parse_state
from regvault.ops.selector import look
from regvault.ops.snapshot.session import RepositoryEntry, parse_damage, parse_entry
from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog, vault_cache
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.ops.images import RepositoryState
    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.tree import Tree
    from regvault.vault.vault import Vault

__all__ = ["DamageLine", "Opened", "states_ahead"]


class DamageLine(NamedTuple):
    """One line of what a snapshot says was wrong at the source.

    Attributes:
        repository: its name, "" for what belongs to none.
        kind: as in `regvault.model.registry.Kind`.
        subject: digest, `:tag` or path.
        image: the image that it hurts, `:tag` or `@digest`; "" for none.
        since: the sequence that first had it.
    """

    repository: str
    kind: str
    subject: str
    image: str
    since: int


def states_ahead(
    entries: Iterable[RepositoryEntry], objects: ObjectList, vault: Vault
) -> Iterator[RepositoryEntry]:
    """Yield entries, some ahead with the first chunk of their state in memory; not on a disk."""
    if isinstance(vault.store, HierarchicalStore):
        return iter(entries)

    def fetch(entry: RepositoryEntry) -> RepositoryEntry:
        with contextlib.suppress(VaultDamagedError):  # who reads it next says so
            vault.tree("state", ChunkRef(entry.state), objects).fetch()
        return entry

    return look(entries, fetch, vault)


class Opened:
    """One snapshot, opened to look inside. Takes no lease; everything read is proven.

    Names that no registry would take, and lines that are none, are damage: they are hostile.

    Attributes:
        vault: it is in.
        root: its root.
        objects: its object list.
        catalog: where blobs lie; prepared at the first read.
    """

    def __init__(
        self,
        vault: Vault,
        root: Root,
        *,
        cache_base: str | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        """Open.

        Args:
            vault: it is in.
            root: its root.
            cache_base: directory of the local caches; None keeps nothing.
            catalog: one that is open already, and stays open.
        """
        self.vault = vault
        self.root = root
        self.objects: ObjectList = vault.object_list(root)
        self._own_catalog = catalog is None
        self.catalog = catalog or Catalog(
            vault.store, vault_cache(cache_base, vault.id), vault.seal
        )
        self.reader = BlobReader(vault.store, self.catalog, self.objects)
        self._prepared = False
        self._gone: set[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog, where it is this one's own."""
        if self._own_catalog:
            self.catalog.close()

    def read(self, digest: str) -> bytes:
        """Return a small blob, proven."""
        if not self._prepared:
            self.expect(1)
        return self.reader.read(digest)

    def expect(self, lookups: int) -> None:
        """Choose how to look blobs up: so many are to be read."""
        self.catalog.prepare(lookups)
        self._prepared = True

    def repository_tree(self) -> Tree:
        """Return the repository list."""
        return self.vault.tree("repositories", self.root.repositories, self.objects)

    def entries(self) -> Iterator[RepositoryEntry]:
        """Yield the repositories, in byte order of their names."""
        return map(self.entry_of, self.repository_tree().lines())

    def entry(self, repository: str) -> RepositoryEntry | None:
        """Return one repository's line, or None where the snapshot lacks it."""
        if not is_repository(repository):
            return None
        for line in self.repository_tree().with_prefix(f"{repository} ".encode()):
            return self.entry_of(line)
        return None

    def entry_of(self, line: bytes) -> RepositoryEntry:
        """Parse and check a line of the repository list."""
        try:
            entry = parse_entry(line)
        except ValueError:
            entry = None
        if entry is None or not is_repository(entry.name) or not is_digest(entry.state):
            raise VaultDamagedError(
                f"the repository list of {self.root.name} has a line that is none: {line[:200]!r}",
                hint="See all that is wrong with: regvault verify",
            )
        return entry

    def state_tree(self, state: str) -> Tree:
        """Return a repository's state."""
        return self.vault.tree("state", ChunkRef(state), self.objects)

    def state_lines(self, state: str) -> Iterator[bytes]:
        """Yield the lines of a repository's state."""
        return self.state_tree(state).lines()

    def state(self, entry: RepositoryEntry) -> RepositoryState:
        """Return a repository's whole state; what was purged from it, it does not hold."""
        try:
            state = parse_state(self.state_lines(entry.state))
            return self._without_purged(state)
        except ValueError:
            raise VaultDamagedError(
                f"the state of {entry.name} in {self.root.name} has a line that is none",
                hint="See all that is wrong with: regvault verify",
            ) from None

    def _without_purged(self, state: RepositoryState) -> RepositoryState:
        if self._gone is None:
            purged = self.vault.purged(self.root)
            if purged:
                self.expect(1)
            self._gone = {name for name in purged if not self.reader.holds_name(name)}
        if not self._gone:
            return state
        name = self.vault.seal.name
        return state.without({digest for digest in state.held() if name(digest) in self._gone})

    def damage(self, repository: str | None = None) -> Iterator[DamageLine]:
        """Yield what was wrong at the source: all of it, or of one repository."""
        if self.root.damage is None:
            return
        tree = self.vault.tree("damage", self.root.damage, self.objects)
        lines = tree.lines() if repository is None else tree.with_prefix(f"{repository} ".encode())
        for line in lines:
            try:
                yield DamageLine(*parse_damage(line))
            except ValueError:
                raise VaultDamagedError(
                    f"the damage list of {self.root.name} has a line that is none: {line[:200]!r}"
                ) from None
