"""Objects for S3 that are written before their key is known: spooled on the local disk."""

from __future__ import annotations

import hashlib
import tempfile
from typing import IO, TYPE_CHECKING

from regvault.errors import StoreError
from regvault.storage.keys import check_key
from regvault.storage.local_errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.store import Stored

__all__ = ["SpooledStage"]

# Kept in memory up to this size.
_IN_MEMORY = 1024 * 1024


class SpooledStage:
    """A stage over a temporary file; see `regvault.model.store.Stage`."""

    def __init__(
        self, publish: Callable[[str, IO[bytes], int, str], Stored], directory: str | None
    ) -> None:
        """Begin.

        Args:
            publish: stores (key, file at its beginning, size, hex SHA-256).
            directory: where the temporary file is; None: the system's choice (TMPDIR).
        """
        self._publish = publish
        self._location = f"file://{directory or tempfile.gettempdir()}"
        self._digest = hashlib.sha256()
        self._size = 0
        with translated("spool in", self._location, write=True):
            self._file: IO[bytes] | None = tempfile.SpooledTemporaryFile(  # noqa: SIM115
                max_size=_IN_MEMORY, dir=directory, prefix="regvault-"
            )

    def _open(self) -> IO[bytes]:
        if self._file is None:
            raise StoreError("this stage has ended")
        return self._file

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append to the object."""
        file = self._open()
        with translated("spool in", self._location, write=True):
            file.write(data)
        self._digest.update(data)
        self._size += len(data)
        return len(data)

    def sha256(self) -> str:
        """Return the hex SHA-256 of what was written so far."""
        return self._digest.hexdigest()

    def commit(self, key: str) -> Stored:
        """Upload it under `key`."""
        check_key(key)
        file = self._open()
        try:
            with translated("spool in", self._location, write=True):
                file.seek(0)
            return self._publish(key, file, self._size, self.sha256())
        finally:
            self.abort()

    def abort(self) -> None:
        """Throw it away."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
