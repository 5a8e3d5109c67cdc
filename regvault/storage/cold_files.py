"""Copy a blob between a registry's directory and a cold mount, proven before anyone sees it."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from regvault.errors import StoreAccessError
from regvault.oci.verify import VerifyingReader
from regvault.storage.keys import RESERVED
from regvault.storage.local_errors import translated
from regvault.storage.local_read import FileReader
from regvault.storage.local_tree import FILE_READ, TEMPORARY_SUFFIX
from regvault.storage.local_write import Attributes, Temporary
from regvault.storage.streams import pump
from regvault.storage.syscalls import sync_directory

if TYPE_CHECKING:
    from regvault.storage.local_tree import Tree

__all__ = ["Like", "copied", "directory_like", "is_temporary", "sweep_directory"]

_LARGE: Final = 1 << 20
#: What a mount of object storage, or a user without rights, answers to chown, chmod and utime.
_NOT_HERE: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
)
_PASSABLE: Final = 0o555
_READABLE: Final = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


class Like(NamedTuple):
    """What a new file or directory gets of another one.

    Attributes:
        uid, gid: its owner.
        mode: its permissions.
        times: of the last access and the last write, nanoseconds since the epoch.
    """

    uid: int
    gid: int
    mode: int
    times: tuple[int, int]

    def settle(self, fd: int) -> None:
        """Give them to an open file or directory, as far as it goes: times are another matter.

        By its descriptor: a name in a registry's directory is the registry's to exchange.
        """
        now = os.fstat(fd)
        if (now.st_uid, now.st_gid) != (self.uid, self.gid):
            with _where_it_goes():
                os.fchown(fd, self.uid, self.gid)
        if stat.S_IMODE(now.st_mode) != self.mode:
            with _where_it_goes():
                os.fchmod(fd, self.mode)

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Return that of a file or a directory."""
        times = status.st_atime_ns, status.st_mtime_ns
        return cls(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), times)


class _Settling(Attributes):
    """Mode and owner that a file gets where it can have them."""

    def __init__(self, like: Like) -> None:
        super().__init__(None, None)
        self._like = like

    def apply(self, fd: int) -> None:
        """Give them to an open file."""
        self._like.settle(fd)


def copied(
    source: FileReader,
    digest: str,
    tree: Tree,
    directory: int,
    *,
    like: Like,
) -> tuple[Temporary, str]:
    """Copy a blob into a temporary file; it is on the disk, and was read from there.

    Errors of the source pass through as they are.

    Args:
        source: of all its bytes.
        digest: what the bytes have to be.
        tree: where to.
        directory: descriptor of the directory below it.
        like: that of the file whose owner, mode and times the copy gets.

    Returns:
        The file, which has no name of its own yet, and the hex SHA-256 of its bytes.

    Raises:
        DigestMismatchError: the bytes are not the digest: of the source, or of the copy.
        StoreAccessError: who could read the source could not read the copy.
        StoreError: it cannot be written.
    """
    algorithm, _, digits = digest.partition(":")
    temporary = Temporary(tree, directory, digest, _Settling(like))
    try:
        if source.size >= _LARGE:
            temporary.bypass_cache()
        sha256 = digits if algorithm == "sha256" else None
        reader = source if sha256 else VerifyingReader(source, digest, source.size)
        got = pump(reader, temporary.write, key=digest, size=source.size, sha256=sha256)
        status = temporary.finish(sync=True)
        _check_readable(status, like, digest, tree.location)
        _read_back(temporary, digest, source.size, like.times)
    except BaseException:
        temporary.discard()
        raise
    return temporary, got


def _read_back(temporary: Temporary, digest: str, size: int, times: tuple[int, int]) -> None:
    """Read the file from the disk, not from memory; then give it its times.

    Not before: what looks old and is temporary is swept by whoever comes across it.

    Raises:
        DigestMismatchError: it is not what was written.
        StoreError: it cannot be read.
    """
    with translated("read back", temporary.location, key=digest):
        fd = os.open(temporary.name, FILE_READ | os.O_NOFOLLOW, dir_fd=temporary.directory)
    there = FileReader(fd, digest, temporary.location, start=0, size=size + 1)
    with VerifyingReader(there, digest, size) as reader:
        with suppress(OSError):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        buffer = bytearray(min(_LARGE, size + 1))
        while reader.readinto(buffer):
            pass
        with translated("write", temporary.location, key=digest, write=True), _where_it_goes():
            os.utime(fd, ns=times)


class _where_it_goes:  # noqa: N801  (a block of this name, as contextlib's are)
    """Pass over what this file system, or this user, cannot do."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> bool:
        return isinstance(error, OSError) and error.errno in _NOT_HERE


def _check_readable(status: os.stat_result, like: Like, digest: str, location: str) -> None:
    """Refuse a copy that the registry could not read: its owner, or its mode, is another one."""
    same = (status.st_uid, status.st_gid) == (like.uid, like.gid)
    if same and like.mode & _READABLE & ~status.st_mode == 0:
        return
    if status.st_mode & stat.S_IROTH or like.uid == 0:
        return
    raise StoreAccessError(
        f"a copy of {digest} in {location} would belong to user {status.st_uid}, group "
        f"{status.st_gid}, with mode {stat.S_IMODE(status.st_mode):o}: the registry (user "
        f"{like.uid}) could not read it",
        key=digest,
        hint="Run it as root or as the registry's user; of a mount with fixed owners, set them so.",
    )


def is_temporary(name: str) -> bool:
    """Return whether a name is that of a temporary file."""
    return name.startswith(RESERVED) and name.endswith(TEMPORARY_SUFFIX)


def sweep_directory(directory: int) -> None:
    """Remove all temporary files from a directory in a cold mount: nobody else writes there.

    Raises:
        OSError: it cannot be read, or one cannot be removed.
    """
    for name in filter(is_temporary, os.listdir(directory)):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)


def directory_like(tree: Tree, path: str, like: Like) -> int:
    """Return a descriptor of a directory below a tree, made durably where it is missing.

    Args:
        tree: of a cold mount.
        path: of the directory.
        like: that of one whose owner and mode the new ones get.

    Raises:
        OSError: it cannot be made.
        StoreError: a part of it is a symbolic link.
    """
    parts = path.split("/")
    for depth, name in enumerate(parts):
        with tree.directory("/".join(parts[:depth]), listing=True) as above:
            made = True
            try:
                os.mkdir(name, like.mode, dir_fd=above)
            except FileExistsError:
                made = False
            with tree.directory("/".join(parts[: depth + 1]), listing=True) as below:
                # (Of one that a killed run made and did not settle, others may see nothing.)
                if made or like.mode & _PASSABLE & ~os.fstat(below).st_mode:
                    like.settle(below)
            if made:
                sync_directory(above)
    return tree.open_directory(path, listing=True)
