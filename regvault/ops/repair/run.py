"""Carries a repair out: same bytes in place first, then what takes the place of what is lost.

What lies under a damaged key is only replaced by bytes that its name proves. What could not be
brought back byte for byte moves to a new object, and an amendment says so; only then is the old one
condemned. So an interruption leaves whatever could be recovered before.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    CredentialError,
    DigestMismatchError,
    ObjectNotFoundError,
    RegvaultError,
    StoreUnavailableError,
    VaultDamagedError,
)
from regvault.oci.verify import VerifyingReader, matches_manifest
from regvault.ops.claim import claim
from regvault.ops.confirm import who
from regvault.ops.prune.deleting import delete_all
from regvault.ops.prune.plan import Seen
from regvault.ops.repair.catalog import rebuild_catalog
from regvault.ops.repair.members import members_of, salvage
from regvault.ops.repair.past import Recovered
from regvault.ops.repair.plan import RepairPlan, plan_repair
from regvault.ops.repair.roots import put_back
from regvault.ops.repair.spares import OwnSpare, VaultSpare
from regvault.ops.repair.strangers import remove_strangers
from regvault.ops.verify.run import VerifyOptions, verify
from regvault.vault.catalog import Catalog
from regvault.vault.certain import check_clock
from regvault.vault.condemned import read_condemned
from regvault.vault.keys import digest_of_key, is_keyed, name_of_key, new_run_id
from regvault.vault.pack import pack_bytes
from regvault.vault.presence import Presence
from regvault.vault.prune_lock import PruneLock
from regvault.vault.replace import commit_replacements
from regvault.vault.rewrite import store_members
from regvault.vault.segment import Location, sealed_proof
from regvault.vault.writer import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from regvault.model.progress import Progress
    from regvault.ops.repair.plan import Action
    from regvault.ops.repair.spares import Spare
    from regvault.ops.verify.run import VerifyResult
    from regvault.vault.objectlist import Amendments, ObjectRef
    from regvault.vault.vault import Vault

__all__ = ["RepairResult", "repair"]

#: No blob of a pack or a meta object is larger.
_MEMBER_BYTES = 8 << 20
_NO_LIMIT = 1 << 62


@dataclass(slots=True)
class RepairResult:
    """What was done.

    Attributes:
        plan: that was executed.
        documents: keys of what came back from the vault's past beside objects.
        mended: objects that have their own bytes again.
        roots: slots of snapshots that were put back.
        given_up: snapshots whose roots nobody has: a stub is in the place of each.
        removed: keys of leases and records of another vault.
        replaced: old key -> the object that took its place; None where nothing was left.
        dropped: digests that are gone from all snapshots, since nobody has them.
        failed: (key, why) of what could not be mended after all.
        segment: key of the segment that was written for the catalog, or None.
        amendment: key of the amendment, or None.
        after: the verification at the end.
    """

    plan: RepairPlan
    documents: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    replaced: Amendments = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    segment: str | None = None
    amendment: str | None = None
    after: VerifyResult | None = None

    def exit_code(self) -> int:
        """Return 0 where the vault is whole now, 4 where it is not."""
        return 0 if self.after is not None and not self.after.report.count else 4

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints: the plan's, and what was done.

        `documents_put_back`: keys. `mended`: objects that have their own bytes again.
        `roots_put_back`: slots. `given_up`: snapshots whose roots nobody has. `removed`: leases and
        records of another vault. `replaced`: `object`, and `by`, the new one's key or null.
        `dropped`: digests that are gone from all snapshots. `failed`: `object`, `why`. `segment`,
        `amendment`: keys, or null. `after`: the document of the verification at the end.
        """
        return {
            **self.plan.to_json(),
            "documents_put_back": self.documents,
            "mended": self.mended,
            "roots_put_back": self.roots,
            "given_up": self.given_up,
            "removed": self.removed,
            "replaced": [
                {"object": key, "by": ref.key if ref else None}
                for key, ref in sorted(self.replaced.items())
            ],
            "dropped": self.dropped,
            "failed": [{"object": key, "why": why} for key, why in self.failed],
            "segment": self.segment,
            "amendment": self.amendment,
            "after": self.after.to_json() if self.after else None,
        }


