"""Reads blobs out of a vault. Everything is checked against its digest before anyone gets it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from regvault.errors import NotFoundError, ObjectNotFoundError, VaultDamagedError
from regvault.oci.verify import matches_manifest
from regvault.vault.age import HEADER_BYTES, OVERHEAD
from regvault.vault.fetch import sha256_of
from regvault.vault.frames import decompress
from regvault.vault.keys import blob_key
from regvault.vault.pack import MAX_FRAME_BYTES, iter_members
from regvault.vault.sealing import ProvenSealedError, SealedToOthersError
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import ByteReader, ObjectStore
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectList, ObjectRef

__all__ = ["BlobReader", "is_digest_of", "is_meta", "is_raw"]

_FRAMES_KEPT = 16
#: Whether those objects are looked into that segments tell too little of: in this order.
_DOUBTED = (False, True)
#: No frame has more stored bytes: what does not compress grows a little.
_MAX_STORED_FRAME = MAX_FRAME_BYTES + (64 << 10) + OVERHEAD
#: Ranges of one pack that lie closer together than this are fetched as one.
_GAP_BYTES = 256 << 10
#: And one fetch is at most this large.
_FETCH_BYTES = 4 << 20


def is_digest_of(digest: str, data: bytes | memoryview) -> bool:
    """Return whether `data` hashes to `digest`."""
    algorithm, _, hexed = digest.partition(":")
    return hashlib.new(algorithm, data).hexdigest() == hexed


def is_raw(location: Location) -> bool:
    """Return whether a blob is an object of its own."""
    return location.key.startswith("blobs/")


def is_meta(location: Location) -> bool:
    """Return whether a blob lies in a meta object."""
    return location.key.startswith("meta/")


class BlobReader:
    """Finds and reads the blobs of one snapshot. Thread-safe."""

    def __init__(self, store: ObjectStore, catalog: Catalog, objects: ObjectList | None) -> None:
        """Wrap.

        Args:
            store: the vault's store.
            catalog: where blobs lie.
            objects: of the snapshot; of several places a blob's is the one that this list has.
        """
        self._store = store
        self._seal = catalog.seal
        self._catalog = catalog
        self._objects = objects
        self._lock = threading.Lock()
        self._frames: OrderedDict[tuple[str, int], dict[str, bytes]] = OrderedDict()
        self._looked = 0
        self._looking = threading.RLock()
        self._whole: dict[str, bool] = {}

    def locate(self, digest: str) -> list[Location]:
        """Return where a blob lies, the best place first; [] where nothing knows it."""
        looked = self._looked
        found = self._find(digest)
        if not found:
            # A raw blob is its own catalog line, also when every segment is gone.
            found = [] if self._objects is None else self._raw(self._objects, digest)
        if not found and self._look_into_objects(looked):
            return self.locate(digest)
        return found

    def _look_into_objects(self, looked: int) -> bool:
        """Let the objects of the list tell what segments do not; whether `find` may know more.

        First those of which segments tell nothing, then those of which they may tell too little.

        Args:
            looked: how often that had been done when the caller found nothing.
        """
        with self._looking:
            if looked < self._looked:
                return True
            while self._objects is not None and self._looked < len(_DOUBTED):
                told = self._catalog.recover(self._objects, doubted=_DOUBTED[self._looked])
                self._looked += 1
                if told:
                    return True
        return False

    def untold(self) -> list[str]:
        """Return the packs of the snapshot's list of which nothing tells what lies in them."""
        if self._objects is None:
            return []
        refs = self._catalog.uncovered(self._objects)
        return [ref.key for ref in refs if ref.key.startswith("packs/")]

    def holds_name(self, name: str) -> bool:
        """Return whether an object of the snapshot's own list holds a blob, by its name."""
        objects = self._objects
        return objects is not None and (
            any(objects.holds(place.key) for place in self._catalog.find_name(name))
            or bool(objects.variants(blob_key(name)))
        )

    def _find(self, digest: str) -> list[Location]:
        """Return what the catalog says, the snapshot's own objects first, without replaced ones."""
        found = self._catalog.find(digest)
        objects = self._objects
        if objects is not None:
            here = ((place, objects.here(place.key)) for place in found)
            found = list(dict.fromkeys(p._replace(key=key) for p, key in here if key is not None))
            if len(found) > 1:
                found.sort(key=lambda place: not objects.has(place.key))
        return found

    def _raw(self, objects: ObjectList, digest: str) -> list[Location]:
        """Return the objects of a list that are this blob by their names."""
        refs = objects.variants(blob_key(self._seal.name(digest)))
        return [
            Location(digest, ref.key, 0, ref.size, self._own_size(ref), "regvault") for ref in refs
        ]

    def _own_size(self, ref: ObjectRef) -> int:
        """Return the size of the blob that an object is, or seals."""
        if not self._seal.sealed:
            return ref.size
        try:
            head = self._store.get(ref.key, length=HEADER_BYTES)
        except ObjectNotFoundError:
            head = b""
        return self._seal.raw_size(head, ref.size) or 0

    def places(self, digest: str) -> Iterator[Location]:
        """Yield where a blob may lie; who asks for more than one has found the others wrong.

        After the last, the local cache of the catalog is doubted, and loaded anew once; then the
        catalog itself.
        """
        looked, found = self._looked, self.locate(digest)
        yield from found
        if self._catalog.renew():
            yield from (place for place in self.locate(digest) if place not in found)
        if self._objects is not None:
            # No line may tell of an object that an amendment brought in.
            yield from self._raw(self._objects, digest)
            while self._look_into_objects(looked):
                looked = self._looked
                more = [place for place in self._find(digest) if place not in found]
                found = [*found, *more]
                yield from more

    def read(self, digest: str, *, limit: int = 8 << 20) -> bytes:
        """Return a small blob (a manifest, a config), proven.

        Raises:
            NotFoundError: the vault does not hold it.
            VaultDamagedError: it does, and no place has the right bytes.
        """
        problem = bad = ""
        others: ProvenSealedError | None = None
        for place in self.places(digest):
            if place.size > limit:
                problem = problem or f"{digest} in {place.key} has {place.size} bytes"
                continue
            try:
                return self.read_place(place)
            except ProvenSealedError as error:
                others = others or error
            except (ObjectNotFoundError, VaultDamagedError) as error:
                problem, bad = problem or f"{digest}: {error.message}", bad or place.key
        if others is not None and not problem:
            raise others
        if problem:
            raise VaultDamagedError(
                problem, hint="See all of it with: regvault verify --read-data", key=bad or None
            )
        raise NotFoundError(f"the vault does not hold {digest}", hint="See: regvault find DIGEST")

    def read_place(self, place: Location) -> bytes:
        """Return a small blob from one of its places, proven.

        Raises:
            ObjectNotFoundError: the object is gone.
            VaultDamagedError: the bytes there are not the blob's.
            CredentialError: they are sealed, and no identity opens them.
            ProvenSealedError: they are whole, and sealed to others.
        """
        data: bytes | None
        stretched = place.length != place.size and not is_meta(place) and not self._seal.sealed
        if place.size > MAX_FRAME_BYTES or stretched:
            raise VaultDamagedError(f"{place.key} is damaged: {place.digest} in it is too large")
        if is_meta(place):
            data = self.frame(place.key, place.offset, place.length).get(place.digest)
            # One of Docker's signed manifests is right by its payload.
            good = data is not None and matches_manifest(data, place.digest)
        else:
            stored = self._store.get(place.key, start=place.offset, length=place.length)
            data = self._opened(stored, place.key)
            good = is_digest_of(place.digest, data)
        if data is None or not good:
            raise VaultDamagedError(f"{place.key} is damaged: {place.digest} in it has other bytes")
        return data

    def frame(self, key: str, offset: int, length: int) -> dict[str, bytes]:
        """Return the members of one meta frame, by digest; not proven yet."""
        with self._lock:
            found = self._frames.get((key, offset))
            if found is not None:
                self._frames.move_to_end((key, offset))
                return found
        if length > _MAX_STORED_FRAME:
            raise VaultDamagedError(f"{key} is damaged: a frame of it has {length} bytes")
        stored = self._store.get(key, start=offset, length=length)
        text = decompress(self._opened(stored, key), key, MAX_FRAME_BYTES)
        found = {d: text[at : at + size] for d, at, size in iter_members(text, key)}
        with self._lock:
            self._frames[key, offset] = found
            if len(self._frames) > _FRAMES_KEPT:
                self._frames.popitem(last=False)
        return found

    def _opened(self, stored: bytes, key: str) -> bytes:
        try:
            return self._seal.open_content(stored, key)
        except SealedToOthersError as error:
            raise self._told_apart(error, key) from None

    def _told_apart(self, error: SealedToOthersError, key: str) -> SealedToOthersError:
        """Return what is to be said of an object that does not open: that it is whole, if it is.

        It is read to its end for that, once.
        """
        ref = None if self._objects is None else self._objects.get(key)
        if ref is None or ref.key != key:
            return error
        with self._lock:
            whole = self._whole.get(key)
        if whole is None:
            whole = sha256_of(self._store, key) == ref.sha256
            with self._lock:
                self._whole[key] = whole
        return ProvenSealedError(key) if whole else error

    def sealed_to_others(self, place: Location) -> ProvenSealedError | None:
        """Return that a blob is whole at a place, and sealed to others; None where it is not so."""
        try:
            if not is_raw(place):
                self.read_place(place)
            else:
                with self.open(place) as stream:
                    stream.read(1)
        except ProvenSealedError as error:
            return error
        except SealedToOthersError as error:
            found = self._told_apart(error, place.key)
            return found if isinstance(found, ProvenSealedError) else None
        except (ObjectNotFoundError, VaultDamagedError):
            pass
        return None

    def open(self, place: Location) -> ByteReader:
        """Return a stream over a raw or packed blob; NOT proven: who writes it proves it."""
        stored = self._store.open(place.key, start=place.offset, length=place.length)
        return self._seal.open_stream(stored, place.key)

    def read_many(
        self, key: str, places: Iterable[Location]
    ) -> Iterator[tuple[Location, bytes | None]]:
        """Yield the blobs of one pack, neighbours fetched together; None for a damaged one.

        Args:
            key: the pack.
            places: what is wanted of it, ascending by offset.

        Raises:
            ObjectNotFoundError: the pack is gone.
        """
        group: list[Location] = []
        for place in places:
            if place.length > MAX_FRAME_BYTES:
                yield place, None  # no member is so large
                continue
            if group and (
                place.offset > group[-1].offset + group[-1].length + _GAP_BYTES
                or place.offset + place.length > group[0].offset + _FETCH_BYTES
            ):
                yield from self._fetch(key, group)
                group = []
            group.append(place)
        if group:
            yield from self._fetch(key, group)

    def _fetch(self, key: str, group: list[Location]) -> Iterator[tuple[Location, bytes | None]]:
        start = group[0].offset
        length = max(place.offset + place.length for place in group) - start
        data = memoryview(self._store.get(key, start=start, length=length))
        for place in group:
            part = data[place.offset - start : place.offset - start + place.length]
            yield place, self._member(part, place)

    def _member(self, part: memoryview, place: Location) -> bytes | None:
        """Return the blob that a member of a pack is, or seals; None where it is not right."""
        if len(part) != place.length:
            return None
        try:
            data = self._seal.open_content(bytes(part), place.key)
        except VaultDamagedError:
            return None
        return data if is_digest_of(place.digest, data) else None
