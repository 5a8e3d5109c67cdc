"""Reads small objects whole, and no more of them than such an object may have; hashes any.

A vault is hostile input: `vault.json` may be a file of a terabyte.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from regvault.errors import VaultDamagedError
from regvault.vault.envelope import MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore

__all__ = ["fetch", "fetch_document", "read_at_most", "sha256_of"]


class _Reader(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def fetch(store: ObjectStore, key: str, limit: int) -> bytes:
    """Return the bytes of an object that has at most `limit` of them.

    Raises:
        ObjectNotFoundError: it is not there.
        VaultDamagedError: it has more.
    """
    data = store.get(key, length=limit + 1)
    if len(data) > limit:
        raise VaultDamagedError(f"{key} is damaged: it has more than {limit} bytes", key=key)
    return data


def fetch_document(store: ObjectStore, key: str) -> bytes:
    """Return the bytes of a document, unread.

    Raises:
        ObjectNotFoundError: it is not there.
        VaultDamagedError: it is larger than a document may be.
    """
    return fetch(store, key, MAX_DOCUMENT_BYTES)


def sha256_of(store: ObjectStore, key: str) -> str:
    """Return the hex SHA-256 of an object, read to its end.

    Raises:
        ObjectNotFoundError: it is not there.
    """
    hasher = hashlib.sha256()
    with store.open(key) as reader:
        while data := reader.read(1 << 20):
            hasher.update(data)
    return hasher.hexdigest()


def read_at_most(reader: _Reader, limit: int) -> bytes:
    """Return the rest of a stream; where that is more than `limit`, a byte more than that."""
    parts: list[bytes] = []
    left = limit + 1
    while left and (part := reader.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
