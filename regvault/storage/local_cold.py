"""A registry on a file system whose cold blobs lie on other mounts, behind links.

A link is followed only in place of a blob's data, only if it leads to this very blob in a cold
mount that is bound to the registry (`cold_binding`), and by us, never by the file system: the
registry may see the mount at another path than this host does.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final, TypeVar

from regvault.errors import (
    ObjectNotFoundError,
    ReadOnlyStoreError,
    StoreError,
    StoreUnavailableError,
)
from regvault.model.classes import Moved, Placement
from regvault.model.store import Entry
from regvault.oci.grammar import is_hex
from regvault.storage import cold_move, cold_reap, local_children, local_read
from regvault.storage.cold_binding import HOT
from regvault.storage.cold_journal import Journal
from regvault.storage.cold_root import ColdRoot
from regvault.storage.cold_turn import Turn
from regvault.storage.keys import check_directory, check_name, check_prefix
from regvault.storage.local import LocalStore
from regvault.storage.local_errors import os_error, translated
from regvault.storage.local_read import FileReader, etag_of
from regvault.storage.local_tree import FILE_READ, Tree
from regvault.storage.streams import check_range

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from regvault.storage.cold_binding import Bound
    from regvault.storage.cold_reap import Reaped

    # `list` is a method below.
    Names = list[tuple[str, bool]]
    Statuses = list[tuple[str, int, int, int]]
    Contents = list[tuple[str, bytes | None]]

__all__ = ["ColdStore"]

T = TypeVar("T")

_DATA: Final = "data"
_OWN: Final = "regvault-cold"
#: How often a link is looked at again that was exchanged while its file was looked for.
_LOOKS: Final = 5


class ColdStore(LocalStore):
    """A `LocalStore` over a registry's root directory with cold mounts (implements ClassedStore).

    What lies behind a link has the size and the times of the file there. The storage classes are
    `hot` and the names of the mounts.

    Args:
        root: the registry's root directory.
        bound: its cold mounts.
        blobs: the prefix of all blobs' keys, `docker/registry/v2/blobs/`.
        movable: blobs can be moved, even if nothing else can be written.
        away_is_missing: a blob in a mount that is away is not there, instead of an error: for a
            restore, which then writes it into the registry's own directory.
        follow_symlinks, writable, owner, file_mode, dir_mode: as in LocalStore. Links in place of
            data are followed as said above, whatever it says; and nothing is moved where one leads
            to the directory of a blob.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        bound: Iterable[Bound],
        *,
        blobs: str,
        movable: bool = True,
        away_is_missing: bool = False,
        follow_symlinks: bool = False,
        writable: bool = True,
        owner: tuple[int, int] | None = None,
        file_mode: int | None = None,
        dir_mode: int | None = None,
    ) -> None:
        super().__init__(
            root,
            follow_symlinks=follow_symlinks,
            writable=writable,
            owner=owner,
            file_mode=file_mode,
            dir_mode=dir_mode,
        )
        self.blobs = blobs
        self.roots = {each.name: ColdRoot(each, self.location) for each in bound}
        # What is moved is reached without following links.
        self._strict = self._tree if not follow_symlinks else self._opened()
        self.journals = {name: Journal(self._strict, name) for name in self.roots}
        self.turn = Turn(self._strict, self._rest)
        self._movable = movable
        self._away_is_missing = away_is_missing

    def _opened(self) -> Tree:
        return Tree(
            self.root,
            self.location,
            create=False,
            follow=False,
            dir_mode=None,
            root_mode=None,
            owner=None,
        )

    def _rest(self) -> None:
        for journal in self.journals.values():
            journal.close()

    def close(self) -> None:
        """Close the root, and the cold mounts."""
        self._rest()
        for root in self.roots.values():
            root.close()
        if self._strict is not self._tree:
            self._strict.close()
        super().close()

    # Where a blob is

    def covers(self, key: str) -> bool:
        """Return whether a key is that of a blob's data, in whose place a link may lie."""
        return key.startswith(self.blobs) and _is_suffix(key[len(self.blobs) :])

    def digest(self, key: str) -> str:
        """Return the digest of a key that `covers` has."""
        algorithm, _, digits, _ = key[len(self.blobs) :].split("/")
        return f"{algorithm}:{digits}"

    def cold_key(self, key: str) -> str:
        """Return where a blob lies below a cold mount."""
        return f"blobs/{key[len(self.blobs) :]}"

    def root_of(self, key: str, text: str) -> ColdRoot | None:
        """Return the cold mount that a link leads into, if it leads to this very blob there."""
        suffix = key[len(self.blobs) :]
        return next((r for r in self.roots.values() if r.bound.link(suffix) == text), None)

    def find(
        self,
        key: str,
        hot: Callable[[str, int], T],
        cold: Callable[[ColdRoot, str], T],
    ) -> tuple[T, ColdRoot | None]:
        """Look at a blob's data where it lies; also while it is being moved.

        Args:
            key: that `covers` has.
            hot: looks at a name in the directory of a descriptor; ELOOP of what is a link.
            cold: looks at a key in a cold mount.

        Returns:
            What was found, and the mount that it was found in.

        Raises:
            OSError: it is not there, or cannot be looked at.
            StoreUnavailableError: the mount is away.
            StoreError: it is a link that leads elsewhere.
        """
        path, _, name = key.rpartition("/")
        missed = None
        for _ in range(_LOOKS):
            with self._tree.directory(path) as directory:
                try:
                    text = os.readlink(name, dir_fd=directory)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    try:
                        return hot(name, directory), None
                    except OSError as changed:
                        if changed.errno != errno.ELOOP:
                            raise
                        continue
            root = self.root_of(key, text)
            if root is None:
                raise self._foreign(key, text)
            try:
                return cold(root, self.cold_key(key)), root
            except FileNotFoundError:
                if text == missed:
                    break
                missed = text
            except StoreUnavailableError:
                if self._away_is_missing:
                    break
                raise
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def _foreign(self, key: str, text: str) -> Exception:
        if not self._tree.follow:  # as without cold mounts: it is no object, and is replaced
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        names = ", ".join(f"{r.name} at {r.bound.seen}" for r in self.roots.values())
        return StoreError(
            f"{key!r} in {self.location} is a link to {text[:300]!r}, which is in none of the cold"
            f" mounts of this registry ({names})",
            key=key,
            hint="Links are followed there only. Put the blob itself in its place.",
        )

    def status(self, key: str) -> os.stat_result:
        """Return the status of a blob's file. Raises OSError, StoreError."""
        return self.find(key, stat_hot, ColdRoot.stat_file)[0]

    # Reading

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> FileReader:
        """Return a stream over the bytes of `key`, or a range of them."""
        if not self.covers(key):
            return super().open(key, start=start, length=length)
        check_range(start, length)
        with translated("read", self.location, key=key):
            fd, root = self.find(key, _open_hot, ColdRoot.open_file)
        return self._reader(
            fd, key, start, length, self.location if root is None else root.location
        )

    def head(self, key: str) -> Entry:
        """Return what LIST would say of `key`."""
        return self.placement(key).entry if self.covers(key) else super().head(key)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Yield the objects below `prefix` in byte order of their keys."""
        return self._listed(prefix, after, self)

    def _listed(self, prefix: str, after: str, links: local_read.Links) -> Iterator[Entry]:
        directory, start = check_prefix(prefix)
        entries = local_read.walk(self._tree, directory, start, os.fsencode(after), links)
        return (entry for entry in entries if not entry.key.startswith(_OWN))

    def scandir(self, prefix: str) -> Names:
        """Return (name, is a directory) of everything directly below `prefix`, unsorted."""
        path = check_directory(prefix)
        if not self.covers(f"{path}/{_DATA}"):
            return super().scandir(prefix)
        with translated("list", self.location, key=path):
            return local_read.scandir(self._tree, path, follow=False)

    def stat_children(self, prefix: str, leaf: str, names: Iterable[str]) -> Statuses:
        """Return (name, size, mtime in ns, inode) of `<prefix>/<name>/<leaf>` for each name."""
        path = check_directory(prefix)
        if leaf != _DATA or not f"{path}/".startswith(self.blobs):
            return super().stat_children(prefix, leaf, names)
        names = list(names)
        found: Statuses = []
        try:
            with self._tree.directory(path) as fd:
                for name in names:
                    found.append((name, *self._seen(path, check_name(name), fd)))
        except OSError as error:
            if error.errno not in local_children.NOT_THERE:
                raise os_error(error, "look into", self.location, key=path) from error
            return [(name, -1, 0, 0) for name in names]
        return found

    def _seen(self, path: str, name: str, fd: int) -> tuple[int, int, int]:
        try:
            if self._tree.follow:
                status = os.stat(f"{name}/{_DATA}", dir_fd=fd, follow_symlinks=False)
            else:
                status = local_children.stat_below(name, _DATA, fd)
            key = f"{path}/{name}/{_DATA}"
            if stat.S_ISLNK(status.st_mode) and self.covers(key):
                status = self.status(key)
        except OSError as error:
            if error.errno not in local_children.NOT_THERE:
                raise
            return -1, 0, 0
        if not stat.S_ISREG(status.st_mode):
            return -1, 0, 0
        return status.st_size, status.st_mtime_ns, status.st_ino

    def read_children(
        self, prefix: str, leaf: str, names: Iterable[str], *, limit: int
    ) -> Contents:
        """Return (name, content) of `<prefix>/<name>/<leaf>`, at most `limit` bytes each."""
        path = check_directory(prefix)
        if leaf != _DATA or not f"{path}/".startswith(self.blobs):
            return super().read_children(prefix, leaf, names, limit=limit)
        return [
            (name, self._content(f"{path}/{check_name(name)}/{_DATA}", limit)) for name in names
        ]

    def _content(self, key: str, limit: int) -> bytes | None:
        try:
            return self.get(key, length=limit)
        except ObjectNotFoundError:
            return None

    # Storage classes

    def list_classes(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[Entry, str]]:
        """Yield what `list` does, each with the name of its class.

        What lies in a mount was modified when it came there: that is when its link was made.
        """
        links = _Noting(self)
        for entry in self._listed(prefix, after, links):
            name = links.classes.pop(entry.key, HOT)
            if name != HOT:
                with suppress(FileNotFoundError):
                    made = os.lstat(os.path.join(self.root, entry.key)).st_mtime_ns
                    entry = entry._replace(modified_ns=made)  # noqa: PLW2901
            yield entry, name

    def placement(self, key: str) -> Placement:
        """Return in which class an object lies."""
        if not self.covers(key):
            return Placement(super().head(key), HOT)
        with translated("look at", self.location, key=key):
            status, root = self.find(key, stat_hot, ColdRoot.stat_file)
        self._refuse_non_file(key, status)
        entry = Entry(key, status.st_size, etag_of(status), status.st_mtime_ns)
        return Placement(entry, HOT if root is None else root.name)

    def change_class(self, key: str, storage_class: str, *, expected: Placement) -> Moved:
        """Move a blob to a cold mount, to another one, or back; see `cold_move`."""
        self._refuse_if_unmovable(key)
        return cold_move.change(self, self._strict, key, storage_class, expected)

    def thaw(self, key: str, *, way: str, days: int) -> None:
        """Refuse: what lies in a cold mount can be read at once."""
        del way, days
        self.placement(key)
        raise StoreError(f"{key!r} in {self.location} is in no archive", key=key)

    def reap(
        self,
        *,
        names: Collection[str] | None = None,
        orphaned_for_s: int = cold_reap.ORPHANED_FOR_S,
        left_for_s: int = cold_reap.LEFT_FOR_S,
    ) -> Reaped:
        """Remove from the cold mounts what the registry has no link to; see `cold_reap.reap`."""
        self._refuse_if_unmovable()
        return cold_reap.reap(
            self, self._strict, names=names, orphaned_for_s=orphaned_for_s, left_for_s=left_for_s
        )

    def used(self, name: str) -> tuple[int, int]:
        """Return how many blobs were put into a mount and are not known to be gone, and bytes."""
        with closing(self.journals[name].fold()) as folded:
            return folded.count(), folded.size()

    def _refuse_if_unmovable(self, key: str = "") -> None:
        if not self._movable:
            raise ReadOnlyStoreError(f"{self.location} was opened for reading only", key=key)


class _Noting:
    """Looks at blobs for one listing, and notes in which mount those are that are in one."""

    def __init__(self, store: ColdStore) -> None:
        self._store = store
        self.classes: dict[str, str] = {}
        self.covers = store.covers

    def status(self, key: str) -> os.stat_result:
        status, root = self._store.find(key, stat_hot, ColdRoot.stat_file)
        if root is not None:
            self.classes[key] = root.name
        return status


def _is_suffix(suffix: str) -> bool:
    parts = suffix.split("/")
    if len(parts) != 4:
        return False
    algorithm, two, digits, data = parts
    return data == _DATA and two == digits[:2] and is_hex(algorithm, digits)


def stat_hot(name: str, directory: int) -> os.stat_result:
    """Return the status of what is no link. Raises OSError: ELOOP of a link."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return status


def _open_hot(name: str, directory: int) -> int:
    return os.open(name, FILE_READ | os.O_NOFOLLOW, dir_fd=directory)
