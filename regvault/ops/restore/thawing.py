"""What of a restore lies in an archive: read elsewhere, or thawed while the restore goes on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from regvault.errors import ObjectArchivedError, ObjectNotFoundError
from regvault.model.classes import ArchivingStore
from regvault.ops.tier.cold import Cold, find_cold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regvault.model.registry import RegistryTarget
    from regvault.model.store import ObjectStore
    from regvault.ops.restore.blobs import BlobWriter
    from regvault.ops.restore.worklist import Worklist
    from regvault.ops.tier.thaw import Thaw
    from regvault.vault.blobs import BlobReader
    from regvault.vault.segment import Location

__all__ = ["NOWHERE", "Aside", "refusal", "write_thawed"]

#: So often what is said to be thawed may turn out not to be.
_TRIES = 3


class _Nowhere:
    """An empty target, to plan for."""

    def doubtful(self) -> bool:
        """Return that it has nothing that could be doubted."""
        return False


NOWHERE = cast("RegistryTarget", _Nowhere())
"""The target of a plan that is not executed: it asks only whether what is there can be trusted."""


class Aside:
    """Finds what has to be thawed, and what can be read from another place instead."""

    def __init__(self, store: ObjectStore, reader: BlobReader, threads: int) -> None:
        self._store = store
        self._reader = reader
        self._threads = threads
        self._readable: dict[str, bool] = {}

    def cold(self, worklist: Worklist) -> list[Cold]:
        """Return what of a worklist has to be thawed, in the order in which it is read.

        A later snapshot may have stored a blob again while the object that this one names went to
        an archive.
        """
        if not isinstance(self._store, ArchivingStore):
            return []
        found = find_cold(self._store, worklist.objects(), threads=self._threads)
        cold = {each.key for each in found}
        for each in found:
            for digest, _ in worklist.wanted_of(each.key):
                place = self._elsewhere(digest, cold)
                if place is not None:
                    worklist.move(digest, place, each.key)
        return [each for each in found if worklist.wanted_of(each.key)]

    def untold(self) -> list[Cold]:
        """Return the archived packs that may hold what no line of the catalog tells of."""
        if not isinstance(self._store, ArchivingStore):
            return []
        return find_cold(self._store, self._reader.untold(), threads=self._threads)

    def _elsewhere(self, digest: str, cold: set[str]) -> Location | None:
        places = (place for place in self._reader.locate(digest) if place.key not in cold)
        return next((place for place in places if self._can_be_read(place.key)), None)

    def _can_be_read(self, key: str) -> bool:
        known = self._readable.get(key)
        if known is None:
            assert isinstance(self._store, ArchivingStore)
            try:
                known = not self._store.placement(key).archived
            except ObjectNotFoundError:
                known = False
            self._readable[key] = known
        return known


def refusal(cold: Sequence[Cold], *, untold: bool = False) -> ObjectArchivedError:
    """Return what ends a restore that needs what is archived; the command says how to thaw it.

    Args:
        cold: what has to be thawed.
        untold: the catalog does not say what lies in some of it, so it has to be thawed before.
    """
    nbytes = sum(each.size for each in cold)
    thawing = sum(each.thawing for each in cold)
    under_way = f", {thawing} of them being thawed" if thawing else ""
    return ObjectArchivedError(
        f"{len(cold)} objects ({nbytes} bytes) that it needs lie in an archive{under_way}",
        key=cold[0].key,
        hint="Thaw them first: regvault tier thaw --wait"
        + ("" if untold else "; or let it wait: restore --thaw WAY"),
    )


def write_thawed(
    writer: BlobWriter, worklist: Worklist, cold: Sequence[Cold], thaw: Thaw | None
) -> None:
    """Write all of a worklist: what can be read at once first, then what is thawed, as it comes.

    Args:
        writer: of the blobs.
        worklist: what is wanted.
        cold: what has to be thawed before.
        thaw: asks for that, and waits; None: there is nothing to thaw.

    Raises:
        ObjectArchivedError: something went to an archive meanwhile, and nobody is to thaw it.
    """
    waiting = {each.key: each.key for each in cold}
    if thaw is not None:
        thaw.ask(cold)
    writer.run(worklist, lambda key: key not in waiting)
    tries: Counter[str] = Counter()
    while True:
        # What was thawed once may be archived again, and something may go there while this runs.
        tries.update(list(writer.archived))
        again = sorted(set(writer.archived.values()))
        if again and (thaw is None or max(tries.values()) > _TRIES):
            raise refusal([Cold(key, 0, "", thawing=False) for key in again])
        waiting |= writer.archived
        writer.archived = {}
        if not waiting or thaw is None:
            return
        ready = set(thaw.wait_for_some(sorted(set(waiting.values()))))
        tasks = {task for task, key in waiting.items() if key in ready}
        waiting = {task: key for task, key in waiting.items() if task not in tasks}
        writer.run(worklist, tasks.__contains__)
