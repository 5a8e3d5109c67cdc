"""Write a registry's storage for a restore. Nothing is ever deleted here."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, RefusedError, StoreError
from regvault.model.store import HierarchicalStore
from regvault.oci.grammar import InvalidNameError, parse_digest
from regvault.oci.verify import VerifyingReader
from regvault.registry import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from regvault.model.store import ByteReader, ObjectStore, Space

__all__ = ["BlobWriter", "DistributionTarget", "refusing_bad_names"]

# Directories of links whose names are remembered, so that a link of a new digest is written without
# asking whether it is there.
_REMEMBERED = 64
#: A temporary file that was not written to for so long is of a restore that was killed.
_LEFT_AFTER_S = 3600.0
# Beside the registry, while what a restore wrote may not be on the disk.
_DOUBT = "regvault-unsynced"


@contextmanager
def refusing_bad_names() -> Iterator[None]:
    """Turn an InvalidNameError of the block into a RefusedError: no path is made of such a name."""
    try:
        yield
    except InvalidNameError as error:
        raise RefusedError(f"refused to write: {error}") from error


class BlobWriter:
    """Writes blobs to a store, each at a key that follows from its digest. Thread-safe.

    All methods raise RefusedError for what is no digest, and the StoreErrors of the store.
    """

    #: The directory of all blobs.
    blobs = layout.BLOBS.rstrip("/")

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        # On a file system `put` waits for the disk each time; what `put_stream` wrote is made
        # durable by one barrier. On object storage `put` is one request, and enough.
        self._many_puts_wait = isinstance(store, HierarchicalStore)
        self._doubtful: bool | None = None

    def blob_key(self, digest: str) -> str:
        """Return where a blob belongs. Raises InvalidNameError."""
        return layout.blob_key(digest)

    @property
    def location(self) -> str:
        """Where it is, without secrets."""
        return self._store.location

    def blob_size(self, digest: str) -> int | None:
        """Return the size in bytes of what is at the blob's place, or None."""
        with refusing_bad_names():
            key = self.blob_key(digest)
        try:
            return self._store.head(key).size
        except ObjectNotFoundError:
            return None

    def open_blob(self, digest: str) -> ByteReader:
        """Return a stream over what is at the blob's place. Raises ObjectNotFoundError."""
        with refusing_bad_names():
            key = self.blob_key(digest)
        return self._store.open(key)

    def proves_blob(self, digest: str) -> bool:
        """Return whether the store itself keeps a checksum that says: this is the blob."""
        with refusing_bad_names():
            key = self.blob_key(digest)
        try:
            stored = self._store.stored_sha256(key)
        except ObjectNotFoundError:
            return False
        return stored is not None and digest == f"sha256:{stored}"

    def put_blob(self, digest: str, reader: ByteReader, size: int) -> None:
        """Write a blob, replacing what is there, whole or not at all.

        Args:
            digest: proven while it streams.
            reader: of all its bytes.
            size: bytes.

        Raises:
            DigestMismatchError: the bytes are not the digest, or not `size`.
        """
        with refusing_bad_names():
            key = self.blob_key(digest)
            algorithm, digits = parse_digest(digest)
        if algorithm == "sha256":
            self._store.put_stream(key, reader, size=size, sha256=digits)
        else:
            self._store.put_stream(key, VerifyingReader(reader, digest, size), size=size)

    def put_small_blob(self, digest: str, data: bytes) -> None:
        """Write a blob, replacing what is there, of bytes that the caller has proven."""
        with refusing_bad_names():
            key = self.blob_key(digest)
        self._put(key, data)

    def put_small_blobs(self, blobs: Iterable[tuple[str, bytes]]) -> None:
        """The same, of many (digest, bytes)."""
        store = self._store
        if not isinstance(store, HierarchicalStore):
            for digest, data in blobs:
                self.put_small_blob(digest, data)
            return
        with refusing_bad_names():
            files = {self.blob_key(d).removeprefix(f"{self.blobs}/"): data for d, data in blobs}
        for path in store.create_files(self.blobs, files.items(), whole=True):
            self._put(f"{self.blobs}/{path}", files[path])

    def _put(self, key: str, data: bytes) -> None:
        if self._many_puts_wait:
            self._store.put_stream(key, io.BytesIO(data), size=len(data))
        else:
            self._store.put(key, data)

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store.get(key, length=layout.LINK_LIMIT)
        except ObjectNotFoundError:
            return None

    def doubtful(self) -> bool:
        """Return whether a barrier failed in an earlier restore, and none was finished since."""
        if self._doubtful is None:
            # Object storage has what it acknowledged.
            self._doubtful = self._many_puts_wait and self._get(_DOUBT) is not None
        return self._doubtful

    def barrier(self) -> None:
        """Return once everything written before is durable.

        Where that fails the system forgets it: the next sync succeeds without what this one lost.
        So it is written down, for as long as the system runs, that nothing here may be counted on.
        """
        try:
            self._store.barrier()
        except StoreError:
            with suppress(StoreError):
                self._store.put_stream(_DOUBT, io.BytesIO(), size=0)
            raise

    def finish(self) -> None:
        """Return once everything is durable; what killed restores left is removed."""
        self.barrier()
        if self.doubtful():
            self._store.delete(_DOUBT)
        if isinstance(self._store, HierarchicalStore):
            self._store.sweep_seen(_LEFT_AFTER_S)

    def space(self) -> Space:
        """Return what is left."""
        return self._store.space()

    def close(self) -> None:
        """Release connections."""
        self._store.close()


