"""Leases: who is at work in a vault (`docs/vault-format.md`, "Leases").

A lease is created once, renewed by compare-and-swap, and released by overwriting it. Whoever ends
the lease of a dead party first fills the slot that it names with a void, so that a sleeper's late
commit always fails, whatever the clocks say.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from regvault.errors import (
    LeaseHeldError,
    LeaseLostError,
    ObjectNotFoundError,
    PreconditionError,
    RegvaultError,
    StoreError,
    VaultDamagedError,
)
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.keys import (
    AMENDMENTS,
    CONDEMNED,
    FORMAT,
    LEASES,
    PRUNE_LOCK,
    SNAPSHOTS,
    lease_key,
    sequence_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from regvault.model.store import Entry, ObjectStore

__all__ = [
    "DEAD_AFTER_S",
    "Lease",
    "end_dead_writers",
    "process_identity",
    "prune_decides",
    "wait_for_prune",
]

#: A lease that was not renewed for so long, by the store's own times, may be ended by anyone.
DEAD_AFTER_S = 15 * 60
RENEW_EVERY_S = 4 * 60
#: A pruner that found writers at work asks later ones to wait, for so long at most.
PRUNE_REQUEST_S = 3600

#: Leases that nobody touched for longer are left to prune: they cost a read each, and a sleeper
#: that wakes up finds its slot filled.
_FORGOTTEN_AFTER_S = 7 * 86400
_SAME_MOMENT_S = 10

Role = Literal["writer", "reader"]


class _Process(NamedTuple):
    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: str


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot (proc(5), field 22), or ""."""
    return (_read(f"/proc/{pid}/stat").rpartition(")")[2].split() + [""] * 20)[19]


def process_identity() -> dict[str, Any]:
    """Return what tells this process apart from every other, also after a reboot.

    The namespace is part of it: two containers of one host share its boot id, not its process ids.
    """
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    pid = os.getpid()
    boot = _read("/proc/sys/kernel/random/boot_id")
    machine = _read("/etc/machine-id")
    return _Process(socket.gethostname(), machine, boot, namespace, pid, _started(pid))._asdict()


def _seen_dead(holder: Any) -> bool:
    """Return whether the holder was a process of this very host that is no more."""
    if not isinstance(holder, dict):  # what a vault says is hostile input
        return False
    here = process_identity()
    if not here["boot"] or not holder.get("boot") or holder.get("host") != here["host"]:
        return False
    if holder["boot"] != here["boot"]:
        # Rebooted since; but two machines may have been given one host name.
        return bool(here["machine"]) and holder.get("machine") == here["machine"]
    if not here["namespace"] or holder.get("namespace") != here["namespace"]:
        return False
    pid = holder.get("pid")
    return isinstance(pid, int) and _started(pid) != holder.get("started")


