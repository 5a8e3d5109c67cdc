"""Leads a copy: registry by registry, snapshot by snapshot, oldest first."""

from __future__ import annotations

import contextlib
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import (
    DigestMismatchError,
    ObjectArchivedError,
    ObjectNotFoundError,
    RefusedError,
    VaultDamagedError,
)
from regvault.ops.bounded import again_when_broken, in_order
from regvault.ops.claim import claim
from regvault.ops.copy.feed import Feed
from regvault.ops.copy.result import Copied, CopyProblem, CopyResult
from regvault.ops.selector import registry_named
from regvault.ops.writing import writing
from regvault.vault import recover
from regvault.vault.catalog import Catalog, vault_cache
from regvault.vault.downgrade import refuse_downgrade
from regvault.vault.fetch import fetch_document
from regvault.vault.keyring import copy_key_records
from regvault.vault.keys import new_run_id
from regvault.vault.records import read_records, write_record
from regvault.vault.root import RootName
from regvault.vault.slots import gaps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regvault.model.progress import Progress
    from regvault.ops.copy.result import CopyOptions
    from regvault.vault.lease import Lease
    from regvault.vault.objectlist import ObjectList, ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.segment import Location
    from regvault.vault.vault import Vault

__all__ = ["copy"]

#: An object for several targets is kept in memory up to this size on its way, else in a file.
_SPOOL_BYTES = 8 << 20
#: More empty slots in a row are not filled with voids: someone put a root far away.
_MAX_GAP = 1000


class _Slot(NamedTuple):
    """One slot of the source's chain.

    Attributes:
        name: registry and sequence.
        data: its bytes; None where there are none, or none that can be read.
        root: in it, or None: a stub, a void, or damage.
        problem: what is wrong with it; "" where nothing is.
        is_void: nothing was ever committed in it.
    """

    name: RootName
    data: bytes | None
    root: Root | None
    problem: str
    is_void: bool


def copy(
    source: Vault, targets: Sequence[Vault], options: CopyOptions, *, progress: Progress
) -> CopyResult:
    """Copy what the targets lack of a vault's snapshots.

    What a target has forgotten, or what the source has, stays forgotten. A snapshot that cannot be
    copied whole is left out with a void in its slot, which a later copy fills.

    Raises:
        NotFoundError: the source has no such registry.
        RefusedError: a target is the source, or has snapshots of its own in a chain, or is not
            sealed as the source is, or as it is meant to be.
        LeaseHeldError: another writer of the registry is at work at a target.
    """
    for target in targets:
        if target.id == source.id:
            raise RefusedError(
                f"{target.store.location} is the same vault as {source.store.location}",
                hint="Make another one with: regvault init VAULT",
            )
        refuse_downgrade(target)
        if target.sealing_key != source.sealing_key:
            raise RefusedError(
                f"{target.store.location} and {source.store.location} are not sealed alike",
                hint="A copy has the very bytes of the original. Make a vault for it with: "
                "regvault init VAULT"
                + (f" --sealed-as {source.store.location}" if source.sealing_key else ""),
            )
    source.require_amendments()
    known = source.registries()
    chosen = [registry_named(source, name, known) for name in options.registries]
    result = CopyResult(source.store.location, dry_run=options.dry_run)
    result.targets = [Copied(target.store.location) for target in targets]
    catalog = Catalog(source.store, vault_cache(options.cache_base, source.id), source.seal)
    try:
        if source.sealing_key is None:
            catalog.prepare(1 << 30)
        for name in chosen or known:
            _Copier(source, targets, name, catalog, options, result, progress).run()
    finally:
        catalog.close()
    return result