def repair(
    vault: Vault,
    plan: RepairPlan,
    spares: Sequence[Spare],
    *,
    options: VerifyOptions,
    progress: Progress,
    wait_s: float = 0,
    by: Callable[[], str] = who,
) -> RepairResult:
    """Do what a plan says, then verify the vault.

    Args:
        vault: that is damaged.
        plan: what a person agreed to.
        spares: where good bytes may be, the best first.
        options: of the verification at the end.
        progress: is told how far it is.
        wait_s: seconds to wait for snapshots that are at work, where objects are replaced.
        by: tells who does it.

    Raises:
        LeaseHeldError: a snapshot or a prune is at work.
        RefusedError: the clock differs from the store's.
        VaultDamagedError: amendments or condemned lists cannot be read.
    """
    check_clock(vault.store)
    vault.require_amendments()
    result = RepairResult(plan)
    if isinstance(vault.store, Recovered):
        result.documents = vault.store.put_back()
    each: RepairPlan | None = plan
    while each is not None:
        before = len(result.mended)
        result.removed += remove_strangers(vault, each.strangers)
        put = [lost for lost in each.filling() if put_back(vault, lost)]
        result.roots += [lost.name.key for lost in put if lost.source]
        result.given_up += [str(lost.name) for lost in put if not lost.source]
        _round(vault, each, spares, result, progress, wait_s, by)
        each = None
        if put or any(key.startswith("trees/") for key in result.mended[before:]):
            # Under what could not be read there may be more. (Nothing more is dropped.)
            more = plan_repair(vault, spares, options=options, progress=progress)
            each = None if more.nothing_to_do else more
    # Readers of this process have read amendments before there was another one.
    vault.require_amendments()
    result.after = verify(vault, options, progress=progress)
    return result


def _round(
    vault: Vault,
    plan: RepairPlan,
    spares: Sequence[Spare],
    result: RepairResult,
    progress: Progress,
    wait_s: float,
    by: Callable[[], str],
) -> None:
    roots = [root for name in vault.registries() for root in vault.roots(name, damaged=_ignore)]
    catalog = Catalog(vault.store, None, vault.seal)
    try:
        with claim(vault, roots, progress):
            catalog.prepare(1 << 30)
            mender = _Mender(vault, catalog, plan, spares)
            doing = plan.doing()
            progress.phase("Mending objects", total_items=len(doing))
            rest = []
            for action in doing:
                if not mender.in_place(action, result):
                    rest.append(action)
                progress.advance(1)
            vault.store.barrier()
            if rest:
                _replace(vault, mender, plan, rest, catalog, result, progress, wait_s, by)
            if plan.catalog:
                progress.phase("Writing the catalog anew")
                result.segment = rebuild_catalog(vault, roots, plan.bad_segments)
    finally:
        catalog.close()


def _ignore(_error: VaultDamagedError) -> None:
    """Pass over a damaged root: `verify` names it."""


