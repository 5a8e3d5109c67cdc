"""Leases of runs: writers that commit roots, and readers that claim those that they stand on.

(`docs/vault-format.md`, "Leases".)
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Literal

from regvault.errors import (
    LeaseHeldError,
    ObjectNotFoundError,
    PreconditionError,
    RegvaultError,
    VaultDamagedError,
)
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import FORMAT, LEASES, lease_key
from regvault.vault.parties import (
    DEAD_AFTER_S,
    RENEW_EVERY_S,
    Holding,
    end,
    idle_s,
    process_identity,
    seen_dead,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import Entry, ObjectStore

__all__ = ["Lease", "end_dead_writers", "living_writers"]

#: Leases that nobody touched for longer are left to prune: they cost a read each, and a sleeper
#: that wakes up finds its slot filled.
_FORGOTTEN_AFTER_S = 7 * 86400
_SAME_MOMENT_S = 10

Role = Literal["writer", "reader"]


class Lease(Holding):
    """One run's lease, renewed by a thread of its own until it is released."""

    what = "lease"

    def __init__(
        self,
        store: ObjectStore,
        vault: str,
        run: str,
        *,
        role: Role,
        registry: str | None = None,
        roots: Iterable[dict[str, Any]] = (),
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        """Create the lease (create-only), and prove that the store keeps to create-only.

        Args:
            store: the vault's store.
            vault: the vault's id.
            run: this run's id.
            role: a writer commits roots; a reader claims the roots that it stands on.
            registry: that a writer is going to snapshot.
            roots: that a reader claims, each `{"key", "objects": [object-list chunk keys]}`.
            renew_every_s: seconds between renewals.

        Raises:
            RegvaultError: the store overwrites what it was told to create only.
        """
        body: dict[str, Any] = {
            "type": "lease",
            "format": FORMAT,
            "features": [],
            "vault": vault,
            "run": run,
            "role": role,
            "registry": registry,
            "holder": process_identity(),
            "state": "live",
            "renewals": 0,
            "slot": None,
            "roots": list(roots),
            "created": to_time(time.time_ns()),
        }
        super().__init__(store, lease_key(run), body)
        data, _ = write_document(self._body)
        self._etag = store.put(self.key, data, if_none_match=True).etag
        if role == "writer":
            self._prove_create_only()
        self._begin(renew_every_s)

    def _prove_create_only(self) -> None:
        """Try to create the lease again, with other bytes: a store that allows it would lose roots.

        (The bytes must differ: one's own bytes read back count as success after a time-out.)
        """
        probe, _ = write_document({**self._body, "nonce": secrets.token_hex(8)})
        try:
            self._store.put(self.key, probe, if_none_match=True)
        except PreconditionError:
            return
        raise RegvaultError(
            f"{self._store.location} overwrites objects that it was told to create only",
            hint="A vault needs a store with conditional writes (If-None-Match).",
        )


def end_dead_writers(
    store: ObjectStore, vault: str, run: str, *, registry: str, retry_for_s: float = 0
) -> None:
    """End the leases of writers that are dead; refuse where one of this registry lives.

    Args:
        store: the vault's store.
        vault: the vault's id.
        run: this run, whose own lease is not looked at.
        registry: the one that this run is going to snapshot.
        retry_for_s: seconds to wait for a living writer of it.

    Raises:
        LeaseHeldError: another snapshot of the same registry is at work.
    """
    deadline = time.monotonic() + retry_for_s
    while True:
        living = None
        for entry, holder in living_writers(store, vault, but=lease_key(run)):
            if holder.get("registry") != registry:
                continue
            # Of two that began at the same moment, and see each other, the first one goes on.
            idle = idle_s(store, entry.modified_ns, holder)
            if not (entry.key > lease_key(run) and idle < _SAME_MOMENT_S):
                living = holder
        if living is None:
            return
        if time.monotonic() >= deadline:
            who = living.get("holder")
            who = who if isinstance(who, dict) else {}
            raise LeaseHeldError(
                f"another snapshot of {registry} is at work: run {living.get('run')} on"
                f" {who.get('host')}, process {who.get('pid')}, since {living.get('created')}",
                hint="Wait for it with --retry-lock 1h. A dead one is ended 15 minutes after its "
                "last renewal, and at once on the host where it ran.",
            )
        time.sleep(min(2.0, max(0.1, deadline - time.monotonic())))


def living_writers(
    store: ObjectStore, vault: str, *, but: str = "", certain: bool = False
) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Yield the leases of the writers that live, as LIST has them, with their bodies; end the dead.

    Args:
        store: the vault's store.
        vault: the vault's id.
        but: a lease that is not looked at.
        certain: read also those that nobody touched for 7 days, and raise where one cannot be
            read. Without, these are passed over: `verify` names them.

    Raises:
        VaultDamagedError: a lease cannot be read.
    """
    for entry in store.list(LEASES):
        age_s = (store.now_ns() - entry.modified_ns) / 1e9
        if entry.key == but or (age_s > _FORGOTTEN_AFTER_S and not certain):
            continue
        try:
            body = _live_writer(store, vault, entry)
        except VaultDamagedError:
            if certain:
                raise
            continue
        if body is not None:
            yield entry, body


def _live_writer(store: ObjectStore, vault: str, entry: Entry) -> dict[str, Any] | None:
    """Return the body of a live writer's lease; None, and ended, where its holder is dead."""
    try:
        body = _body(store, vault, entry.key)
        if not _is_of_writer(body):
            return None  # most are: each run leaves its own, ended for ever
        etag = store.head(entry.key).etag
        if etag != entry.etag:
            body = _body(store, vault, entry.key)
    except ObjectNotFoundError:
        return None
    if not _is_of_writer(body):
        return None
    idle = idle_s(store, entry.modified_ns, body)
    if not seen_dead(body.get("holder", {})) and (etag != entry.etag or idle < DEAD_AFTER_S):
        return body
    return None if end(store, vault, entry.key, body, etag) else body


def _body(store: ObjectStore, vault: str, key: str) -> dict[str, Any]:
    return read_document(fetch_document(store, key), key, types=("lease",), vault=vault).body


def _is_of_writer(body: dict[str, Any]) -> bool:
    return body.get("state") == "live" and body.get("role") == "writer"
