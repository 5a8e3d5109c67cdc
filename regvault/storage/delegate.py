"""The base of stores that stand before another store.

A wrapper says in four small methods what it does with requests and with bytes. It is a
HierarchicalStore, a LockingStore, a VersionedStore or a ClassedStore exactly if the store behind it
is one, so `isinstance` stays right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from regvault.storage.abilities import ABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from regvault.model.store import (
        ByteReader,
        Entry,
        ObjectStore,
        SizedReader,
        Space,
        Stage,
        Stored,
    )

__all__ = ["ReaderWrapper", "Wrapper", "unwrap"]

T = TypeVar("T")


def unwrap(store: ObjectStore) -> ObjectStore:
    """Return the store behind all wrappers."""
    while isinstance(store, Wrapper):
        store = store.inner
    return store


class Wrapper:
    """A store that passes everything on.

    Attributes:
        inner: the store behind it.
    """

    def __new__(cls, inner: ObjectStore, *_: Any, **__: Any) -> Self:
        """Make a wrapper that can do what the store behind it can."""
        abilities = tuple(
            more
            for kind_of_store, more in ABILITIES
            if isinstance(inner, kind_of_store) and not issubclass(cls, more)
        )
        kind: type[Any] = _with(cls, abilities) if abilities else cls
        made: Self = object.__new__(kind)
        return made

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner

    # What a wrapper changes

    def _run(self, verb: str, key: str, call: Callable[[], T]) -> T:
        """Do one request. Verbs are the names of the port's methods, and "commit" for stages."""
        del verb, key
        return call()

    def _came(self, key: str, data: bytes) -> bytes:
        """Return what the caller gets for bytes that came from the store."""
        del key
        return data

    def _goes(self, count: int) -> None:
        """Take note that `count` bytes are about to go to the store."""

    def _reader_of(self, key: str, reader: SizedReader) -> SizedReader:
        """Return the stream that the caller gets."""
        del key
        return reader

    def _source(self, key: str, reader: ByteReader, size: int) -> ByteReader:
        """Return the stream that the store gets."""
        del key, size
        return reader

    # The port

    @property
    def location(self) -> str:
        """Where the store is."""
        return self.inner.location

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Pass on."""
        data = self._run("get", key, lambda: self.inner.get(key, start=start, length=length))
        return self._came(key, data)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        """Pass on."""
        reader = self._run("open", key, lambda: self.inner.open(key, start=start, length=length))
        return self._reader_of(key, reader)

    def head(self, key: str) -> Entry:
        """Pass on."""
        return self._run("head", key, lambda: self.inner.head(key))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Pass on."""
        return self._run("list", prefix, lambda: self.inner.list(prefix, after=after))

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        """Pass on."""
        return self._run("list_prefixes", prefix, lambda: self.inner.list_prefixes(prefix))

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> Stored:
        """Pass on."""

        def call() -> Stored:
            self._goes(len(data))
            return self.inner.put(key, data, if_none_match=if_none_match, if_match=if_match)

        return self._run("put", key, call)

    def put_stream(
        self, key: str, reader: ByteReader, *, size: int, sha256: str | None = None
    ) -> Stored:
        """Pass on."""

        def call() -> Stored:
            source = self._source(key, reader, size)
            return self.inner.put_stream(key, source, size=size, sha256=sha256)

        return self._run("put_stream", key, call)

    def stage(self) -> Stage:
        """Pass on."""
        return _WrappedStage(self, self._run("stage", "", self.inner.stage))

    def copy_in(
        self, source: ObjectStore, source_key: str, key: str, *, size: int, sha256: str
    ) -> Stored | None:
        """Pass on."""
        inner: Any = self.inner

        def call() -> Stored | None:
            stored: Stored | None = inner.copy_in(source, source_key, key, size=size, sha256=sha256)
            return stored

        return self._run("copy_in", key, call)

    def stored_sha256(self, key: str) -> str | None:
        """Pass on."""
        return self._run("stored_sha256", key, lambda: self.inner.stored_sha256(key))

    def delete(self, key: str) -> None:
        """Pass on."""
        return self._run("delete", key, lambda: self.inner.delete(key))

    def barrier(self) -> None:
        """Pass on."""
        return self._run("barrier", "", self.inner.barrier)

    def now_ns(self) -> int:
        """Pass on."""
        return self._run("now_ns", "", self.inner.now_ns)

    def space(self) -> Space:
        """Pass on."""
        return self._run("space", "", self.inner.space)

    def close(self) -> None:
        """Pass on."""
        self.inner.close()


_made: dict[tuple[type[Any], ...], type[Any]] = {}


def _with(kind: type[Any], abilities: tuple[type[Any], ...]) -> type[Any]:
    """Return the form of a wrapper with some abilities, one class for each."""
    bases = (*abilities, kind)
    namespace = {"__module__": kind.__module__}
    return _made.setdefault(bases, type(kind.__name__, bases, namespace))


class _WrappedStage:
    def __init__(self, store: Wrapper, stage: Stage) -> None:
        self._store = store
        self._stage = stage

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self._store._goes(len(data))  # noqa: SLF001
        return self._stage.write(data)

    def sha256(self) -> str:
        return self._stage.sha256()

    def commit(self, key: str) -> Stored:
        return self._store._run("commit", key, lambda: self._stage.commit(key))  # noqa: SLF001

    def abort(self) -> None:
        self._stage.abort()


class ReaderWrapper:
    """A stream whose bytes pass through `_took`; seekable if the one behind it is."""

    def __init__(self, inner: ByteReader) -> None:
        self._inner = inner

    def _took(self, count: int) -> None:
        """Take note of `count` bytes that were read."""

    def read(self, size: int = -1, /) -> bytes:
        """Read from the stream behind."""
        data = self._inner.read(size)
        self._took(len(data))
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read from the stream behind."""
        count = self._inner.readinto(buffer)
        self._took(count)
        return count

    @property
    def size(self) -> int:
        """The bytes of the stream behind, if it is one that knows."""
        return int(self._inner.size)  # type: ignore[attr-defined]

    def seekable(self) -> bool:
        """Return whether the stream behind is seekable."""
        seekable = getattr(self._inner, "seekable", None)
        return seekable is not None and bool(seekable())

    def seek(self, offset: int, /) -> int:
        """Go to a place in the stream behind."""
        return int(self._inner.seek(offset))  # type: ignore[attr-defined]

    def tell(self) -> int:
        """Return the place in the stream behind."""
        return int(self._inner.tell())  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the stream behind."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
