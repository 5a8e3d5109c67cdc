"""Which parts of a repository a restore brings back. Pure but for the manifests it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import UsageError
from regvault.oci.grammar import is_repository

if TYPE_CHECKING:
    from collections.abc import Collection

    from regvault.ops.images import Images

__all__ = ["Problem", "Renamed", "Selection", "parse_renames", "rename", "select"]


class Problem(NamedTuple):
    """Something that does not come back, and why.

    Attributes:
        repository: in the snapshot.
        subject: digest or `:tag`.
        reason: `missing` (the snapshot never had it), `damaged` (the vault's bytes are wrong),
            `sealed` (they are right, and no identity that was given opens them), `denied`,
            `purged` (that, or what it needs, was removed from all snapshots), `incomplete` (an
            image that reaches one of the others).
        detail: words for people.
    """

    repository: str
    subject: str
    reason: str
    detail: str = ""


class Selection(NamedTuple):
    """What comes back of one repository.

    Attributes:
        blobs: digest -> size, manifests included.
        layers: digests whose layer link is written, sorted.
        revisions: digests whose revision link is written, children before their parents.
        history: (tag, digest), sorted.
        tags: name -> digest.
        problems: what does not come back.
    """

    blobs: dict[str, int]
    layers: list[str]
    revisions: list[str]
    history: list[tuple[str, str]]
    tags: dict[str, str]
    problems: list[Problem]


def parse_renames(texts: Collection[str]) -> list[tuple[str, str]]:
    """Parse `FROM=TO` of `--rename`.

    Raises:
        UsageError: one is none, or would make a name that no registry takes.
    """
    found: list[tuple[str, str]] = []
    for text in texts:
        old, separator, new = text.partition("=")
        if (
            not separator
            or not is_repository(old.rstrip("/"))
            or not is_repository(new.rstrip("/"))
        ):
            raise UsageError(
                f"--rename {text!r} is not FROM=TO of repository names",
                hint="For example --rename team/app=restored/app, or team/=restored/team/ for all "
                "below.",
            )
        if old.endswith("/") != new.endswith("/"):
            raise UsageError(
                f"--rename {text!r}: both sides end in a slash, or none does",
                hint="team/=restored/team/ renames everything below team/.",
            )
        if any(old == other and new != to for other, to in found):
            raise UsageError(
                f"--rename gives {old} two names",
                hint="Restore it twice, each time under one of them.",
            )
        found.append((old, new))
    return found


def rename(name: str, renames: list[tuple[str, str]]) -> str:
    """Return the name under which a repository comes back: the first rule that fits."""
    for old, new in renames:
        if name == old:
            return new
        if old.endswith("/") and name.startswith(old):
            return new + name.removeprefix(old)
    return name


class Renamed:
    """Watches that every `--rename` is of use, and that no two repositories come back as one."""

    def __init__(self, renames: list[tuple[str, str]]) -> None:
        self._renames = renames
        self._used: set[str] = set()
        self._from: dict[str, str] = {}

    def add(self, name: str) -> None:
        """Note a repository that comes back.

        Raises:
            UsageError: another one comes back under the same name.
        """
        if not self._renames:
            return
        new = rename(name, self._renames)
        other = self._from.setdefault(new, name)
        if other != name:
            raise UsageError(
                f"{other} and {name} would both come back as {new}",
                hint="Give each a name of its own, or restore them one by one.",
            )
        for old, _ in self._renames:
            if name == old or (old.endswith("/") and name.startswith(old)):
                self._used.add(old)
                break

    def check(self) -> None:
        """Raise UsageError where a rule fits nothing that comes back."""
        for old, new in self._renames:
            if old not in self._used:
                raise UsageError(
                    f"--rename {old}={new}: nothing that comes back is named {old}",
                    hint="See the names: regvault ls SNAPSHOT. Nothing was restored.",
                )


def select(
    repository: str,
    images: Images,
    *,
    tags: Collection[str] = (),
    digests: Collection[str] = (),
    referrers: bool = True,
    deny: Collection[str] = (),
    failed: Collection[str] = (),
    others: Collection[str] = (),
    purged: Collection[str] = (),
) -> Selection | None:
    """Choose what of one repository comes back; None where nothing of it was asked for.

    Args:
        repository: its name in the snapshot.
        images: its state and manifests.
        tags: only these tags, with all that they reach.
        digests: only these manifests, with all that they reach.
        referrers: with what refers to them: signatures, SBOMs.
        deny: digests never to bring back; an image that reaches one is left out as a whole.
        failed: digests whose bytes in the vault turned out to be wrong; likewise.
        others: those of them that are sealed to others instead.
        purged: digests that were removed from all snapshots; likewise.
    """
    state = images.state
    everything = not tags and not digests
    if everything:
        wanted = set(state.revisions)
    else:
        roots = {state.tags[tag] for tag in tags if state.tags.get(tag)}
        roots |= {digest for digest in digests if digest in state.revisions}
        if not roots:
            return None
        wanted = set()
        for root in roots:
            wanted |= images.manifests_of(root, referrers=referrers)
    problems: list[Problem] = []
    refused = {
        **dict.fromkeys(purged, "purged"),
        **{digest: "sealed" if digest in others else "damaged" for digest in failed},
        **dict.fromkeys(deny, "denied"),
    }
    bad = _bad_manifests(repository, images, wanted, refused, problems)
    wanted -= bad.keys()
    held = state.held()
    if everything:
        blobs = {d: s for d, s in held.items() if d not in refused}
        for digest in bad.keys() & set(state.revisions):
            blobs.pop(digest, None)
    else:
        blobs = {d: held[d] for d in (*wanted, *images.blobs_of(wanted)) if d in held}
    # A registry serves a blob of a repository only where the repository links to it. A link that
    # the snapshot lacks was lost at the source, or written while the links were read.
    layers = [d for d in state.layers if d in blobs]
    layers = sorted({*layers, *(d for d in blobs if d not in state.revisions)})
    revisions = _children_first([d for d in sorted(wanted) if d in blobs], images, everything)
    kept = set(revisions)
    chosen = _tags(images, tags, wanted, everything=everything, referrers=referrers)
    current = {tag: digest for tag, digest in sorted(chosen.items()) if digest in kept}
    for tag, digest in sorted(chosen.items()):
        if digest not in kept and digest not in bad:
            where = f"it pointed to {digest}" if digest else "where it pointed was lost"
            problems.append(Problem(repository, f":{tag}", "missing", where))
        elif digest in bad:
            reason = "purged" if bad[digest] == "purged" else "incomplete"
            problems.append(Problem(repository, f":{tag}", reason, f"it needs {digest}"))
    # A former value that was deleted at the source is history all the same.
    left_out = refused.keys() | {d for d, reason in bad.items() if reason != "missing"}
    history = [
        (tag, digest)
        for tag, digest in sorted(state.history)
        if (everything and digest not in left_out) or (tag in current and digest == current[tag])
    ]
    return Selection(blobs, layers, revisions, history, current, problems)


def _tags(
    images: Images,
    tags: Collection[str],
    wanted: set[str],
    *,
    everything: bool,
    referrers: bool,
) -> dict[str, str]:
    state = images.state
    if everything:
        return dict(state.tags)
    chosen = {tag: state.tags[tag] for tag in tags if tag in state.tags}
    if referrers:
        # Clients find a signature by its fallback tag, so it comes along.
        for tag, subject in images.fallback_tags():
            if subject in wanted:
                chosen[tag] = state.tags[tag]
    return chosen


def _bad_manifests(
    repository: str,
    images: Images,
    wanted: set[str],
    refused: dict[str, str],
    problems: list[Problem],
) -> dict[str, str]:
    """Return the manifests that cannot come back, and why: not held, refused, or reaching such."""
    state = images.state
    bad: dict[str, str] = {}

    def report(digest: str, reason: str, detail: str = "") -> None:
        bad[digest] = reason
        problems.append(Problem(repository, digest, reason, detail))

    for digest in sorted(wanted):
        if state.revisions[digest][1] is None:
            report(digest, "missing", "not in the snapshot")
        elif digest in refused:
            report(digest, refused[digest])
    if not refused:
        return bad
    for digest in sorted(wanted - bad.keys()):
        hit = refused.keys() & images.blobs_of([digest]).keys()
        if hit:
            purged = all(refused[each] == "purged" for each in hit)
            report(digest, "purged" if purged else "incomplete", f"it needs {min(hit)}")
    while True:
        parents: dict[str, str] = {}
        for digest in wanted - bad.keys():
            manifest = images.manifest(digest)
            reasons = {bad.get(child.digest) for child in manifest.children} if manifest else set()
            if reasons - {None}:
                parents[digest] = "purged" if reasons <= {None, "purged"} else "incomplete"
        if not parents:
            return bad
        for digest, reason in sorted(parents.items()):
            report(digest, reason, "a manifest of this index does not come back")


def _children_first(revisions: list[str], images: Images, everything: bool) -> list[str]:
    """Order manifests so that each comes after those that it names."""
    if everything:
        # Nothing but the links is written here, and tags come after all of them; sorting by
        # closure would read every manifest for nothing.
        return revisions
    kept = set(revisions)
    ordered: dict[str, None] = {}

    def visit(digest: str, depth: int) -> None:
        if digest in ordered or digest not in kept or depth > 32:
            return
        manifest = images.manifest(digest)
        for child in manifest.children if manifest else ():
            visit(child.digest, depth + 1)
        ordered[digest] = None

    for digest in revisions:
        visit(digest, 0)
    return list(ordered)
