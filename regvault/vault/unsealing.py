"""A stream over what an age file holds.

The library writes what it opens; who reads blobs reads. So it writes into a pipe, from a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from regvault.model.store import ByteReader

__all__ = ["Unsealed"]

_PIPE_BYTES = 1 << 20
_PART = 1 << 20


class Unsealed:
    """A stream; see `regvault.model.store.ByteReader`."""

    def __init__(
        self,
        reader: ByteReader,
        unseal: Callable[[Any, Any], None],
        translate: Callable[[Exception], Exception],
    ) -> None:
        """Begin.

        Args:
            reader: of the age file; it is closed with this.
            unseal: reads its first argument to the end, and writes into the second.
            translate: of an error of `unseal` makes the one that readers get.
        """
        self._reader = reader
        self._source = _Source(reader)
        self._unseal = unseal
        self._translate = translate
        self._error: Exception | None = None
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._pipe = os.fdopen(reading, "rb", buffering=0)
        self._thread = threading.Thread(
            target=self._run, args=(writing,), name="unseal", daemon=True
        )
        self._thread.start()

    def _run(self, writing: int) -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            try:
                self._unseal(self._source, _Sink(pipe))
            except Exception as error:  # noqa: BLE001 - who reads is told
                self._error = self._source.error or self._translate(error)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill `buffer`; 0 at the end.

        Raises:
            VaultDamagedError: it is not what was sealed.
            CredentialError: no identity opens it.
        """
        count = self._pipe.readinto(buffer) or 0
        if not count:
            self._thread.join()
            if self._error is not None:
                raise self._error
        return count

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes (-1: all), b"" at the end. Raises as `readinto`."""
        if size >= 0:
            data = bytearray(min(size, _PART))
            return bytes(data[: self.readinto(data)]) if data else b""
        parts: list[bytes] = []
        while part := self.read(_PART):
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """End the thread, and close the age file."""
        self._pipe.close()  # a write to it ends the thread
        self._thread.join()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


class _Source:
    """Reads the age file, and keeps the error of its store."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._reader.read(size)
        except Exception as error:
            self.error = error
            raise


class _Sink:
    """Writes all of what it is given into a pipe."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        while left:
            left = left[self._pipe.write(left) :]
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""
