"""A kernel that fails on plan: system calls on what lies below a directory answer with an error.

Each call of LocalStore is done for real, unless it is told to fail; but a sync is only counted, as
nobody cuts the power here (see `disk.py`).
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest

from regvault.storage import local_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Calls that change something, and those that look.
CHANGES = frozenset(
    {
        "create", "write", "rename", "link", "symlink", "unlink", "mkdir", "fsync", "syncfs",
        "close",
    }
)  # fmt: skip
LOOKS = frozenset({"open", "read", "pread", "preadv", "stat", "fstat", "scandir"})
#: Calls that need room.
TAKES_ROOM = CHANGES - {"unlink"}
#: Calls after which a network file system may lose its answer, with all of it done.
NAMES = frozenset({"create", "rename", "link", "symlink", "unlink", "mkdir"})


class Fault(NamedTuple):
    """What fails.

    Attributes:
        code: the errno.
        calls: which calls count.
        at: the first one that fails, counted from 1.
        times: how many of them fail in a row.
        done: the call is done all the same.
    """

    code: int
    calls: frozenset[str]
    at: int
    times: int
    done: bool = False


class Kernel:
    """Stands between `os` and what lies below `root`, within a `with` block.

    Attributes:
        counts: call -> how often it was made.
        struck: how often the fault struck.
        most: bytes that a read or write could do -> how many of them it does.
    """

    def __init__(
        self,
        root: Path,
        fault: Fault | None = None,
        *,
        most: Callable[[int], int] = lambda size: size,
    ) -> None:
        self._root = os.path.realpath(root)
        self._patch = pytest.MonkeyPatch()
        self._fault = fault
        self._left = fault.at if fault is not None else 0
        self._written: set[int] = set()  # descriptors of new files
        self._known: dict[int, bool] = {}  # descriptor -> whether it is below the root
        self.counts: Counter[str] = Counter()
        self.struck = 0
        self.most = most

    def error(self) -> BaseException:
        """Return what a call that fails raises."""
        assert self._fault is not None
        return OSError(self._fault.code, os.strerror(self._fault.code))

    def total(self, calls: frozenset[str]) -> int:
        """Return how many of these calls were made."""
        return sum(self.counts[call] for call in calls)

    def __enter__(self) -> Self:
        real = {
            name: getattr(os, name)
            for name in ("open", "close", "read", "write", "pread", "preadv", "stat", "fstat",
                         "scandir", "rename", "link", "symlink", "unlink", "mkdir")
        }  # fmt: skip
        for name, call in {**self._streams(real), **self._by_path(real)}.items():
            self._patch.setattr(os, name, call)
        self._patch.setattr(os, "fsync", lambda fd: self._call("fsync", fd, lambda: None))
        self._patch.setattr(local_tree, "syncfs", lambda fd: self._call("syncfs", fd, lambda: None))
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def _by_path(self, real: dict[str, Any]) -> dict[str, Any]:
        """Return the calls that take a name, and how they look at descriptors."""
        call = self._call

        def opened(path: Any, flags: int, *words: Any, dir_fd: int | None = None) -> int:
            where = path if dir_fd is None else dir_fd

            def work() -> int:
                fd: int = real["open"](path, flags, *words, dir_fd=dir_fd)
                self._known[fd] = self._is_below(where)
                if flags & os.O_CREAT:
                    self._written.add(fd)
                else:
                    self._written.discard(fd)
                return fd

            kind = "create" if flags & os.O_CREAT else "open"
            return call(kind, where, work, undo=closed)

        def closed(fd: int) -> None:
            below = self._known.pop(fd, None)
            if fd not in self._written:
                real["close"](fd)
                return
            self._written.discard(fd)
            # Whatever it answers, the descriptor is gone.
            call("close", self._root if below else "", lambda: real["close"](fd), always=True)

        def named(name: str) -> Any:
            def run(path: Any, *words: Any, dir_fd: int | None = None, **more: Any) -> Any:
                return call(
                    name,
                    path if dir_fd is None else dir_fd,
                    lambda: real[name](path, *words, dir_fd=dir_fd, **more),
                )

            return run

        def moved(name: str) -> Any:
            def run(source: Any, target: Any, **more: Any) -> None:
                call(
                    name, more.get("src_dir_fd", source), lambda: real[name](source, target, **more)
                )

            return run

        def looked(name: str) -> Any:
            return lambda where: call(name, where, lambda: real[name](where))

        def symlinked(text: Any, path: Any, *, dir_fd: int | None = None) -> None:
            where = path if dir_fd is None else dir_fd
            call("symlink", where, lambda: real["symlink"](text, path, dir_fd=dir_fd))

        found = {name: named(name) for name in ("stat", "unlink", "mkdir")}
        found |= {name: moved(name) for name in ("rename", "link")}
        found |= {name: looked(name) for name in ("fstat", "scandir")}
        return {**found, "symlink": symlinked, "open": opened, "close": closed}

    def _streams(self, real: dict[str, Any]) -> dict[str, Any]:
        """Return the calls that move bytes: as many at once as `most` says."""
        call, most = self._call, self._most

        def written(fd: int, data: Any) -> int:
            def part() -> None:  # of what finds no room, half is written before the error
                with suppress(OSError):
                    real["write"](fd, memoryview(data)[: len(data) // 2])

            some = memoryview(data)[: most(fd, len(data))]
            return call("write", fd, lambda: real["write"](fd, some), before=part)

        def left(fd: int, size: int, at: int) -> int:
            return most(fd, max(0, min(size, real["fstat"](fd).st_size - at)))

        def read(fd: int, size: int) -> bytes:
            if not self._is_below(fd):
                return real["read"](fd, size)
            at = os.lseek(fd, 0, os.SEEK_CUR)
            return call("read", fd, lambda: real["read"](fd, left(fd, size, at)))

        def pread(fd: int, size: int, at: int) -> bytes:
            return call("pread", fd, lambda: real["pread"](fd, left(fd, size, at), at))

        def preadv(fd: int, buffers: Any, at: int) -> int:
            (buffer,) = buffers
            some = memoryview(buffer)[: left(fd, len(buffer), at)]
            return call("preadv", fd, lambda: real["preadv"](fd, [some], at))

        return {"write": written, "read": read, "pread": pread, "preadv": preadv}

    def _most(self, where: int, size: int) -> int:
        return max(1, self.most(size)) if size and self._is_below(where) else size

    def _is_below(self, where: Any) -> bool:
        if isinstance(where, int):
            known = self._known.get(where)
            if known is None:
                known = self._known[where] = self._is_below(os.readlink(f"/proc/self/fd/{where}"))
            return known
        path = os.fsdecode(where)
        return path == self._root or path.startswith(self._root + "/")

    def _call(
        self,
        name: str,
        where: Any,
        work: Callable[[], Any],
        *,
        always: bool = False,
        before: Callable[[], object] = lambda: None,
        undo: Callable[[Any], object] = lambda _: None,
    ) -> Any:
        if not self._is_below(where):
            return work()
        self.counts[name] += 1
        if not self._strikes(name):
            return work()
        assert self._fault is not None
        if always or self._fault.done:
            undo(work())
        else:
            before()
        raise self.error()

    def _strikes(self, name: str) -> bool:
        fault = self._fault
        if fault is None or name not in fault.calls:
            return False
        self._left -= 1
        if not -fault.times < self._left <= 0:
            return False
        self.struck += 1
        return True