class Lease:
    """One run's lease, renewed by a thread of its own until it is released."""

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
        self._store = store
        self.key = lease_key(run)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._lost: str | None = None
        self._body: dict[str, Any] = {
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
        data, _ = write_document(self._body)
        self._etag = store.put(self.key, data, if_none_match=True).etag
        if role == "writer":
            self._prove_create_only()
        self._thread = threading.Thread(
            target=self._renew_for_ever, args=(renew_every_s,), name="lease", daemon=True
        )
        self._thread.start()

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

    def _renew_for_ever(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self.renew()
            except LeaseLostError:
                return
            except StoreError:
                continue  # the commit renews once more, and that one must succeed

    def _swap(self, **changes: Any) -> None:
        """Overwrite the lease by compare-and-swap."""
        with self._lock:
            self.check()
            body = {**self._body, **changes}
            data, _ = write_document(body)
            try:
                self._etag = self._store.put(self.key, data, if_match=self._etag).etag
            except (PreconditionError, ObjectNotFoundError):
                self._lost = (
                    f"this run's lease {self.key} was ended by someone else"
                    " (it had not been renewed for 15 minutes)"
                )
                self.check()
            self._body = body

    def check(self) -> None:
        """Raise LeaseLostError once the lease is known to be lost."""
        if self._lost is not None:
            raise LeaseLostError(
                self._lost,
                hint="Nothing that this run meant to commit is in the vault. Run it again.",
            )

    def renew(self, *, slot: str | None = None) -> None:
        """Renew; with `slot`, name the slot that is to be filled next. Raises LeaseLostError."""
        changes: dict[str, Any] = {"renewals": self._body["renewals"] + 1}
        if slot is not None:
            changes["slot"] = slot
        self._swap(**changes)

    def release(self, *, failed: bool = False) -> None:
        """End the lease; that it is lost, or the store away by now, is no error any more.

        Args:
            failed: the run did not come to its end, so the slot that it named may still be empty
                with a PUT of its own under way: it is filled first. Where that cannot be done the
                lease stays, for others to end.
        """
        self._stop.set()
        self._thread.join()
        if self._lost is not None:
            return
        try:
            slot = self._body["slot"]
            if failed and slot is not None:
                void = void_document(self._body["vault"], slot, self._body["run"])
                with contextlib.suppress(PreconditionError):  # filled: by this run or another
                    self._store.put(slot, void, if_none_match=True)
            self._swap(state="released")
        except (LeaseLostError, StoreError):
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.release(failed=error is not None)


def void_document(vault: str, slot: str, run: str) -> bytes:
    """Return what fills the slot of a dead party: a void with a fresh nonce."""
    return write_document(
        {
            "type": "void",
            "format": FORMAT,
            "features": [],
            "vault": vault,
            "slot": slot,
            "run": run,
            "nonce": secrets.token_hex(16),
        }
    )[0]


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
        for entry in store.list(LEASES):
            idle_s = (store.now_ns() - entry.modified_ns) / 1e9
            if entry.key == lease_key(run) or idle_s > _FORGOTTEN_AFTER_S:
                continue
            holder = _live_writer(store, vault, entry)
            if holder is None or holder.get("registry") != registry:
                continue
            # Of two that began at the same moment, and see each other, the first one goes on.
            if not (entry.key > lease_key(run) and idle_s < _SAME_MOMENT_S):
                living = holder
        if living is None:
            return
        if time.monotonic() >= deadline:
            who = living.get("holder")
            who = who if isinstance(who, dict) else {}
            raise LeaseHeldError(
                f"another snapshot of {registry} is at work: run {living['run']} on"
                f" {who.get('host')}, process {who.get('pid')}, since {living.get('created')}",
                hint="Wait for it with --retry-lock 1h. A dead one is ended 15 minutes after its "
                "last renewal, and at once on the host where it ran.",
            )
        time.sleep(min(2.0, max(0.1, deadline - time.monotonic())))


def _live_writer(store: ObjectStore, vault: str, entry: Entry) -> dict[str, Any] | None:
    """Return the body of a live writer's lease; None, and ended, where its holder is dead."""
    try:
        body = read_document(store.get(entry.key), entry.key, types=("lease",), vault=vault).body
        if not _is_of_writer(body):
            return None  # most are: each run leaves its own, ended for ever
        etag = store.head(entry.key).etag
        if etag != entry.etag:
            data = store.get(entry.key)
            body = read_document(data, entry.key, types=("lease",), vault=vault).body
    except (ObjectNotFoundError, VaultDamagedError):
        return None  # gone, or unreadable: `verify` names it; only prune may not go on
    if not _is_of_writer(body):
        return None
    idle_s = (store.now_ns() - entry.modified_ns) / 1e9
    if not _seen_dead(body.get("holder", {})) and (etag != entry.etag or idle_s < DEAD_AFTER_S):
        return body
    return None if _end(store, vault, entry.key, body, etag) else body


def _is_of_writer(body: dict[str, Any]) -> bool:
    return body.get("state") == "live" and body.get("role") == "writer"


def _end(store: ObjectStore, vault: str, key: str, body: dict[str, Any], etag: str) -> bool:
    """Fill the slot that a dead lease names, then swap the lease to `ended`; False: it lives."""
    slot = body.get("slot")
    if isinstance(slot, str) and _is_slot(slot):
        with contextlib.suppress(PreconditionError):  # filled already: that commit counts
            store.put(slot, void_document(vault, slot, body["run"]), if_none_match=True)
    try:
        store.put(key, write_document({**body, "state": "ended"})[0], if_match=etag)
    except (PreconditionError, ObjectNotFoundError):
        return False
    return True


def _is_slot(key: str) -> bool:
    """Return whether a key is a slot: a hostile lease must not have a void put anywhere else."""
    prefixes = (SNAPSHOTS, CONDEMNED, AMENDMENTS)
    return key.startswith(prefixes) and sequence_of(key) is not None and ".." not in key


def prune_decides(store: ObjectStore, vault: str) -> bool:
    """Return whether a prune holds its lock right now.

    A writer asks once its lease is written, and before it reads anything: either the prune sees
    the lease, or the writer sees the lock.
    """
    try:
        data = store.get(PRUNE_LOCK)
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
    said = False
    while True:
        try:
            entry = store.head(PRUNE_LOCK)
            data = store.get(PRUNE_LOCK)
            if store.head(PRUNE_LOCK).etag != entry.etag:
                continue  # swapped meanwhile: what was read may be of another holder
        except ObjectNotFoundError:
            return
        body = read_document(data, PRUNE_LOCK, types=("lock",), vault=vault).body
        idle_s = (store.now_ns() - entry.modified_ns) / 1e9
        state = body.get("state")
        if state == "held":
            if _seen_dead(body.get("holder", {})) or idle_s >= DEAD_AFTER_S:
                _end(store, vault, PRUNE_LOCK, body, entry.etag)
                continue
        elif state != "requested" or idle_s >= PRUNE_REQUEST_S:
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
