"""Remove from cold mounts what no link of the registry leads to any more.

A registry that collects garbage removes the link, not the file in the cold mount; a move back, or
one that was killed, leaves a copy. Only what a journal knows is removed, and only while this
process alone moves blobs. What the registry has in its place is made durable, and proven, before.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from regvault.errors import DigestMismatchError, ObjectNotFoundError, StoreError
from regvault.oci.verify import VerifyingReader
from regvault.storage.cold_files import is_temporary, sweep_directory
from regvault.storage.local_errors import MISSING, translated
from regvault.storage.syscalls import sync_directory

if TYPE_CHECKING:
    from collections.abc import Collection

    from regvault.storage.cold_journal import Record
    from regvault.storage.cold_root import ColdRoot
    from regvault.storage.local_cold import ColdStore
    from regvault.storage.local_tree import Tree

__all__ = ["LEFT_FOR_S", "ORPHANED_FOR_S", "Reaped", "reap"]

ORPHANED_FOR_S: Final = 86_400
"""How long nothing must have led to a file."""

LEFT_FOR_S: Final = 600
"""How long a file stays that was copied back: a registry on NFS may remember the link a minute."""

#: A temporary file in the registry that is so old is of a move that was killed.
_LEFT_AFTER_S: Final = 3600.0
_BUFFER: Final = 1 << 20


class Reaped(NamedTuple):
    """What became of the cold mounts.

    Attributes:
        removed: files that were removed.
        removed_bytes: their bytes.
        waiting: files that nothing leads to, and that are removed once that is so for long enough.
        kept: files that nothing leads to, and that stay: what the registry has instead is damaged,
            or leads elsewhere.
        linked: files that the registry has links to.
        linked_bytes: their bytes.
        damaged_lines: of journals; what they said of is never removed, unless another line says it.
    """

    removed: int = 0
    removed_bytes: int = 0
    waiting: int = 0
    kept: int = 0
    linked: int = 0
    linked_bytes: int = 0
    damaged_lines: int = 0


def reap(
    store: ColdStore,
    tree: Tree,
    *,
    names: Collection[str] | None = None,
    orphaned_for_s: int = ORPHANED_FOR_S,
    left_for_s: int = LEFT_FOR_S,
) -> Reaped:
    """Remove what no link leads to; mend what moves that were killed left.

    Args:
        store: the registry.
        tree: of its root directory, without following links.
        names: of the mounts that are looked at; None: all.
        orphaned_for_s: seconds since a file was first seen without a link to it.
        left_for_s: seconds since a blob was moved out of a mount.

    Raises:
        StoreUnavailableError: a cold mount is away, or another process is at work.
        StoreError: the registry has no blobs at all: it may be away itself.
    """
    total = Reaped()
    with store.turn.taken(), translated("look through", store.location, write=True):
        try:
            with translated("look at", store.location, key=store.blobs):
                os.close(tree.open_directory(store.blobs.rstrip("/")))
        except ObjectNotFoundError as error:
            raise StoreError(
                f"there are no blobs in {store.location}", hint="Is the registry itself mounted?"
            ) from error
        for name, root in store.roots.items():
            if names is not None and name not in names:
                continue
            root.tree()
            journal = store.journals[name]
            with closing(journal.fold()) as folded:
                one = _Reaper(store, tree, root, orphaned_for_s, left_for_s)
                for record in folded:
                    with store.turn.of(record.digest):
                        one.look_at(record)
                found = one.found._replace(damaged_lines=folded.damaged)
            total = Reaped(*map(sum, zip(total, found, strict=True)))
            journal.compact()
    return total


class _Reaper:
    """Goes through what the journal of one mount knows."""

    def __init__(
        self, store: ColdStore, tree: Tree, root: ColdRoot, orphaned_for_s: int, left_for_s: int
    ) -> None:
        self._store = store
        self._tree = tree
        self._root = root
        self._journal = store.journals[root.name]
        self._orphaned_for_s = orphaned_for_s
        self._left_for_s = left_for_s
        self.found = Reaped()

    def _count(self, what: str, count: int = 1, size: int = 0) -> None:
        counts = self.found._asdict()
        counts[what] += count
        if f"{what}_bytes" in counts:
            counts[f"{what}_bytes"] += size
        self.found = Reaped(**counts)

    def look_at(self, record: Record) -> None:
        """Do what there is to do about one file."""
        algorithm, _, digits = record.digest.partition(":")
        key = f"{self._store.blobs}{algorithm}/{digits[:2]}/{digits}/data"
        status, text = self._data(key)
        if text is not None and self._store.root_of(key, text) is self._root:
            self._linked(record, key)
        elif text is not None and self._store.root_of(key, text) is None:
            self._count("kept")  # to where this is, under another name, for all that is known
        elif not self._is_due(record):
            self._count("waiting")
        elif self._is_safe(record, key, there=status is not None):
            self._remove(record, key)
        else:
            self._count("kept")

    def _data(self, key: str) -> tuple[os.stat_result | None, str | None]:
        """Return the status of what is in a blob's place, and where it leads if it is a link."""
        path, _, name = key.rpartition("/")
        with translated("look at", self._store.location, key=key):
            try:
                with self._tree.directory(path) as directory:
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    link = stat.S_ISLNK(status.st_mode)
                    return status, os.readlink(name, dir_fd=directory) if link else None
            except OSError as error:
                if error.errno in MISSING:
                    return None, None
                raise

    def _linked(self, record: Record, key: str) -> None:
        self._count("linked", size=record.size)
        if record.step == "linked":
            return
        if record.step == "begin":  # killed between the swap and its durability
            self._sync(key)
        if self._sweep(key):
            self._journal.write("linked", record.digest, record.size)

    def _is_due(self, record: Record) -> bool:
        """Return whether nothing leads to it for long enough; write down when that began."""
        if record.step == "begin":
            return True  # nothing ever led to it
        age = time.time() - record.at
        if record.step in ("left", "leaving"):
            return age >= self._left_for_s
        if record.step == "linked":
            self._journal.write("orphan", record.digest, record.size)
            age = 0
        return age >= self._orphaned_for_s

    def _is_safe(self, record: Record, key: str, *, there: bool) -> bool:
        """Return whether the bytes are not needed: the registry has none, or has good ones itself.

        What it has is made durable first, so that no power cut brings the link back.
        """
        if there and record.step != "begin" and not self._is_good(record, key):
            return False
        self._sync(key)
        return True

    def _is_good(self, record: Record, key: str) -> bool:
        buffer = bytearray(_BUFFER)
        try:
            with self._store.open(key) as source:
                reader = VerifyingReader(source, record.digest, record.size)
                while reader.readinto(buffer):
                    pass
                with translated("sync", self._store.location, key=key, write=True):
                    os.fsync(source.fileno())
        except (DigestMismatchError, ObjectNotFoundError):
            return False
        return True

    def _sync(self, key: str) -> None:
        """Make durable what a directory has in it; of one that is gone, that it is gone."""
        path = key.rpartition("/")[0]
        with translated("sync", self._store.location, key=key, write=True):
            while True:
                try:
                    with self._tree.directory(path, listing=True) as directory:
                        os.fsync(directory)
                        return
                except FileNotFoundError:
                    path = path.rpartition("/")[0]

    def _remove(self, record: Record, key: str) -> None:
        cold_key = self._store.cold_key(key)
        path, _, name = cold_key.rpartition("/")
        above, _, last = path.rpartition("/")
        with translated("remove", self._root.location, key=cold_key, write=True):
            swept = self._sweep(key)
            with suppress(FileNotFoundError), self._root.asked() as tree:
                with tree.directory(path, listing=True) as directory:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=directory)
                        self._count("removed", size=record.size)
                    sync_directory(directory)
                with suppress(OSError), tree.directory(above) as directory:
                    os.rmdir(last, dir_fd=directory)
        if swept:
            self._journal.write("gone", record.digest, record.size)

    def _sweep(self, key: str) -> bool:
        """Remove the temporary files of moves that were killed; return whether none is left.

        In the registry's own directory a restore may be at work: there they have to be old.
        """
        cold = self._store.cold_key(key).rpartition("/")[0]
        with suppress(FileNotFoundError), self._root.tree().directory(cold, listing=True) as fd:
            sweep_directory(fd)
        before = time.time() - _LEFT_AFTER_S
        swept = True
        path = key.rpartition("/")[0]
        with suppress(FileNotFoundError), self._tree.directory(path, listing=True) as directory:
            for name in filter(is_temporary, os.listdir(directory)):
                with suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if self._is_ours(name, directory, status, before):
                        os.unlink(name, dir_fd=directory)
                    else:
                        swept = False
        return swept

    def _is_ours(self, name: str, directory: int, status: os.stat_result, before: float) -> bool:
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=directory).startswith(f"{self._root.bound.seen}/")
        return status.st_ctime < before
