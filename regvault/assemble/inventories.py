"""Where an S3 Inventory lies: in files beside its manifest, or in a bucket."""

from __future__ import annotations

import io
import os
from typing import IO, TYPE_CHECKING

from regvault.errors import UsageError
from regvault.model.location import Kind, parse_location

if TYPE_CHECKING:
    from regvault.config.places import RegistryPlace
    from regvault.model.store import ObjectStore
    from regvault.ops.tier.inventory import InventoryFiles

__all__ = ["open_inventory"]


def open_inventory(text: str, place: RegistryPlace, endpoint_url: str | None) -> InventoryFiles:
    """Return the files of an inventory.

    Args:
        text: the path of its manifest, or s3://BUCKET/KEY.
        place: of the registry, whose credentials are taken.
        endpoint_url: given on the command line.

    Raises:
        UsageError: it is neither.
    """
    if not text.startswith("s3://"):
        return _InDirectory(text)
    from dataclasses import replace

    from regvault.assemble import open_bucket

    found = parse_location(text)
    whole = replace(found, prefix="")
    settings = place.s3 if endpoint_url is None else replace(place.s3, endpoint_url=endpoint_url)
    if found.kind is not Kind.S3 or not found.prefix:
        raise UsageError(
            f"--inventory: {text} is no object", hint="Name its s3://BUCKET/.../manifest.json."
        )
    return _InBucket(open_bucket(whole, settings, None), found.prefix)


class _InDirectory:
    """Files by their names, beside the manifest or in a directory `data` above or beside it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def manifest(self, limit: int) -> bytes:
        try:
            with open(self._path, "rb") as file:
                return file.read(limit)
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror}") from error

    def open(self, key: str) -> IO[bytes]:
        here = os.path.dirname(self._path) or "."
        name = os.path.basename(key)
        for directory in (here, os.path.join(here, "data"), os.path.join(here, "..", "data")):
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                return open(path, "rb")
        raise UsageError(
            f"--inventory: {name}, which {self._path} names, is not there",
            hint="Put it beside the manifest, or into a directory data beside it.",
        )


class _InBucket:
    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key

    def manifest(self, limit: int) -> bytes:
        return self._store.get(self._key, length=limit)

    def open(self, key: str) -> IO[bytes]:
        return io.BufferedReader(_Raw(self._store, key), 1 << 20)


class _Raw(io.RawIOBase):
    """An object as a raw file."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._reader = store.open(key)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read what there is."""
        return self._reader.readinto(buffer)

    def close(self) -> None:
        """Close the object, too."""
        self._reader.close()
        super().close()
