"""Evidence of a vault: its chains, what proved them, where it lies, whether it is locked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, RegvaultError, StoreError, VaultDamagedError
from regvault.model.whereabouts import Lock, Whereabouts
from regvault.ops.chains import read_chain
from regvault.ops.check.verified import Verified, read_verified
from regvault.ops.opened import Opened
from regvault.ops.selector import registry_names
from regvault.policy.rule321 import Flaw
from regvault.vault.records import read_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.ops.chains import Chain
    from regvault.ops.check.live import SeenRegistry
    from regvault.ops.check.places import VaultAt
    from regvault.policy.rule321 import Rule
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = [
    "CLOSED",
    "UNKNOWN_PLACE",
    "SeenChain",
    "SeenVault",
    "flaw_of",
    "look_at_vault",
    "may_be_of",
]

UNKNOWN_PLACE = Whereabouts("", "", "", "")
_NO_LOCK = Lock(held=False, detail="")
#: So many names tell whether a snapshot is of a registry.
_NAMED = 100
#: Clocks may differ by so much.
_SKEW = timedelta(minutes=5)


@dataclass(slots=True)
class SeenChain:
    """The snapshots of one registry in one vault.

    Attributes:
        chain: as it was read.
        id: the registry's permanent id; "" where no root of it can be read.
        as_of: of what time its newest restorable snapshot is; None for none.
        lock: whether that can be deleted.
        verified: what is proven.
        flaws: what is wrong.
    """

    chain: Chain
    id: str
    as_of: datetime | None = None
    lock: Lock = _NO_LOCK
    verified: Verified = field(default_factory=Verified)
    flaws: list[Flaw] = field(default_factory=list)

    @property
    def newest(self) -> Root | None:
        """The newest snapshot, whatever its state."""
        return self.chain.roots[-1] if self.chain.roots else None

    @property
    def latest(self) -> Root | None:
        """The newest that is complete and not held."""
        return next(reversed(self.chain.restorable()), None)


@dataclass(slots=True)
class SeenVault:
    """A vault as it was seen.

    Attributes:
        at: what was asked for.
        vault: opened, or None.
        flaw: why it could not be opened, or read at all; None where it could.
        where: its store lies.
        chains: of its registries.
    """

    at: VaultAt
    vault: Vault | None = None
    flaw: Flaw | None = None
    error: RegvaultError | None = None
    where: Whereabouts = UNKNOWN_PLACE
    chains: list[SeenChain] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Whether it is not known of which registry a chain of it is: it is sealed."""
        newest = (chain.newest for chain in self.chains)
        return any(root is not None and not root.opened for root in newest)


def flaw_of(error: RegvaultError) -> Flaw:
    """Return an error as what is wrong with a copy."""
    hint = error.hint or "Try again, with -v for more."
    return Flaw(error.code, error.message, hint, isinstance(error, VaultDamagedError))


def look_at_vault(at: VaultAt, rule: Rule, now: datetime) -> SeenVault:
    """Look at a vault. Whatever cannot be read is in the result, not raised."""
    seen = SeenVault(at)
    try:
        seen.vault = vault = at.open()
        try:
            seen.where = at.whereabouts(vault.store)
        except StoreError:  # what may be read of it may still be; where it lies is not known
            seen.where = UNKNOWN_PLACE
        _look(seen, vault, rule, now)
    except RegvaultError as error:
        seen.flaw, seen.error = flaw_of(error), error
    return seen


def _look(seen: SeenVault, vault: Vault, rule: Rule, now: datetime) -> None:
    since = now - timedelta(seconds=max(rule.verify_metadata_s, rule.verify_data_s))
    verified, unreadable = read_verified(vault, since)
    try:
        read_records(vault.store, vault.id, "confirmations")
    except VaultDamagedError as error:
        unreadable.append(f"{error.message}; held snapshots count as not confirmed")
    common = [_damaged(message, seen.at.name) for message in unreadable]
    for name in registry_names(vault):
        chain = read_chain(vault, name, vault.confirmations)
        newest = chain.roots[-1] if chain.roots else None
        if newest is None and not chain.damage:
            continue  # voids only: nothing was ever committed
        each = SeenChain(chain, newest.registry_id if newest else "", flaws=list(common))
        each.verified = verified.get(name, each.verified)
        each.flaws += [Flaw("damaged", *damage, damaged=True) for damage in chain.damage]
        each.flaws += _failed(each, seen.at.name)
        each.flaws += _state(each, seen.at.name)
        _look_at_latest(each, seen, vault, now)
        seen.chains.append(each)


