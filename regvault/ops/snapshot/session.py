"""What one snapshot run stands on: the chain, the newest root, what the vault really has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import (
    NotFoundError,
    RefusedError,
    SourceUnavailableError,
    VaultDamagedError,
)
from regvault.model.store import HierarchicalStore
from regvault.oci.grammar import is_digest, is_repository, parse_number
from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog, vault_cache
from regvault.vault.condemned import read_condemned_to
from regvault.vault.presence import Presence, list_objects
from regvault.vault.records import is_held, known_damage
from regvault.vault.root import RootName
from regvault.vault.tiering import read_archived
from regvault.vault.writer import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.ops.snapshot.choose import Chosen
    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["RepositoryEntry", "Session", "parse_entry"]

#: (repository, kind, subject, image) -> the sequence that first had it.
Damage = dict[tuple[str, str, str, str], int]


class RepositoryEntry(NamedTuple):
    """One line of a snapshot's repository list.

    Attributes:
        name: of the repository.
        state: digest of the top chunk of its state.
        fingerprint: of the links that the state was read from; "" where it was not settled.
    """

    name: str
    state: str
    fingerprint: str

    def line(self) -> bytes:
        """Return the line of the tree."""
        return f"{self.name} {self.state} {self.fingerprint or '-'}".encode()


def parse_entry(line: bytes) -> RepositoryEntry:
    """Parse a line of the repository list.

    Raises:
        VaultDamagedError: it is none, or its name is none of a repository (hostile input).
    """
    try:
        name, state, fingerprint = line.decode("ascii").split(" ")
    except ValueError:
        name = state = fingerprint = ""
    if not is_repository(name) or not is_digest(state) or not fingerprint:
        raise VaultDamagedError(f"a repository list has a line that is none: {line[:300]!r}")
    return RepositoryEntry(name, state, "" if fingerprint == "-" else fingerprint)


def check_source(source: RegistrySource, registry: str, *, known: bool) -> None:
    """Refuse a place without a registry.

    Raises:
        NotFoundError: there is none, and never was.
        SourceUnavailableError: there is none, but the vault has snapshots of it.
    """
    try:
        source.check()
    except NotFoundError as error:
        if not known:
            raise
        raise SourceUnavailableError(
            f"{error.message}, though the vault has snapshots of {registry}",
            hint="Is it mounted? No snapshot was made; those that the vault has are untouched.",
        ) from None


class Session:
    """The vault as one run sees it: read once, after the lease was taken.

    Attributes:
        damaged: whether a root had to be passed over, or an object has wrong bytes.
    """

    def __init__(
        self,
        vault: Vault,
        chosen: Chosen,
        run: str,
        *,
        cache_base: str | None,
        threads: int,
        progress: Progress,
        bad: set[str],
    ) -> None:
        """Read the chain and the condemned lists, and begin to LIST the objects.

        Args:
            vault: the vault.
            chosen: whose chain.
            run: this run.
            cache_base: directory of the local caches; None: keep nothing.
            threads: for LIST.
            progress: is told of roots that cannot be read.
            bad: objects whose bytes turned out to be wrong.

        Raises:
            RefusedError: the chain is fed by copies from another vault.
        """
        self.vault = vault
        registry = chosen.registry
        self.registry = registry
        self.title = chosen.title
        self.run = run
        self.directory = vault_cache(cache_base, vault.id)
        self._progress = progress
        self.damaged = bool(bad)
        self._bad = bad
        self.slots = vault.slots(registry)
        self.previous: Root | None = None
        self.accepted: Root | None = None
        confirmations = vault.confirmations
        for root in vault.roots(registry, damaged=self._pass_over):
            self.previous = self.previous or root
            if not is_held(root, confirmations):
                self.accepted = root
                break
        if self.previous is not None and self.previous.amendment is not None:
            raise RefusedError(
                f"{chosen.title} of {vault.store.location} is a copy from another vault"
                f" ({self.previous.amendment.get('origin')})",
                hint="Snapshot into that one, and copy again; or give this registry another name: "
                "--registry NAME",
            )
        vault.require_amendments()
        self.objects: ObjectList | None = (
            vault.object_list(self.previous) if self.previous else None
        )
        self._distrust_known()
        self.condemned, self.condemned_to = read_condemned_to(vault.store, vault.id)
        self.presence = Presence(self.objects, bad, read_archived(vault.store, vault.id, progress))
        self.catalog = Catalog(vault.store, self.directory, vault.seal)
        self.blobs = BlobReader(vault.store, self.catalog, self.objects)
        self.writer = ObjectWriter(vault.store, run, self.presence, self.condemned, vault.seal)
        self._threads = 1 if isinstance(vault.store, HierarchicalStore) else threads
        self._lister = ThreadPoolExecutor(1, thread_name_prefix="presence")
        self._listing = self._lister.submit(self._list)

    def _distrust_known(self) -> None:
        """Count no more on what a verification found rotten: LIST shows it with its size."""
        if self.objects is None:
            return
        known = known_damage(self.vault.store, self.vault.id) - self._bad
        try:
            needed = {key for key in known if self.objects.has(key)}
            needed |= known & {chunk.key for chunk in self.objects.own_chunks()}
        except VaultDamagedError:
            return  # it is found when the list is compared with LIST
        self._bad |= needed
        if needed:
            count = f"{len(needed)} object{'s' if len(needed) > 1 else ''}"
            self._progress.note(f"Storing anew {count} that a verification found damaged.")

    def _pass_over(self, error: VaultDamagedError) -> None:
        # The worst day is no day to refuse a backup: the newest root that can be read will do.
        self.damaged = True
        self._progress.warn(
            f"{error.message}; this snapshot builds on an older one",
            hint="See what else is damaged: regvault verify",
        )

    def _list(self) -> None:
        archived = self.presence.archived
        told = None if archived is None else archived.saw
        self.presence.compare(list_objects(self.vault.store, self._threads, told))

    def wait_for_listing(self, progress: Progress) -> None:
        """Return once the LIST is compared with what the newest root needs.

        Where that root's object list itself is damaged, nothing of it is counted on.
        """
        try:
            self._listing.result()
        except VaultDamagedError as error:
            progress.warn(f"{error.message}; what the newest snapshot needs is not known")
            self.distrust(error)
            self.objects = None
            self.presence.close()
            self.presence = Presence(
                None, self._bad, read_archived(self.vault.store, self.vault.id)
            )
            self.writer = ObjectWriter(
                self.vault.store, self.run, self.presence, self.condemned, self.vault.seal
            )
            self._list()

    def distrust(self, error: VaultDamagedError) -> None:
        """Count no more on the object that an error is about: store again what it held."""
        if error.key is not None:  # else it is gone, which LIST tells, or is not one object
            self.damaged = True
            self._bad.add(error.key)

    def next_sequence(self) -> int:
        """Return the number of the first free slot."""
        return self.slots[-1] + 1 if self.slots else 1

    @property
    def registry_id(self) -> str:
        """The permanent id of the registry: of the run that took its first snapshot, if plain."""
        if self.previous is not None:
            return self.previous.registry_id
        return self.registry if self.vault.seal.sealed else self.run

    def root_name(self, sequence: int) -> RootName:
        """Return the name of a slot of the chain."""
        label = self.title if self.vault.seal.sealed else ""
        return RootName(self.registry, sequence, label)

    def entries(self) -> Iterator[RepositoryEntry]:
        """Yield the repository list of the newest root."""
        if self.previous is not None and self.objects is not None:
            tree = self.vault.tree("repositories", self.previous.repositories, self.objects)
            for line in tree.lines():
                yield parse_entry(line)

    def state_lines(self, state: str) -> Iterator[bytes]:
        """Yield the lines of a repository's state of the newest root."""
        from regvault.vault.tree import ChunkRef

        assert self.objects is not None
        return self.vault.tree("state", ChunkRef(state), self.objects).lines()

    def known_damage(self) -> Damage:
        """Return the damage that the newest root carries."""
        found: Damage = {}
        if self.previous is not None and self.previous.damage is not None:
            assert self.objects is not None
            tree = self.vault.tree("damage", self.previous.damage, self.objects)
            for line in tree.lines():
                repository, kind, subject, image, since = parse_damage(line)
                found[repository, kind, subject, image] = since
        return found

    def close(self) -> None:
        """Stop listing, and close the caches."""
        self._lister.shutdown(wait=True, cancel_futures=True)
        self.presence.close()
        self.catalog.close()


def damage_line(repository: str, kind: str, subject: str, image: str, since: int) -> bytes:
    """Return one line of a damage tree."""
    from regvault.model.state import encode_field

    fields = (repository, kind, subject, image)
    return f"{' '.join(map(encode_field, fields))} {since}".encode()


def parse_damage(line: bytes) -> tuple[str, str, str, str, int]:
    """Parse one line of a damage tree. Raises VaultDamagedError."""
    from regvault.model.state import decode_field

    try:
        repository, kind, subject, image, since = line.decode("ascii").split(" ")
        return (
            decode_field(repository),
            decode_field(kind),
            decode_field(subject),
            decode_field(image),
            parse_number(since),
        )
    except ValueError:
        raise VaultDamagedError(f"a damage tree has a line that is none: {line[:300]!r}") from None