class _Mender:
    """Gets good bytes from wherever they are, and proves them."""

    def __init__(
        self, vault: Vault, catalog: Catalog, plan: RepairPlan, spares: Sequence[Spare]
    ) -> None:
        self.vault = vault
        self._catalog = catalog
        self.digests = plan.digests
        self._vaults = [spare for spare in spares if isinstance(spare, VaultSpare)]
        damaged = {action.ref.key for action in plan.actions}
        self._blobs = (OwnSpare(vault, catalog, damaged), *spares)

    def in_place(self, action: Action, result: RepairResult) -> bool:
        """Give an object its own bytes again; return whether that is over with, well or not."""
        ref = action.ref
        try:
            if self._fetch(ref) or (is_raw(ref) and self._store(ref)):
                result.mended.append(ref.key)
                return True
            if action.how in ("fetch", "store"):
                result.failed.append((ref.key, "no place had the right bytes after all"))
                return True
            sealed = self.vault.seal.sealed  # made again, it has other bytes
            if ref.key.startswith("packs/") and not sealed and self._rebuild(ref):
                result.mended.append(ref.key)
                return True
        except StoreUnavailableError:
            raise
        except RegvaultError as error:
            result.failed.append((ref.key, error.message))
            return True
        return False

    def _fetch(self, ref: ObjectRef) -> bool:
        """Copy the same object from another vault."""
        for spare in self._vaults:
            if spare.has_object(ref):
                try:
                    if not self._copy(spare, ref):
                        with spare.open_object(ref) as reader:
                            self._put(ref, reader)
                except (ObjectNotFoundError, DigestMismatchError):
                    continue
                return True
        return False

    def _copy(self, spare: VaultSpare, ref: ObjectRef) -> bool:
        """Let the server copy an object, of which it computes the digest; False: it cannot."""
        key = spare.key_of(ref)
        if key is None:
            return False
        stored = self.vault.store.copy_in(
            spare.vault.store, key, ref.key, size=ref.size, sha256=ref.sha256
        )
        return stored is not None

    def _store(self, ref: ObjectRef) -> bool:
        """Store a raw blob again, from wherever it is a blob."""
        digest = digest_of_key(ref.key) or ""
        for spare in self._blobs:
            if spare.has_blob(digest):
                try:
                    reader, size = spare.open_blob(digest)
                    with reader:
                        if size == ref.size:
                            self._put(ref, reader)
                            return True
                except (ObjectNotFoundError, DigestMismatchError):
                    continue
        return False

    def _put(self, ref: ObjectRef, reader: Any) -> None:
        self.vault.store.put_stream(ref.key, reader, size=ref.size, sha256=ref.sha256)

    def _rebuild(self, ref: ObjectRef) -> bool:
        """Make a pack again, byte for byte, of its members; False where that is not the same."""
        blobs: list[tuple[str, bytes]] = []
        for digest, data in self.members(ref):
            if data is None:
                return False
            blobs.append((digest, data))
        data = pack_bytes(blobs)
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            return False
        self._put(ref, io.BytesIO(data))
        return True

    def members(self, ref: ObjectRef) -> list[tuple[str, bytes | None]]:
        """Return the members of an object, by offset, proven; None for what nobody has."""
        found: dict[str, bytes | None] = {}
        for member in members_of(self.vault, ref, self._catalog, self.digests):
            data = member.data
            found[member.digest] = self.blob(member.digest) if data is None else data
        return list(found.items())

    def reseal(self, writer: ObjectWriter, name: str) -> tuple[ObjectRef, Location] | None:
        """Seal a large blob anew, from wherever it is; None where nobody has it."""
        digest = self.digests[name]
        for spare in self._blobs:
            if not spare.has_blob(digest):
                continue
            try:
                reader, size = spare.open_blob(digest)
                with VerifyingReader(reader, digest, size) as proven:
                    ref = writer.put_sealed(digest, proven)
            except (ObjectNotFoundError, DigestMismatchError, VaultDamagedError, CredentialError):
                continue
            return ref, Location(name, ref.key, 0, ref.size, size, sealed_proof(ref.sha256))
        return None

    def blob(self, digest: str) -> bytes | None:
        """Return a small blob from wherever it is, proven; None where nobody has it."""
        for spare in self._blobs:
            if not spare.has_blob(digest):
                continue
            try:
                reader, size = spare.open_blob(digest)
                with reader:
                    if size > _MEMBER_BYTES:
                        continue
                    data = reader.read(size + 1)
            except (ObjectNotFoundError, VaultDamagedError):
                continue
            if matches_manifest(data, digest):
                return data
        return None


