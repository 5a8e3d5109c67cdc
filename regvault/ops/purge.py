"""The verb `purge`: remove a content from every snapshot of a vault, whatever still needs it.

Roots stay as they are. What holds the content goes: a raw blob whole; of a pack or a meta object
the other members move to a new one. An amendment says so to every reader, a condemned list to
every writer; both are committed under the prune lock, so no snapshot sees the one without the
other. (`docs/vault-format.md`, "Purging".)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    CredentialError,
    NotFoundError,
    ObjectArchivedError,
    ObjectNotFoundError,
    TemporaryError,
    VaultDamagedError,
)
from regvault.ops.confirm import check_reason, who
from regvault.ops.prune.deleting import delete_all
from regvault.ops.prune.plan import Seen
from regvault.vault import recover
from regvault.vault.catalog import Catalog
from regvault.vault.certain import check_clock, claimed_lists, known_registries, read_chain
from regvault.vault.condemned import read_condemned
from regvault.vault.current_keys import require_current_keys
from regvault.vault.downgrade import refuse_downgrade
from regvault.vault.envelope import time_or_none
from regvault.vault.keys import blob_key, digest_of_key, name_of_key, new_run_id, plain_key
from regvault.vault.objectlist import ObjectRef
from regvault.vault.presence import Presence
from regvault.vault.prune_lock import PruneLock
from regvault.vault.replace import commit_replacements
from regvault.vault.rewrite import move_members
from regvault.vault.writer import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from regvault.model.progress import Progress
    from regvault.vault.objectlist import Amendments
    from regvault.vault.segment import Location
    from regvault.vault.vault import Vault

__all__ = ["PurgePlan", "PurgeResult", "plan_purge", "purge"]


@dataclass(slots=True)
class PurgePlan:
    """What holds the contents, and what becomes of it.

    Attributes:
        digests: of the contents.
        rewritten: packs and meta objects that hold others too: those move to a new object.
        dropped: objects that hold nothing else.
        replaced: objects that an interrupted purge has dealt with, and not condemned.
        leftovers: objects that are condemned, and still there.
        done: digests that were purged before, and that nothing holds.
    """

    digests: tuple[str, ...]
    rewritten: list[Seen] = field(default_factory=list)
    dropped: list[Seen] = field(default_factory=list)
    replaced: list[Seen] = field(default_factory=list)
    leftovers: list[Seen] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether something is to be committed."""
        return bool(self.rewritten or self.dropped or self.replaced)

    @property
    def nothing_to_do(self) -> bool:
        """Whether the contents are gone already."""
        return not (self.changes or self.leftovers)

    def keys(self) -> set[str]:
        """Return all objects that go."""
        return {s.key for s in (*self.rewritten, *self.dropped, *self.replaced, *self.leftovers)}

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--dry-run --json` prints.

        `digests`. `rewrite`: packs and meta objects whose other members move to new ones. `delete`:
        objects that go without that. `done`: digests that were purged before.
        """
        gone = (*self.dropped, *self.replaced, *self.leftovers)
        return {
            "digests": list(self.digests),
            "rewrite": sorted(seen.key for seen in self.rewritten),
            "delete": sorted(seen.key for seen in gone),
            "done": sorted(self.done),
        }


@dataclass(slots=True)
class PurgeResult:
    """What was done.

    Attributes:
        plan: that was executed.
        amendment: key of the amendment; None where an earlier run had written it.
        written: new objects with what shared one with the content; and their bytes.
        deleted: objects that are gone; and their bytes.
        locked: objects that the store does not let go yet (Object Lock, a missing right).
        locked_until_ns: when the last of their locks lapses; None where it is no lock.
        claimed: objects that stay until whoever reads them is done.
    """

    plan: PurgePlan
    amendment: str | None = None
    written: tuple[int, int] = (0, 0)
    deleted: tuple[int, int] = (0, 0)
    locked: list[str] = field(default_factory=list)
    locked_until_ns: int | None = None
    claimed: list[str] = field(default_factory=list)

    def exit_code(self) -> int:
        """Return 3 where something holds the content still."""
        return 3 if self.locked or self.claimed else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints: the plan's, and what was done.

        `amendment`: its key, or null. `written`, `deleted`: `objects` and `bytes`. `locked`: keys
        that the store does not let go yet. `locked_until`: when the last of their locks lapses, or
        null. `claimed`: keys that a restore or a verify reads still.
        """
        return {
            **self.plan.to_json(),
            "amendment": self.amendment,
            "written": {"objects": self.written[0], "bytes": self.written[1]},
            "deleted": {"objects": self.deleted[0], "bytes": self.deleted[1]},
            "locked": self.locked,
            "locked_until": time_or_none(self.locked_until_ns),
            "claimed": self.claimed,
        }


def plan_purge(vault: Vault, digests: Sequence[str], *, progress: Progress) -> PurgePlan:
    """Say which objects hold the contents. Changes nothing.

    What the catalog knows is looked up; objects that it does not know are looked into.

    Raises:
        NotFoundError: nothing holds one of them, and it was not purged before.
        RefusedError: the clock differs from the store's.
        VaultDamagedError: what is needed cannot be known.
    """
    check_clock(vault.store)
    catalog = Catalog(vault.store, None, vault.seal)
    try:
        return _plan(vault, tuple(dict.fromkeys(digests)), catalog, progress)
    finally:
        catalog.close()


def _plan(
    vault: Vault, digests: tuple[str, ...], catalog: Catalog, progress: Progress
) -> PurgePlan:
    vault.require_amendments()
    refuse_downgrade(vault)
    require_current_keys(vault)
    for registry in known_registries(vault):  # every root can be read, or nothing is decided
        for _ in read_chain(vault, registry):
            pass
    condemned = read_condemned(vault.store, vault.id)
    plan = PurgePlan(digests)
    progress.phase("Looking for what holds it")
    found: set[str] = set()
    names = {vault.seal.name(digest): digest for digest in digests}
    for key, members in _holders(vault, tuple(names), catalog):
        held = members.intersection(names)
        if not held:
            continue
        found |= held
        seen = _seen(vault, key)
        if seen is None:
            continue
        if key in condemned:
            plan.leftovers.append(seen)
        elif key in vault.amendments:
            plan.replaced.append(seen)
        elif members <= names.keys():
            plan.dropped.append(seen)
        else:
            plan.rewritten.append(seen)
    there = {digest for name, digest in names.items() if name in found}
    purged = {digest for name, digest in names.items() if name in vault.amended.purged}
    plan.done = [d for d in digests if d not in there and d in purged]
    missing = [d for d in digests if d not in there and d not in plan.done]
    if missing:
        raise NotFoundError(
            f"the vault does not hold {', '.join(missing)}",
            hint="See what is known of it: regvault find DIGEST. Nothing was purged.",
        )
    return plan


def _holders(
    vault: Vault, names: tuple[str, ...], catalog: Catalog
) -> Iterator[tuple[str, set[str]]]:
    """Yield each object that may hold one of the contents, with the names of all that it holds."""
    catalog.prepare(1 << 30)
    raw: set[str] = set()
    shared: set[str] = set()
    everywhere = False
    for name in names:
        found = {entry.key for entry in vault.store.list(blob_key(name))}
        told = {place.key for place in catalog.find_name(name)}
        everywhere = everywhere or not found | told  # before it is said that nothing holds it
        raw |= found
        shared |= {key for key in told if key.startswith(recover.PREFIXES)}
    for key in sorted(raw):
        if plain_key(key) in map(blob_key, names):
            yield key, {name_of_key(key) or ""}
    for prefix in recover.PREFIXES:
        for entry in vault.store.list(prefix):
            ref = ObjectRef(entry.key, entry.size, "")
            members = catalog.members(entry.key)
            if entry.key in shared:
                yield entry.key, _holds(vault, ref, {place.digest for place in members})
            elif everywhere or not recover.tells_all(members, ref):
                yield entry.key, _holds(vault, ref, set())


def _holds(vault: Vault, ref: ObjectRef, told: set[str]) -> set[str]:
    """Return what lies in an object, by its own bytes: a segment that is wrong costs no content.

    Args:
        vault: where.
        ref: the object.
        told: what the catalog says, which has to do where no identity opens the object.
    """
    try:
        return told | {place.digest for place in recover.members_of(vault.store, ref, vault.seal)}
    except CredentialError:
        return told
    except ObjectArchivedError as error:
        error.hint = (
            "What else lies in that pack has to be read first. Thaw what a snapshot that needs it "
            "reads: regvault tier thaw SNAPSHOT --vault VAULT --wait; then purge again."
        )
        raise
    except (ObjectNotFoundError, VaultDamagedError):
        # Nobody can tell what else is in it. (It cannot be rewritten either: `repair` comes first.)
        return told | {""} if told else told


def _seen(vault: Vault, key: str) -> Seen | None:
    try:
        entry = vault.store.head(key)
    except ObjectNotFoundError:
        return None
    return Seen(key, entry.size, entry.modified_ns)


def purge(
    vault: Vault,
    plan: PurgePlan,
    *,
    progress: Progress,
    threads: int,
    reason: str = "",
    wait_s: float = 0,
    by: Callable[[], str] = who,
) -> PurgeResult:
    """Remove what a plan says.

    An interrupted one is finished by the same call again.

    Args:
        vault: where.
        plan: what a person agreed to.
        progress: is told how far it is.
        threads: that delete.
        reason: is kept in the vault.
        wait_s: seconds to wait for snapshots that are at work.
        by: tells who does it.

    Raises:
        UsageError: the reason is too long.
        LeaseHeldError: a snapshot or a prune is at work.
        LeaseLostError: another party took the lock, since this run slept.
        TemporaryError: something holds the content that was not in the plan.
        RefusedError: the clock differs from the store's.
        VaultDamagedError: an object that is to be rewritten is damaged.
    """
    check_reason(reason)
    check_clock(vault.store)
    result = PurgeResult(plan)
    if plan.nothing_to_do:
        return result
    run = new_run_id()
    catalog = Catalog(vault.store, None, vault.seal)
    claims = []
    try:
        with PruneLock(vault.store, vault.id, run, wait_s=wait_s, say=progress.note) as lock:
            now = _plan(vault, plan.digests, catalog, progress)
            if not now.keys() <= plan.keys():
                raise TemporaryError(
                    "what holds the content has changed since it was looked for",
                    hint="Nothing was purged. Run the same command again.",
                )
            if now.changes:
                _commit(vault, now, catalog, lock, run, result, progress, by=by, reason=reason)
            claims = list(claimed_lists(vault))
    finally:
        catalog.close()
    doomed = [*now.rewritten, *now.dropped, *now.replaced, *now.leftovers]
    result.claimed = [s.key for s in doomed if any(each.named(s.key) for each in claims)]
    progress.phase("Deleting", total_items=len(doomed))
    free = [seen for seen in doomed if seen.key not in result.claimed]
    deleted = delete_all(vault.store, free, threads=threads, progress=progress)
    result.deleted, result.locked = (deleted.count, deleted.nbytes), deleted.locked
    result.locked_until_ns = deleted.locked_until_ns
    vault.store.barrier()
    return result


def _commit(
    vault: Vault,
    plan: PurgePlan,
    catalog: Catalog,
    lock: PruneLock,
    run: str,
    result: PurgeResult,
    progress: Progress,
    *,
    by: Callable[[], str],
    reason: str,
) -> None:
    """Move what shares an object with the content, then say what became of the old ones."""
    store = vault.store
    goes = [*plan.rewritten, *plan.dropped, *plan.replaced]
    condemned = read_condemned(store, vault.id)
    writer = ObjectWriter(
        store, run, Presence(None), condemned | {seen.key for seen in goes}, vault.seal
    )
    changes: Amendments = {seen.key: None for seen in plan.dropped}
    names = tuple(map(vault.seal.name, plan.digests))
    lines: list[Location] = []
    progress.phase("Moving what lies beside it", total_items=len(plan.rewritten))
    for seen in plan.rewritten:
        ref = ObjectRef(seen.key, seen.size, (digest_of_key(seen.key) or "").partition(":")[2])
        changes[seen.key], placed = move_members(store, writer, ref, without=names)
        lines += placed
        progress.advance(1)
    result.amendment = commit_replacements(
        vault,
        catalog,
        lock,
        run,
        changes=changes,
        lines=lines,
        goes=[seen.key for seen in goes],
        condemned=condemned,
        purged=names,
        by=by(),
        reason=reason,
    )
    result.written = writer.written, writer.written_bytes
