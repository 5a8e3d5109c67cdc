"""One run, from its plan to its root: reads what changed, stores it, commits."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from regvault.errors import RegvaultError
from regvault.model.store import HierarchicalStore
from regvault.ops.snapshot.capture import Captured, Capturer
from regvault.ops.snapshot.commit import commit_root, write_object_list
from regvault.ops.snapshot.damage import SourceDamage
from regvault.ops.snapshot.foresee import Foreseen
from regvault.ops.snapshot.plan import make_plan, work
from regvault.ops.snapshot.result import SnapshotOptions, SnapshotResult
from regvault.ops.snapshot.scope import (
    globs_that_fit,
    is_from,
    place_of,
    place_text,
    windows_that_fit,
)
from regvault.ops.snapshot.session import (
    RepositoryEntry,
    Session,
)
from regvault.ops.snapshot.state import still_there
from regvault.ops.snapshot.storer import BlobStorer
from regvault.ops.snapshot.tally import Tally
from regvault.policy.shrink import shrunk
from regvault.vault.audit.chain import heads
from regvault.vault.envelope import to_time
from regvault.vault.needs import NeedIndex
from regvault.vault.root import Counts, Root
from regvault.vault.tree import TreeBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.ops.snapshot.choose import Chosen
    from regvault.ops.snapshot.plan import Plan
    from regvault.vault.lease import Lease
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.tree import TreeRef
    from regvault.vault.vault import Vault

__all__ = ["Run"]

#: A pack of which the registry needs less than this share is not reused: what is needed of it is
#: stored again, and the pack goes with the last snapshot that needs it.
SPARSE_SHARE = 0.25

#: A temporary file that was not written to for so long is of a run that was killed.
_LEFT_AFTER_S = 86_400.0


class Run:
    """One run of `snapshot`, under its lease."""

    def __init__(
        self,
        vault: Vault,
        source: RegistrySource,
        options: SnapshotOptions,
        chosen: Chosen,
        run: str,
        progress: Progress,
        cache_base: str | None,
        bad: set[str] | None = None,
    ) -> None:
        """Look at the vault.

        Args:
            vault: where to.
            source: the live registry.
            options: what was asked for.
            chosen: which one it is.
            run: id of this run.
            progress: is told how far it is.
            cache_base: directory of the local caches; None keeps nothing.
            bad: objects of the vault whose bytes turned out to be wrong.
        """
        self.vault = vault
        self.source = source
        self.options = options
        self.run = run
        self.progress = progress
        self.started = source.ahead_since_ns() or time.time_ns()
        self.session = Session(
            vault,
            chosen,
            run,
            cache_base=cache_base,
            threads=options.threads,
            progress=progress,
            bad=set() if bad is None else bad,
        )
        self.result = SnapshotResult(chosen.title, fail_on=options.fail_on)
        self._say_where_it_was()
        self.windows: dict[str, list[str]] = {}
        self.damage = SourceDamage(self.result, self.session.next_sequence())
        self._foreseen: Foreseen | None = None

    def _say_where_it_was(self) -> None:
        """Warn where the newest snapshot was read from another place: a move, or a slip."""
        previous = self.session.previous
        if previous is not None and not is_from(previous, self.source):
            before, now = place_text(previous.source), place_text(place_of(self.source))
            self.progress.warn(
                f"{self.session.title} was read from {before} before, and from {now} now",
                hint="Two registries need two names: --registry NAME",
            )

    def dry(self) -> SnapshotResult:
        """Read what would be read, and count what would be stored."""
        try:
            plan = make_plan(self.session, self.source, self.options.globs, self.progress)
            self._foreseen = Foreseen(self.session, afresh=plan.trees_lost)
            if not plan.nothing_to_do:
                self._read_all(plan, None)
            else:
                self.result.inherited = plan.unchanged
                self.damage.inherit(plan)
            self.result.would_hold = self._foreseen.hold(plan.removed)
            self.result.lost = sorted(plan.lost)
            self.result.vault_damaged = self.session.damaged
            return self.result
        finally:
            self.session.close()

    def take(self, lease: Lease) -> SnapshotResult:
        """Read what changed, store it, and commit."""
        session = self.session
        try:
            plan = make_plan(session, self.source, self.options.globs, self.progress)
            self.result.lost = sorted(plan.lost)
            if isinstance(self.vault.store, HierarchicalStore):
                self.vault.store.sweep_seen(_LEFT_AFTER_S)
            self._heal_catalog(plan)
            if plan.nothing_to_do:
                self._commit_unchanged(plan, lease)
            else:
                self._read_all(plan, lease)
            self.result.objects = session.writer.written
            self.result.objects_bytes = session.writer.written_bytes
            self.result.vault_damaged = session.damaged
            return self.result
        finally:
            session.close()

    def _heal_catalog(self, plan: Plan) -> None:
        """Write again what segments that are gone, or damaged, told of the newest root's objects.

        It is only a matter of time and not of safety: nothing that a snapshot needs is in them.
        """
        session = self.session
        if session.objects is None or plan.trees_lost:
            return
        lines = session.catalog.recover(session.objects)
        for key, why in session.catalog.damaged.items():
            self.progress.warn(f"{why}; the catalog does without it ({key})")
        if lines:
            self.progress.note(f"The catalog lacked {len(lines)} blobs; writing them again.")
            session.catalog.write(lines, self.run)
            self.vault.store.barrier()

    # -- nothing changed ------------------------------------------------------------------------

    def _commit_unchanged(self, plan: Plan, lease: Lease) -> None:
        previous = self.session.previous
        assert previous is not None
        self.result.inherited = plan.unchanged
        self.damage.inherit(plan)
        presence = self.session.presence
        for key, ref in presence.cold.items():
            self.result.count_archived(ref.size, promised=not presence.is_cold(key))
        root = self._root(
            repositories=previous.repositories,
            objects=previous.objects,
            damage=previous.damage,
            counts=previous.counts,
            complete=previous.complete,
        )
        self.result.root = commit_root(
            self.session, lease, root, narrowed=bool(self.options.globs), say=self.progress.note
        )
        needs = NeedIndex(self.session.directory, self.session.registry)
        try:
            needs.rebind(previous.sha256, self.result.root.sha256)
        finally:
            needs.close()

    # -- something changed ----------------------------------------------------------------------

    def _read_all(self, plan: Plan, lease: Lease | None) -> None:
        session, options = self.session, self.options
        session.catalog.prepare(1 << 30)
        needs = NeedIndex(session.directory, session.registry)
        storer = BlobStorer(
            source=self.source,
            store=self.vault.store,
            writer=session.writer,
            needs=needs,
            catalog=session.catalog,
            blobs=session.blobs,
            objects=None if plan.trees_lost else session.objects,
            presence=session.presence,
            condemned=session.condemned,
            run=self.run,
            threads=options.threads,
            progress=self.progress,
            dry_run=lease is None,
        )
        try:
            previous = session.previous
            incremental = (
                previous is not None
                and not plan.lost
                and not plan.trees_lost
                and not plan.amended
                and needs.root() == previous.sha256
            )
            if not incremental:
                needs.clear()
            tally = Tally(session, needs, storer, incremental=incremental)
            capturer = Capturer(self.source, storer, plan.damage)
            self.progress.phase(
                "Reading repositories", total_items=len(plan.changed) if plan.changed else None
            )
            repositories = self._repositories(plan, capturer, storer, tally, dry=lease is None)
            self.result.stored, self.result.stored_bytes = storer.stored, storer.stored_bytes
            if lease is None or repositories is None:
                return
            self._finish(lease, needs, storer, tally, repositories)
        finally:
            storer.close()
            needs.close()

    def _repositories(
        self, plan: Plan, capturer: Capturer, storer: BlobStorer, tally: Tally, *, dry: bool
    ) -> tuple[TreeRef, list[ObjectRef]] | None:
        """Capture what is to be read; write the repository list."""
        chunks: list[ObjectRef] = []
        builder = TreeBuilder("repositories", self.session.writer.tree_putter(chunks.append))
        self.result.removed = len(plan.removed)
        for entry, captured in self._results(plan, capturer):
            new = self._apply(entry, captured, plan, tally, dry=dry)
            if new is not None and not dry:
                builder.add(new.line())
                storer.checkpoint()
        if dry:
            return None
        if tally.incremental and plan.removed:
            removed = set(plan.removed)
            for entry in self.session.entries():
                if entry.name in removed:
                    tally.drop_state(entry.state)
        return builder.finish(), chunks

    def _results(
        self, plan: Plan, capturer: Capturer
    ) -> Iterator[tuple[RepositoryEntry | None, Captured | None]]:
        """Yield entries and captures in order, some repositories in flight."""
        window = self.options.threads * 4
        waiting: deque[tuple[RepositoryEntry | None, Future[Captured] | None]] = deque()
        with ThreadPoolExecutor(
            max(2, self.options.threads // 2), thread_name_prefix="repository"
        ) as pool:
            try:
                for entry, survey in work(plan, self.session, self.source):
                    future = pool.submit(capturer.capture, survey) if survey else None
                    waiting.append((entry, future))
                    while len(waiting) >= window:
                        done, result = waiting.popleft()
                        yield done, result.result() if result else None
                while waiting:
                    done, result = waiting.popleft()
                    yield done, result.result() if result else None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _apply(
        self,
        entry: RepositoryEntry | None,
        captured: Captured | None,
        plan: Plan,
        tally: Tally,
        *,
        dry: bool,
    ) -> RepositoryEntry | None:
        """Count one repository; return its line of the repository list."""
        result = self.result
        if captured is None:
            assert entry is not None
            result.inherited += 1
            self.damage.keep(entry.name, plan)
            if not dry:
                tally.keep_state(entry.state)
            return entry
        self.progress.advance(1)
        result.read += 1
        self.damage.find(captured, plan)
        if captured.window:
            self.windows[captured.name] = list(captured.window)
        lines = captured.lines
        if captured.unreadable:
            result.unreadable = True
        if self._foreseen is not None:
            self._foreseen.read(captured, entry)
            return None
        if captured.unreadable and entry is not None:
            old = still_there(lines, self.session.state_lines(entry.state))
            lines = sorted([*lines, *tally.keep_lines(old)])
        before = entry.state if entry is not None else None
        state = tally.new_state(lines, before)
        return RepositoryEntry(captured.name, state, captured.fingerprint)

    # -- ending ---------------------------------------------------------------------------------

    def _finish(
        self,
        lease: Lease,
        needs: NeedIndex,
        storer: BlobStorer,
        tally: Tally,
        repositories: tuple[TreeRef, list[ObjectRef]],
    ) -> None:
        session, vault = self.session, self.vault
        self.progress.phase("Committing")
        storer.flush()
        self._renew_sparse(needs, storer)
        self._renew_cold(needs, storer)
        previous, objects = session.previous, session.objects
        old_list = old_damage = None
        if previous is not None and objects is not None and tally.incremental:
            old_list = vault.tree("repositories", previous.repositories, objects)
            if previous.damage is not None:
                old_damage = vault.tree("damage", previous.damage, objects)
        tally.swap_tree(old_list, repositories[1])
        chunks: list[ObjectRef] = []
        damage = self.damage.store(session.writer.tree_putter(chunks.append))
        tally.swap_tree(old_damage, chunks)
        if unplaced := needs.unplaced():
            raise RegvaultError(f"a bug: needed blobs lie nowhere: {unplaced}")
        objects_ref = write_object_list(session, needs, incremental=tally.incremental)
        storer.checkpoint(final=True)
        blobs, nbytes = needs.totals()
        root = self._root(
            repositories=repositories[0],
            objects=objects_ref,
            damage=damage,
            counts=Counts(tally.repositories, tally.tags, tally.revisions, blobs, nbytes),
            complete=not self.result.unreadable,
        )
        vault.store.barrier()
        self.result.root = commit_root(
            session,
            lease,
            root,
            narrowed=bool(self.options.globs),
            say=self.progress.note,
        )
        needs.commit(self.result.root.sha256)
        session.catalog.merge(self.run, session.condemned, vault.first_names)

    def _renew_cold(self, needs: NeedIndex, storer: BlobStorer) -> None:
        """Store again what lies in an archive, and count what the source does not have of it.

        A run that is narrowed reads nothing else, and so inherits what lies there.
        """
        presence = self.session.presence
        for key in [] if self.options.globs else filter(presence.is_cold, presence.cold):
            storer.renew([digest for digest, _ in needs.blobs_in(key)])
        storer.flush()
        for key in presence.cold:
            if needs.blobs_in(key):
                self.result.count_archived(
                    presence.cold[key].size, promised=not presence.is_cold(key)
                )

    def _renew_sparse(self, needs: NeedIndex, storer: BlobStorer) -> None:
        """Store again what is needed of packs that have gone mostly dead."""
        for key in needs.sparse_packs(SPARSE_SHARE):
            storer.renew([digest for digest, _ in needs.blobs_in(key)])
        storer.flush()

    def _root(
        self,
        *,
        repositories: TreeRef,
        objects: Any,
        damage: TreeRef | None,
        counts: Counts,
        complete: bool,
    ) -> Root:
        session = self.session
        accepted = session.accepted
        reason = shrunk(accepted.counts.to_json() if accepted else None, counts.to_json())
        known = session.previous.audit if session.previous is not None else {}
        against = accepted.name.sequence if accepted else None
        return Root(
            name=session.root_name(session.next_sequence()),
            registry_id=session.registry_id,
            previous=None,
            run=self.run,
            started=to_time(self.started),
            finished="",
            audit=heads(session.vault, known),
            source=place_of(self.source),
            scope={
                "globs": globs_that_fit(self.options.globs),
                "windows": windows_that_fit(self.windows),
            },
            repositories=repositories,
            objects=objects,
            damage=damage,
            counts=counts,
            complete=complete,
            held=None if reason is None else {"reason": reason, "against": against},
        )
