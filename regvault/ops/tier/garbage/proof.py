"""Proves, after a collection, that no image lost anything; and says what was really freed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.model.registry import Kind
from regvault.ops.bounded import in_order
from regvault.ops.tier.garbage.census import ManifestReader, Needs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource, RepositoryLinks
    from regvault.ops.tier.garbage.census import Looked
    from regvault.ops.tier.garbage.plan import GarbagePlan

__all__ = ["Hurt", "Loss", "Proof", "prove"]

_KEPT = 10_000
#: So many digests stand in one command that brings them back.
_IN_ONE_COMMAND = 20


class Loss(NamedTuple):
    """One thing that an image needs and that is not there any more.

    Attributes:
        repository: whose link it is; "" for a blob, which belongs to all.
        what: `blob`, `blob-size` (it has another size), `revision`, `layer` (its link: without it
            the registry does not serve the blob), `tag` (it is gone), `pushed` (what an image
            needs that was pushed meanwhile), `unreadable` (a path: what is there is not known).
        subject: digest, or `:tag`.
    """

    repository: str
    what: str
    subject: str


class Hurt(NamedTuple):
    """One repository of which something was lost.

    Attributes:
        repository: its name.
        digests: manifests that bring back all that its images lost, sorted.
        tags: that are gone, and where they pointed.
        retagged: those of them that the snapshot has elsewhere, or not at all: a restore by name
            would bring back another image, or nothing.
        images: `:tag` or `@digest` of the images that cannot be pulled now, sorted.
    """

    repository: str
    digests: list[str]
    tags: dict[str, str]
    retagged: list[str]
    images: list[str]


@dataclass(slots=True)
class Proof:
    """What a look at the registry showed after the collection.

    Attributes:
        freed, freed_bytes: blobs that nobody needed, and that are gone.
        left, left_bytes: those that are still there.
        revisions_gone, revisions_left: of those that were to go.
        blobs, nbytes: that images need, and that are there with their size.
        losses: the first 10,000; and how many.
        hurt: the repositories whose images lost something.
        changed: what somebody else changed meanwhile: repository, and what; the first 10,000.
        changes: how many.
    """

    freed: int = 0
    freed_bytes: int = 0
    left: int = 0
    left_bytes: int = 0
    revisions_gone: int = 0
    revisions_left: int = 0
    blobs: int = 0
    nbytes: int = 0
    losses: list[Loss] = field(default_factory=list)
    loss_count: int = 0
    hurt: list[Hurt] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    changes: int = 0

    def lose(self, repository: str, what: str, subject: str) -> None:
        """Count and keep one loss."""
        self.loss_count += 1
        if len(self.losses) < _KEPT:
            self.losses.append(Loss(repository, what, subject))

    def change(self, repository: str, what: str) -> None:
        """Count and keep one change by somebody else."""
        self.changes += 1
        if len(self.changed) < _KEPT:
            self.changed.append((repository, what))

    def commands(self, restore: list[str]) -> list[str]:
        """Return the commands that bring back what was lost.

        Args:
            restore: their words up to what is restored.
        """
        found = []
        for name, digests, tags, retagged, _ in self.hurt:
            words = [["--digest", digest] for digest in digests]
            words += [["--tag", tag] for tag in sorted(tags) if tag not in retagged]
            for at in range(0, len(words), _IN_ONE_COMMAND):
                part = [word for pair in words[at : at + _IN_ONE_COMMAND] for word in pair]
                found.append(shlex.join([*restore, "--repo", name, "--no-referrers", *part]))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document; see `GarbageResult.to_json`."""
        return {
            "freed": {"blobs": self.freed, "bytes": self.freed_bytes},
            "left": {"blobs": self.left, "bytes": self.left_bytes},
            "revisions_gone": self.revisions_gone,
            "revisions_left": self.revisions_left,
            "proven": {"blobs": self.blobs, "bytes": self.nbytes},
            "loss_count": self.loss_count,
            "losses": [loss._asdict() for loss in self.losses],
            "hurt": [each._asdict() for each in self.hurt],
            "change_count": self.changes,
            "changed": [{"repository": name, "what": what} for name, what in self.changed],
        }


def prove(plan: GarbagePlan, source: RegistrySource, *, progress: Progress) -> Proof:
    """Look at the registry again, and compare it with what the plan saw.

    Every blob that an image needed and that was there is asked for by itself: that a LIST shows
    it, or that nobody said that it was deleted, proves nothing.

    Args:
        plan: with what was there.
        source: the registry, read anew.
        progress: is told how far it is.

    Raises:
        SourceError, SourceUnavailableError: the registry cannot be read; then nothing is proven.
    """
    proof = Proof()
    _Prover(plan, source, proof, progress).run()
    return proof


