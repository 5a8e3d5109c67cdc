"""What lies below a registry's `blobs/`: digests, sizes and classes, in little memory.

A registry may have millions of blobs, so they are columns, not objects. Digests other than SHA-256
are counted and left alone: registries write none by themselves.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

from regvault.errors import SourceError
from regvault.model.classes import ClassedStore
from regvault.registry.layout import BLOBS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from regvault.model.progress import Progress
    from regvault.model.store import Entry, ObjectStore
    from regvault.policy.tiering.history import Ints

__all__ = ["HOT", "Contents", "Texts", "contents_of", "list_contents"]

HOT: Final = "hot"
"""The class of a store that has no classes: there is nothing colder."""

_SHA256: Final = f"{BLOBS}sha256/"
_HEX: Final = len(_SHA256) + 3
_KEY: Final = _HEX + 64 + len("/data")


class Contents:
    """Blobs and manifests of a registry, by number: in the order of their digests.

    Attributes:
        sizes: bytes of each.
        modified: when it was written last, microseconds since the epoch.
        classes: the names of the classes that something lies in.
        present: of each content, the number of its class.
        others: how many blobs are named by another digest than SHA-256; they are not in it.
    """

    def __init__(
        self,
        digests: bytearray,
        sizes: array[int],
        modified: array[int],
        present: array[int],
        classes: list[str],
        etags: Texts,
        others: int,
    ) -> None:
        self._digests: NDArray[np.bytes_] = np.frombuffer(digests, dtype="S32")
        self.sizes = np.frombuffer(sizes, dtype=np.int64)
        self.modified = np.frombuffer(modified, dtype=np.int64)
        self.present: Ints = np.frombuffer(present, dtype=np.int16).astype(np.int64)
        self.classes = classes
        self.others = others
        self._etags = etags

        self._order: Ints | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def sort(self) -> None:
        """Put all into the order of the digests. Raises SourceError where one is there twice."""
        order = np.argsort(self._digests, kind="stable")
        self._digests = self._digests[order]
        if (self._digests[1:] == self._digests[:-1]).any():
            raise SourceError("the inventory has a blob twice", hint="Is it of several versions?")
        self.sizes, self.modified = self.sizes[order], self.modified[order]
        self.present = self.present[order]
        self._order = order

    def digest(self, number: int) -> str:
        """Return the digest of a content."""
        # numpy leaves out zero bytes at the end.
        return f"sha256:{bytes(self._digests[number]).ljust(32, bytes(1)).hex()}"

    def etag(self, number: int) -> str:
        """Return its etag, as it was listed."""
        return self._etags[number if self._order is None else int(self._order[number])]

    def numbers(self, digests: bytes | bytearray) -> Ints:
        """Return the numbers of contents; -1 of what is not there.

        Args:
            digests: 32 bytes of each.
        """
        wanted: NDArray[np.bytes_] = np.frombuffer(digests, dtype="S32")
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._digests, wanted), len(self) - 1)
        found: Ints = np.where(self._digests[place] == wanted, place, -1).astype(np.int64)
        return found


class Texts:
    """Many short texts, one after the other, in little memory."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("Q")

    def add(self, text: str) -> None:
        """Add one more."""
        self._bytes += text.encode()
        self._ends.append(len(self._bytes))

    def __getitem__(self, number: int) -> str:
        begin = self._ends[number - 1] if number else 0
        return self._bytes[begin : self._ends[number]].decode()


def list_contents(store: ObjectStore, progress: Progress) -> Contents:
    """List all blobs of a registry's storage.

    Raises:
        SourceError: the listing is not in order.
        StoreError: it cannot be listed.
    """
    return contents_of(_listed(store, progress))


def _listed(store: ObjectStore, progress: Progress) -> Iterator[tuple[Entry, str]]:
    listed: Iterable[tuple[Entry, str]]
    if isinstance(store, ClassedStore):
        listed = store.list_classes(BLOBS)
    else:
        listed = ((entry, HOT) for entry in store.list(BLOBS))
    for number, (entry, name) in enumerate(listed, 1):
        if number % 1000 == 0:
            progress.advance(1000)
        yield entry, name


def contents_of(listed: Iterable[tuple[Entry, str]], *, ordered: bool = True) -> Contents:
    """Return what a listing has.

    Args:
        listed: entries and the names of their classes.
        ordered: as keys are in a store; an inventory comes in any order.

    Raises:
        SourceError: it is not in order, or has something twice.
    """
    digests = bytearray()
    sizes, modified, present = array("q"), array("q"), array("h")
    classes: dict[str, int] = {}
    etags = Texts()
    others = 0
    last = b""
    for (key, size, etag, modified_ns), name in listed:
        if not key.endswith("/data"):
            continue
        try:
            digest = bytes.fromhex(key[_HEX : _HEX + 64])
        except ValueError:
            digest = b""
        if len(digest) != 32 or len(key) != _KEY or not key.startswith(_SHA256):
            others += 1
            continue
        if ordered and digest <= last:
            raise SourceError(f"the listing of blobs is out of order at {key!r}")
        last = digest
        digests += digest
        sizes.append(size)
        modified.append(modified_ns // 1000)
        present.append(classes.setdefault(name, len(classes)))
        etags.add(etag)
    found = Contents(digests, sizes, modified, present, list(classes), etags, others)
    if not ordered:
        found.sort()
    return found
