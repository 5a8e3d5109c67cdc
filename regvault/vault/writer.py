"""How a run stores objects: reuse what is surely there, never touch what is condemned."""

from __future__ import annotations

import hashlib
import io
import threading
from typing import TYPE_CHECKING

from regvault.vault.keys import blob_key, plain_key
from regvault.vault.objectlist import ObjectRef
from regvault.vault.sealing import PLAIN, Seal
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from regvault.model.store import ByteReader, ObjectStore, Stage
    from regvault.vault.presence import Presence

__all__ = ["ObjectWriter"]


class ObjectWriter:
    """Stores objects for one run ("A writer", step 5, in `docs/vault-format.md`). Thread-safe.

    Attributes:
        seal: how they are sealed.
        written: objects that this run stored.
        written_bytes: their stored bytes.
    """

    def __init__(
        self,
        store: ObjectStore,
        run: str,
        presence: Presence,
        condemned: Container[str],
        seal: Seal = PLAIN,
    ) -> None:
        self.seal = seal
        self._store = store
        self._run = run
        self._presence = presence
        self._condemned = condemned
        self._lock = threading.Lock()
        self._renamed = 0
        self.written = 0
        self.written_bytes = 0

    def reusable(self, key: str, size: int) -> bool:
        """Return whether this run stored `key`, or saw what the newest root needs there.

        With this size, and nothing condemned it. What is there otherwise is not reused: it may be
        left from a run that never came to its barrier.
        """
        with self._lock:
            return not self._spoilt(key) and self._presence.sure_size(key) == size

    def _spoilt(self, key: str) -> bool:
        presence = self._presence
        return key in self._condemned or key in presence.bad or presence.is_cold(key)

    def _key_for(self, key: str, size: int, *, sealed: bool = False) -> str:
        """Return where `size` bytes go: over a leftover of that size, which are the same bytes.

        A condemned key, one in an archive, and one that holds other bytes, are left alone: these
        get a renamed form.
        So does all that is sealed: age is randomised, and what is there has other bytes for sure.
        """
        with self._lock:
            if not sealed and not self._spoilt(key) and self._presence.size(key) in (None, size):
                return key
            self._renamed += 1
            return f"{plain_key(key)}.{self._run}-{self._renamed}"

    def _note(self, key: str, size: int) -> None:
        with self._lock:
            self._presence.add(key, size)
            self.written += 1
            self.written_bytes += size

    def put_bytes(self, name: Callable[[str], str], data: bytes) -> ObjectRef:
        """Store small bytes under a name made of their SHA-256; reuse what is surely there."""
        sha256 = hashlib.sha256(data).hexdigest()
        key = name(sha256)
        if not self.reusable(key, len(data)):
            key = self._key_for(key, len(data))
            self._store.put_stream(key, io.BytesIO(data), size=len(data), sha256=sha256)
            self._note(key, len(data))
        return ObjectRef(key, len(data), sha256)

    def chunk_putter(self, name: Callable[[str], str]) -> Callable[[bytes], ChunkRef]:
        """Return the function that the builder of an object list stores its chunks with."""

        def put(data: bytes) -> ChunkRef:
            ref = self.put_bytes(name, data)
            return ChunkRef(f"sha256:{ref.sha256}", ref.key, ref.size)

        return put

    def tree_putter(self, note: Callable[[ObjectRef], None]) -> Callable[[bytes], ChunkRef]:
        """Return the function that the builder of any other tree stores its chunks with.

        `note` is told of each object that a chunk lies in, new or not.
        """

        def put(frame: bytes) -> ChunkRef:
            hexed = hashlib.sha256(frame).hexdigest()
            ref = self._put_chunk(self.seal.chunk_key(hexed), frame)
            note(ref)
            return ChunkRef(f"sha256:{hexed}", ref.key, ref.size)

        return put

    def _put_chunk(self, key: str, frame: bytes) -> ObjectRef:
        if not self.seal.sealed:
            return self.put_bytes(lambda _: key, frame)
        for ref in self._presence.variants(key):
            if self.reusable(ref.key, ref.size):
                return ref
        data = self.seal.close_index(frame)
        sha256 = hashlib.sha256(data).hexdigest()
        key = self._key_for(key, len(data), sealed=True)
        self._store.put_stream(key, io.BytesIO(data), size=len(data), sha256=sha256)
        self._note(key, len(data))
        return ObjectRef(key, len(data), sha256)

    def put_sealed(self, digest: str, reader: ByteReader) -> ObjectRef:
        """Store a large blob as an age file; the caller's reader proves its bytes."""
        stage = self._store.stage()
        try:
            self.seal.close_stream(reader, stage)
            sha256 = stage.sha256()
            key = self._key_for(blob_key(self.seal.name(digest)), 0, sealed=True)
            stored = stage.commit(key)
        except BaseException:
            stage.abort()
            raise
        self._note(key, stored.size)
        return ObjectRef(key, stored.size, sha256)

    def put_raw(
        self, key: str, reader: ByteReader, size: int, sha256: str | None
    ) -> tuple[ObjectRef, str]:
        """Store a raw blob; return it with who proved its bytes.

        `sha256`: what the bytes must hash to; None where their digest is of another algorithm and
        the caller's reader proves it.

        Raises:
            DigestMismatchError: the bytes are not that.
        """
        key = self._key_for(key, size)
        stored = self._store.put_stream(key, reader, size=size, sha256=sha256)
        self._note(key, size)
        return ObjectRef(key, size, stored.sha256), stored.proof

    def copy_raw(
        self, key: str, source: ObjectStore, source_key: str, size: int, sha256: str
    ) -> tuple[ObjectRef, str] | None:
        """Let the store copy a raw blob from another one; None where it cannot.

        Raises:
            DigestMismatchError: what was copied is not that.
            ObjectNotFoundError: there is no such source.
        """
        key = self._key_for(key, size)
        stored = self._store.copy_in(source, source_key, key, size=size, sha256=sha256)
        if stored is None:
            return None
        self._note(key, size)
        return ObjectRef(key, size, stored.sha256), stored.proof

    def stage(self) -> Stage:
        """Begin an object whose name is known when it is whole."""
        return self._store.stage()

    def publish(self, stage: Stage, name: Callable[[str], str], size: int) -> ObjectRef:
        """Name a stage by its SHA-256; throw it away where the same object is there already."""
        sha256 = stage.sha256()
        key = name(sha256)
        if not self.seal.sealed and self.reusable(key, size):
            stage.abort()
        else:
            key = self._key_for(key, size, sealed=self.seal.sealed)
            stage.commit(key)
            self._note(key, size)
        return ObjectRef(key, size, sha256)
