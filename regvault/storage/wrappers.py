"""Stores that stand before another: with a limit of bandwidth, with counts, with faults."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Literal, TypeVar

from regvault.errors import StoreError
from regvault.storage.delegate import ReaderWrapper, Wrapper, unwrap
from regvault.storage.streams import BytesReader, check_range

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from regvault.model.store import ByteReader, ObjectStore, SizedReader

__all__ = ["WRITES", "CountingStore", "CrashError", "FaultyStore", "LimitedStore", "unwrap"]

T = TypeVar("T")

# The verbs that change what a store promises.
WRITES = frozenset({"put", "put_stream", "commit", "copy_in", "create_files", "delete", "barrier"})

_MIN_PIECE = 16 * 1024


class _Bucket:
    """Tokens, one a byte, shared by all threads.

    Args:
        rate: bytes a second.
        clock: seconds, monotonic.
        sleep: waits for seconds.
    """

    BURST_S = 0.25

    def __init__(
        self, rate: float, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self.piece = max(_MIN_PIECE, int(rate * self.BURST_S))
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._paid_until = clock()

    def take(self, count: int) -> None:
        """Wait until `count` bytes may pass. Who comes first is served first."""
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - self.BURST_S) + count / self._rate
            wait = self._paid_until - now
        if wait > 0:
            self._sleep(wait)


class _LimitedReader(ReaderWrapper):
    """Reads in pieces of a quarter of a second, so that no wait is long."""

    def __init__(self, inner: ByteReader, bucket: _Bucket) -> None:
        super().__init__(inner)
        self._bucket = bucket

    def _took(self, count: int) -> None:
        self._bucket.take(count)

    def read(self, size: int = -1, /) -> bytes:
        if 0 <= size <= self._bucket.piece:
            return super().read(size)
        parts = []
        left = size
        while left:
            piece = self._bucket.piece if left < 0 else min(left, self._bucket.piece)
            part = super().read(piece)
            if not part:
                break
            parts.append(part)
            left -= len(part) if left > 0 else 0
        return b"".join(parts)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        view = memoryview(buffer)
        done = 0
        while done < len(view):
            count = super().readinto(view[done : done + self._bucket.piece])
            if not count:
                break
            done += count
        return done


class LimitedStore(Wrapper):
    """A store whose bytes pass at a limited rate, over all threads.

    What the server copies by itself is not limited, and neither are listings.

    Args:
        inner: the store.
        upload: bytes a second; None: no limit.
        download: bytes a second; None: no limit.
        clock: seconds, monotonic (tests have their own).
        sleep: waits for seconds.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        upload: float | None = None,
        download: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self._up = _Bucket(upload, clock, sleep) if upload else None
        self._down = _Bucket(download, clock, sleep) if download else None

    def _came(self, key: str, data: bytes) -> bytes:
        del key
        if self._down is not None:
            self._down.take(len(data))
        return data

    def _goes(self, count: int) -> None:
        if self._up is not None:
            self._up.take(count)

    def _reader_of(self, key: str, reader: SizedReader) -> SizedReader:
        del key
        return reader if self._down is None else _LimitedReader(reader, self._down)

    def _source(self, key: str, reader: ByteReader, size: int) -> ByteReader:
        del key, size
        return reader if self._up is None else _LimitedReader(reader, self._up)


class CountingStore(Wrapper):
    """A store that counts what is asked of it.

    Attributes:
        counts: how often each verb was used ("commit" is a stage's).
        calls: (verb, key) of each request in order, where `record` was given; else empty.
        bytes_read: bytes that came, whole answers and streams.
        bytes_written: bytes that went, those of streams that were sent again twice.
    """

    def __init__(self, inner: ObjectStore, *, record: bool = False) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._record = record
        self.reset()

    def reset(self) -> None:
        """Count from nothing."""
        with self._lock:
            self.counts: Counter[str] = Counter()
            self.calls: list[tuple[str, str]] = []
            self.bytes_read = 0
            self.bytes_written = 0

    def _run(self, verb: str, key: str, call: Callable[[], T]) -> T:
        with self._lock:
            self.counts[verb] += 1
            if self._record:
                self.calls.append((verb, key))
        return call()

    def _came(self, key: str, data: bytes) -> bytes:
        del key
        self._read(len(data))
        return data

    def _read(self, count: int) -> None:
        with self._lock:
            self.bytes_read += count

    def _goes(self, count: int) -> None:
        with self._lock:
            self.bytes_written += count

    def _reader_of(self, key: str, reader: SizedReader) -> SizedReader:
        del key
        return _CountedReader(reader, self._read)

    def _source(self, key: str, reader: ByteReader, size: int) -> ByteReader:
        del key, size
        return _CountedReader(reader, self._goes)


class _CountedReader(ReaderWrapper):
    def __init__(self, inner: ByteReader, took: Callable[[int], None]) -> None:
        super().__init__(inner)
        self._tell_store = took

    def _took(self, count: int) -> None:
        self._tell_store(count)


