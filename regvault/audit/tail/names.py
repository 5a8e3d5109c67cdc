"""Which files are meant, and what rotated ones are called."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
import time
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from regvault.errors import UsageError

__all__ = [
    "PACKED",
    "Family",
    "Found",
    "Key",
    "Wanted",
    "family_of",
    "is_away",
    "is_new",
    "is_rotated",
    "key_at",
    "live_name",
    "look",
    "shown",
    "siblings",
]

Key = tuple[int, int]
"""Device and inode."""

Family = tuple[str, str]
"""What a log and its rotated files share: the directory, and the name of the log."""

PACKED = (".gz", ".zst")
"""How the names of compressed files end."""

_LOOKS = 4
# app.log.1, app.log-20261120, 0.log.20261120-030000, app.log.old; app-20261120.log
_AFTER = re.compile(r"(.+?)[.-](?:\d[\dTZ._:-]*|old)", re.ASCII | re.DOTALL)
_WITHIN = re.compile(
    r"(.+?)[._-]\d{4}-?\d\d-?\d\d[\dTZ_:-]*(\.[A-Za-z]{1,10})", re.ASCII | re.DOTALL
)


@lru_cache(maxsize=65_536)
def live_name(name: str) -> str:
    """Return the name that a file had before it was rotated: its own, where it looks like none."""
    for ending in PACKED:
        name = name.removesuffix(ending)
    found = _AFTER.fullmatch(name)
    if found is not None:
        return found[1]
    found = _WITHIN.fullmatch(name)
    return name if found is None else found[1] + found[2]


def family_of(real: str) -> Family:
    """Return what a file shares with the others of its log, by its path without links."""
    directory, name = os.path.split(real)
    return directory, live_name(name)


def is_rotated(path: str) -> bool:
    """Return whether a file has the name of one that was rotated."""
    name = os.path.basename(path)
    return live_name(name) != name


def is_new(mtime_ns: int, seconds: float) -> bool:
    """Return whether a file was written to in the last seconds. One of the future was not."""
    return 0 <= time.time() - mtime_ns / 1e9 < seconds


def shown(path: str) -> str:
    """Return a path as text, whatever bytes are in it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Found(NamedTuple):
    """A file that was found.

    Attributes:
        path: as it was asked for.
        real: without symbolic links.
        key: what it leads to.
        size, mtime_ns: of that.
        fresh: it is read also if nothing is known of it.
    """

    path: str
    real: str
    key: Key
    size: int
    mtime_ns: int
    fresh: bool = True


def look(path: str, before: tuple[Key, str] | None = None) -> Found:
    """Return what is at a path. Raises OSError; also where it is no regular file.

    Args:
        path: to look at.
        before: what was there, and the path without symbolic links, if that was asked already.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "no regular file")
    key = found.st_dev, found.st_ino
    known = before is not None and before[0] == key
    real = before[1] if before is not None and known else os.path.realpath(path)
    return Found(path, real, key, found.st_size, found.st_mtime_ns)


class Wanted:
    """The files that were asked for, by paths and patterns.

    Attributes:
        patterns: those.
        problems: of those that are there and cannot be looked at, by path; of the last `find`.
        missing: patterns without a file, of the last `find`.
    """

    def __init__(self, patterns: list[str]) -> None:
        """Take paths and patterns. Raises UsageError for a directory."""
        self.patterns = [os.path.normpath(pattern) for pattern in patterns]
        self.problems: dict[str, str] = {}
        self.missing: list[str] = []
        self._reals: dict[str, tuple[Key, str]] = {}
        for pattern in self.patterns:
            if os.path.isdir(pattern):
                name = shown(pattern)
                raise UsageError(
                    f"{name} is a directory", hint=f"Say which files: '{name}/*.log', in quotes."
                )

    def find(self) -> list[Found]:
        """Return the files that are there now: each once, the one written to last at the end."""
        found: dict[Key, Found] = {}
        self.problems, self.missing = {}, []
        for pattern in self.patterns:
            literal = os.path.lexists(pattern) or not glob.has_magic(pattern)
            paths = [pattern] if literal else sorted(glob.glob(pattern, recursive=True))
            some = False
            for path in paths:
                try:
                    one = look(path, self._reals.get(path))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if literal or not os.path.isdir(path):
                        self.problems[path] = error.strerror or str(error)
                        some = True
                    continue
                some = True
                self._reals[path] = one.key, one.real
                found.setdefault(one.key, one)
            if not some:
                self.missing.append(pattern)
        return sorted(found.values(), key=lambda one: one.mtime_ns)

    def concerns(self, path: str) -> bool:
        """Return whether a file that was at a path is one of those, rotated or not."""
        directory, name = os.path.split(path)
        live = os.path.join(directory, live_name(name))
        return any(
            pattern in {path, live} or fnmatchcase(path, pattern) or fnmatchcase(live, pattern)
            for pattern in self.patterns
        )


def siblings(family: Family, since_ns: int) -> list[Found] | None:
    """Return the rotated files of a log; None: they are being renamed.

    Args:
        family: of the log.
        since_ns: those that were written to since then are fresh.
    """
    before: set[tuple[str, Key]] | None = None
    for _ in range(_LOOKS):
        # A file that is renamed while a directory is read may be missed: so it is read twice.
        found = _rotated(family)
        now = {(one.path, one.key) for one in found}
        if now == before:
            return [one._replace(fresh=one.mtime_ns >= since_ns) for one in found]
        before = now
    return None


def _rotated(family: Family) -> list[Found]:
    directory, live = family
    found = []
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    for other in names:
        if other.startswith(live[:1]) and live_name(other) == live and other != live:
            with contextlib.suppress(OSError):
                found.append(look(os.path.join(directory, other)))
    return found


def key_at(path: str) -> Key | None:
    """Return what a path leads to; None: nothing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_away(found: Found | None) -> bool:
    """Return whether a file is a rotated one: its name says so, and there is the next one."""
    if found is None or not is_rotated(found.path):
        return False
    key = key_at(os.path.join(*family_of(found.real)))
    return key is not None and key != found.key
