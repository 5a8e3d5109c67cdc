"""A store for these tests: a dictionary that remembers the order of its writes."""

from __future__ import annotations

import hashlib

from regvault.errors import ObjectNotFoundError
from regvault.model.store import Entry, Stored


class Storekeeper:
    """As much of an ObjectStore as a sample needs; anything else is an AttributeError."""

    location = "memory:"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.writes: list[tuple[str, bytes]] = []
        self.barriers: list[int] = []

    def get(self, key, *, start=0, length=None) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFoundError(key, key=key) from None

    def head(self, key) -> Entry:
        return Entry(key, len(self.get(key)), "etag", 0)

    def list(self, prefix="", *, after=""):
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > after:
                yield self.head(key)

    def list_prefixes(self, prefix=""):
        below = (key[len(prefix) :] for key in sorted(self.objects) if key.startswith(prefix))
        yield from sorted({rest.split("/", 1)[0] for rest in below if "/" in rest})

    def put_stream(self, key, reader, *, size, sha256=None) -> Stored:
        data = reader.read()
        digest = hashlib.sha256(data).hexdigest()
        assert len(data) == size
        assert sha256 in (None, digest)
        self.objects[key] = data
        self.writes.append((key, data))
        return Stored("etag", size, digest, "regvault")

    def delete(self, key) -> None:
        self.objects.pop(key, None)

    def barrier(self) -> None:
        self.barriers.append(len(self.writes))
