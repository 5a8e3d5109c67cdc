"""The body of an upload: a stream that cannot be completed unless it is what was promised."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from regvault.errors import RegvaultError
from regvault.storage.streams import digest_mismatch, rewind, size_mismatch

if TYPE_CHECKING:
    from regvault.model.store import ByteReader

__all__ = ["Body"]

_CHUNK = 256 * 1024


class Body:
    """What botocore reads an object from.

    The last bytes are held back until the stream has ended where it should and, where the bytes
    are hashed here, has the promised digest; else `read` raises, the connection breaks off short
    of Content-Length, and the server has nothing.

    A request is repeated from the beginning if the reader is seekable (files, buffers). Of a
    reader that is not, every byte is sent once: then `seek` refuses, and the caller opens the
    source again.

    Attributes:
        error: what went wrong with the source or its bytes; botocore wraps such errors beyond
            recognition, so the cause is looked up here.
        started: whether anything was sent.
    """

    def __init__(
        self, reader: ByteReader, key: str, *, size: int, sha256: str | None, hashing: bool
    ) -> None:
        self._reader = reader
        self._key = key
        self._size = size
        self._sha256 = sha256
        self._hashing = hashing
        tell = getattr(reader, "tell", None)
        seekable = getattr(reader, "seekable", None)
        self._origin: int = tell() if tell and seekable and seekable() else 0
        self.error: BaseException | None = None
        self.started = False
        self._begin()

    def _begin(self) -> None:
        self._digest = hashlib.sha256()
        self._taken = 0

    def __len__(self) -> int:
        return self._size

    def sha256(self) -> str:
        """Return the digest of what was read, where it was hashed here."""
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes to send, b"" at the end.

        `size` is not heeded: the HTTP library asks for 16 KiB at a time and sends whatever it
        gets, and larger pieces cost a sixteenth of the calls.

        Raises:
            DigestMismatchError: in place of the last bytes, if they are not as promised.
            Exception: what the reader raised.
        """
        del size
        if self._taken == self._size:
            return b""
        self.started = True
        try:
            return self._next()
        except BaseException as error:
            self.error = error
            raise

    def _next(self) -> bytes:
        data = self._reader.read(min(_CHUNK, self._size - self._taken))
        if not data:
            raise size_mismatch(self._key, self._size, got=self._taken)
        self._taken += len(data)
        if self._hashing:
            self._digest.update(data)
        if self._taken == self._size:
            self.check_end()
        return data

    def check_end(self) -> None:
        """Refuse a stream that goes on, or that is not what was promised.

        Raises:
            DigestMismatchError: size or digest are wrong.
        """
        if self._reader.read(1):
            raise size_mismatch(self._key, self._size, got=self._size + 1)
        if self._hashing and self._sha256 is not None and self.sha256() != self._sha256:
            raise digest_mismatch(self._key, self._sha256, got=self.sha256())

    def failed(self) -> bool:
        """Return whether the source itself is at fault, so that a repetition is in vain."""
        return self.error is not None

    def tell(self) -> int:
        """Return 0: it is sent from the beginning or not at all."""
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go back to the beginning for another attempt.

        Raises:
            RegvaultError: the source failed, or cannot be rewound.
        """
        if self.failed() or offset or whence:
            raise RegvaultError("the stream cannot be sent again")
        if self.started:
            if not rewind(self._reader, self._origin):
                raise RegvaultError("the stream cannot be sent again")
            self._begin()
            self.started = False
        return 0
