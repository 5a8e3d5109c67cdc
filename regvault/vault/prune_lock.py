"""The prune lock: while it is held, no writer begins; it is given back after minutes.

`locks/prune.json` is one key, never deleted. A writer writes its lease and then looks at the lock;
a pruner takes the lock and then looks at the leases: so one of them always sees the other.
(`docs/vault-format.md`, "The prune lock".)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from regvault.errors import LeaseHeldError, ObjectNotFoundError, PreconditionError
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import FORMAT, PRUNE_LOCK
from regvault.vault.lease import living_writers
from regvault.vault.parties import (
    DEAD_AFTER_S,
    RENEW_EVERY_S,
    Holding,
    end,
    process_identity,
    read_held,
    seen_dead,
)
from regvault.vault.signing import require_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.store import ObjectStore

__all__ = ["PruneLock", "prune_decides", "wait_for_prune"]

#: A pruner that found writers at work asks later ones to wait, for so long at most.
PRUNE_REQUEST_S = 3600


def prune_decides(store: ObjectStore, vault: str) -> bool:
    """Return whether a prune holds its lock right now.

    A writer asks once its lease is written, and before it reads anything: either the prune sees
    the lease, or the writer sees the lock.
    """
    try:
        data = fetch_document(store, PRUNE_LOCK)
    except ObjectNotFoundError:
        return False
    body = read_document(data, PRUNE_LOCK, types=("lock",), vault=vault).body
    return body.get("state") == "held"


def wait_for_prune(
    store: ObjectStore,
    vault: str,
    *,
    wait_s: float,
    say: Callable[[str], None],
    poll_s: float = 1.0,
) -> None:
    """Wait while a prune decides, and for one that asked for its turn; without a lease.

    Raises:
        LeaseHeldError: it still does after `wait_s` seconds.
    """
    deadline = time.monotonic() + wait_s
    said = ended = False
    while (found := read_held(store, vault, PRUNE_LOCK)) is not None:
        body, etag, idle_s = found
        dead = seen_dead(body.get("holder", {}))
        if body.get("state") == "held":
            if (dead or idle_s >= DEAD_AFTER_S) and not ended:
                ended = end(store, vault, PRUNE_LOCK, body, etag)
                continue
        elif body.get("state") != "requested" or idle_s >= PRUNE_REQUEST_S or dead:
            return
        if not said:
            say("A prune decides what may be deleted; waiting for it.")
            said = True
        if time.monotonic() >= deadline:
            raise LeaseHeldError(
                f"a prune holds the lock of {store.location}: run {body.get('run')}",
                hint="It takes minutes. Run the same command again, or with --retry-lock 1h.",
            )
        time.sleep(poll_s)


class PruneLock(Holding):
    """The lock, held: `with PruneLock(...) as lock:`. No writer lives while it is."""

    what = "prune lock"

    def __init__(
        self,
        store: ObjectStore,
        vault: str,
        run: str,
        *,
        wait_s: float,
        say: Callable[[str], None],
        poll_s: float = 1.0,
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        """Take it once no writer is at work; until then, ask those that start later to wait.

        Args:
            store: the vault's store.
            vault: the vault's id.
            run: this run's id.
            wait_s: seconds to wait for writers, and for another pruner.
            say: tells people.
            poll_s: seconds between looks.
            renew_every_s: seconds between renewals.

        Raises:
            LeaseHeldError: a writer, or another pruner, is still at work after `wait_s`.
            VaultDamagedError: the lock or a lease cannot be read.
        """
        require_key(vault)
        body: dict[str, Any] = {
            "type": "lock",
            "format": FORMAT,
            "features": [],
            "vault": vault,
            "run": run,
            "holder": process_identity(),
            "state": "held",
            "renewals": 0,
            "slot": None,
            "created": to_time(time.time_ns()),
        }
        super().__init__(store, PRUNE_LOCK, body)
        self._vault = vault
        self._said = False
        self._say_once = say
        deadline = time.monotonic() + wait_s
        try:
            while True:
                self._take(deadline, poll_s)
                writer = next(living_writers(store, vault, certain=True), None)
                if writer is None:
                    break
                self._swap(state="requested")
                self._wait_for_writers(writer[1], deadline, poll_s)
        except BaseException:
            self.release()
            raise
        self._begin(renew_every_s)

    def _say(self, text: str) -> None:
        if not self._said:
            self._said = True
            self._say_once(text)

    def _take(self, deadline: float, poll_s: float) -> None:
        """Write `held`: over nothing, over what was given back or ended, over one's own request."""
        ended = False
        while True:
            data, _ = write_document(self._now(state="held"))
            found = read_held(self._store, self._vault, self.key)
            try:
                if found is None:
                    self._etag = self._store.put(self.key, data, if_none_match=True).etag
                    break
                body, etag, idle_s = found
                if body.get("state") != "held":
                    self._etag = self._store.put(self.key, data, if_match=etag).etag
                    break
            except (PreconditionError, ObjectNotFoundError):
                continue  # another one was quicker
            if (seen_dead(body.get("holder", {})) or idle_s >= DEAD_AFTER_S) and not ended:
                ended = end(self._store, self._vault, self.key, body, etag)
                continue
            self._say("Another prune decides; waiting for it.")
            if time.monotonic() >= deadline:
                self._lost = "never held"  # there is nothing to give back
                raise LeaseHeldError(
                    f"another prune is at work in {self._store.location}: run {body.get('run')}",
                    hint="Wait for it with --retry-lock 1h.",
                )
            time.sleep(poll_s)
        self._body = {**self._body, "state": "held"}

    def _wait_for_writers(self, writer: dict[str, Any], deadline: float, poll_s: float) -> None:
        """Wait, with the lock given back, until no writer lives."""
        registry = writer.get("registry")
        self._say(f"A snapshot of {registry} is at work; waiting for it.")
        while time.monotonic() < deadline:
            time.sleep(poll_s)
            if next(living_writers(self._store, self._vault, certain=True), None) is None:
                return
        who = writer.get("holder")
        who = who if isinstance(who, dict) else {}
        raise LeaseHeldError(
            f"a snapshot of {registry} is at work: run {writer.get('run')} on {who.get('host')},"
            f" process {who.get('pid')}, since {writer.get('created')}",
            hint="Wait for it with --retry-lock 1h. A dead one is ended 15 minutes after its last "
            "renewal, and at once on the host where it ran.",
        )