class _Prover:
    def __init__(
        self, plan: GarbagePlan, source: RegistrySource, proof: Proof, progress: Progress
    ) -> None:
        self._census = plan.census
        self._source = source
        self._proof = proof
        self._progress = progress
        self._threads = plan.options.threads
        #: repository -> links of layers and revisions that are lost, and tags that are gone
        self._unlinked: dict[str, set[str]] = {}
        self._gone_tags: dict[str, dict[str, str]] = {}

    def run(self) -> None:
        self._blobs()
        self._links()
        if self._proof.loss_count:
            self._name_images()

    # -- blobs ----------------------------------------------------------------------------------

    def _blobs(self) -> None:
        proof = self._proof
        needed, nbytes = self._census.totals(kept=True)
        self._progress.phase("Proving that nothing is lost", total_items=needed, total_bytes=nbytes)
        self._census.set_lost(self._lost())
        self._progress.phase(
            "Looking what was freed", total_items=self._census.totals(kept=False)[0]
        )
        for _, before, now in self._sizes(kept=False):
            if now is None:
                proof.freed += 1
                proof.freed_bytes += before
            else:
                proof.left += 1
                proof.left_bytes += before
            self._progress.advance(1)

    def _lost(self) -> Iterator[str]:
        """Count the needed blobs that are whole; yield those that are not."""
        proof = self._proof
        for digest, before, now in self._sizes(kept=True):
            if now == before:
                proof.blobs += 1
                proof.nbytes += before
            else:
                proof.lose("", "blob" if now is None else "blob-size", digest)
                yield digest
            self._progress.advance(1, before)

    def _sizes(self, *, kept: bool) -> Iterator[tuple[str, int, int | None]]:
        """Yield digest, size before, and size now or None."""

        def stat(row: tuple[str, int]) -> tuple[str, int, int | None]:
            return (*row, self._source.stat_blob(row[0]))

        threads = 1 if self._source.at_hand else self._threads
        return in_order(self._census.blobs(kept=kept), stat, threads=threads, name="prove")

    # -- links ----------------------------------------------------------------------------------

    def _links(self) -> None:
        self._progress.phase("Comparing links", total_items=self._census.repositories)
        before = self._census.looked()
        known = next(before, None)
        for survey in self._source.surveys():
            name = survey.repository
            while known is not None and known[0] < name:
                self._compare(*known, None)
                known = next(before, None)
            if known is not None and known[0] == name:
                self._compare(*known, survey.links())
                known = next(before, None)
            else:
                self._proof.change(name, "new repository")
                self._new(name, survey.links().revisions)
            self._progress.advance(1)
        while known is not None:
            self._compare(*known, None)
            known = next(before, None)

    def _compare(self, name: str, looked: Looked, links: RepositoryLinks | None) -> None:
        proof = self._proof
        hidden = [f for f in links.findings if f.kind is Kind.UNREADABLE] if links else ()
        if hidden:
            for finding in hidden:
                proof.lose(name, "unreadable", finding.subject)
            return
        revisions = set(links.revisions) if links is not None else set()
        layers = set(links.layers) if links is not None else set()
        now = {tag.name: tag.current or "" for tag in links.tags} if links is not None else {}
        unlinked = {digest for digest in looked.stay if digest not in revisions}
        for digest in sorted(unlinked):
            proof.lose(name, "revision", digest)
        for digest in looked.linked:
            if digest not in layers and self._census.size(digest) is not None:
                proof.lose(name, "layer", digest)
                unlinked.add(digest)
        left = sum(digest in revisions for digest in looked.go)
        proof.revisions_left += left
        proof.revisions_gone += len(looked.go) - left
        gone = {}
        for tag, digest in looked.tags.items():
            if not now.get(tag) and digest:
                proof.lose(name, "tag", f":{tag}")
                gone[tag] = digest
            elif digest and now[tag] != digest:
                proof.change(name, f":{tag} points to {now[tag]}")
        if unlinked:
            self._unlinked[name] = unlinked
        if gone:
            self._gone_tags[name] = gone
        for tag in sorted(now.keys() - looked.tags.keys()):
            proof.change(name, f":{tag} is new")
        new = revisions.difference(looked.stay, looked.go)
        for digest in sorted(new):
            proof.change(name, f"{digest} is new")
        self._new(name, new)

    def _new(self, name: str, revisions: Iterable[str]) -> None:
        """Look whether what was pushed meanwhile is whole: it is what a collection takes."""
        hurt = []
        with ManifestReader(self._source, 1) as reader:
            for digest, needs in reader.read(sorted(revisions)):
                parts = (*needs.children, *needs.blobs) if isinstance(needs, Needs) else (digest,)
                for part in parts:
                    if self._source.stat_blob(part) is None:
                        self._proof.lose(name, "pushed", part)
                        hurt.append(digest)
        if hurt:
            self._proof.change(
                name, f"pushed while garbage was collected, and not whole: {hurt[0]}"
            )

    # -- which images ---------------------------------------------------------------------------

    def _name_images(self) -> None:
        """Find out which images are hurt, and which manifests bring back all that they lost."""
        self._progress.phase("Naming what is hurt", total_items=self._census.repositories)
        with ManifestReader(self._source, self._threads) as reader:
            for name, looked in self._census.looked():
                hurt = self._hurt(name, looked, reader)
                if hurt is not None:
                    self._proof.hurt.append(hurt)
                self._progress.advance(1)

    def _hurt(self, name: str, looked: Looked, reader: ManifestReader) -> Hurt | None:
        unlinked = self._unlinked.get(name, set())
        gone = self._gone_tags.get(name, {})
        lost = {
            digest
            for digest in (*looked.stay, *looked.linked, *looked.unlinked)
            if digest in unlinked or self._census.is_lost(digest)
        }
        if not lost and not gone:
            return None
        parents: dict[str, set[str]] = {}
        hurt = lost.intersection(looked.stay)
        for digest, needs in reader.read(looked.stay):
            if isinstance(needs, Needs):
                for child in needs.children:
                    parents.setdefault(child, set()).add(digest)
                if not lost.isdisjoint((*needs.children, *needs.blobs)):
                    hurt.add(digest)
        todo = list(hurt)
        while todo:
            more = parents.get(todo.pop(), set()) - hurt
            hurt |= more
            todo += more
        tops = sorted(digest for digest in hurt if not parents.get(digest, set()) & hurt)
        tags = {f":{tag}" for tag, digest in looked.tags.items() if digest in hurt or tag in gone}
        tagged = {looked.tags[tag[1:]] for tag in tags}
        images = tags | {f"@{digest}" for digest in tops if digest not in tagged}
        retagged = sorted(tag for tag in gone if self._census.is_retagged(name, tag))
        return Hurt(name, tops, gone, retagged, sorted(images))
