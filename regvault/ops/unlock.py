"""The verb `unlock`: end the leases, and the prune lock, of parties that are dead.

A snapshot ends a dead writer's lease by itself, 15 minutes after its last renewal, and at once on
the host where it ran. This is for who cannot wait, or does not want a dead reader's claim to hold
off prune for a day.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from regvault.vault.certain import CLAIM_DEAD_AFTER_S
from regvault.vault.keys import LEASES, PRUNE_LOCK
from regvault.vault.parties import DEAD_AFTER_S, end, read_held, seen_dead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.vault.vault import Vault

__all__ = ["Party", "parties", "unlock"]

_READERS = 8


@dataclass(frozen=True, slots=True)
class Party:
    """Who holds a lease or the prune lock.

    Attributes:
        key: of the lease or the lock.
        role: `writer`, `reader` or `pruner`.
        registry: that a writer snapshots, or "".
        run: its id.
        host: where it ran, with the process id, as `host, process 1`.
        idle_s: seconds since it was renewed, by the store's times.
        dead: it is known to be.
        body: of the document.
        etag: of the object when it was read.
    """

    key: str
    role: str
    registry: str
    run: str
    host: str
    idle_s: float
    dead: bool
    body: dict[str, Any]
    etag: str

    def to_json(self) -> dict[str, Any]:
        """Return `key`, `role`, `registry`, `run`, `host`, `idle_seconds`, `dead`."""
        return {
            "key": self.key,
            "role": self.role,
            "registry": self.registry or None,
            "run": self.run,
            "host": self.host,
            "idle_seconds": round(self.idle_s),
            "dead": self.dead,
        }


def parties(vault: Vault, *, newest: int | None = None) -> Iterator[Party]:
    """Yield who is at work, or was when it died: leases by run, then the prune lock.

    Args:
        vault: whose.
        newest: look at so many leases only, those of the runs that began last; None: at all.

    Raises:
        VaultDamagedError: a lease cannot be read.
    """
    keys: Iterable[str] = (entry.key for entry in vault.store.list(LEASES))
    if newest is not None:
        keys = deque(keys, newest)  # the name of a run begins with its time
    with ThreadPoolExecutor(_READERS) as pool:  # three requests a lease: on S3 they take long
        for found in pool.map(partial(_read, vault), [*keys, PRUNE_LOCK]):
            if found is not None:
                yield found


def _read(vault: Vault, key: str) -> Party | None:
    found = read_held(vault.store, vault.id, key)
    if found is None:
        return None
    body, etag, idle_s = found
    role = "pruner" if key == PRUNE_LOCK else str(body.get("role"))
    if body.get("state") not in ("live", "held", "requested"):
        return None
    limit_s = CLAIM_DEAD_AFTER_S if role == "reader" else DEAD_AFTER_S
    who = body.get("holder")
    who = who if isinstance(who, dict) else {}
    return Party(
        key,
        role,
        str(body.get("registry") or ""),
        str(body.get("run")),
        f"{who.get('host')}, process {who.get('pid')}",
        idle_s,
        seen_dead(who) or idle_s >= limit_s,
        body,
        etag,
    )


def unlock(vault: Vault, ended: Iterable[Party]) -> list[Party]:
    """End them: fill the slots that they named, then swap their documents to `ended`.

    Whoever was alive all the same finds that out before it commits anything, and stops.

    Returns:
        Those that were ended; the others renewed, or gave back, meanwhile.
    """
    done = [
        party for party in ended if end(vault.store, vault.id, party.key, party.body, party.etag)
    ]
    vault.store.barrier()
    return done
