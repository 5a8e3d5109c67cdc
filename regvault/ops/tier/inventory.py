"""S3 Inventory: what a bucket holds, as S3 writes it down once a day, instead of a listing.

A `manifest.json` names the files and their columns; those are CSV, compressed, and have no header;
keys in them are URL-encoded. Source: Amazon S3 User Guide, "Locating your inventory list".
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_plus

from regvault.errors import SourceError, UsageError
from regvault.model.store import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Inventory", "InventoryFiles"]

_NEEDED = ("Key", "Size", "LastModifiedDate", "ETag", "StorageClass")
_HINT = (
    "An inventory for regvault is in CSV, of current versions, with the optional fields Size, "
    "LastModifiedDate, ETag and StorageClass."
)
_MOST_MANIFEST = 64 << 20
_MOST_LINE = 16 << 10
_MOST_CLASSES = 100
_MOST_BYTES = 1 << 50
_DAMAGES = (OSError, EOFError, zlib.error, csv.Error, ValueError, IndexError, OverflowError)


class InventoryFiles(Protocol):
    """Where an inventory lies."""

    def manifest(self, limit: int) -> bytes:
        """Return `manifest.json`, of so many bytes at most."""

    def open(self, key: str) -> IO[bytes]:
        """Return a file that the manifest names."""


class Inventory:
    """One inventory of a bucket.

    Attributes:
        bucket: that it is of.
        created_us: when it was begun, microseconds since the epoch.
    """

    def __init__(self, files: InventoryFiles) -> None:
        """Read its manifest.

        Raises:
            UsageError: it is none, or lacks what is needed.
            StoreError: it cannot be read.
        """
        self._files = files
        try:
            found: dict[str, Any] = json.loads(files.manifest(_MOST_MANIFEST))
            self.bucket = str(found["sourceBucket"])
            self.created_us = int(found["creationTimestamp"]) * 1000
            self._keys = [str(each["key"]) for each in found["files"]]
            kind, schema = str(found["fileFormat"]), str(found["fileSchema"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise UsageError(
                "--inventory: this is no manifest.json of an inventory", hint=_HINT
            ) from None
        self._columns = {name.strip(): place for place, name in enumerate(schema.split(","))}
        missing = [name for name in _NEEDED if name not in self._columns]
        if kind.upper() != "CSV" or missing:
            what = f"it lacks {', '.join(missing)}" if missing else f"it is in {kind}"
            raise UsageError(f"--inventory: {what}", hint=_HINT)

    def entries(self, prefix: str) -> Iterator[tuple[Entry, str]]:
        """Yield what is below a prefix, keys without it, and the class of each; in any order.

        Raises:
            SourceError: a file of it is not what it should be.
        """
        for key in self._keys:
            try:
                with (
                    self._files.open(key) as file,
                    gzip.GzipFile(fileobj=file) as plain,
                    io.TextIOWrapper(plain, encoding="utf-8", newline="") as text,
                ):
                    yield from self._rows(text, prefix)
            except _DAMAGES as error:
                raise SourceError(f"the file {key} of the inventory: {error}") from error

    def _rows(self, text: IO[str], prefix: str) -> Iterator[tuple[Entry, str]]:
        place = self._columns
        key_at, size_at, time_at = place["Key"], place["Size"], place["LastModifiedDate"]
        etag_at, class_at = place["ETag"], place["StorageClass"]
        latest_at, marker_at = place.get("IsLatest"), place.get("IsDeleteMarker")
        classes: set[str] = set()
        for row in csv.reader(_lines(text)):
            if latest_at is not None and row[latest_at].lower() == "false":
                continue
            if marker_at is not None and row[marker_at].lower() == "true":
                continue
            key = unquote_plus(row[key_at])
            if not key.startswith(prefix):
                continue
            written = datetime.fromisoformat(row[time_at])
            modified = (written if written.tzinfo else written.replace(tzinfo=UTC)).timestamp()
            size = int(row[size_at])
            classes.add(row[class_at])
            if not 0 <= size <= _MOST_BYTES or modified < 0 or len(classes) > _MOST_CLASSES:
                raise ValueError(f"what it says of {key[:200]!r} cannot be")
            entry = Entry(
                key[len(prefix) :],
                size,
                row[etag_at].strip('"'),
                int(modified * 1000) * 1_000_000,
            )
            yield entry, row[class_at] or "STANDARD"


def _lines(text: IO[str]) -> Iterator[str]:
    """Yield lines that are no longer than those of an inventory. Raises ValueError."""
    while line := text.readline(_MOST_LINE):
        if len(line) == _MOST_LINE:
            raise ValueError("a line is too long")
        yield line
