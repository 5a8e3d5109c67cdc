"""Which of the known files a file is."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from regvault.audit.tail.files import (
    HEAD,
    CutOffError,
    Mark,
    Source,
    UnreadableError,
    fingerprint,
    open_source,
)
from regvault.audit.tail.names import family_of, is_new, is_rotated
from regvault.audit.tail.state import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.audit.tail.names import Found, Key
    from regvault.audit.tail.state import State

__all__ = ["Copy", "Identities"]

_STABLE_S = 1.0


class Copy(Exception):  # noqa: N818 (no error: nothing is to be done with it for now)
    """A file is not read: it is a copy of one that is, or may be a beginning of one.

    Attributes:
        of: what it is a copy of.
    """

    def __init__(self, of: Entry) -> None:
        super().__init__()
        self.of = of


class Identities:
    """Tells files by what they hold.

    Attributes:
        changed: there are new ones, or some have another inode, which is not saved yet.
        lost: those whose content is not where it was; who looks for it takes them out.
    """

    def __init__(self, state: State, where: Callable[[Key], str | None], *, patient: bool) -> None:
        """Take what is known.

        Args:
            state: of the files that were read before.
            where: returns a path of the file with that device and inode; None: there is none.
            patient: wait until what may become a copy is one.
        """
        self.changed = False
        self.lost: list[Entry] = []
        self._state = state
        self._where = where
        self._patient = patient
        self._by_key: dict[Key, Entry] = {}
        self._by_print: dict[str, list[Entry]] = defaultdict(list)
        for entry in state.entries:
            self._index(entry)

    def _index(self, entry: Entry) -> None:
        if entry.key is not None:
            self._by_key[entry.key] = entry
        self._by_print[entry.printed.digest].append(entry)

    def known(self, key: Key) -> Entry | None:
        """Return the entry that had this device and inode when it was seen last."""
        return self._by_key.get(key)

    def is_alive(self, entry: Entry) -> bool:
        """Return whether the file of an entry is there."""
        return entry.key is not None and self._where(entry.key) is not None

    def lose(self, entry: Entry) -> None:
        """Remember that a file is not where it was: what it held may be elsewhere."""
        if entry.key is not None and self._by_key.get(entry.key) is entry:
            del self._by_key[entry.key]
        entry.key = entry.ended = None
        self._state.dirty = True
        self.lost.append(entry)

    def of(self, source: Source, found: Found, *, final: bool) -> Entry | None:
        """Return the entry of a file, a new one where none is known.

        Args:
            source: the file, open. Where it stands afterwards is not said.
            found: where it was.
            final: nothing more is written to it.

        Returns:
            None: there is too little in it, or it was not asked for.

        Raises:
            Copy: it is a copy of another one.
            UnreadableError: it cannot be read.
        """
        entry = self._by_key.get(source.key)
        if entry is not None:
            if source.has(entry.printed, entry.mark):
                return entry
            self.lose(entry)
        head = source.head(HEAD)
        printed = fingerprint(head, final=final and not source.cut_off)
        if printed is None:
            if source.cut_off:
                raise CutOffError("it is damaged, or still being written")
            return None
        alike = self._by_print[printed.digest]
        entry = self._continued(source, found, alike)
        if entry is None:
            if not found.fresh:
                return None
            salt = secrets.token_hex(4) if alike else ""
            entry = Entry(printed, salt, found.path, found.real, None)
            self._state.entries.append(entry)
            alike.append(entry)
        entry.key, entry.path, entry.real = source.key, found.path, found.real
        entry.mtime_ns, entry.seen = found.mtime_ns, int(time.time())
        self._by_key[source.key] = entry
        self._state.dirty = self.changed = True
        return entry

    def _continued(self, source: Source, found: Found, alike: list[Entry]) -> Entry | None:
        """Return the entry whose file this one is under another inode."""
        if not is_rotated(found.path):
            # The same file all the same, if the device got another number or it was written anew.
            for entry in alike:
                moved = entry.key is not None and not self.is_alive(entry)
                large = entry.path == found.path and entry.mark.offset >= HEAD
                if moved and large and _begins_with(source, entry.mark):
                    return entry
            return None
        for entry in reversed(alike):
            path = None if entry.key is None else self._where(entry.key)
            if path is not None and not _same_log(found, entry):
                continue
            if path is not None and self._is_copy(source, found, entry, path):
                raise Copy(entry)
            telling = entry.mark.offset >= HEAD or _same_log(found, entry)
            if not self.is_alive(entry) and telling and _begins_with(source, entry.mark):
                return entry
        return None

    def _is_copy(self, source: Source, found: Found, entry: Entry, path: str) -> bool:
        """Return whether a file is a copy of one that is there, or becomes one.

        Where that one is not any more what it was, it is lost.
        """
        try:
            other = open_source(path)
        except (UnreadableError, OSError):
            return True
        try:
            if other.key != entry.key:
                return True
            if not other.has(entry.printed, entry.mark):
                self.lose(entry)
                return False
            if self._patient and is_new(found.mtime_ns, _STABLE_S):
                return True
            length, crc = source.digest(1 << 62)
            if entry.mark.offset == length:
                return entry.mark.crc == crc
            return other.digest(length) == (length, crc)
        except UnreadableError:
            return True
        finally:
            other.close()


def _same_log(found: Found, entry: Entry) -> bool:
    """Return whether two files are in one directory, and differ in what rotation adds alone."""
    return family_of(found.real) == family_of(entry.real)


def _begins_with(source: Source, mark: Mark) -> bool:
    return source.digest(mark.offset) == (mark.offset, mark.crc)
