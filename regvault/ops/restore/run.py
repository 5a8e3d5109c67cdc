"""Leads one restore: plan, then blobs, then links, tags last."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regvault.errors import CredentialError, NotFoundError, VaultDamagedError
from regvault.model.store import HierarchicalStore
from regvault.oci.grammar import glob_matcher, unmatched
from regvault.oci.manifest import InvalidManifestError
from regvault.ops.bounded import in_order
from regvault.ops.images import Images, parse_state
from regvault.ops.opened import states_ahead
from regvault.ops.restore.blobs import BlobWriter
from regvault.ops.restore.result import RestoreOptions, RestorePlan, RestoreResult
from regvault.ops.restore.select import (
    Problem,
    Renamed,
    Selection,
    parse_renames,
    rename,
    select,
)
from regvault.ops.restore.space import check_space
from regvault.ops.restore.thawing import Aside, refusal, write_thawed
from regvault.ops.restore.worklist import Worklist
from regvault.ops.snapshot.session import RepositoryEntry, parse_damage, parse_entry
from regvault.vault.kept import KeptChunks
from regvault.vault.sealing import ProvenSealedError
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistryTarget
    from regvault.ops.images import RepositoryState
    from regvault.ops.tier.thaw import Thaw
    from regvault.vault.blobs import BlobReader
    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Restorer"]


@dataclass(slots=True)
class _Tags:
    """What becomes of the tags of one repository; see `RestoreResult`."""

    write: dict[str, str]
    kept: int
    moved: list[tuple[str, str, str]]
    moved_back: list[tuple[str, str, str]]
    new: set[str]


class Restorer:
    """One restore of one snapshot into one target.

    Attributes:
        target: where to. Planning only asks it what it has; it may be another one that has the same
            when the plan is executed.
    """

    def __init__(
        self,
        vault: Vault,
        root: Root,
        objects: ObjectList,
        reader: BlobReader,
        target: RegistryTarget,
        existing: Iterable[tuple[str, int]],
        options: RestoreOptions,
        progress: Progress,
    ) -> None:
        """Wrap.

        Args:
            vault: where from.
            root: of the snapshot.
            objects: its object list.
            reader: of its blobs; its catalog is prepared.
            target: where to.
            existing: (digest, size) of the blobs that the target has.
            options: what was asked for.
            progress: is told how far it is.
        """
        self._vault = vault
        self._root = root
        self._objects = objects
        self._reader = reader
        self.target = target
        self._existing = existing
        self._options = options
        self._progress = progress
        self._renames = parse_renames(options.renames)
        self._worklist = Worklist()
        # Each state is read three times: by the plan, for links and for tags.
        if not isinstance(vault.store, HierarchicalStore):
            vault.kept = KeptChunks()
        #: Names of what was purged, and of no object of the snapshot.
        self._purged = {name for name in vault.purged(root) if not reader.holds_name(name)}
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()
        self._located = False
        #: repository -> why its state cannot be read; "": a part of the list of all, or of damage.
        self._lost: dict[str, str] = {}
        #: Keys of both that are whole, and sealed to others.
        self._others: set[str] = set()

    # -- planning -------------------------------------------------------------------------------

    def plan(self) -> RestorePlan:
        """Choose what comes back, and compare it with what the target has.

        Raises:
            NotFoundError: nothing matches.
        """
        plan = RestorePlan(self._root, named=bool(self._options.tags or self._options.digests))
        self._progress.phase("Choosing", total_items=self._root.counts.repositories)
        self._check_globs()
        damage = self._damage()
        renamed = Renamed(self._renames)
        found_tags: set[str] = set()
        found_digests: set[str] = set()
        for name, selection in self._selections():
            self._progress.advance(1)
            renamed.add(name)
            plan.repositories += 1
            plan.tags += len(selection.tags)
            plan.links += len(selection.layers) + len(selection.revisions)
            plan.links += len(selection.history) + len(selection.tags)
            if self._options.dry_run:
                tags = self._decide(name, selection)
                plan.tags_moved += tags.moved + tags.moved_back
            plan.add(selection.problems)
            plan.add(self._of_damage(damage.get(name, []), selection))
            found_tags.update(selection.tags)
            found_tags.update(p.subject[1:] for p in selection.problems if p.subject[:1] == ":")
            found_digests.update(selection.revisions)
            found_digests.update(p.subject for p in selection.problems)
            self._worklist.want(selection.blobs)
        self._check_found(plan, found_tags, found_digests)
        renamed.check()
        self._worklist.exists(() if self.target.doubtful() else self._existing)
        plan.blobs, plan.nbytes, plan.present, plan.present_bytes = self._worklist.totals()
        plan.add(
            Problem(name, "", self._why(name), text) for name, text in sorted(self._lost.items())
        )
        return plan

    def _check_found(self, plan: RestorePlan, tags: set[str], digests: set[str]) -> None:
        options = self._options
        lost = [f"tag {t}" for t in options.tags if t not in tags]
        lost += [d for d in options.digests if d not in digests]
        if lost or (plan.repositories == 0 and (options.globs or options.tags or options.digests)):
            where = f" in repositories {', '.join(options.globs)}" if options.globs else ""
            what = ", ".join(lost) or "nothing to restore"
            if self._lost and self._others >= set(self._lost):
                raise CredentialError(
                    f"{what}{where} of {self._root.name} cannot be restored:"
                    f" {next(iter(self._lost.values()))}",
                    hint=ProvenSealedError.HINT,
                )
            if self._lost:
                raise VaultDamagedError(
                    f"{what}{where} of {self._root.name} cannot be restored:"
                    f" {next(iter(self._lost.values()))}",
                    hint="Take another snapshot. See all that is damaged: regvault verify",
                )
            raise NotFoundError(
                f"snapshot {self._root.name} has {'no ' if lost else ''}{what}{where}",
                hint=f"See what it has: regvault ls {self._root.name}",
            )

    def _damage(self) -> dict[str, list[Problem]]:
        """Return what the snapshot says was damaged at the source, by repository."""
        found: dict[str, list[Problem]] = {}
        if self._root.damage is not None:
            tree = self._vault.tree("damage", self._root.damage, self._objects)
            try:
                lines = list(tree.lines())
            except VaultDamagedError as error:
                self._lose("", error)
                lines = []
            for line in lines:
                name, kind, subject, image, _ = parse_damage(line)
                if kind in _HARMLESS:
                    continue
                detail = f"{kind} at the source" + (f", belongs to {image}" if image else "")
                found.setdefault(name, []).append(Problem(name, subject, "missing", detail))
        return found

    def _of_damage(self, damage: list[Problem], selection: Selection) -> Iterator[Problem]:
        """Yield the damage that belongs to what was chosen and is not reported yet."""
        named = {problem.subject for problem in selection.problems}
        narrowed = bool(self._options.tags or self._options.digests)
        for problem in damage:
            image = problem.detail.rpartition("belongs to ")[2]
            chosen = image.lstrip(":@") in {*selection.tags, *selection.revisions}
            if _tag_of(problem.subject) in selection.tags:
                continue  # its link could not be read, but where it points was known
            if problem.subject not in named and (chosen or not narrowed):
                yield problem

    def _check_globs(self) -> None:
        """Refuse a restore of which a part is misspelled, before anything is written.

        Raises:
            NotFoundError: a glob matches no repository of the snapshot.
        """
        names = (entry.name for entry in self._entries())
        missing = unmatched(self._options.globs, names)
        if missing:
            raise NotFoundError(
                f"snapshot {self._root.name} has no repository {', '.join(missing)}",
                hint=f"See what it has: regvault ls {self._root.name}",
            )

    def _entries(self) -> Iterator[RepositoryEntry]:
        """Yield the repositories; what cannot be read of their list is left out, and noted."""
        tree = self._vault.tree("repositories", self._root.repositories, self._objects)
        for leaf, first in tree.leaves_from():
            try:
                lines = tree.leaf_lines(leaf, first)
            except VaultDamagedError as error:
                self._lose("", error)
                continue
            yield from map(parse_entry, lines)

    def _selections(self) -> Iterator[tuple[str, Selection]]:
        options = self._options
        matches = glob_matcher(options.globs) if options.globs else None
        wanted = (e for e in self._entries() if matches is None or matches(e.name))

        for entry in states_ahead(wanted, self._objects, self._vault):
            tree = self._vault.tree("state", ChunkRef(entry.state), self._objects)
            try:
                lines = list(tree.lines())
            except VaultDamagedError as error:
                self._lose(entry.name, error)
                continue
            state = parse_state(lines)
            images = Images(state, self._read_manifest)
            selection = select(
                entry.name,
                images,
                tags=options.tags,
                digests=options.digests,
                referrers=options.referrers,
                deny=options.deny,
                failed=self._failed,
                others=self._others,
                purged=self._purged_from(state),
            )
            if selection is not None:
                yield entry.name, selection

    def _lose(self, name: str, error: VaultDamagedError) -> None:
        """Note a repository whose state cannot be read."""
        self._lost[name] = error.message
        if isinstance(error, ProvenSealedError):
            self._others.add(name)

    def _why(self, what: str) -> str:
        """Return the reason of a problem with a repository, or a digest, that cannot be read."""
        return "sealed" if what in self._others else "damaged"

    def _purged_from(self, state: RepositoryState) -> set[str]:
        """Return the digests of what was purged from a repository."""
        if not self._purged:
            return set()
        name = self._vault.seal.name
        named = {*state.revisions, *state.layers, *state.blobs}
        return {digest for digest in named if name(digest) in self._purged}

    def _read_manifest(self, digest: str) -> bytes:
        """Return a manifest; one that the vault cannot give holds back only what needs it."""
        try:
            return self._reader.read(digest)
        except (NotFoundError, VaultDamagedError) as error:
            with self._lock:
                self._failed[digest] = error.message
                if isinstance(error, ProvenSealedError):
                    self._others.add(digest)
            raise InvalidManifestError(error.message) from error

    def locate(self, plan: RestorePlan) -> None:
        """Look where all of it lies, and what of that has to be thawed before it can be read.

        A blob that has another place, which can be read now, is read from there.
        """
        if self._located:
            return
        self._located = True
        aside = Aside(self._vault.store, self._reader, self._options.threads)
        unknown = self._worklist.locate(self._reader)
        for digest in unknown:
            self._failed[digest] = "no catalog line says where it lies"
        plan.cold = aside.cold(self._worklist)
        if unknown:
            plan.untold = aside.untold()
            plan.cold += plan.untold
        plan.objects = len(self._worklist.objects())

    # -- executing ------------------------------------------------------------------------------

    def execute(self, plan: RestorePlan, thaw: Thaw | None = None) -> RestoreResult:
        """Do what the plan says.

        Args:
            plan: of this restore.
            thaw: asks for what is archived, and waits for it; None: that ends it.

        Raises:
            StoreFullError: the target has not the room; nothing was written.
            ObjectArchivedError: something has to be thawed before.
        """
        result = RestoreResult(plan)
        check_space(self.target, plan)
        self.locate(plan)
        if plan.untold or (plan.cold and thaw is None):
            raise refusal(plan.cold, untold=bool(plan.untold))
        result.damaged = bool(self._lost)
        self._progress.phase(
            "Restoring blobs",
            total_items=plan.blobs + plan.present,
            total_bytes=plan.nbytes + plan.present_bytes,
        )
        writer = BlobWriter(
            self._reader,
            self.target,
            trust=self._options.trust,
            overwrite_all=self._options.overwrite == "always",
            threads=self._options.threads,
            progress=self._progress,
        )
        write_thawed(writer, self._worklist, plan.cold, thaw)
        result.blobs_written, result.bytes_written = writer.written, writer.written_bytes
        result.blobs_kept, result.blobs_replaced = writer.kept, writer.replaced
        self._failed |= writer.failed
        self._others |= writer.others
        result.others = self._others >= {*self._failed, *self._lost}
        if self._failed:
            result.damaged = True
            plan.add(Problem("", d, self._why(d), text) for d, text in sorted(self._failed.items()))
        self.target.barrier()
        self._progress.phase("Restoring links", total_items=plan.repositories)
        self._each(Restorer._links, result, again=bool(self._failed))
        self.target.barrier()
        self._progress.phase("Restoring tags", total_items=plan.repositories)
        self._each(Restorer._tags, result, again=False)
        self.target.finish()
        return result

    def _each(
        self,
        work: Callable[[Restorer, str, Selection, RestoreResult], None],
        result: RestoreResult,
        *,
        again: bool,
    ) -> None:
        """Do something for every repository that was chosen, some of them at once."""

        def one(task: tuple[str, Selection]) -> None:
            name, selection = task
            if again:
                with self._lock:
                    result.plan.add(
                        p for p in selection.problems if p.reason not in ("missing", "purged")
                    )
            work(self, name, selection, result)

        threads = self._options.threads
        for _ in in_order(self._selections(), one, threads=threads, name="links"):
            pass

    def _links(self, name: str, selection: Selection, result: RestoreResult) -> None:
        target = self.target
        there = rename(name, self._renames)
        written = target.put_links(
            there,
            layers=selection.layers,
            revisions=selection.revisions,
            history=selection.history,
        )
        with self._lock:
            result.links_written += written
        self._progress.advance(1)

    def _tags(self, name: str, selection: Selection, result: RestoreResult) -> None:
        tags = self._decide(name, selection)
        there = rename(name, self._renames)
        for tag in self.target.put_tags(there, tags.write, only_new=tags.new):
            del tags.write[tag]
            tags.moved.append((there, tag, self.target.tag(there, tag) or ""))
        with self._lock:
            result.tags_written += len(tags.write)
            result.tags_kept += tags.kept
            result.tags_moved += tags.moved
            result.tags_moved_back += tags.moved_back
            result.refused |= bool(tags.moved and self._options.tags)
        self._progress.advance(1)

    def _decide(self, name: str, selection: Selection) -> _Tags:
        """Compare tags with where they point at the target now."""
        there = rename(name, self._renames)
        tags = _Tags({}, 0, [], [], set())
        for tag, digest in selection.tags.items():
            now = self.target.tag(there, tag)
            keeps = self._options.overwrite != "always" and not self.target.doubtful()
            if now == digest and keeps:
                tags.kept += 1
            elif now in (None, "", digest) or self._options.overwrite != "never":
                tags.write[tag] = digest
                if now is None and self._options.overwrite == "never":
                    tags.new.add(tag)
                if now and now != digest:
                    tags.moved_back.append((there, tag, now))
            else:
                tags.moved.append((there, tag, now))
        return tags

    def close(self) -> None:
        """Free what the plan holds."""
        self._worklist.close()
        kept, self._vault.kept = self._vault.kept, None
        if kept is not None:
            kept.close()


def _tag_of(path: str) -> str | None:
    """Return the tag whose link is at a path, None where it is another path."""
    tag, end, _ = path.rpartition("/_manifests/tags/")[2].partition("/current/link")
    return tag if end and path.endswith("/current/link") else None


#: Damage that a restore mends: the link's content follows from its path.
_HARMLESS = frozenset({"link-empty", "link-invalid"})
