"""Reads files from any place on, compressed ones as if they were not."""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.audit.tail.names import PACKED

if TYPE_CHECKING:
    from regvault.audit.tail.names import Key

__all__ = [
    "CHUNK",
    "HEAD",
    "CutOffError",
    "Mark",
    "Packed",
    "Plain",
    "Print",
    "Source",
    "UnreadableError",
    "fingerprint",
    "mark_after",
    "open_source",
]

CHUNK = 1 << 20
HEAD = 1024
"""Bytes of the beginning of a file that its fingerprint may be of."""

_TAIL = 64
_INPUT = 64 << 10
# A block of zstd of 4 bytes may become 128 KiB.
_ZSTD_INPUT = 1 << 10


class UnreadableError(Exception):
    """A file is there, and cannot be read; the message says why."""


class CutOffError(UnreadableError):
    """A compressed file has no end: it is damaged, or still being written."""


class Print(NamedTuple):
    """A fingerprint.

    Attributes:
        digest: of the beginning, hex.
        length: bytes that it is of.
    """

    digest: str
    length: int


class Mark(NamedTuple):
    """A position in a file, and what proves that another file has the same before it.

    Attributes:
        offset: bytes, of what is not compressed.
        crc: CRC-32 of all before.
        tail: how many bytes `tail_crc` is of.
        tail_crc: CRC-32 of the last ones before.
    """

    offset: int = 0
    crc: int = 0
    tail: int = 0
    tail_crc: int = 0


def mark_after(before: Mark, data: bytes) -> Mark:
    """Return the mark after some more bytes."""
    if not data:
        return before
    last = data[-_TAIL:]
    crc = zlib.crc32(data, before.crc)
    return Mark(before.offset + len(data), crc, len(last), zlib.crc32(last))


def fingerprint(head: bytes, *, final: bool = False) -> Print | None:
    """Return the fingerprint of a file, None where too little of it is there.

    Args:
        head: its first bytes: `HEAD`, or all that there are.
        final: nothing more comes.
    """
    at = 0
    while (end := head.find(b"\n", at)) >= 0:
        if end > at and head[at] != ord("#"):
            return _print(head[: end + 1])
        at = end + 1
    return _print(head) if len(head) >= HEAD or (final and head) else None


def _print(data: bytes) -> Print:
    return Print(hashlib.blake2b(data, digest_size=16).hexdigest(), len(data))


