"""Object Lock of a vault: what is locked for how long, and until when all of it is known to be.

`locks/policy.json` says mode and time, so that every writer locks alike, also one without a
configuration. `locks/retention/<run>.json` says until when what some roots need was locked.
(`docs/vault-format.md`, "Locks".)
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    RefusedError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.model.store import LockingStore, Retention
from regvault.oci.grammar import MAX_NUMBER
from regvault.vault.envelope import from_time, read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count
from regvault.vault.keys import (
    FORMAT,
    LOCK_POLICY,
    RETENTIONS,
    VAULT_JSON,
    is_locked_kind,
    retention_key,
    sequence_of,
)
from regvault.vault.presence import KeySizes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from regvault.model.store import ObjectStore

__all__ = [
    "MODES",
    "LockPolicy",
    "Locks",
    "lock_vault",
    "read_known",
    "record_known",
    "require_same_lock",
]

MODES = ("governance", "compliance")
#: So many of the newest records are read: more than runs that end at the same time.
_RECORDS_READ = 8
SECOND_NS = 1_000_000_000


class LockPolicy(NamedTuple):
    """How the objects of a vault are locked.

    Attributes:
        mode: `governance` or `compliance`.
        seconds: from when an object is written, and from when its lock is extended.
    """

    mode: str
    seconds: int

    def __str__(self) -> str:
        for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
            if self.seconds % length == 0:
                return f"{self.mode} for {self.seconds // length}{unit}"
        return f"{self.mode} for {self.seconds}s"

    def from_now(self, now_ns: int) -> Retention:
        """Return what is locked now gets: whole seconds, as stores keep them."""
        return Retention(self.mode, (now_ns // SECOND_NS + 1 + self.seconds) * SECOND_NS)


class Locks:
    """What the writes of one process to a vault carry. Thread-safe."""

    def __init__(self, store: ObjectStore, vault: str, policy: LockPolicy | None = None) -> None:
        self._store = store
        self._vault = vault
        self._policy = policy
        self._read = policy is not None
        self._lock = threading.Lock()
        self._stored = KeySizes()  # key -> until when the request locked it that stored it
        if isinstance(store, LockingStore):
            store.lock_writes(self._rule)

    @property
    def policy(self) -> LockPolicy | None:
        """How objects are locked; None: not at all. Read once.

        Raises:
            VaultDamagedError: it cannot be read: then nothing may be written that may lack a lock.
            UnknownFormatError: a newer regvault wrote it.
        """
        with self._lock:
            if not self._read:
                self._policy = _read_policy(self._store, self._vault)
                self._read = True
            return self._policy

    def _rule(self, key: str) -> Retention | None:
        if not is_locked_kind(key):
            return None
        policy = self.policy
        if policy is None:
            return None
        retention = policy.from_now(self._store.now_ns())
        with self._lock:
            self._stored[key] = retention.until_ns
        return retention

    def stored_until_ns(self, key: str) -> int | None:
        """Return until when an object is locked that this process has stored, else None.

        Whether it was stored after all shows LIST, or that a root needs it.
        """
        with self._lock:
            return self._stored.get(key)


def _read_policy(store: ObjectStore, vault: str) -> LockPolicy | None:
    if not isinstance(store, LockingStore):
        return None  # a copy of the files on a disk: nothing can be locked there
    try:
        data = fetch_document(store, LOCK_POLICY)
    except ObjectNotFoundError:
        return None
    body = read_document(data, LOCK_POLICY, types=("lock-policy",), vault=vault).body
    mode, seconds = body.get("mode"), body.get("seconds")
    if mode not in MODES or not isinstance(seconds, int) or seconds < 1:
        raise VaultDamagedError(f"{LOCK_POLICY} is damaged: it does not say how to lock")
    return LockPolicy(mode, seconds)


def lock_vault(store: ObjectStore, vault: str, policy: LockPolicy) -> None:
    """Lock `vault.json`, see that the store really did, and let everything be locked from now on.

    Raises:
        RefusedError: the store does not lock, or the vault is locked in another way already.
    """
    assert isinstance(store, LockingStore)
    wanted = policy.from_now(store.now_ns())
    store.extend_retention(VAULT_JSON, wanted)
    found = store.retention(VAULT_JSON)
    if found is None or found.until_ns < wanted.until_ns:
        raise RefusedError(
            f"{store.location} does not show the lock that {VAULT_JSON} was given",
            hint="The server must keep retentions, and these credentials need "
            "s3:GetObjectRetention and s3:PutObjectRetention. Then the same command again.",
        )
    Locks(store, vault, policy)
    body = {
        "type": "lock-policy",
        "format": FORMAT,
        "features": [],
        "vault": vault,
        "mode": policy.mode,
        "seconds": policy.seconds,
        "at": to_time(time.time_ns()),
    }
    try:
        store.put(LOCK_POLICY, write_document(body)[0], if_none_match=True)
    except PreconditionError:
        require_same_lock(store.location, _read_policy(store, vault), policy)


def require_same_lock(location: str, there: LockPolicy | None, wanted: LockPolicy) -> None:
    """Refuse to lock a vault in another way than it is locked.

    Raises:
        RefusedError: it is.
    """
    if there != wanted:
        raise RefusedError(
            f"the vault at {location} is locked already, {there}, and that does not change",
            hint=f"To lock {wanted}, make a new vault and copy to it: regvault copy --from VAULT "
            "--to NEW",
        )


def read_known(
    store: ObjectStore, vault: str, policy: LockPolicy, slots: Collection[str]
) -> dict[str, int]:
    """Return of slots until when all that their snapshots need is locked, as far as is known.

    Records are believed as far as their own time allows, so that none can claim more than the run
    that wrote it can have done. One that cannot be read claims nothing.

    Returns:
        key of the slot -> nanoseconds since the epoch, by the store's clock.
    """
    known: dict[str, int] = {}
    newest = sorted(store.list(RETENTIONS), key=lambda entry: entry.key)[-_RECORDS_READ:]
    for entry in reversed(newest):
        with contextlib.suppress(
            VaultDamagedError,
            UnknownFormatError,
            ObjectNotFoundError,
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ):
            data = fetch_document(store, entry.key)
            body = read_document(data, entry.key, types=("retention",), vault=vault).body
            until_ns = math.floor(from_time(body["until"]).timestamp()) * SECOND_NS
            until_ns = min(until_ns, policy.from_now(entry.modified_ns).until_ns)
            # The first records had `roots`: each key by itself.
            old = "roots" in body
            for key in body["roots"] if old else _within(body["slots"], slots):
                if key in slots:
                    known[key] = max(known.get(key, 0), until_ns)
        if len(known) == len(slots):
            break
    return known


def record_known(
    store: ObjectStore,
    vault: str,
    run: str,
    policy: LockPolicy,
    until_ns: int,
    roots: Iterable[str],
) -> str:
    """Say until when all that these roots need is locked; return the record's key."""
    body = {
        "type": "retention",
        "format": FORMAT,
        "features": [],
        "vault": vault,
        "run": run,
        "at": to_time(time.time_ns()),
        "mode": policy.mode,
        "until": to_time(until_ns),
        "slots": _ranges(roots),
    }
    key = retention_key(run)
    store.put(key, write_document(body)[0], if_none_match=True)
    return key


def _ranges(slots: Iterable[str]) -> dict[str, list[list[int]]]:
    """Return slots as ranges of numbers by registry: each run writes all of them anew."""
    found: dict[str, list[list[int]]] = {}
    for key in sorted(slots):
        registry, number = _slot(key)
        ranges = found.setdefault(registry, [])
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return found


def _within(ranges: Any, slots: Iterable[str]) -> Iterator[str]:
    """Yield those slots that lie in ranges. Raises TypeError or ValueError where these are none."""
    of = {registry: [(count(a), count(b)) for a, b in each] for registry, each in ranges.items()}
    for key in slots:
        registry, number = _slot(key)
        each = of.get(registry, [])
        at = bisect_right(each, (number, MAX_NUMBER)) - 1
        if at >= 0 and number <= each[at][1]:
            yield key


def _slot(key: str) -> tuple[str, int]:
    number = sequence_of(key)
    assert number is not None
    return key.split("/")[1], number
