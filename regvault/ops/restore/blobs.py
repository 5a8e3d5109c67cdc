"""Writes the blobs of a restore, object by object, each proven before or while it is written."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from regvault.errors import (
    DigestMismatchError,
    ObjectArchivedError,
    ObjectNotFoundError,
    VaultDamagedError,
)
from regvault.oci.verify import matches_manifest, new_hash
from regvault.ops.bounded import again_when_broken, in_order
from regvault.vault.blobs import is_meta, is_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistryTarget
    from regvault.ops.restore.worklist import Worklist
    from regvault.vault.blobs import BlobReader
    from regvault.vault.segment import Location

__all__ = ["BlobWriter"]

_BATCH_BYTES = 4 << 20
_BATCH_BLOBS = 256


class BlobWriter:
    """Brings every blob of a worklist to its place.

    Attributes:
        written, written_bytes: blobs that were written.
        kept: blobs that were there and good.
        replaced: blobs that were there and wrong.
        failed: digest -> why the vault could not give it.
        others: those of them that are whole, and sealed to others.
        archived: object that could not be written -> the one to be thawed before.
    """

    def __init__(
        self,
        reader: BlobReader,
        target: RegistryTarget,
        *,
        trust: str,
        overwrite_all: bool,
        threads: int,
        progress: Progress,
    ) -> None:
        """Wrap.

        Args:
            reader: of the vault.
            target: where to.
            trust: what is there is hashed (`read`), unless its size (`size`) or the checksum that
                the store keeps of it (`checksum`) is enough.
            overwrite_all: write also what is there and good.
            threads: at work at once.
            progress: is told of every blob.
        """
        self._reader = reader
        self._target = target
        self._trust = trust
        self._overwrite = overwrite_all
        self._threads = threads
        self._progress = progress
        self._lock = threading.Lock()
        self.written = 0
        self.written_bytes = 0
        self.kept = 0
        self.replaced = 0
        self.failed: dict[str, str] = {}
        self.others: set[str] = set()
        self.archived: dict[str, str] = {}

    def run(self, worklist: Worklist, chosen: Callable[[str], bool] = lambda _: True) -> None:
        """Write all of it; errors of the target end it, damage in the vault is remembered.

        Args:
            worklist: what is wanted, and where it lies.
            chosen: of which objects; of what is archived it is remembered.
        """
        tasks = (task for task in worklist.by_object() if chosen(task[0]))
        for _ in in_order(tasks, self._object, threads=self._threads, name="restore"):
            pass

    def _object(self, task: tuple[str, list[tuple[Location, bool]]]) -> None:
        key, places = task
        wanted = [place for place, existing in places if not self._keep(place, existing)]
        if not wanted:
            return
        try:
            self._write(key, wanted)
        except ObjectArchivedError as error:
            with self._lock:
                self.archived[key] = error.key or key

    def _write(self, key: str, wanted: list[Location]) -> None:
        try:
            if is_raw(wanted[0]):
                self._raw(wanted[0])
            elif is_meta(wanted[0]):
                self._meta(key, wanted)
            else:
                self._many(self._reader.read_many(key, wanted))
        except ObjectNotFoundError:
            for place in wanted:
                self._elsewhere(place, f"{key} is gone")
        except VaultDamagedError as error:
            for place in wanted:
                self._elsewhere(place, error.message)

    def _keep(self, place: Location, existing: bool) -> bool:
        """Return whether what the target has is good, and so stays."""
        if not existing or self._overwrite:
            return False
        proven = self._trust == "size" or (
            self._trust == "checksum" and self._target.proves_blob(place.digest)
        )
        if not proven and not self._is_good(place):
            with self._lock:
                self.replaced += 1
            return False
        with self._lock:
            self.kept += 1
        self._progress.advance(1, place.size)
        return True

    def _is_good(self, place: Location) -> bool:
        algorithm, _, hexed = place.digest.partition(":")
        hasher = new_hash(algorithm)
        try:
            with self._target.open_blob(place.digest) as reader:
                if is_meta(place):  # one of Docker's signed manifests is right by its payload
                    return matches_manifest(reader.read(place.size + 1), place.digest)
                while data := reader.read(1 << 20):
                    hasher.update(data)
        except ObjectNotFoundError:
            return False
        return hasher.hexdigest() == hexed

    def _raw(self, place: Location) -> None:
        def write() -> None:
            with self._reader.open(place) as stream:
                self._target.put_blob(place.digest, stream, place.size)

        try:
            again_when_broken(write)
        except DigestMismatchError:
            self._elsewhere(place, f"{place.key} is damaged: its bytes are not its digest")
            return
        self._count(place)

    def _meta(self, key: str, wanted: list[Location]) -> None:
        self._many(self._in_frames(key, wanted))

    def _in_frames(
        self, key: str, wanted: list[Location]
    ) -> Iterator[tuple[Location, bytes | None]]:
        for place in wanted:
            try:
                data = self._reader.frame(key, place.offset, place.length).get(place.digest)
            except VaultDamagedError as error:
                self._elsewhere(place, error.message)
                continue
            good = data is not None and matches_manifest(data, place.digest)
            yield place, data if good else None

    def _many(self, blobs: Iterable[tuple[Location, bytes | None]]) -> None:
        """Write small blobs as they come, some megabytes at a time."""
        some: list[tuple[Location, bytes]] = []
        size = 0
        for place, data in blobs:
            if data is None:
                problem = f"{place.key} is damaged: {place.digest} in it has other bytes"
                self._elsewhere(place, problem)
                continue
            some.append((place, data))
            size += len(data)
            if size >= _BATCH_BYTES or len(some) >= _BATCH_BLOBS:
                self._put(some)
                some, size = [], 0
        self._put(some)

    def _put(self, some: list[tuple[Location, bytes]]) -> None:
        self._target.put_small_blobs([(place.digest, data) for place, data in some])
        for place, _ in some:
            self._count(place)

    def _elsewhere(self, place: Location, problem: str) -> None:
        """Try the other places of a blob; remember it as failed when none is good."""
        for other in self._reader.places(place.digest):
            if other == place:
                continue
            try:
                if is_raw(other):
                    with self._reader.open(other) as stream:
                        self._target.put_blob(other.digest, stream, other.size)
                else:
                    data = self._reader.read_place(other)
                    self._target.put_small_blobs([(other.digest, data)])
            except (ObjectNotFoundError, VaultDamagedError, DigestMismatchError):
                continue
            self._count(place)
            return
        sealed = self._reader.sealed_to_others(place)
        with self._lock:
            self.failed[place.digest] = problem if sealed is None else sealed.message
            if sealed is not None:
                self.others.add(place.digest)

    def _count(self, place: Location) -> None:
        with self._lock:
            self.written += 1
            self.written_bytes += place.size
        self._progress.advance(1, place.size)
