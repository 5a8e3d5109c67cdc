"""Who is at work in a vault: what a lease and the prune lock have in common.

Both are documents that one run holds, renews by compare-and-swap, and gives back by overwriting
them. Whoever ends one of a dead party first fills the slot that it names with a void, so that a
sleeper's late commit always fails, whatever the clocks say. (`docs/vault-format.md`, "Leases".)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from regvault.errors import (
    LeaseLostError,
    ObjectNotFoundError,
    PreconditionError,
    StoreError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.vault.envelope import read_document, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import AMENDMENTS, CONDEMNED, FORMAT, PRUNE_LOCK, SNAPSHOTS, sequence_of

if TYPE_CHECKING:
    from types import TracebackType

    from regvault.model.store import ObjectStore

__all__ = [
    "DEAD_AFTER_S",
    "RENEW_EVERY_S",
    "Holding",
    "end",
    "fill_with_void",
    "idle_s",
    "is_slot",
    "process_identity",
    "read_held",
    "seen_dead",
    "void_document",
]

#: What was not renewed for so long, by the store's own times, may be ended by anyone.
DEAD_AFTER_S = 15 * 60
RENEW_EVERY_S = 4 * 60


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


def seen_dead(holder: Any) -> bool:
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


def uptime() -> float | None:
    """Return the seconds since this host was booted, asleep or awake; None where it cannot tell."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return None if clock is None else round(time.clock_gettime(clock), 3)


def idle_s(store: ObjectStore, modified_ns: int, body: dict[str, Any]) -> float:
    """Return the seconds since a document of a party was last written.

    Where its holder runs since the same boot of this host, the clock that nobody sets tells: on a
    disk the store's time is this host's, and one step of that would make everyone look dead.

    Args:
        store: the vault's store.
        modified_ns: when it was written, by the store.
        body: of the document.
    """
    holder, then, now = body.get("holder"), body.get("uptime"), uptime()
    if now is not None and isinstance(then, int | float) and isinstance(holder, dict):
        here = process_identity()
        same = here["boot"] and all(holder.get(name) == here[name] for name in ("host", "boot"))
        if same and 0 <= then <= now:
            return now - then
    return (store.now_ns() - modified_ns) / 1e9


class Holding:
    """What one run holds, renewed by a thread of its own until it is given back.

    Subclasses take it: they set `_etag` and call `_begin`.

    Attributes:
        key: of the document.
    """

    what: ClassVar[str] = "hold"

    def __init__(self, store: ObjectStore, key: str, body: dict[str, Any]) -> None:
        self._store = store
        self.key = key
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._lost: str | None = None
        self._body = {**body, "uptime": uptime()}
        self._etag = ""
        self._thread: threading.Thread | None = None

    def _begin(self, renew_every_s: float) -> None:
        self._thread = threading.Thread(
            target=self._renew_for_ever, args=(renew_every_s,), name="lease", daemon=True
        )
        self._thread.start()

    def _renew_for_ever(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self.renew()
            except LeaseLostError:
                return
            except StoreError:
                continue  # the commit renews once more, and that one must succeed

    def _now(self, **changes: Any) -> dict[str, Any]:
        """Return the document as it is to be written now."""
        return {**self._body, **changes, "uptime": uptime()}

    def _swap(self, **changes: Any) -> None:
        """Overwrite the document by compare-and-swap."""
        with self._lock:
            self.check()
            body = self._now(**changes)
            data, _ = write_document(body)
            try:
                self._etag = self._store.put(self.key, data, if_match=self._etag).etag
            except (PreconditionError, ObjectNotFoundError):
                self._lost = (
                    f"this run's {self.what} {self.key} was ended by someone else"
                    " (it had not been renewed for 15 minutes, or was ended by `regvault unlock`)"
                )
                self.check()
            self._body = body

    @property
    def lost(self) -> bool:
        """Whether it is known to have been ended by someone else."""
        return self._lost is not None

    def check(self) -> None:
        """Raise LeaseLostError once it is known to be lost."""
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
        """Give it back; that it is lost, or the store away by now, is no error any more.

        Args:
            failed: the run did not come to its end, so the slot that it named may still be empty
                with a PUT of its own under way: it is filled first. Where that cannot be done the
                document stays, for others to end.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._lost is not None:
            return
        try:
            slot = self._body["slot"]
            if failed and slot is not None:
                fill_with_void(self._store, self._body["vault"], slot, self._body["run"])
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


def read_held(store: ObjectStore, vault: str, key: str) -> tuple[dict[str, Any], str, float] | None:
    """Return the body of a lease or the lock with the etag that it has, to swap it by.

    Returns:
        body, etag, and the seconds since it was written, see `idle_s`; None: not there.

    Raises:
        VaultDamagedError: it cannot be read.
    """
    kind = "lock" if key == PRUNE_LOCK else "lease"
    while True:
        try:
            entry = store.head(key)
            data = fetch_document(store, key)
            if store.head(key).etag != entry.etag:
                continue  # swapped meanwhile: what was read may be of another holder
        except ObjectNotFoundError:
            return None
        body = read_document(data, key, types=(kind,), vault=vault).body
        return body, entry.etag, idle_s(store, entry.modified_ns, body)


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


def fill_with_void(store: ObjectStore, vault: str, slot: str, run: str) -> None:
    """Let no late PUT of a dead party fill a slot: a void, unless something was committed there.

    A copier replaces voids by compare-and-swap, so a void in a chain is replaced by a fresh one.
    """
    void = void_document(vault, slot, run)
    with contextlib.suppress(PreconditionError):
        store.put(slot, void, if_none_match=True)
        return
    # A PUT whose sync failed shows what it wrote, and the disk may not have it. Who is let go after
    # this says that the slot is filled.
    store.barrier()
    while slot.startswith(SNAPSHOTS):
        with contextlib.suppress(PreconditionError):
            etag = store.head(slot).etag
            if not _is_void(store, slot, vault):
                return  # that commit counts
            store.put(slot, void, if_match=etag)
            return


def _is_void(store: ObjectStore, slot: str, vault: str) -> bool:
    try:
        read_document(fetch_document(store, slot), slot, types=("void",), vault=vault)
    except (VaultDamagedError, UnknownFormatError):
        return False
    return True


def end(store: ObjectStore, vault: str, key: str, body: dict[str, Any], etag: str) -> bool:
    """End a dead party: fill the slot that it names, then swap its document to `ended`.

    Args:
        store: the vault's store.
        vault: the vault's id.
        key: of the lease or the lock.
        body: as it was read.
        etag: as it was then.

    Returns:
        False where it changed since: its holder lives.
    """
    slot = body.get("slot")
    if isinstance(slot, str) and is_slot(slot):
        fill_with_void(store, vault, slot, str(body.get("run"))[:100])
    try:
        store.put(key, write_document({**body, "state": "ended"})[0], if_match=etag)
    except (PreconditionError, ObjectNotFoundError):
        return False
    return True


def is_slot(key: str) -> bool:
    """Return whether a key is a slot: a hostile lease must not have a void put anywhere else."""
    prefixes = (SNAPSHOTS, CONDEMNED, AMENDMENTS)
    return key.startswith(prefixes) and sequence_of(key) is not None and ".." not in key
