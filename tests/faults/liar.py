"""A store that lies: about what is there, about bytes, and about time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.storage.streams import BytesReader
from regvault.storage.wrappers import Wrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.store import ByteReader, Entry, ObjectStore, SizedReader, Stored

    # `list` is a method below.
    Items = list[Any]


#: More than any verb reads of a small vault.
ENDLESS = 5000


def _honest_list(number: int, prefix: str, items: Items) -> Items:
    return items


def _honest_get(number: int, key: str, data: bytes) -> bytes:
    return data


def _honest_entry(entry: Entry) -> Entry:
    return entry


def _honest_clock(number: int, now_ns: int) -> int:
    return now_ns


def key_of(prefix: str, item: Any) -> str:
    """The key that an item of a LIST tells; of a name below a prefix, the prefix that it makes."""
    return f"{prefix}{item}/" if isinstance(item, str) else item.key


class Liar(Wrapper):
    """A store that answers with what a test makes of the truth; what it is told to do, it does.

    Attributes:
        listing: (number of the LIST, prefix, truth) -> what is told.
        reading: (number of the GET, key, all of its bytes) -> what is told.
        entry: what LIST and HEAD say of an object -> what is told.
        clock: (number of the look, truth) -> what is told.
        before_put: is told each key before something is written there.
        lists: what each LIST would have said: prefix, and the keys.
        gets: the key of each GET.
        looks: how often the clock was looked at.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        listing: Callable[[int, str, Items], Items] = _honest_list,
        reading: Callable[[int, str, bytes], bytes] = _honest_get,
        entry: Callable[[Entry], Entry] = _honest_entry,
        clock: Callable[[int, int], int] = _honest_clock,
        before_put: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(inner)
        self.listing = listing
        self.reading = reading
        self.entry = entry
        self.clock = clock
        self.before_put = before_put
        self.lists: list[tuple[str, list[str]]] = []
        self.gets: list[str] = []
        self.looks = 0

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        return self._told(prefix, self.inner.list(prefix, after=after))

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        return self._told(prefix, self.inner.list_prefixes(prefix))

    def _told(self, prefix: str, truth: Iterator[Any]) -> Iterator[Any]:
        number = len(self.lists)
        items = [item if isinstance(item, str) else self.entry(item) for item in truth]
        self.lists.append((prefix, [key_of(prefix, item) for item in items]))
        yield from self.listing(number, prefix, items)

    def head(self, key: str) -> Entry:
        return self.entry(self.inner.head(key))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        assert len(self.gets) < ENDLESS, f"GET of {key} for ever"
        truth = self.inner.get(key)
        data = self.reading(len(self.gets), key, truth)
        self.gets.append(key)
        if start < 0:
            return data[max(0, len(data) + start) :]
        return data[start:] if length is None else data[start : start + length]

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        return BytesReader(self.get(key, start=start, length=length))

    def put(self, key: str, data: bytes, **words: Any) -> Stored:
        self.before_put(key)
        return self.inner.put(key, data, **words)

    def put_stream(
        self, key: str, reader: ByteReader, *, size: int, sha256: str | None = None
    ) -> Stored:
        self.before_put(key)
        return self.inner.put_stream(key, reader, size=size, sha256=sha256)

    def now_ns(self) -> int:
        self.looks += 1
        return self.clock(self.looks - 1, self.inner.now_ns())