class _Copier:
    """Copies one registry."""

    def __init__(
        self,
        source: Vault,
        targets: Sequence[Vault],
        registry: str,
        catalog: Catalog,
        options: CopyOptions,
        result: CopyResult,
        progress: Progress,
    ) -> None:
        self._source = source
        self._targets = targets
        self._registry = registry
        self._catalog = catalog
        self._options = options
        self._result = result
        self._progress = progress
        self._bad: dict[str, str] = {}  # objects of the source -> what is wrong with them
        self._feeds: list[Feed] = []
        self._leases: list[Lease | None] = []
        self._started = time.monotonic()

    def run(self) -> None:
        """Copy all snapshots that a target lacks.

        Without anything to store there is no lease: a writer that stored something and committed
        nothing is taken for interrupted, and prune spares for 7 days what it may go on from.
        """
        if self._options.dry_run or not self._wanted():
            with self._open(leases=False) as slots:
                lost = any(feed.lost for feed in self._feeds)
                if self._options.dry_run or not lost:
                    self._work(slots)
                    return
        with self._open(leases=True) as slots:
            self._work(slots)

    def _wanted(self) -> bool:
        """Return whether a slot of a target is to be filled, by the chains alone."""
        with self._open(leases=False, look=False) as slots:
            return any(
                feed.is_empty(slot.name.sequence)
                or (feed.wants(slot.name.sequence) and slot.data is not None and not slot.is_void)
                for slot in slots
                for feed in self._feeds
            )

    @contextlib.contextmanager
    def _open(self, *, leases: bool, look: bool = True) -> Iterator[list[_Slot]]:
        """Open the chain at each target; yield the slots of the source's that matter.

        Raises:
            RefusedError: a chain is not fed by this source.
        """
        self._feeds, self._leases = [], []
        with contextlib.ExitStack() as stack:
            for target in self._targets:
                run, lease = new_run_id(), None
                if leases:
                    wait_s, say = self._options.wait_s, self._progress.note
                    run, lease = stack.enter_context(
                        writing(target, self._registry, wait_s=wait_s, say=say)
                    )
                feed = Feed(target, self._registry, run)
                stack.callback(feed.close)
                if look:
                    feed.look(self._options.cache_base, self._options.threads)
                self._feeds.append(feed)
                self._leases.append(lease)
            slots = self._slots()
            newest = next((slot.root for slot in reversed(slots) if slot.root is not None), None)
            if newest is not None:
                for feed in self._feeds:
                    feed.refuse_strangers(self._source, newest)
            yield slots

    def _work(self, slots: list[_Slot]) -> None:
        """Copy; heal; say what was done."""
        self._copy_keys()
        with self._claim([slot.root for slot in slots if slot.root is not None]):
            for slot in slots:
                self._copy_slot(slot)
            self._heal()
        for number, feed in enumerate(self._feeds):
            copied = self._result.targets[number]
            copied.objects += feed.objects
            copied.nbytes += feed.nbytes
            copied.returned |= feed.returned
            if not self._options.dry_run:
                self._copy_confirmations(feed)
                self._write_receipt(feed, copied)
            if self._leases[number] is not None:
                feed.merge()

    def _claim(self, roots: list[Root]) -> contextlib.AbstractContextManager[object]:
        if self._options.dry_run:
            return contextlib.nullcontext()
        return claim(self._source, roots, self._progress)

    # -- slots ----------------------------------------------------------------------------------

    def _slots(self) -> list[_Slot]:
        """Return those slots of the source that a target wants, and the newest root."""
        numbers = self._source.slots(self._registry)
        for gap in gaps(numbers):
            if len(gap) > _MAX_GAP:
                raise VaultDamagedError(
                    f"the chain of {self._registry} at the source has a gap: {len(gap)} slots from "
                    f"{RootName(self._registry, gap[0])} on are empty",
                    hint="Look at what lies after it; a copy would fill all of them with voids.",
                )
        found: list[_Slot] = []
        for sequence in range(1, (numbers[-1] if numbers else 0) + 1):
            newest = sequence == numbers[-1]
            if newest or any(feed.wants(sequence) for feed in self._feeds):
                found.append(self._read(RootName(self._registry, sequence)))
        return found

    def _read(self, name: RootName) -> _Slot:
        try:
            data = fetch_document(self._source.store, name.key)
        except ObjectNotFoundError:
            return _Slot(name, None, None, f"{name.key} is gone", is_void=False)
        try:
            root = self._source.parse_root(data, name)
        except VaultDamagedError as error:
            return _Slot(name, None, None, error.message, is_void=False)
        is_void = root is None and data.startswith(b'{"type":"void"')
        return _Slot(root.name if root is not None else name, data, root, "", is_void)

    def _copy_slot(self, slot: _Slot) -> None:
        wanting = [n for n, feed in enumerate(self._feeds) if feed.wants(slot.name.sequence)]
        if not wanting:
            return
        feeds = [self._feeds[n] for n in wanting]
        problem, objects = slot.problem, None
        if slot.root is not None:
            self._progress.phase(f"Copying {slot.name}")
            try:
                objects = self._source.object_list(slot.root)
                problem = self._copy_objects(slot.root, objects, feeds)
            except VaultDamagedError as error:
                problem = error.message
        if problem:
            self._result.problems.append(CopyProblem(str(slot.name), problem))
            self._progress.warn(f"{slot.name} is not copied: {problem}")
        for number, feed in zip(wanting, feeds, strict=True):
            if slot.root is not None and not problem:
                self._result.targets[number].snapshots.append(str(slot.name))
            lease = self._leases[number]
            if lease is None:
                continue
            if problem or slot.is_void:
                if feed.is_empty(slot.name.sequence):
                    feed.fill_void(lease, slot.name)
            elif slot.data is not None:
                purged = self._source.purged(slot.root) if slot.root is not None else ()
                if self._source.sealing_key is not None:
                    feed.take_segments(self._source)
                feed.fill(lease, slot.name, slot.data, objects, purged)
                if slot.root is not None:
                    feed.newest = slot.root

    # -- objects --------------------------------------------------------------------------------

    def _copy_objects(self, root: Root, objects: ObjectList, feeds: list[Feed]) -> str:
        """Copy what a snapshot needs; return what is wrong with an object of it, or ""."""
        problem = ""
        refs = self._needed(root, objects, feeds)
        for found in in_order(
            refs,
            lambda ref: self._copy_object(ref, feeds),
            threads=self._options.threads,
            name="copy",
        ):
            problem = problem or found
        return problem

    def _needed(self, root: Root, objects: ObjectList, feeds: list[Feed]) -> Iterator[ObjectRef]:
        """Yield what a target may lack: where lists share their base, what their deltas name."""
        yield from objects.own_objects()
        for feed in feeds:  # what the target has lost, or has with another size
            for key in feed.missing:
                ref = objects.get(key)
                if ref is not None:
                    yield ref
        before = {feed.newest.sha256 if feed.newest else "" for feed in feeds}
        newest = feeds[0].newest
        same_base = (
            len(before) == 1
            and newest is not None
            and newest.objects.base.top.digest == root.objects.base.top.digest
        )
        if not same_base or self._source.amendments:
            yield from objects
            return
        assert newest is not None
        keys = set(objects.delta()) | set(self._source.list_of(newest.objects, {}).delta())
        for key in sorted(keys):
            ref = objects.get(key)
            if ref is not None:
                yield ref

    def _copy_object(self, ref: ObjectRef, feeds: list[Feed]) -> str:
        """Copy one object to those that lack it; return what is wrong with it, or ""."""
        lacking = [feed for feed in feeds if not feed.has(ref)]
        if not lacking:
            return ""
        if ref.key in self._bad:
            return self._bad[ref.key]
        try:
            if self._options.dry_run:
                self._source.store.head(ref.key)
                for feed in lacking:
                    feed.pretend(ref)
            else:
                try:
                    again_when_broken(lambda: self._move(ref, lacking))
                except DigestMismatchError:  # on the way, or at the source?
                    again_when_broken(lambda: self._move(ref, lacking))
        except ObjectArchivedError as error:
            error.hint = (
                "What is archived cannot be copied. Thaw it for each snapshot that is to be "
                "copied, the oldest first: regvault tier thaw SNAPSHOT --vault "
                f"{self._source.store.location} --wait; then copy again"
            )
            raise
        except ObjectNotFoundError as error:
            if error.key != ref.key:
                raise
            self._bad[ref.key] = f"{ref.key} is gone"
        except DigestMismatchError:
            self._bad[ref.key] = f"{ref.key} is damaged: its bytes are not what the list says"
        except VaultDamagedError as error:
            self._bad[ref.key] = error.message
        else:
            self._progress.advance(1, ref.size)
            for feed in lacking:
                feed.checkpoint()
        return self._bad.get(ref.key, "")

    def _move(self, ref: ObjectRef, feeds: list[Feed]) -> None:
        members = self._members(ref)
        store = self._source.store
        feeds = [feed for feed in feeds if not feed.has(ref)]  # after a try that broke off
        feeds = [feed for feed in feeds if not feed.copy_in(ref, store, members)]
        if len(feeds) == 1:
            with store.open(ref.key) as reader:
                feeds[0].store(ref, reader, members)
        elif feeds:
            # Read once for all of them.
            with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
                with store.open(ref.key) as reader:
                    while data := reader.read(1 << 20):
                        spool.write(data)
                for feed in feeds:
                    spool.seek(0)
                    feed.store(ref, spool, members)

    def _members(self, ref: ObjectRef) -> list[Location]:
        """Return the catalog lines of what lies in a pack or a meta object."""
        if self._source.sealing_key is not None or not ref.key.startswith(recover.PREFIXES):
            return []  # the segments of a sealed vault are copied as they are
        return self._catalog.members(ref.key) or recover.members_of(self._source.store, ref)

    def _heal(self) -> None:
        """Copy again what a target's newest snapshot needs, and a target has lost."""
        for number, feed in enumerate(self._feeds):
            for ref in feed.lost:
                if feed.has(ref):
                    continue
                before = feed.objects
                self._copy_object(ref, [feed])
                self._result.targets[number].healed += feed.objects - before
            if feed.lost and self._leases[number] is not None:
                feed.checkpoint(final=True)
                feed.vault.store.barrier()

    # -- records --------------------------------------------------------------------------------

    def _copy_keys(self) -> None:
        """Copy the key records of a sealed vault that the targets lack."""
        if self._source.sealing_key is None or self._options.dry_run:
            return
        for feed in self._feeds:
            copy_key_records(self._source.store, self._source.id, feed.vault.store)

    def _copy_confirmations(self, feed: Feed) -> None:
        """Say in the target too which held snapshots were accepted."""
        target, wanted = feed.vault, ("registry", "sequence", "root")
        there = read_records(target.store, target.id, "confirmations", leave_damaged=True)
        known = {tuple(record.get(name) for name in wanted) for record in there}
        for record in self._source.confirmations:
            what = tuple(record.get(name) for name in wanted)
            if what[0] == self._registry and what not in known:
                fields = {name: record.get(name) for name in (*wanted, "by", "reason")}
                write_record(target.store, target.id, "confirmations", new_run_id(), fields)
                known.add(what)

    def _write_receipt(self, feed: Feed, copied: Copied) -> None:
        """Leave evidence of what was copied here, and when."""
        feed.vault.store.barrier()  # a run whose sync failed may have filled the last slot
        newest = feed.newest
        write_record(
            feed.vault.store,
            feed.vault.id,
            "copies",
            new_run_id(),
            {
                "from": self._source.id,
                "registry": self._registry,
                "newest": newest.name.sequence if newest is not None else None,
                "root": newest.sha256 if newest is not None else None,
                "snapshots": len(copied.snapshots),
                "objects": feed.objects,
                "bytes": feed.nbytes,
                "seconds": round(time.monotonic() - self._started, 3),
            },
        )