class DistributionTarget(BlobWriter):
    """A registry's storage, written by way of an object store (implements RegistryTarget).

    Links that are good are left alone, wrong ones are replaced. What is there is looked up once
    for each directory of links, so nobody else should delete links meanwhile. Thread-safe.

    Args:
        store: the root directory of the registry's storage driver, below which `docker/` is or
            will be. It is closed with the target.
    """

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self._lock = threading.Lock()
        self._names: OrderedDict[str, set[str]] = OrderedDict()

    def put_layer(self, repository: str, digest: str) -> bool:
        """Write a layer link; return whether it was not there, or wrong, before."""
        with refusing_bad_names():
            key = layout.layer_key(repository, digest)
        return self._put_link(key, digest, depth=2)

    def put_revision(self, repository: str, digest: str) -> bool:
        """Write a revision link; return whether it was not there, or wrong, before."""
        with refusing_bad_names():
            key = layout.revision_key(repository, digest)
        return self._put_link(key, digest, depth=2)

    def put_history(self, repository: str, tag: str, digest: str) -> bool:
        """Write a tag's index link; return whether it was not there, or wrong, before."""
        with refusing_bad_names():
            key = layout.history_key(repository, tag, digest)
        return self._put_link(key, digest, depth=5)

    def put_links(
        self,
        repository: str,
        *,
        layers: Iterable[str],
        revisions: Iterable[str],
        history: Iterable[tuple[str, str]],
    ) -> int:
        """Write layer links, revision links and (tag, digest) of tags' indexes, in this order.

        Returns how many were not there, or wrong, before.
        """
        store = self._store
        if not isinstance(store, HierarchicalStore):
            written = sum(self.put_layer(repository, digest) for digest in layers)
            written += sum(self.put_revision(repository, digest) for digest in revisions)
            return written + sum(self.put_history(repository, t, d) for t, d in history)
        with refusing_bad_names():
            links = [(layout.layer_key(repository, digest), digest) for digest in layers]
            links += [(layout.revision_key(repository, digest), digest) for digest in revisions]
            links += [(layout.history_key(repository, tag, d), d) for tag, d in history]
        return self._create(repository, links)

    def put_tags(
        self, repository: str, tags: Mapping[str, str], *, only_new: Container[str] = ()
    ) -> list[str]:
        """Point tags' current links at revisions, each atomically; return those that stayed.

        On object storage a tag of `only_new` that is pushed meanwhile is overwritten: not every
        server keeps conditional writes apart.
        """
        store = self._store
        if not isinstance(store, HierarchicalStore):
            for tag, digest in tags.items():
                self.put_tag(repository, tag, digest)
            return []
        with refusing_bad_names():
            for digest in tags.values():
                parse_digest(digest)
            links = {layout.current_key(repository, tag): tag for tag in tags}
        stayed: list[str] = []

        def stays(key: str) -> bool:
            if links[key] in only_new:
                stayed.append(links[key])
                return True
            return False

        self._create(repository, [(k, tags[t]) for k, t in links.items()], whole=True, stays=stays)
        return stayed

    def _create(
        self,
        repository: str,
        links: list[tuple[str, str]],
        *,
        whole: bool = False,
        stays: Callable[[str], bool] = lambda _key: False,
    ) -> int:
        """Write (key, digest) of links; return how many were not there, or wrong, before.

        `stays` is asked of each that is there and other, whether it is left so.
        """
        store = self._store
        assert isinstance(store, HierarchicalStore)
        prefix = layout.repository_prefix(repository).rstrip("/")
        wanted = {key.removeprefix(f"{prefix}/"): digest.encode() for key, digest in links}
        written = len(wanted)
        for path in store.create_files(prefix, wanted.items(), whole=whole):
            key = f"{prefix}/{path}"
            if (self._get(key) == wanted[path] and not self.doubtful()) or stays(key):
                written -= 1
            else:
                self._put(key, wanted[path])
        return written

    def put_tag(self, repository: str, tag: str, digest: str) -> None:
        """Point a tag's current link at a revision. Atomic."""
        with refusing_bad_names():
            key = layout.current_key(repository, tag)
            parse_digest(digest)
        self._put(key, digest.encode())

    def tag(self, repository: str, tag: str) -> str | None:
        """Return the digest where the tag points now, or None; "" where its link is damaged."""
        with refusing_bad_names():
            content = self._get(layout.current_key(repository, tag))
        return None if content is None else layout.parse_link(content) or ""

    def _put_link(self, key: str, digest: str, *, depth: int) -> bool:
        """Write a link, unless it is there and good.

        Args:
            key: of the link.
            digest: what it is to hold.
            depth: how many parts above its end the directory is whose names tell whether it may
                be there: 2 for that of `<hex>/link`, 5 for the tags of a history.
        """
        parts = key.rsplit("/", depth)
        names = self._names_in(parts[0] + "/")
        content = digest.encode()
        if parts[1] in names and self._get(key) == content:
            return False
        self._put(key, content)
        # A tag that is new in this run has no entries but this run's: they need no look-up.
        if depth == 2:
            names.add(parts[1])
        return True

    def _names_in(self, prefix: str) -> set[str]:
        with self._lock:
            names = self._names.get(prefix)
            if names is not None:
                self._names.move_to_end(prefix)
                return names
        found = set(self._store.list_prefixes(prefix))
        with self._lock:
            names = self._names.setdefault(prefix, found)
            while len(self._names) > _REMEMBERED:
                self._names.popitem(last=False)
            return names
