"""What a prune may delete: what LIST shows, less what is needed, or too young to tell.

The plan is made without the lock, so that a person can look at it for as long as it takes. What it
names is decided again under the lock, and only ever becomes less.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.model.store import HierarchicalStore
from regvault.vault.amendments import read_amendments
from regvault.vault.certain import (
    check_clock,
    claimed_lists,
    copied_by,
    known_registries,
    read_chain,
    unfinished_since,
)
from regvault.vault.condemned import read_condemned
from regvault.vault.keys import CATALOG, parse_segment_key
from regvault.vault.presence import list_objects
from regvault.vault.reach import needed_keys
from regvault.vault.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.vault.objectlist import Amendments, ObjectList
    from regvault.vault.vault import Vault

__all__ = [
    "GRACE_S",
    "Keys",
    "Needs",
    "PrunePlan",
    "Seen",
    "plan_prune",
    "read_needs",
    "settled_before",
    "still_unneeded",
]

#: What is younger is never condemned: a run may have stored it and be about to commit.
GRACE_S = 24 * 3600


class Seen(NamedTuple):
    """One object as LIST showed it.

    Attributes:
        key: its key.
        size: bytes.
        modified_ns: nanoseconds since the epoch, by the store's clock.
    """

    key: str
    size: int
    modified_ns: int


class Keys:
    """Objects in byte order of their keys: in a temporary table, however many."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(
            "CREATE TABLE keys (key TEXT PRIMARY KEY, size INT, modified INT) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")
        self.count = 0
        self.nbytes = 0

    def add(self, seen: Seen) -> None:
        """Add one; a LIST that shows it twice counts once."""
        if not self._db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", seen).rowcount:
            return
        self.count += 1
        self.nbytes += seen.size

    def __iter__(self) -> Iterator[Seen]:
        """Yield them in byte order of their keys."""
        for row in self._db.execute("SELECT key, size, modified FROM keys ORDER BY key"):
            yield Seen(*row)

    def close(self) -> None:
        """Free the table."""
        self._db.close()