def _look_at_latest(each: SeenChain, seen: SeenVault, vault: Vault, now: datetime) -> None:
    """See of what time the newest restorable snapshot is, and whether it is locked and readable."""
    root = each.latest
    if root is None:
        return
    try:
        head = vault.store.head(root.name.key)
        next(iter(vault.object_list(root)), None)
    except (VaultDamagedError, ObjectNotFoundError) as error:
        each.flaws.append(_damaged(error.message, seen.at.name))
        return
    stored = datetime.fromtimestamp(head.modified_ns / 1e9, UTC)
    # A host that was taken over may write any time into a snapshot; when it came, the store says.
    each.as_of = root.started_at if root.started_at <= stored + _SKEW else stored
    if root.started_at > now + _SKEW:
        message = f"{root.name} says that it was started at {root.started}, which is yet to come"
        hint = "Compare the clocks; see who wrote it: regvault snapshots --vault " + seen.at.name
        each.flaws.append(Flaw("from-the-future", message, hint))
    try:
        each.lock = seen.at.lock(vault.store, root.name.key, now)
    except StoreError as error:
        each.lock = Lock(held=False, detail=f"whether it is locked is not known: {error.message}")


def _failed(each: SeenChain, vault: str) -> Iterable[Flaw]:
    failed = each.verified.failed
    if failed is not None:
        option = {"quick": " --quick", "data": " --read-data"}.get(failed.depth, "")
        count = f"{failed.problems} problems" if failed.problems != 1 else "a problem"
        yield Flaw(
            "verification-failed",
            f"the verification ({failed.depth}) of {failed.at} found {count}, and none "
            "as deep has found it whole since",
            f"See them: regvault verify --vault {vault}{option}. Mend it: regvault repair "
            f"--vault {vault} --from WHERE",
            damaged=True,
        )


def _state(each: SeenChain, vault: str) -> Iterable[Flaw]:
    """Yield what is wrong with the newest snapshot, however whole it is stored."""
    root = each.newest
    if root is None:
        return
    if root.name.sequence in each.chain.held:
        reason = str((root.held or {}).get("reason", ""))
        hint = f"If that is right: regvault confirm {root.name} --vault {vault}"
        yield Flaw("held", f"the newest snapshot {root.name} is held: {reason}", hint)
    elif not root.complete:
        message = f"the newest snapshot {root.name} is incomplete: something was unreadable"
        yield Flaw("incomplete", message, "Mend what could not be read, and take another.")


#: What is wrong with a vault of which it is not known what it has.
CLOSED = Flaw(
    "sealed",
    "sealed, and no identity that was given tells which registry its snapshots are of",
    "Give one: --identity file:/PATH, `identity` in the configuration, or $REGVAULT_IDENTITY. "
    "That of the host that takes snapshots will do.",
)


def _damaged(message: str, vault: str) -> Flaw:
    hint = f"See all that is wrong: regvault verify --vault {vault}"
    return Flaw("damaged", message, hint, damaged=True)


def may_be_of(vault: Vault, root: Root, live: SeenRegistry) -> bool:
    """Return whether a snapshot and a registry share a repository, as far as the first ones tell.

    Either may lack the first ones of the other: a snapshot of a part of it, a registry that has
    lost much.

    Raises:
        VaultDamagedError: the snapshot cannot be read.
    """
    with Opened(vault, root) as opened:
        if not root.counts.repositories:
            return True
        first = (entry.name for entry in islice(opened.entries(), _NAMED))
        return any(map(live.may_have, first)) or any(
            opened.entry(name) is not None for name in live.names[:_NAMED]
        )
