"""Finds the files that are to be read, and opens them."""

from __future__ import annotations

import glob
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from regvault.audit.tail.files import CutOffError, Print, Source, UnreadableError, open_source
from regvault.audit.tail.identity import Copy, Identities
from regvault.audit.tail.names import (
    Found,
    Key,
    Wanted,
    family_of,
    is_away,
    is_new,
    is_rotated,
    key_at,
    shown,
    siblings,
)
from regvault.audit.tail.state import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.audit.tail.names import Family
    from regvault.audit.tail.reader import Reader
    from regvault.audit.tail.state import State

__all__ = ["Files"]

_RETRY_S = 5.0
_YOUNG_S = 10.0
_QUIET_S = 1.0


class _Skipped(NamedTuple):
    """A file that is not read as long as it looks like this.

    Attributes:
        size, mtime_ns: of it.
        of: it is a copy of this, as long as that is there.
        until: try again then, on the monotonic clock.
    """

    size: int
    mtime_ns: int
    of: Entry | None
    until: float


class Files:
    """All the files, and those of them that are open.

    Attributes:
        wanted: what was asked for.
        open: by device and inode.
        present: what was found last, and is there.
        unreadable: why a file could not be read, by its name.
        again: some could not be opened yet: scan again soon.
        cost_s: seconds that the last scan took.
    """

    def __init__(
        self,
        state: State,
        wanted: Wanted,
        begin: Callable[[Entry, Source, Found], Reader],
        *,
        follow: bool,
        most: int,
        save: Callable[[], None],
        warn: Callable[..., None],
    ) -> None:
        """Take what is known.

        Args:
            state: how far files were read.
            wanted: what was asked for.
            begin: makes the reader of a file.
            follow: more may come.
            most: files that are open at a time.
            save: makes the state durable.
            warn: is told what a person should look at, with a `hint`.
        """
        self.wanted = wanted
        self.open: dict[Key, Reader] = {}
        self.present: dict[Key, Found] = {}
        self.unreadable: dict[str, str] = {}
        self.again = False
        self.cost_s = 0.0
        self._state = state
        self._begin = begin
        self._follow = follow
        self._most = most
        self._save = save
        self._warn = warn
        self._identities = Identities(state, self._where, patient=follow)
        self._search: dict[Family, int] = {}
        self._skipped: dict[Key, _Skipped] = {}
        self._short: dict[Key, int] = {}
        self._used: set[int] = set()
        self._warned: set[str] = set()
        self._read: dict[Key, tuple[Entry, int]] = {}

    def _where(self, key: Key) -> str | None:
        found = self.present.get(key)
        if found is not None:
            return found.path
        reader = self.open.get(key)
        return None if reader is None else reader.entry.real

    @property
    def used(self) -> int:
        """How many files were looked at that have something in them."""
        return len(self._used)

    @property
    def any(self) -> bool:
        """Whether there is any file that was asked for, readable or not."""
        return bool(self.present or self._used or self.wanted.problems)

    def lag(self) -> int:
        """Return how many bytes are there and not durable in the spool."""
        left = sum(max(0, size - entry.mark.offset) for entry, size in self._read.values())
        return left + sum(self._short.values()) + sum(each.lag() for each in self.open.values())

    def scan(self, *, first: bool = False) -> None:
        """Look which files there are, and open what is to be read.

        Args:
            first: look also where those may be now that were read by runs before.
        """
        began = time.monotonic()
        self.again = False
        families, self._search = self._search, {}
        if first:
            for entry in self._state.entries:
                if self.wanted.concerns(entry.path):
                    family = family_of(entry.real)
                    families[family] = max(families.get(family, 0), entry.mtime_ns)
        self._look(families)
        self.recover()
        self.cost_s = time.monotonic() - began

    def recover(self) -> None:
        """Look for what files held that hold something else now."""
        while self._identities.lost:
            self._look({})

    def _look(self, families: dict[Family, int]) -> None:
        """Open what is to be read.

        Args:
            families: logs whose rotated files may hold what was not read, and since when those
                would have been written to. More are found.
        """
        found = self.wanted.find()
        self.present = {one.key: one for one in found}
        self._complain()
        self._add_rotated(families, found)
        for key, reader in list(self.open.items()):
            # What is found now may be newer than what took the place of what this one held.
            if reader.is_other():
                self._lose(key)
        lost, self._identities.lost = self._identities.lost, []
        for entry in lost:
            family = family_of(entry.real)
            families[family] = min(families.get(family, 1 << 63), entry.mtime_ns)
        for key, reader in self.open.items():
            now = self.present.get(key)
            if now is not None:
                reader.entry.real = now.real
                reader.entry.seen = int(time.time())
            moved = key_at(reader.entry.path) != key
            reader.away = reader.source.packed or moved or is_away(now)
        moving = {family for family, since in families.items() if not self._beside(family, since)}
        if not self._open_all(self.present.values(), moving):
            # While this looked at them they were rotated, or are not complete.
            for family, since in families.items():
                self._search[family] = min(self._search.get(family, since), since)
            self.again = True
        self._expect(found)

    def _add_rotated(self, families: dict[Family, int], found: list[Found]) -> None:
        """Add the logs of which there is a new file: what came between may be rotated already."""
        new = [
            family_of(one.real)
            for one in found
            if one.size and one.key not in self.open and self._identities.known(one.key) is None
        ]
        if new:
            latest: dict[Family, int] = {}
            for entry in self._state.entries:
                family = family_of(entry.real)
                latest[family] = max(latest.get(family, 0), entry.mtime_ns)
            for family in set(new) & latest.keys():
                families[family] = min(families.get(family, 1 << 63), latest[family])

    def _expect(self, found: list[Found]) -> None:
        """Remember the logs of which nothing is known yet, not even how they begin.

        What is written to them may be rotated before they are looked at again.
        """
        now = time.time_ns()
        logs = [
            (one.path, one.real, one.mtime_ns)
            for one in found
            if self._identities.known(one.key) is None and not is_rotated(one.path)
        ]
        logs += [
            (path, os.path.realpath(path), now)
            for path in self.wanted.missing
            if not glob.has_magic(path)
        ]
        if not logs:
            return
        known = {family_of(entry.real): entry for entry in self._state.entries}
        for path, real, since in logs:
            entry = known.get(family_of(real))
            if entry is None:
                entry = Entry(Print("", 0), "", path, real, None, mtime_ns=since)
                self._state.entries.append(entry)
                self._state.dirty = True
            entry.seen = now // 10**9

    def _beside(self, family: Family, since: int) -> bool:
        """Find the rotated files of a log; return whether they stood still meanwhile."""
        found = siblings(family, since)
        for one in found or ():
            self.present.setdefault(one.key, one)
        return found is not None

    def _complain(self) -> None:
        for path, reason in self.wanted.problems.items():
            self.say_unreadable(path, reason)
        for pattern in self.wanted.missing:
            if pattern not in self._warned and (self._follow or self.any):
                self._warned.add(pattern)
                hint = "It is read once there is one." if self._follow else None
                self._warn(f"there is no file {shown(pattern)}", hint=hint)

    def say_unreadable(self, path: str, reason: str) -> None:
        """Say that a file cannot be read, once."""
        name = shown(path)
        if self.unreadable.get(name) != reason:
            self.unreadable[name] = reason
            self._warn(f"cannot read {name}: {reason}", hint="The other files are read.")

    # Opening

    def _open_all(self, found: Iterable[Found], moving: set[Family]) -> bool:
        """Open what is to be read; return whether all of it could be looked at.

        Nothing is begun of a log after something of it that was not there where it was found:
        else nobody would know later that this is newer than what was read.

        Args:
            found: the files.
            moving: logs of which nothing is begun.
        """
        whole = not moving
        for one in sorted(found, key=lambda each: each.mtime_ns):
            entry = self._identities.known(one.key)
            if one.key in self.open or one.key in self._read or self._is_skipped(one):
                continue
            if entry is None and not one.size:
                continue
            if entry is not None and self._is_done(entry, one):
                entry.seen = int(time.time())
                self._used.add(id(entry))
                continue
            if family_of(one.real) in moving:
                continue
            if len(self.open) >= self._most:
                self._full()
                break
            try:
                there = self._open_one(one)
                if not there:
                    moving.add(family_of(one.real))
                whole = whole and there
            except Copy as copy:
                self._skip(one, copy.of)
            except UnreadableError as error:
                whole = self._cannot(one, error) and whole
        if self._identities.changed:
            # Before its first event: else a crash could leave lines whose file nobody knows.
            self._identities.changed = False
            self._save()
        return whole

    def _full(self) -> None:
        self.again = True
        if self._follow and "" not in self._warned:
            self._warned.add("")
            self._warn(
                f"there are more files than can be open: {self._most}",
                hint="The others wait. Let this process open more (ulimit -n).",
            )

    def _cannot(self, one: Found, error: UnreadableError) -> bool:
        """Say that a file cannot be read; return False where it is still being made."""
        young = isinstance(error, CutOffError) and is_new(one.mtime_ns, _YOUNG_S)
        self._skip(one, retry_s=0 if young else _RETRY_S)
        if not young:
            self.say_unreadable(one.path, str(error))
        return not young

    def _skip(self, one: Found, of: Entry | None = None, retry_s: float = 1e9) -> None:
        until = time.monotonic() + retry_s
        self._skipped[one.key] = _Skipped(one.size, one.mtime_ns, of, until)

    def _is_skipped(self, one: Found) -> bool:
        skipped = self._skipped.get(one.key)
        if skipped is None:
            return False
        same = (skipped.size, skipped.mtime_ns) == (one.size, one.mtime_ns)
        there = skipped.of is None or self._identities.is_alive(skipped.of)
        if same and there and time.monotonic() < skipped.until:
            return True
        del self._skipped[one.key]
        return False

    @staticmethod
    def _is_done(entry: Entry, one: Found) -> bool:
        """Return whether a file that nobody writes to any more was read to its end."""
        if entry.ended is not None:
            return entry.ended == (one.size, one.mtime_ns)
        read = entry.mark.offset == one.size and entry.mtime_ns == one.mtime_ns
        return read and is_rotated(one.path)

    def _open_one(self, one: Found) -> bool:
        """Open a file; return False where it is to be looked at again."""
        try:
            source = open_source(one.path)
        except FileNotFoundError:
            return False
        reader = None
        whole = False
        try:
            if source.key == one.key:
                whole, reader = self._reader(source, one)
        finally:
            if reader is None:
                source.close()
        if reader is not None:
            self.open[one.key] = reader
        return whole

    def _reader(self, source: Source, one: Found) -> tuple[bool, Reader | None]:
        away = is_away(one)
        young = is_new(one.mtime_ns, _QUIET_S)
        final = source.packed or (away and not young)
        entry = self._identities.of(source, one, final=final)
        if entry is None:
            if one.fresh:
                self._short[one.key] = 0 if source.packed else one.size
            return not (one.fresh and away and young), None
        self._short.pop(one.key, None)
        self._used.add(id(entry))
        reader = self._begin(entry, source, one)
        reader.away = source.packed or away or key_at(one.path) != one.key
        return True, reader

    # Closing

    def close(self, key: Key, *, forever: bool = False) -> None:
        """Close a file.

        Args:
            key: of it.
            forever: this run does not open it again.
        """
        reader = self.open.pop(key)
        if forever:
            size = reader.entry.mark.offset + reader.lag()
            self._read[key] = reader.entry, size
        reader.source.close()

    def failed(self, key: Key, error: UnreadableError) -> None:
        """Close a file that cannot be read on; it is tried again later."""
        reader = self.open[key]
        *_, size, mtime_ns, _ = reader.source.stat()
        self._cannot(Found(reader.source.path, reader.entry.real, key, size, mtime_ns), error)
        self.close(key)

    def truncated(self, key: Key) -> None:
        """Close a file whose content is another one now, and look for what it held."""
        self._lose(key)
        self.recover()

    def _lose(self, key: Key) -> None:
        entry = self.open[key].entry
        self.close(key)
        if entry.key == key:
            self._identities.lose(entry)