@dataclass
class PrunePlan:
    """What may go.

    Attributes:
        candidates: what nothing needs and nothing has condemned yet.
        leftovers: what is condemned already, and still there.
        needed: condemned though a snapshot needs it: damage, or a forgery. It stays.
        kept_young: objects that nothing needs, but that are too young to tell; and their bytes.
        objects: how many objects LIST showed; and their bytes.
    """

    candidates: Keys = field(default_factory=Keys)
    leftovers: Keys = field(default_factory=Keys)
    needed: list[str] = field(default_factory=list)
    kept_young: tuple[int, int] = (0, 0)
    objects: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--dry-run --json` prints.

        `condemn`, `delete`, `young`, `objects`: each with `objects` and `bytes`: what is condemned
        now; of earlier lists what is still there; what is kept since it is younger than the grace
        time; all of the vault. `needed`: keys that are condemned though a snapshot needs them.
        """

        def both(count: int, nbytes: int) -> dict[str, int]:
            return {"objects": count, "bytes": nbytes}

        return {
            "condemn": both(self.candidates.count, self.candidates.nbytes),
            "delete": both(self.leftovers.count, self.leftovers.nbytes),
            "young": both(*self.kept_young),
            "objects": both(*self.objects),
            "needed": self.needed,
        }

    def close(self) -> None:
        """Free what is held."""
        self.candidates.close()
        self.leftovers.close()


class Needs(NamedTuple):
    """What must stay, as the vault says at one moment.

    Attributes:
        lists: the object lists of all snapshots, and of those that readers claim.
        amendments: of the vault.
        committed: ids of the runs that committed a snapshot, whether it was forgotten or not.
    """

    lists: list[ObjectList]
    amendments: Amendments
    committed: set[str]

    def keys(self) -> Iterator[str]:
        """Yield them in byte order."""
        return needed_keys(self.lists, self.amendments)


def read_needs(vault: Vault, *, claims: bool) -> Needs:
    """Read all roots, then the amendments, and only then the claims.

    Args:
        vault: where.
        claims: read, and end, the claims of readers: only under the lock.

    Raises:
        VaultDamagedError: something cannot be read, or a chain has a gap.
        UnknownFormatError: a newer regvault wrote something.
    """
    lists: list[ObjectList] = []
    committed: set[str] = set()
    for registry in known_registries(vault):
        for slot in read_chain(vault, registry):
            if slot.root is not None:
                lists.append(vault.object_list(slot.root))
                committed |= {slot.root.run, copied_by(slot.root)}
            elif slot.stub is not None:
                committed.add(slot.stub.run)
    amendments = read_amendments(vault.store, vault.id).changes
    if claims:
        lists += claimed_lists(vault)
    return Needs(lists, amendments, committed)


def plan_prune(
    vault: Vault, *, progress: Progress, threads: int, grace_s: float = GRACE_S
) -> PrunePlan:
    """Say what may be deleted. Changes nothing.

    Args:
        vault: where.
        progress: is told how far it is.
        threads: that LIST.
        grace_s: seconds; what is younger stays.

    Raises:
        RefusedError: the clock differs from the store's.
        VaultDamagedError: what is needed cannot be known.
    """
    store = vault.store
    check_clock(store)
    parallel = 1 if isinstance(store, HierarchicalStore) else threads
    listing, plan = Keys(), PrunePlan()
    try:
        # The LIST comes first: what is written after it is not looked at.
        progress.phase("Listing the vault")
        for entry in list_objects(store, parallel):
            listing.add(Seen(entry.key, entry.size, entry.modified_ns))
            progress.advance(1)
        segments = [Seen(e.key, e.size, e.modified_ns) for e in store.list(CATALOG)]
        progress.phase("Reading what snapshots need")
        needs = read_needs(vault, claims=False)
        condemned = read_condemned(store, vault.id)
        before_ns = settled_before(vault, needs, grace_s)
        plan.objects = (listing.count, listing.nbytes)
        for seen, needed in with_needs(listing, needs.keys()):
            _judge(plan, seen, before_ns, needed=needed, condemned=seen.key in condemned)
        for seen in _superseded(vault, segments):
            _judge(plan, seen, before_ns, needed=False, condemned=seen.key in condemned)
    except BaseException:
        plan.close()
        raise
    finally:
        listing.close()
    return plan


def settled_before(vault: Vault, needs: Needs, grace_s: float) -> int:
    """Return the time before which an object must have been written to be condemned.

    Returns:
        nanoseconds since the epoch, by the store's clock.
    """
    before_ns = vault.store.now_ns() - int(grace_s * 1e9)
    since = unfinished_since(vault, needs.committed)
    return before_ns if since is None else min(before_ns, since)


def still_unneeded(
    plan: PrunePlan, needs: Needs, condemned: Container[str], before_ns: int
) -> Iterator[Seen]:
    """Yield those candidates of a plan of which all that was said is still true."""
    for seen, needed in with_needs(plan.candidates, needs.keys()):
        if not needed and seen.key not in condemned and seen.modified_ns < before_ns:
            yield seen


def _judge(plan: PrunePlan, seen: Seen, before_ns: int, *, needed: bool, condemned: bool) -> None:
    if needed:
        if condemned:
            plan.needed.append(seen.key)
    elif condemned:
        plan.leftovers.add(seen)
    elif seen.modified_ns < before_ns:
        plan.candidates.add(seen)
    else:
        count, nbytes = plan.kept_young
        plan.kept_young = count + 1, nbytes + seen.size


def with_needs(objects: Iterable[Seen], needed: Iterator[str]) -> Iterator[tuple[Seen, bool]]:
    """Yield each object, and whether it is needed; both come in byte order."""
    wanted = next(needed, None)
    for seen in objects:
        while wanted is not None and wanted < seen.key:
            wanted = next(needed, None)
        yield seen, wanted == seen.key


def _superseded(vault: Vault, segments: list[Seen]) -> Iterator[Seen]:
    """Yield the segments whose lines are all in another one that is there, and can be read."""
    there = {seen.key: seen for seen in segments}
    gone: set[str] = set()
    for seen in segments:
        name = parse_segment_key(seen.key)
        if name is None or name.level == 0:
            continue
        segment = Segment(vault.store, name, vault.seal)
        try:
            segment.prove()
            gone.update(segment.table().supersedes)
        except (VaultDamagedError, ObjectNotFoundError):
            continue  # the catalog does without it, and needs those that it superseded
    for key in sorted(gone):
        if key in there:
            yield there[key]
