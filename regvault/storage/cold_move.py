"""Move a blob of a registry between its own directory and cold mounts.

A verified copy, then one atomic rename: at any moment the registry's `data` is the whole blob, or a
link to the whole blob. What was copied to a cold mount stays there for a while after it was left,
because who looked at the link before may open its file only now.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, PreconditionError, StoreError
from regvault.model.classes import Moved
from regvault.storage.cold_binding import HOT
from regvault.storage.cold_files import Like, copied, directory_like, sweep_directory
from regvault.storage.keys import RESERVED
from regvault.storage.local_errors import translated
from regvault.storage.local_tree import TEMPORARY_SUFFIX
from regvault.storage.syscalls import sync_directory

if TYPE_CHECKING:
    from regvault.model.classes import Placement
    from regvault.storage.cold_root import ColdRoot
    from regvault.storage.local_cold import ColdStore
    from regvault.storage.local_tree import Tree
    from regvault.storage.local_write import Temporary

__all__ = ["change"]


def change(
    store: ColdStore, tree: Tree, key: str, storage_class: str, expected: Placement
) -> Moved:
    """Move a blob to another class; see `ClassedStore.change_class`.

    Args:
        store: the registry.
        tree: of its root directory, without following links.
        key: of the blob.
        storage_class: where to.
        expected: what it is known to be.

    Raises:
        DigestMismatchError: its bytes are not its digest; they stay where they are.
        StoreFullError: there is no room where it is to go.
        StoreUnavailableError: a cold mount is away, or another process is at work.
    """
    if storage_class != HOT and storage_class not in store.roots:
        has = ", ".join([HOT, *store.roots])
        raise StoreError(f"{store.location} has no class {storage_class}; it has {has}", key=key)
    if not store.covers(key):
        seen = _seen(store, key, expected)
        if storage_class == HOT:
            return Moved(seen, None)
        raise StoreError(f"{key!r} in {store.location} is no blob: only blobs are moved", key=key)
    moving = translated("move", store.location, key=key, write=True)
    with store.turn.taken(), store.turn.of(store.digest(key)), moving:
        seen = _seen(store, key, expected)
        if seen.storage_class == storage_class:
            return Moved(seen, None)
        return _Move(store, tree, seen, storage_class).run()


def _seen(store: ColdStore, key: str, expected: Placement) -> Placement:
    seen = store.placement(key)
    if (seen.entry.size, seen.entry.etag) != (expected.entry.size, expected.entry.etag):
        raise PreconditionError(f"{key!r} in {store.location} is not what it was", key=key)
    return seen


class _Move:
    """One move of one blob, which nobody else of ours moves meanwhile."""

    def __init__(self, store: ColdStore, tree: Tree, seen: Placement, storage_class: str) -> None:
        self._store = store
        self._tree = tree
        self._seen = seen
        self._key = seen.entry.key
        self._digest = store.digest(self._key)
        self._from = store.roots.get(seen.storage_class)
        self._to = store.roots.get(storage_class)
        self._name = self._key.rpartition("/")[2]
        self._sha256 = ""

    def run(self) -> Moved:
        store, key = self._store, self._key
        if self._to is not None:
            self._to.tree()  # an error, before anything is written down
        with translated("look at", store.location, key=key):
            directory = self._tree.open_directory(key.rpartition("/")[0], listing=True)
        try:
            self._note(self._to, "begin")
            self._note(self._from, "leaving")
            if self._to is None:
                self._home(directory)
            else:
                self._away(self._to, directory)
            with translated("sync", store.location, key=key, write=True):
                os.fsync(directory)
            self._note(self._to, "linked")
            self._note(self._from, "left")
        finally:
            os.close(directory)
        return Moved(store.placement(key), self._sha256)

    def _note(self, root: ColdRoot | None, step: str) -> None:
        if root is not None:
            self._store.journals[root.name].write(step, self._digest, self._seen.entry.size)

    def _copied(self, tree: Tree, directory: int, owner: tuple[int, int] | None) -> Temporary:
        with self._store.open(self._key) as source:
            like = Like.of(os.fstat(source.fileno()))
            if owner is not None:
                like = like._replace(uid=owner[0], gid=owner[1])
            temporary, self._sha256 = copied(source, self._digest, tree, directory, like=like)
        return temporary

    def _home(self, directory: int) -> None:
        """Copy it beside the link, and put it in the link's place."""
        # A mount may have shown it with another owner: the registry made the directory.
        status = os.fstat(directory)
        temporary = self._copied(self._tree, directory, (status.st_uid, status.st_gid))
        try:
            self._swap(temporary.name, directory)
        except BaseException:
            temporary.discard()
            raise

    def _away(self, root: ColdRoot, directory: int) -> None:
        """Copy it into a cold mount, and put a link to it in its place."""
        key = self._store.cold_key(self._key)
        try:
            self._publish(root, key, Like.of(os.fstat(directory)))
            link = f"{RESERVED}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
            text = root.bound.link(key.removeprefix("blobs/"))
            try:
                self._link(text, link, directory)
                self._swap(link, directory)
            except BaseException:
                with suppress(OSError):
                    os.unlink(link, dir_fd=directory)
                raise
        except BaseException:
            with suppress(StoreError, OSError):
                self._take_back(root, key)
            raise

    def _publish(self, root: ColdRoot, key: str, like: Like) -> None:
        tree = root.tree()
        path, _, name = key.rpartition("/")
        with translated("write", root.location, key=key, write=True):
            directory = directory_like(tree, path, like)
        try:
            temporary = self._copied(tree, directory, None)
            try:
                with translated("write", root.location, key=key, write=True):
                    temporary.publish(name)
                    sync_directory(directory)
            except BaseException:
                temporary.discard()
                raise
        finally:
            os.close(directory)

    def _link(self, text: str, name: str, directory: int) -> None:
        with translated("link", self._store.location, key=self._key, write=True):
            try:
                os.symlink(text, name, dir_fd=directory)
            except FileNotFoundError:
                raise self._gone() from None

    def _swap(self, name: str, directory: int) -> None:
        """Rename what has `name` over the data, if that is what it was before the copy."""
        if self._store.placement(self._key) != self._seen:
            raise PreconditionError(
                f"{self._key!r} in {self._store.location} was changed meanwhile", key=self._key
            )
        with translated("exchange", self._store.location, key=self._key, write=True):
            try:
                os.rename(name, self._name, src_dir_fd=directory, dst_dir_fd=directory)
            except FileNotFoundError:
                raise self._gone() from None

    def _gone(self) -> ObjectNotFoundError:
        """Return what there is to say of a blob that the registry removed meanwhile."""
        where = self._store.location
        return ObjectNotFoundError(f"{self._key!r} in {where} was removed meanwhile", key=self._key)

    def _take_back(self, root: ColdRoot, key: str) -> None:
        """Remove the copy, unless the link to it was put in place all the same."""
        with suppress(ObjectNotFoundError):
            if self._store.placement(self._key).storage_class == root.name:
                return
        path, _, name = key.rpartition("/")
        with suppress(FileNotFoundError), root.tree().directory(path, listing=True) as directory:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
            sweep_directory(directory)
            sync_directory(directory)
        self._note(root, "gone")
