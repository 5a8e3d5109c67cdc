"""The object store port: bytes by key.

The registry's own storage and the vault both sit on it. Every adapter passes one contract suite
(`tests/contract/`). Keys are relative, `/`-separated, never empty, without `.` or `..` parts.

All methods raise the `StoreError` tree of `regvault.errors` and nothing else of their own.
Every adapter is safe to use from several threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

__all__ = [
    "ByteReader",
    "Entry",
    "HierarchicalStore",
    "LockingStore",
    "ObjectStore",
    "Retention",
    "SizedReader",
    "Space",
    "Stage",
    "Stored",
    "VersionedStore",
]


class Entry(NamedTuple):
    """One object as LIST or HEAD shows it.

    Attributes:
        key: the whole key, below the store's own prefix.
        size: bytes.
        etag: opaque; changes whenever the object is written anew. On S3 without quotes.
        modified_ns: last modification, nanoseconds since the epoch, by the store's clock.
    """

    key: str
    size: int
    etag: str
    modified_ns: int


class Stored(NamedTuple):
    """What a store made of a write.

    Attributes:
        etag: as in Entry.
        size: bytes written.
        sha256: hex SHA-256 of the bytes written.
        proof: "store" where the store itself refused anything but these bytes,
            else "regvault": this process hashed them on the way.
    """

    etag: str
    size: int
    sha256: str
    proof: str


class Retention(NamedTuple):
    """Until when an object cannot be deleted or replaced by anything but a newer version of it.

    Attributes:
        mode: `governance` (who has a right of its own may lift it) or `compliance` (nobody may).
        until_ns: nanoseconds since the epoch, by the store's clock.
    """

    mode: str
    until_ns: int


class Space(NamedTuple):
    """What a store has left; None where it cannot be known (object storage)."""

    free_bytes: int | None
    free_inodes: int | None


class ByteReader(Protocol):
    """A stream of bytes to read to its end, then close."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes (-1: all), b"" at the end."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill `buffer` from the stream; return the number of bytes, 0 at the end."""

    def close(self) -> None:
        """Release the connection or the file. May be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...


class SizedReader(ByteReader, Protocol):
    """A stream that knows how long it is."""

    @property
    def size(self) -> int:
        """The bytes from its beginning to its end."""


class Stage(Protocol):
    """An object whose key is known only when its last byte is (packs, meta).

    Exactly one of `commit` and `abort` ends it. Not thread-safe.
    """

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append to the object; return the number of bytes."""

    def sha256(self) -> str:
        """Return the hex SHA-256 of everything written so far; packs are named by it."""

    def commit(self, key: str) -> Stored:
        """Publish all that was written under `key`, replacing what is there. Atomic."""

    def abort(self) -> None:
        """Throw away what was written. May be called after commit: then it does nothing."""


@runtime_checkable
class ObjectStore(Protocol):
    """Bytes by key."""

    @property
    def location(self) -> str:
        """Where this is, for messages: a URL without secrets."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `key` from `start`, at most `length` (None: to the end).

        A negative `start` counts from the end (length must then be None); it is clamped to the
        object. Raises ObjectNotFoundError.
        """

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        """Return a stream over the same bytes that `get` would return."""

    def head(self, key: str) -> Entry:
        """Return what LIST would say of `key`. Raises ObjectNotFoundError."""

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Yield all objects whose key starts with `prefix`, in byte order of their keys.

        `after`: only keys greater than this one. Unfinished temporary files of a local store are
        not objects. A missing prefix yields nothing.
        """

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        """Yield the names directly below `prefix` ("" or ending in "/") that hold further keys.

        Names only, without `prefix` and without the trailing slash, but in byte order of the names
        with it: `a-b` before `a`, as their keys come. (S3: the common prefixes with delimiter
        "/"; a file system: the directories.)
        """

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> Stored:
        """Write a small object at once, atomically and durably.

        Args:
            key: where.
            data: the whole content.
            if_none_match: only if the key does not exist yet (create-only).
            if_match: only if the object's etag is still this one (compare-and-swap).

        A time-out whose outcome is unknown is resolved by reading back: own bytes are success.
        Raises PreconditionError where the condition does not hold.
        """

    def put_stream(
        self, key: str, reader: ByteReader, *, size: int, sha256: str | None = None
    ) -> Stored:
        """Write `size` bytes of `reader`; atomic: the key appears whole or not at all.

        With `sha256` (hex) the bytes are proven against it, by the store where the store does so,
        else here while they stream. Durable only after `barrier`.
        Raises DigestMismatchError (nothing is left under `key` that was not there before) when
        size or digest are not as promised, in either direction.
        """

    def stage(self) -> Stage:
        """Begin an object whose key is not known yet. Durable only after `barrier`."""

    def copy_in(
        self, source: ObjectStore, source_key: str, key: str, *, size: int, sha256: str
    ) -> Stored | None:
        """Let the server copy an object from another store; None where it cannot.

        Args:
            source: the store to copy from.
            source_key: the key there.
            key: the key here.
            size: bytes that the copy must have.
            sha256: hex digest that it must have; the server computes it.

        Raises DigestMismatchError (the copy is deleted) and ObjectNotFoundError of the source.
        """

    def stored_sha256(self, key: str) -> str | None:
        """Return the hex SHA-256 that the store itself keeps of an object, or None.

        Only where the store proved the bytes against it when they were written. Raises
        ObjectNotFoundError.
        """

    def delete(self, key: str) -> None:
        """Remove `key`; no error if it is not there."""

    def barrier(self) -> None:
        """Return once everything written before is durable."""

    def now_ns(self) -> int:
        """Return the store's own time, nanoseconds since the epoch (S3: its answers' Date)."""

    def space(self) -> Space:
        """Return what is left."""

    def close(self) -> None:
        """Release connections."""


