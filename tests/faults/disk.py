"""A disk that forgets what was not synced: what a file system may show after the power was cut.

Every call that changes files below a directory is noted while it is done for real. From the notes
follow the states that a crash may leave: bytes reach the disk by `fsync` of their file, names by
`fsync` of their directory, both by `syncfs`; anything else may be there or not, each alone. (A
rename is atomic, as on every journaling file system. Hidden names, of files not yet published, are
not noted.)

A sync can be made to fail. Then bytes that it should have brought to the disk never come there,
though they can be read, and though later syncs report success: that is what Linux does. Names stay
as unsafe as they were, for a journal is written again or makes the file system read-only.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.storage import local_tree
from regvault.storage.keys import RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

#: What a name stands for: a directory, or the number of a file.
DIRECTORY = -1
#: What the bytes of a symbolic link begin with; where it leads follows.
SYMLINK = b"\0symbolic link:"


class Change(NamedTuple):
    """Something that is not on the disk yet.

    Attributes:
        file: whose bytes were written; None for a change of names.
        names: path -> what it stands for from now on, None for nothing.
    """

    file: int | None
    names: tuple[tuple[str, int | None], ...] = ()


class Moment(NamedTuple):
    """The disk at one moment: what is safe, and what is not.

    Attributes:
        what: the call that was just done.
        safe: path -> what it stands for.
        safe_bytes: file -> its bytes, as far as they are safe.
        bytes: file -> its bytes.
        pending: changes that may be lost, in their order.
    """

    what: str
    safe: dict[str, int]
    safe_bytes: dict[int, bytes]
    bytes: dict[int, bytes]
    pending: tuple[Change, ...]

    def after(self, lost: Iterable[int]) -> dict[str, bytes]:
        """Return path -> bytes of all files when these of the pending changes are lost."""
        gone = set(lost)
        names = dict(self.safe)
        contents = dict(self.safe_bytes)
        for at, change in enumerate(self.pending):
            if at in gone:
                continue
            if change.file is not None:
                contents[change.file] = self.bytes[change.file]
            for path, target in change.names:
                if target is None:
                    names.pop(path, None)
                else:
                    names[path] = target
        return {
            # Bytes that never came are a hole or nothing, as file systems differ.
            path: contents.get(target, bytes(len(self.bytes[target]) if target % 2 else 0))
            for path, target in names.items()
            if target != DIRECTORY and _reached(path, names)
        }


def _reached(path: str, names: dict[str, int]) -> bool:
    while "/" in path:
        path = path.rpartition("/")[0]
        if names.get(path) != DIRECTORY:
            return False
    return True


class Disk:
    """Notes what happens below `root`, which is safe as it is now.

    Attributes:
        moments: one after each call that changed something, and the beginning.
        syncs: how many there were.
        fails: number of a sync, from 1 -> whether it fails.
    """

    def __init__(
        self,
        root: Path,
        patch: pytest.MonkeyPatch,
        fails: Callable[[int], bool] = lambda _number: False,
    ) -> None:
        self.syncs = 0
        self.fails = fails
        self._lost: set[int] = set()  # files with bytes that will never come to the disk
        self._root = os.path.realpath(root)
        self._safe: dict[str, int] = {}
        self._now: dict[str, int] = {}
        self._bytes: dict[int, bytes] = {}
        self._safe_bytes: dict[int, bytes] = {}
        self._pending: list[Change] = []
        self._open: dict[int, int] = {}  # descriptor -> file
        self._count = 0
        for path in sorted(Path(self._root).rglob("*")):
            name = str(path.relative_to(self._root))
            link = path.is_symlink()
            if path.is_dir() and not link:
                self._safe[name] = DIRECTORY
            else:
                self._count += 1
                self._safe[name] = self._count
                data = SYMLINK + os.fsencode(path.readlink()) if link else path.read_bytes()
                self._bytes[self._count] = self._safe_bytes[self._count] = data
        self._now = dict(self._safe)
        self.moments: list[Moment] = []
        self._moment("begin")
        self._patch(patch)

    def _moment(self, what: str) -> None:
        self.moments.append(
            Moment(
                what,
                dict(self._safe),
                dict(self._safe_bytes),
                dict(self._bytes),
                tuple(self._pending),
            )
        )

    # -- the calls ------------------------------------------------------------------------------

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        calls: dict[str, Any] = {
            name: getattr(os, name)
            for name in ("open", "close", "write", "rename", "link", "symlink", "unlink", "mkdir",
                         "fsync")
        }  # fmt: skip

        def opened(path: Any, flags: int, *words: Any, dir_fd: int | None = None) -> int:
            fd: int = calls["open"](path, flags, *words, dir_fd=dir_fd)
            name = self._name(path, dir_fd)
            if name is not None and flags & os.O_CREAT and name not in self._now:
                self._count += 1
                self._now[name] = self._open[fd] = self._count
                self._bytes[self._count] = b""
                if not _hidden(name):
                    self._change(f"create {name}", Change(None, ((name, self._count),)))
            elif name is not None and flags & os.O_APPEND and self._now.get(name, -1) >= 0:
                self._open[fd] = self._now[name]
            return fd

        def closed(fd: int) -> None:
            self._open.pop(fd, None)
            calls["close"](fd)

        def written(fd: int, data: Any) -> int:
            count: int = calls["write"](fd, data)
            file = self._open.get(fd)
            if file is not None:
                self._bytes[file] += bytes(data[:count])
                if not any(change.file == file for change in self._pending):
                    self._pending.append(Change(file))
                self._moment("write")
            return count

        def renamed(source: Any, target: Any, *, src_dir_fd: Any, dst_dir_fd: Any) -> None:
            calls["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            old, new = self._name(source, src_dir_fd), self._name(target, dst_dir_fd)
            if old is not None and new is not None:
                file = self._now.pop(old)
                self._now[new] = file
                names: tuple[tuple[str, int | None], ...] = ((new, file),)
                if not _hidden(old):
                    names = ((old, None), *names)
                self._change(f"rename {new}", Change(None, names))

        def linked(
            source: Any, target: Any, *, src_dir_fd: Any, dst_dir_fd: Any, **more: Any
        ) -> None:
            calls["link"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **more)
            old, new = self._name(source, src_dir_fd), self._name(target, dst_dir_fd)
            if old is not None and new is not None:
                self._now[new] = self._now[old]
                self._change(f"link {new}", Change(None, ((new, self._now[new]),)))

        def unlinked(path: Any, *, dir_fd: int | None = None) -> None:
            calls["unlink"](path, dir_fd=dir_fd)
            name = self._name(path, dir_fd)
            if name is not None:
                self._now.pop(name, None)
                if not _hidden(name):
                    self._change(f"unlink {name}", Change(None, ((name, None),)))

        def symlinked(text: Any, path: Any, *, dir_fd: int | None = None) -> None:
            calls["symlink"](text, path, dir_fd=dir_fd)
            name = self._name(path, dir_fd)
            if name is not None:
                self._count += 1
                self._now[name] = self._count
                # Where a link leads is on the disk with the link.
                content = SYMLINK + os.fsencode(text)
                self._bytes[self._count] = self._safe_bytes[self._count] = content
                if not _hidden(name):
                    self._change(f"symlink {name}", Change(None, ((name, self._count),)))

        def made(path: Any, *words: Any, dir_fd: int | None = None) -> None:
            calls["mkdir"](path, *words, dir_fd=dir_fd)
            name = self._name(path, dir_fd)
            if name is not None:
                self._now[name] = DIRECTORY
                self._change(f"mkdir {name}", Change(None, ((name, DIRECTORY),)))

        def synced(fd: int) -> None:
            calls["fsync"](fd)
            file = self._open.get(fd)
            path = self._path(fd)
            if file is not None:
                self._settle("fsync a file", lambda change: change.file == file)
            elif path is not None:
                self._settle(
                    f"fsync {path}",
                    lambda change: any(
                        name.rpartition("/")[0] == path for name, _ in change.names[-1:]
                    ),
                )

        def all_synced(fd: int) -> None:
            self._settle("syncfs", lambda _: True)

        for name, call in {
            "open": opened,
            "close": closed,
            "write": written,
            "rename": renamed,
            "link": linked,
            "symlink": symlinked,
            "unlink": unlinked,
            "mkdir": made,
            "fsync": synced,
        }.items():
            patch.setattr(os, name, call)
        patch.setattr(local_tree, "syncfs", all_synced)

    def _path(self, fd: int) -> str | None:
        """Return the path of an open directory below the root; "" is the root itself."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        if path == self._root:
            return ""
        prefix = self._root + "/"
        return path[len(prefix) :] if path.startswith(prefix) else None

    def _name(self, path: Any, dir_fd: int | None) -> str | None:
        text = os.fsdecode(path)
        if dir_fd is None:
            prefix = self._root + "/"
            return text[len(prefix) :] if text.startswith(prefix) else None
        above = self._path(dir_fd)
        return None if above is None else f"{above}/{text}" if above else text

    def _change(self, what: str, change: Change) -> None:
        self._pending.append(change)
        self._moment(what)

    def _settle(self, what: str, is_safe: Callable[[Change], bool]) -> None:
        """Make the changes safe that a sync covers; just before it, the most may be lost."""
        self.syncs += 1
        if self.fails(self.syncs):
            covered = {change.file for change in self._pending if is_safe(change)}
            self._lost |= {file for file in covered if file is not None}
            self._moment(f"{what} fails")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        kept = []
        for change in self._pending:
            if not is_safe(change):
                kept.append(change)
                continue
            if change.file is not None and change.file not in self._lost:
                self._safe_bytes[change.file] = self._bytes[change.file]
            for path, target in change.names:
                if target is None:
                    self._safe.pop(path, None)
                else:
                    self._safe[path] = target
        self._pending = kept
        self._moment(what)


def _hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(RESERVED)