def _replace(
    vault: Vault,
    mender: _Mender,
    plan: RepairPlan,
    actions: list[Action],
    catalog: Catalog,
    result: RepairResult,
    progress: Progress,
    wait_s: float,
    by: Callable[[], str],
) -> None:
    """Move what is left of objects into new ones, and say so."""
    store, run = vault.store, new_run_id()
    progress.phase("Replacing objects", total_items=len(actions))
    with PruneLock(store, vault.id, run, wait_s=wait_s, say=progress.note) as lock:
        vault.require_amendments()
        condemned = read_condemned(store, vault.id)
        actions = [a for a in actions if not {a.ref.key} & (condemned | vault.amendments.keys())]
        goes = {action.ref.key for action in actions}
        writer = ObjectWriter(store, run, Presence(None), condemned | goes, vault.seal)
        lines: set[Location] = set()
        lost: set[str] = set()
        gathered = _gather(mender, writer, plan) if goes & set(plan.unknown) else None
        for action in actions:
            if gathered is not None and action.ref.key in plan.unknown:
                new, placed, gone = gathered
            else:
                new, placed, gone = _move(mender, writer, action)
            if gone - action.gone:
                # Nobody has agreed to lose these.
                why = f"{min(gone)} was to be had when it was planned, and is not now"
                result.failed.append((action.ref.key, why))
                goes.discard(action.ref.key)
                continue
            result.replaced[action.ref.key] = new
            lines.update(placed)
            lost |= gone.intersection(action.lost)
            progress.advance(1)
        if goes:
            result.amendment = commit_replacements(
                vault,
                catalog,
                lock,
                run,
                changes=result.replaced,
                lines=lines,
                goes=goes,
                condemned=condemned,
                purged=map(vault.seal.name, lost),
                by=by(),
                reason="beyond repair" if lost else "mended",
            )
            result.dropped = sorted(lost)
    doomed = []
    for key in sorted(goes):
        try:
            entry = store.head(key)
        except ObjectNotFoundError:
            continue
        doomed.append(Seen(key, entry.size, entry.modified_ns))
    delete_all(store, doomed, threads=1, progress=progress)
    store.barrier()


def is_raw(ref: ObjectRef) -> bool:
    """Return whether an object is a blob, byte for byte."""
    return ref.key.startswith("blobs/") and not is_keyed(ref.key)


def _move(
    mender: _Mender, writer: ObjectWriter, action: Action
) -> tuple[ObjectRef | None, list[Location], set[str]]:
    """Store the members that are to be had; return the new object, its lines, needed ones gone."""
    ref = action.ref
    name = name_of_key(ref.key)
    if name is not None:
        found = mender.reseal(writer, name) if name in mender.digests else None
        if found is not None:
            return found[0], [found[1]], set()
        return None, [], {mender.digests[name]} if name in mender.digests else set(action.gone)
    members = mender.members(ref)
    whole = [(digest, data) for digest, data in members if data is not None]
    new, lines = store_members(writer, whole, pack=ref.key.startswith("packs/"))
    return new, lines, {digest for digest, data in members if data is None}


def _gather(
    mender: _Mender, writer: ObjectWriter, plan: RepairPlan
) -> tuple[ObjectRef | None, list[Location], set[str]]:
    """Store all that no object has any more in one new object; return the same as `_move`."""
    whole: dict[str, bytes] = {}
    for key in plan.unknown:
        whole |= salvage(mender.vault.store, key)
    found = {digest: whole.get(digest) or mender.blob(digest) for digest in sorted(plan.homeless)}
    members = [(digest, data) for digest, data in found.items() if data is not None]
    new, lines = store_members(writer, members, pack=False)  # manifests may be among it
    return new, lines, {digest for digest, data in found.items() if data is None}