@runtime_checkable
class HierarchicalStore(ObjectStore, Protocol):
    """A store whose prefixes are directories, where asking in bulk below one directory is cheap.

    The registry reader uses it to scan links of a file system without opening a directory a link.
    """

    def scandir(self, prefix: str) -> list[tuple[str, bool]]:
        """Return (name, is a directory) of everything directly below `prefix`, unsorted.

        Raises ObjectNotFoundError where the directory does not exist.
        """

    def stat_children(
        self, prefix: str, leaf: str, names: Iterable[str]
    ) -> list[tuple[str, int, int, int]]:
        """Return (name, size, mtime in ns, inode) of `<prefix>/<name>/<leaf>` for each name.

        `leaf` may hold slashes; "" is the directory `<prefix>/<name>` itself, and one that ends in
        a slash is a directory below it. Size is -1 where there is no such file or directory.
        """

    def read_children(
        self, prefix: str, leaf: str, names: Iterable[str], *, limit: int
    ) -> list[tuple[str, bytes | None]]:
        """Return (name, content) of `<prefix>/<name>/<leaf>`, at most `limit` bytes each.

        Content is None where there is no such file.
        """

    def sweep_seen(self, older_than_s: float) -> int:
        """Remove the temporary files that killed writers left and listings came across.

        Args:
            older_than_s: seconds since the last write to one.

        Returns:
            How many were removed; 0 where nothing may be written.
        """

    def create_files(
        self, prefix: str, files: Iterable[tuple[str, bytes]], *, whole: bool
    ) -> list[str]:
        """Create many small files below the directory `prefix`; durable only after `barrier`.

        Args:
            prefix: of a directory, made if it is missing.
            files: (path below `prefix`, content).
            whole: each appears with all its content or not at all; else a reader may, for a
                moment, see it empty.

        Returns:
            the paths that were not written because something is there.
        """


@runtime_checkable
class LockingStore(ObjectStore, Protocol):
    """A store that may lock objects (Object Lock), each version on its own.

    Deleting or replacing a locked object succeeds: it hides the version, which stays. What cannot
    be done before the date is to remove the version.
    """

    def locks(self) -> bool:
        """Return whether this very store can lock. Raises StoreAccessError where it may not say."""

    def lock_writes(self, rule: Callable[[str], Retention | None] | None) -> None:
        """From now on give every object its retention in the very request that makes it.

        Args:
            rule: key -> what it gets; None: nothing of its own (a bucket may have a default). It
                is asked at each write, and what it raises ends the write.
        """

    def retention(self, key: str) -> Retention | None:
        """Return what locks the present version of `key`, lapsed or not; None: nothing does.

        Raises ObjectNotFoundError.
        """

    def extend_retention(self, key: str, retention: Retention) -> bool:
        """Lock the present version of `key` at least until then; never shorten, never weaken.

        Returns False where it was locked for so long already. Raises ObjectNotFoundError, and
        StoreAccessError where these credentials may not.
        """


@runtime_checkable
class VersionedStore(ObjectStore, Protocol):
    """A store that may keep what was overwritten or deleted."""

    def versioned(self) -> bool:
        """Return whether this very store keeps versions."""

    def as_of(self, moment_ns: int) -> ObjectStore:
        """Return the store as it was, to read only: what was deleted or overwritten since, too.

        Args:
            moment_ns: nanoseconds since the epoch, by the store's clock. What was written in that
                very moment counts.
        """