class CrashError(BaseException):
    """The process died here, as far as a test is concerned. No `except Exception` catches it."""


class _Fault:
    """One planned fault; see `FaultyStore.plan`."""

    def __init__(
        self,
        error: BaseException | type[BaseException],
        when: Literal["before", "during", "after"],
        verbs: Collection[str],
        match: Callable[[str], bool],
        at: int,
        times: int,
    ) -> None:
        self.error = error
        self.when = when
        self._verbs = verbs
        self._match = match
        self._at = at
        self._times = times
        self._seen = 0

    def strikes(self, verb: str, key: str) -> bool:
        if verb not in self._verbs or not self._match(key):
            return False
        self._seen += 1
        return self._at <= self._seen < self._at + self._times


class FaultyStore(Wrapper):
    """A store that fails on plan, for tests.

    After a CrashError every further request raises it too, as from a process that is no more:
    so nothing is cleaned up in the store behind, which the test then looks at.

    Attributes:
        operations: how many requests of WRITES there were: loop a test with `crash_at(n)` over
            every n up to that.
        crashed: whether a CrashError was raised.
    """

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner)
        self.operations = 0
        self.crashed = False
        self._faults: list[_Fault] = []
        self._damage: dict[str, Callable[[bytes], bytes]] = {}
        self._during = threading.local()
        self._lock = threading.Lock()

    def plan(
        self,
        error: BaseException | type[BaseException],
        *,
        when: Literal["before", "during", "after"] = "before",
        verbs: Collection[str] = WRITES,
        match: Callable[[str], bool] = lambda _: True,
        at: int = 1,
        times: int = 1,
    ) -> None:
        """Plan a fault.

        Args:
            error: what to raise.
            when: before the request reaches the store; after it was done, its answer lost;
                or "during": in the middle of the bytes of a put_stream (else as "before").
            verbs: which requests count.
            match: which keys count.
            at: the first one that fails, counted from 1 from now on.
            times: how many of them fail in a row.
        """
        with self._lock:
            self._faults.append(_Fault(error, when, verbs, match, at, times))

    def crash_at(self, at: int, *, when: Literal["before", "during", "after"] = "before") -> None:
        """Plan that the process dies at the n-th write."""
        self.plan(CrashError, when=when, at=at)

    def flip(self, key: str, offset: int = 0) -> None:
        """Let reads of `key` show one bit wrong at `offset` (negative: from the end)."""

        def damage(data: bytes) -> bytes:
            changed = bytearray(data)
            changed[offset] ^= 1
            return bytes(changed)

        self._damage[key] = damage

    def truncate(self, key: str, size: int) -> None:
        """Let reads of `key` show only its first `size` bytes."""
        self._damage[key] = lambda data: data[:size]

    def mend(self) -> None:
        """Drop all plans and damage; a crashed store lives again."""
        with self._lock:
            self._faults.clear()
        self._damage.clear()
        self.crashed = False

    def _run(self, verb: str, key: str, call: Callable[[], T]) -> T:
        with self._lock:
            if self.crashed:
                raise CrashError(f"{verb} {key!r} after the crash")
            if verb in WRITES:
                self.operations += 1
            fault = next((f for f in self._faults if f.strikes(verb, key)), None)
        if fault is None:
            return call()
        if fault.when == "before" or (fault.when == "during" and verb != "put_stream"):
            raise self._strike(fault)
        if fault.when == "during":
            self._during.fault = fault
            return call()
        with suppress(StoreError):  # an answer that is lost may have been a refusal
            call()
        raise self._strike(fault)

    def _strike(self, fault: _Fault) -> BaseException:
        # Each time a new one: an error that is raised again keeps the frames of all times alive.
        error = fault.error() if isinstance(fault.error, type) else copy(fault.error)
        if isinstance(error, CrashError):
            self.crashed = True
        return error

    def _source(self, key: str, reader: ByteReader, size: int) -> ByteReader:
        del key
        fault: _Fault | None = getattr(self._during, "fault", None)
        if fault is None:
            return reader
        self._during.fault = None
        return _BreakingReader(reader, size // 2, lambda: self._strike(fault))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes, or damaged ones."""
        if key not in self._damage:
            return super().get(key, start=start, length=length)
        check_range(start, length)
        data = super().get(key)
        if start < 0:
            return data[max(0, len(data) + start) :]
        return data[start:] if length is None else data[start : start + length]

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        """Return a stream over the bytes, or over damaged ones."""
        if key in self._damage:
            return BytesReader(self.get(key, start=start, length=length))
        return super().open(key, start=start, length=length)

    def _came(self, key: str, data: bytes) -> bytes:
        damage = self._damage.get(key)
        return data if damage is None else damage(data)


class _BreakingReader(ReaderWrapper):
    """Raises in the middle."""

    def __init__(self, inner: ByteReader, good: int, error: Callable[[], BaseException]) -> None:
        super().__init__(inner)
        self._left = good
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            raise self._error()
        data = super().read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        if not self._left:
            raise self._error()
        count = super().readinto(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def seekable(self) -> bool:
        return False
