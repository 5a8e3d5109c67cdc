"""Writing many small files below one directory, without a look at what each path leads through.

What a restore writes is tens of thousands of links and small blobs, each in a directory of its own.
One descriptor of the directory above, and a memory of what was made below it, make a file cost
what the file system asks for it and little more.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from regvault.errors import StoreError
from regvault.storage.keys import RESERVED, check_key
from regvault.storage.local_errors import translated
from regvault.storage.local_tree import TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.storage.local_tree import Tree
    from regvault.storage.local_write import Attributes

__all__ = ["create_files"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def create_files(
    tree: Tree,
    prefix: str,
    files: Iterable[tuple[str, bytes]],
    attributes: Attributes,
    *,
    whole: bool,
) -> list[str]:
    """Create files below `prefix` that are not there yet; durable after a sync.

    Args:
        tree: of the store.
        prefix: a checked key of a directory, made if it is missing.
        files: (path below `prefix`, content).
        attributes: mode and owner of the files.
        whole: each appears with all its content or not at all; else a reader may, for a moment,
            see it empty, as when a registry writes it.

    Returns:
        the paths that were not written because something is there.

    Raises:
        StoreError: it cannot be written, or a part of a path is a symbolic link.
    """
    where = translated("write", tree.location, key=prefix, write=True)
    with where, tree.directory(prefix, create=True) as fd:
        device = os.fstat(fd).st_dev
        maker = _Maker(tree, fd, prefix, attributes, whole=whole)
        there = [path for path, data in files if not maker.create(check_key(path), data)]
        tree.wrote(device, fd)
    return there


class _Maker:
    def __init__(
        self, tree: Tree, fd: int, prefix: str, attributes: Attributes, *, whole: bool
    ) -> None:
        self._tree = tree
        self._fd = fd
        self._prefix = prefix
        self._attributes = attributes
        self._plain = attributes.mode is None and attributes.owner is None
        self._whole = whole
        self._known: dict[str, bool] = {"": False}  # path -> whether it was made here

    def create(self, path: str, data: bytes) -> bool:
        """Create one file; False where something is there."""
        directory = path.rpartition("/")[0]
        with translated("write", self._tree.location, key=f"{self._prefix}/{path}", write=True):
            made = self._known.get(directory)
            if made is None:
                made = self._make(directory)
            if not self._whole:
                return self._write(path, data)
            if not made:
                # Only where nothing can be in the way may a rename replace what is there.
                try:
                    os.stat(path, dir_fd=self._fd, follow_symlinks=False)
                except FileNotFoundError:
                    pass
                else:
                    return False
            name = f"{RESERVED}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
            temporary = f"{directory}/{name}" if directory else name
            try:
                self._write(temporary, data)
                os.rename(temporary, path, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=self._fd)
                raise
        return True

    def _write(self, path: str, data: bytes) -> bool:
        try:
            file = os.open(path, _NEW, 0o666, dir_fd=self._fd)
        except FileExistsError:
            return False
        try:
            if not self._plain:
                self._attributes.apply(file)
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        except BaseException:
            with suppress(OSError):
                os.unlink(path, dir_fd=self._fd)
            raise
        finally:
            os.close(file)
        return True

    def _make(self, path: str) -> bool:
        """Make a directory and those above it; return whether it was not there before."""
        parent = path.rpartition("/")[0]
        if parent not in self._known:
            self._make(parent)
        made = self._tree.make_directory(self._fd, path)
        if not made:
            mode = os.stat(path, dir_fd=self._fd, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                raise StoreError(
                    f"{path!r} of {self._prefix!r} in {self._tree.location} is no directory",
                    key=f"{self._prefix}/{path}",
                    hint="links are not followed here: put the directory itself in its place",
                )
        self._known[path] = made
        return made
