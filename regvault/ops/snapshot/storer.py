"""Brings blobs from the source into the vault, each at most once, each proven."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from regvault.errors import (
    DigestMismatchError,
    NotFoundError,
    ObjectNotFoundError,
    SourceError,
    SourceTooLargeError,
    SourceUnavailableError,
    StoreAccessError,
)
from regvault.model.registry import Kind
from regvault.oci.verify import VerifyingReader, matches, matches_manifest
from regvault.ops.bounded import again_when_broken
from regvault.ops.snapshot.lookup import VaultLookup
from regvault.ops.snapshot.state import Parsed, parse
from regvault.vault.keys import RAW_BLOB_BYTES, blob_key
from regvault.vault.pack import MetaWriter, PackWriter, Placed
from regvault.vault.segment import Location, sealed_proof

if TYPE_CHECKING:
    from collections.abc import Container

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.model.store import ByteReader, ObjectStore
    from regvault.vault.blobs import BlobReader
    from regvault.vault.catalog import Catalog
    from regvault.vault.needs import NeedIndex
    from regvault.vault.objectlist import ObjectList, ObjectRef
    from regvault.vault.presence import Presence
    from regvault.vault.writer import ObjectWriter

__all__ = ["BlobStorer"]

MAX_MANIFEST_BYTES = 4 << 20
#: Lines that wait for a segment are written as one when there are so many, or after so long:
#: an interrupted run goes on from there.
CHECKPOINT_LINES = 50_000
CHECKPOINT_S = 120.0
#: Blobs of this run that are found without asking SQLite.
_REMEMBERED = 50_000


class BlobStorer:
    """Ensures that the vault holds a blob: known, found by the catalog, or read and stored.

    Thread-safe. Errors of the source are remembered in `bad`; errors of the vault end the run.

    Attributes:
        bad: digest -> what is wrong with it at the source.
        stored, stored_bytes: blobs that were read and stored.
        dry_run: nothing is read or stored, only counted.
    """

    def __init__(
        self,
        *,
        source: RegistrySource,
        store: ObjectStore,
        writer: ObjectWriter,
        needs: NeedIndex,
        catalog: Catalog,
        blobs: BlobReader,
        objects: ObjectList | None,
        presence: Presence,
        condemned: Container[str],
        run: str,
        threads: int,
        progress: Progress,
        dry_run: bool = False,
    ) -> None:
        self._source = source
        self._writer = writer
        self._seal = writer.seal
        self._needs = needs
        self._catalog = catalog
        self._blobs = blobs
        self._presence = presence
        self._run = run
        self._progress = progress
        self.dry_run = dry_run
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="blob")
        self._inflight: dict[str, Future[int | None]] = {}
        self._pending: dict[str, int] = {}
        self._recent: OrderedDict[str, int] = OrderedDict()
        self._lookup = VaultLookup(
            store, needs, catalog, objects, presence, condemned, self._recovered
        )
        self._lines: list[bytes] = []  # of the next segment, as they are stored
        self._last_checkpoint = time.monotonic()
        self._packs = PackWriter(writer, self._packed)
        self._meta = MetaWriter(writer, self._packed)
        self.bad: dict[str, Kind] = {}
        self.stored = 0
        self.stored_bytes = 0

    # -- what is there already ------------------------------------------------------------------

    def find(self, digest: str) -> int | None:
        """Return the size of a blob that the vault holds and this run may count on, or None."""
        size = self._brought(digest)
        return self._lookup.find(digest) if size is None else size

    def _recovered(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)

    def _brought(self, digest: str) -> int | None:
        """Return the size of a blob that this run brought, as far as it remembers."""
        with self._lock:
            size = self._pending.get(digest)
            return self._recent.get(digest) if size is None else size

    def _remember(self, digest: str, size: int) -> None:
        """Note that a blob is placed; the lock is held. What is forgotten, `needs` knows."""
        self._recent[digest] = size
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

    # -- what is not ----------------------------------------------------------------------------

    def ensure(
        self, digest: str, *, metadata: bool, declared: int | None = None
    ) -> Future[int | None] | int:
        """Make sure that the vault will hold a blob.

        A small one of a source whose answers come at once is brought before this returns, by the
        caller's thread: to hand it to another would take longer.

        Args:
            digest: the blob.
            metadata: it is a config, to be stored beside the manifests.
            declared: the size that a manifest states, where one does.

        Returns:
            Its size, or a future of it: None where the source does not have it (see `bad`). The
            future raises what the vault raises.
        """
        size = self.find(digest)
        if size is not None:
            return size
        here = self._source.at_hand and declared is not None and declared < RAW_BLOB_BYTES
        with self._lock:
            future = self._inflight.get(digest)
            if future is not None:
                return future
            if here:
                future = Future()
            else:
                future = self._pool.submit(self._bring, digest, metadata, declared)
            self._inflight[digest] = future
        if here:
            try:
                future.set_result(self._bring(digest, metadata, declared))
            except BaseException as error:
                future.set_exception(error)  # another thread may wait for it
                raise
        return future

    def ensured(self, digest: str, *, metadata: bool) -> int | None:
        """Do the same and wait for it."""
        size = self.ensure(digest, metadata=metadata)
        return size if isinstance(size, int) else size.result()

    def forgive(self, digests: list[str]) -> None:
        """Let the next `ensure` of blobs that could not be had try again.

        What was wrong with them stays in `bad` until then: another repository may just ask.
        """
        with self._lock:
            for digest in digests:
                if digest in self.bad:
                    self._inflight.pop(digest, None)

    def _bring(self, digest: str, metadata: bool, declared: int | None) -> int | None:
        size = self._brought(digest)  # another repository may just have done so
        if size is not None:
            return size
        try:
            if declared is not None and declared >= RAW_BLOB_BYTES and not self.dry_run:
                copied = self._copy(digest, declared)
                if copied is not None:
                    return copied
            return again_when_broken(lambda: self._read(digest, metadata))
        except ObjectNotFoundError:
            return self._in_archive(digest, Kind.BLOB_MISSING)
        except (SourceError, SourceUnavailableError):
            return self._in_archive(digest, Kind.UNREADABLE)

    def _in_archive(self, digest: str, kind: Kind) -> int | None:
        """Fall back on what only an archive has, for a blob that the source cannot give."""
        size = self._lookup.find(digest, cold=True)
        with self._lock:
            if size is None:
                self.bad[digest] = kind
            else:
                self._inflight.pop(digest, None)
                self._remember(digest, size)
        return size

    def _copy(self, digest: str, declared: int) -> int | None:
        """Let the store copy a large blob by itself; None where it cannot, or did not succeed.

        (A size that a manifest states wrongly makes a mismatch too: then the blob is read.)
        """
        if not digest.startswith("sha256:") or self._seal.sealed:
            return None
        store, key = self._source.blob_object(digest)
        sha256 = digest.partition(":")[2]
        try:
            copied = self._writer.copy_raw(blob_key(digest), store, key, declared, sha256)
        except (DigestMismatchError, StoreAccessError):
            return None
        if copied is not None:
            ref, proof = copied
            self._placed(digest, ref, ref.size, proof)
            return declared
        return None

    def _placed(self, digest: str, ref: ObjectRef, size: int, proof: str) -> None:
        """Note a large blob that is in its place; `size`: its own."""
        self._needs.place(digest, ref, size)
        name = self._seal.name(digest)
        with self._lock:
            self._lines.append(Location(name, ref.key, 0, ref.size, size, proof).line())
            self._remember(digest, size)
            self._inflight.pop(digest, None)
        self._count(digest, size)

    def _blame(self, digest: str, kind: Kind) -> None:
        with self._lock:
            self.bad[digest] = kind

    def _read(self, digest: str, metadata: bool) -> int | None:
        if self.dry_run:
            found = self._source.stat_blob(digest)
            if found is None:
                self._blame(digest, Kind.BLOB_MISSING)
            else:
                self._count(digest, found)
            return found
        reader, size = self._source.open_blob(digest)
        with reader:
            if size < RAW_BLOB_BYTES:
                data = reader.read()
                if not matches(data, digest):
                    return self._in_archive(digest, Kind.BLOB_DAMAGED)
                self._add_small(digest, data, metadata=metadata)
                return size
            try:
                ref, proof = self._put(digest, reader, size)
            except DigestMismatchError:
                return self._in_archive(digest, Kind.BLOB_DAMAGED)
        self._placed(digest, ref, size, proof)
        return size

    def _put(self, digest: str, reader: ByteReader, size: int) -> tuple[ObjectRef, str]:
        """Store a large blob; return its object, and who proved its bytes."""
        if self._seal.sealed:
            ref = self._writer.put_sealed(digest, VerifyingReader(reader, digest, size))
            return ref, sealed_proof(ref.sha256)
        sha256 = digest.partition(":")[2] if digest.startswith("sha256:") else None
        body = reader if sha256 else VerifyingReader(reader, digest)
        return self._writer.put_raw(blob_key(digest), body, size, sha256)

    def _add_small(self, digest: str, data: bytes, *, metadata: bool) -> None:
        with self._lock:
            self._pending[digest] = len(data)
            self._inflight.pop(digest, None)
        (self._meta if metadata else self._packs).add(digest, data)
        self._count(digest, len(data))

    def _count(self, digest: str, size: int) -> None:
        with self._lock:
            self.stored += 1
            self.stored_bytes += size
            if self.dry_run:
                self._pending[digest] = size
        self._progress.advance(nbytes=size)

    def _packed(self, placed: list[Placed]) -> None:
        for one in placed:
            self._needs.place(one.digest, one.ref, one.size)
        with self._lock:
            self._lines += [
                Location(
                    self._seal.name(x.digest), x.ref.key, x.offset, x.length, x.size, "regvault"
                ).line()
                for x in placed
            ]
            for one in placed:
                self._remember(one.digest, one.size)
                self._pending.pop(one.digest, None)

    # -- manifests ------------------------------------------------------------------------------

    def manifests(self, digests: list[str]) -> dict[str, Parsed]:
        """Return what matters of these manifests; those that cannot be had are left out (`bad`)."""
        found: dict[str, Parsed] = {}
        todo: list[str] = []
        for digest in digests:
            packed = self._needs.parsed(digest)
            if packed is not None and self.find(digest) is not None:
                found[digest] = Parsed.unpack(packed)
            else:
                todo.append(digest)
        fresh: list[tuple[str, bytes]] = []
        here = len(todo) if self._source.at_hand else 1
        results = [self._pool.submit(self._manifest, digest) for digest in todo[here:]]
        for digest in todo[:here]:
            self._take(self._manifest(digest), digest, found, fresh)
        for digest, result in zip(todo[here:], results, strict=True):
            self._take(result.result(), digest, found, fresh)
        if fresh and not self.dry_run:
            self._needs.keep_parsed(fresh)
        return found

    @staticmethod
    def _take(
        parsed: Parsed | None,
        digest: str,
        found: dict[str, Parsed],
        fresh: list[tuple[str, bytes]],
    ) -> None:
        if parsed is not None:
            found[digest] = parsed
            fresh.append((digest, parsed.pack()))

    def _manifest(self, digest: str) -> Parsed | None:
        """Read, prove and parse one manifest; store it unless the vault has it."""
        if (
            not self._presence.bad
            and self._brought(digest) is None
            and self._seal.opens_contents
            and self.find(digest) is not None
        ):
            with contextlib.suppress(NotFoundError):
                return parse(self._blobs.read(digest))
        try:
            data = self._source.read_blob(digest, limit=MAX_MANIFEST_BYTES)
        except ObjectNotFoundError:
            self._blame(digest, Kind.BLOB_MISSING)
            return None
        except SourceTooLargeError:
            self._blame(digest, Kind.MANIFEST_INVALID)  # no registry takes, or serves, such a one
            return None
        except (SourceError, SourceUnavailableError):
            self._blame(digest, Kind.UNREADABLE)
            return None
        if not matches_manifest(data, digest):
            self._blame(digest, Kind.BLOB_DAMAGED)
            return None
        if self.find(digest) is None:
            if self.dry_run:
                self._count(digest, len(data))
            elif self._claim(digest, len(data)):
                self._meta.add(digest, data)
                self._count(digest, len(data))
        return parse(data)

    def _claim(self, digest: str, size: int) -> bool:
        """Return whether this thread is the one to store a manifest that several have."""
        with self._lock:
            if digest in self._pending:
                return False
            self._pending[digest] = size
            return True

    def renew(self, digests: list[str]) -> None:
        """Store blobs again that lie in a pack which is not worth keeping; best effort."""
        futures = [self._pool.submit(self._read, digest, False) for digest in digests]
        for digest, future in zip(digests, futures, strict=True):
            with contextlib.suppress(ObjectNotFoundError, SourceError, SourceUnavailableError):
                future.result()
            with self._lock:
                self.bad.pop(digest, None)

    # -- ending ---------------------------------------------------------------------------------

    def flush(self) -> None:
        """Publish the packs that are open. No `ensure` may be under way."""
        self._packs.flush()
        self._meta.flush()

    def checkpoint(self, *, final: bool = False) -> None:
        """Write the lines of what is stored as a segment, when it is time, or at the end."""
        late = time.monotonic() - self._last_checkpoint >= CHECKPOINT_S
        with self._lock:
            if not self._lines or not (final or late or len(self._lines) >= CHECKPOINT_LINES):
                return
            lines, self._lines = self._lines, []
        # What was stored again may have come to lie in the very same object.
        self._catalog.write(sorted(set(lines)), self._run)
        self._last_checkpoint = time.monotonic()

    def close(self) -> None:
        """Stop the threads and throw away what is open."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._packs.abort()
        self._meta.abort()
