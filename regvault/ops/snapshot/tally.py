"""Counts what the new snapshot needs, repository by repository, against the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.model.state import checked_line
from regvault.vault.tree import ChunkRef, TreeBuilder, merge_diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.ops.snapshot.session import Session
    from regvault.ops.snapshot.storer import BlobStorer
    from regvault.vault.needs import NeedIndex
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.tree import Tree

__all__ = ["Tally"]


class Tally:
    """Keeps the need index and the counts in step with the states that are written.

    Attributes:
        repositories, tags, revisions: of the new snapshot.
    """

    def __init__(
        self, session: Session, needs: NeedIndex, storer: BlobStorer, *, incremental: bool
    ) -> None:
        """Begin from the newest root's counts (incremental), or from nothing.

        Incremental: the index describes the newest root, so only differences are counted. Else it
        is empty, and inherited states are counted as well.
        """
        self._session = session
        self._needs = needs
        self._storer = storer
        self.incremental = incremental
        previous = session.previous
        counts = previous.counts if incremental and previous is not None else None
        self.repositories = 0
        self.tags = counts.tags if counts else 0
        self.revisions = counts.revisions if counts else 0

    def new_state(self, lines: list[bytes], before: str | None) -> str:
        """Store a state that was read; return the digest of its top chunk.

        Args:
            lines: of the state, sorted.
            before: digest of the repository's state in the newest root, or None.
        """
        chunks: list[ObjectRef] = []
        builder = TreeBuilder("state", self._session.writer.tree_putter(chunks.append))
        for line in lines:
            builder.add(line)
        state = builder.finish().top.digest
        self.repositories += 1
        for chunk in chunks:
            self._needs.need_object(chunk, 1)
        old: Iterator[bytes] = iter(())
        if before is not None and self.incremental:
            self._uncount_chunks(before)
            old = self._session.state_lines(before)
        self._count(merge_diff(old, iter(lines)))
        return state

    def keep_state(self, state: str) -> None:
        """Count a state that is inherited as it is.

        Raises:
            VaultDamagedError: it needs a blob that neither the vault nor the source has any more.
        """
        self.repositories += 1
        if self.incremental:
            return
        for ref in self._chunks(state):
            self._needs.need_object(ref, 1)
        lines = list(self._session.state_lines(state))
        for line in lines:
            what, digest, _, size = checked_line(line)
            if size is None:
                continue
            # Objects that LIST does not show are stored again, from a source that is not read
            # otherwise.
            metadata = what == "rev"
            if self._storer.ensured(digest, metadata=metadata) is None:
                raise VaultDamagedError(
                    f"the vault has lost {digest}, and the registry does not have it any more",
                    hint="Take the snapshot without --repo, or bring the object back from a copy.",
                )
        self._count((True, line) for line in lines)

    def keep_lines(self, lines: list[bytes]) -> list[bytes]:
        """Return lines of an old state as they go into a new one: without a size if it is lost."""
        if self.incremental:
            return lines
        kept: list[bytes] = []
        for line in lines:
            what, digest, _, size = checked_line(line)
            if size is not None:
                found = self._storer.ensured(digest, metadata=what == "rev")
                kept.append(line if found is not None else line.rpartition(b" ")[0] + b" -")
            else:
                kept.append(line)
        return kept

    def drop_state(self, state: str) -> None:
        """Take a repository out that the source no longer has."""
        if self.incremental:
            self._uncount_chunks(state)
            self._count((False, line) for line in self._session.state_lines(state))

    def swap_tree(self, old: Tree | None, new: list[ObjectRef]) -> None:
        """Count the chunks of the repository list, or of the damage, in place of the old ones."""
        for chunk in new:
            self._needs.need_object(chunk, 1)
        if old is not None and self.incremental:
            for chunk in self._refs(old):
                self._needs.need_object(chunk, -1)

    def _count(self, differences: Iterable[tuple[bool, bytes]]) -> None:
        for added, line in differences:
            change = 1 if added else -1
            what, name, _, size = checked_line(line)
            if what == "tag":
                self.tags += change
            elif what == "rev":
                self.revisions += change
            if size is not None:
                self._needs.need(name, size, change)

    def _uncount_chunks(self, state: str) -> None:
        for ref in self._chunks(state):
            self._needs.need_object(ref, -1)

    def _chunks(self, state: str) -> Iterator[ObjectRef]:
        objects = self._session.objects
        assert objects is not None
        tree = self._session.vault.tree("state", ChunkRef(state), objects)
        yield from self._refs(tree)

    def _refs(self, tree: Tree) -> Iterator[ObjectRef]:
        """Yield the objects of a tree's chunks, as the newest root's list has them."""
        objects = self._session.objects
        assert objects is not None
        for chunk in tree.chunks():
            key = self._session.vault.seal.chunk_key(chunk.digest.partition(":")[2])
            ref = self._needs.object_of(key) or objects.get(key)
            if ref is None:
                found = objects.variants(key)
                if not found:
                    raise VaultDamagedError(f"the object list lacks the chunk {chunk.digest}")
                ref = found[0]
            yield ref