class Source:
    """One open file.

    Attributes:
        path: as it was opened.
        position: of the next byte to read, of what is not compressed.
        cut_off: `head` came to an end that is none.
    """

    packed = False
    cut_off = False

    def __init__(self, path: str) -> None:
        """Open a file. Raises UnreadableError; FileNotFoundError."""
        self.path = path
        self.position = 0
        # Without O_NONBLOCK the opening of a pipe that took the file's place would wait for ever.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            self._fd = os.open(path, flags)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnreadableError(error.strerror) from error
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self.close()
            raise UnreadableError("no regular file")
        self.key: Key = self.stat()[:2]

    def stat(self) -> tuple[int, int, int, int, int]:
        """Return device, inode, size, time of the last change and count of links."""
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_nlink

    def _pread(self, count: int, at: int) -> bytes:
        try:
            return os.pread(self._fd, count, at)
        except OSError as error:
            raise UnreadableError(error.strerror) from error

    def head(self, count: int = HEAD) -> bytes:
        """Return the first bytes."""
        raise NotImplementedError

    def read(self, count: int = CHUNK) -> bytes:
        """Return the next bytes, b"" where there are none now. Raises UnreadableError."""
        raise NotImplementedError

    def rewind(self) -> None:
        """Read from the beginning again."""
        self.position = 0

    def go(self, offset: int) -> None:
        """Read from there on."""
        raise NotImplementedError

    def digest(self, count: int) -> tuple[int, int]:
        """Return how many of the first `count` bytes there are, and their CRC-32; stay there."""
        self.rewind()
        crc = 0
        while self.position < count and (data := self.read(min(CHUNK, count - self.position))):
            crc = zlib.crc32(data, crc)
        return self.position, crc

    def has(self, printed: Print, mark: Mark) -> bool:
        """Return whether this is still the file that was read to that mark."""
        head = self.head(printed.length)
        return len(head) == printed.length and _print(head) == printed and self._reaches(mark)

    def _reaches(self, mark: Mark) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        """Close it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Plain(Source):
    """A file that is not compressed, and may grow."""

    def head(self, count: int = HEAD) -> bytes:
        """Return the first bytes."""
        return self._pread(count, 0)

    def read(self, count: int = CHUNK) -> bytes:
        """Return the next bytes, b"" where there are none now. Raises UnreadableError."""
        data = self._pread(count, self.position)
        self.position += len(data)
        return data

    def go(self, offset: int) -> None:
        """Read from there on."""
        self.position = offset

    def _reaches(self, mark: Mark) -> bool:
        last = self._pread(mark.tail, mark.offset - mark.tail)
        return len(last) == mark.tail and zlib.crc32(last) == mark.tail_crc


class Packed(Source):
    """A compressed file: several members of gzip, or several frames of zstd, one after the other.

    However much it expands to, little of that is in memory at a time.
    """

    packed = True

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._zstd = path.endswith(".zst")
        self._failures: tuple[type[Exception], ...] = (zlib.error,)
        if self._zstd:
            from zstandard import ZstdError

            self._failures = (ZstdError,)
        self._first: bytes | None = None
        self.rewind()

    def rewind(self) -> None:
        """Read from the beginning again."""
        super().rewind()
        self._at = 0
        self._input = self._output = b""
        self._begin()

    def _begin(self) -> None:
        self._inside = False
        if self._zstd:
            import zstandard

            self._decoder: Any = zstandard.ZstdDecompressor().decompressobj()
        else:
            self._decoder = zlib.decompressobj(31)

    def head(self, count: int = HEAD) -> bytes:
        """Return the first bytes."""
        if self._first is None:
            other = Packed(self.path) if self.position or self._at else self
            if other.key != self.key:
                other.close()
                raise UnreadableError("it was replaced")
            try:
                found = b""
                while len(found) < HEAD and (data := other.read(HEAD - len(found))):
                    found += data
            except CutOffError:
                self.cut_off = True
            finally:
                if other is not self:
                    other.close()
            self._first = found
            if other is self:
                self.rewind()
        return self._first[:count]

    def go(self, offset: int) -> None:
        """Read from there on."""
        if offset < self.position:
            self.rewind()
        while self.position < offset and self.read(min(CHUNK, offset - self.position)):
            pass

    def _reaches(self, mark: Mark) -> bool:
        del mark  # what is compressed does not change
        return True

    def read(self, count: int = CHUNK) -> bytes:
        """Return the next bytes, b"" at the end. Raises UnreadableError."""
        while not self._output:
            fresh = not self._input
            if fresh:
                self._input = self._pread(_INPUT, self._at)
                self._at += len(self._input)
            ended = not self._input
            try:
                self._output = self._decode(count)
            except self._failures as error:
                raise UnreadableError(f"damaged: {error}") from error
            if ended and not self._output:
                if self._inside:
                    raise CutOffError("it is damaged at its end, or still being written")
                break
        data, self._output = self._output[:count], self._output[count:]
        self.position += len(data)
        return data

    def _decode(self, count: int) -> bytes:
        if not self._inside:
            self._input = self._input.lstrip(b"\0") if not self._zstd else self._input
            if not self._input:
                return b""
            self._inside = True
        if self._zstd:
            part, self._input = self._input[:_ZSTD_INPUT], self._input[_ZSTD_INPUT:]
            data: bytes = self._decoder.decompress(part) if part else b""
        else:
            data = self._decoder.decompress(self._input, count)
            self._input = self._decoder.unconsumed_tail
        if self._decoder.eof:
            self._input = self._decoder.unused_data + (self._input if self._zstd else b"")
            self._begin()
        return data


def open_source(path: str) -> Source:
    """Open a file by its name. Raises UnreadableError; FileNotFoundError."""
    return Packed(path) if path.endswith(PACKED) else Plain(path)
