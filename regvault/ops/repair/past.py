"""What a vault has lost of its own documents, found in its past: roots, records, lists, segments.

A bucket that keeps versions has what was deleted or overwritten still. Objects come back from there
as from any other vault. But where the roots themselves are gone nothing says which objects are
needed, so what is not an object of a snapshot is looked for first. It is read from the past as if
it were there, so that a plan can be made before anything is written.
"""

from __future__ import annotations

import hashlib
import heapq
from contextlib import suppress
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    RefusedError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.storage.delegate import Wrapper
from regvault.vault.condemned import parse_condemned, read_condemned
from regvault.vault.envelope import read_document
from regvault.vault.keys import (
    AMENDMENTS,
    CATALOG,
    CONDEMNED,
    LEASES,
    LOCK_POLICY,
    LOCKED_BESIDE,
    PRUNE_LOCK,
    RECORDS,
    RETENTIONS,
    SNAPSHOTS,
    VAULT_JSON,
    parse_segment_key,
    sequence_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from regvault.model.store import Entry, ObjectStore, SizedReader

__all__ = ["Recovered", "recover_documents"]


class Recovered(Wrapper):
    """The present of a vault, completed by what its past had and the present has lost.

    Attributes:
        lost: keys that are read from the past, until `put_back`.
    """

    def __init__(self, inner: ObjectStore, past: ObjectStore, lost: Collection[str] = ()) -> None:
        super().__init__(inner)
        self._past = past
        self.lost = set(lost)

    def put_back(self) -> list[str]:
        """Write what is lost; return the keys. What came back meanwhile is left alone."""
        done = []
        for key in sorted(self.lost, key=_rank):
            data = self._past.get(key)
            with suppress(PreconditionError):
                try:
                    # Damaged bytes are replaced only where they are still what was looked at.
                    etag = self.inner.head(key).etag
                except ObjectNotFoundError:
                    self.inner.put(key, data, if_none_match=True)
                else:
                    self.inner.put(key, data, if_match=etag)
                done.append(key)
            self.lost.discard(key)
        self.inner.barrier()
        return done

    def _of(self, key: str) -> ObjectStore:
        return self._past if key in self.lost else self.inner

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read from the present, or from the past what is lost."""
        return self._of(key).get(key, start=start, length=length)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        """Likewise."""
        return self._of(key).open(key, start=start, length=length)

    def head(self, key: str) -> Entry:
        """Likewise."""
        return self._of(key).head(key)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """List both."""
        lost = [
            self._past.head(key)
            for key in sorted(self.lost, key=str.encode)
            if key.startswith(prefix) and key.encode() > after.encode()
        ]
        there = (e for e in self.inner.list(prefix, after=after) if e.key not in self.lost)
        return heapq.merge(there, lost, key=lambda entry: entry.key.encode())

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        """List both."""
        base = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        names = set(self.inner.list_prefixes(prefix))
        for key in self.lost:
            name, slash, _ = key.removeprefix(base).partition("/")
            if key.startswith(base) and slash:
                names.add(name)
        return iter(sorted(names, key=lambda name: f"{name}/".encode()))


def _rank(key: str) -> tuple[int, str]:
    """Return the order in which documents come back: what others are read by comes first.

    Roots come before the objects that they need: from then on no prune takes these for needless.
    """
    order = (VAULT_JSON, LOCK_POLICY, CONDEMNED, RECORDS, SNAPSHOTS)
    return next((n for n, prefix in enumerate(order) if key.startswith(prefix)), len(order)), key


def recover_documents(present: ObjectStore, past: ObjectStore, vault: str) -> Recovered:
    """Find out which documents of a vault are missing or damaged, and whole in its past.

    What is good is never touched, also where it says something else by now: a stub of a snapshot
    that was forgotten since stays one. What was condemned stays gone.

    Args:
        present: the vault's store as it is.
        past: as it was.
        vault: its id, as the past has it.

    Raises:
        RefusedError: another vault is there now.
    """
    _refuse_another(present, vault)
    found = Recovered(present, past)
    for prefix in LOCKED_BESIDE:
        if prefix not in (CATALOG, RETENTIONS):
            found.lost |= _lost(present, past, prefix, vault)
    for prefix in (LEASES, PRUNE_LOCK):  # nobody misses them, but no prune goes by a damaged one
        found.lost |= _lost(present, past, prefix, vault, missing=False)
    with suppress(VaultDamagedError):  # then nothing is mended, which is said later
        condemned = read_condemned(found, vault)
        found.lost |= _lost(present, past, CATALOG, vault) - condemned
    return found


def _refuse_another(present: ObjectStore, vault: str) -> None:
    with suppress(ObjectNotFoundError, VaultDamagedError):
        body = read_document(present.get(VAULT_JSON), VAULT_JSON, types=("vault",), vault=None).body
        if body.get("vault") != vault:
            raise RefusedError(
                f"another vault is at {present.location} now ({body.get('vault')}); it was {vault}",
                hint="Someone made a new one there since. Move that away first, or read the old "
                "one as it was: regvault restore --vault-at TIME",
            )


def _lost(
    present: ObjectStore, past: ObjectStore, prefix: str, vault: str, *, missing: bool = True
) -> set[str]:
    """Return what is damaged now, or missing too, and was whole then."""
    there = {entry.key: entry for entry in present.list(prefix)}
    lost = set()
    for entry in past.list(prefix):
        now = there.get(entry.key)
        if now is None and not missing:
            continue
        if now is not None and (now.etag, now.size) == (entry.etag, entry.size):
            continue
        if now is not None and _is_whole(present, entry.key, vault):
            continue
        if _is_whole(past, entry.key, vault):
            lost.add(entry.key)
    return lost


def _is_whole(store: ObjectStore, key: str, vault: str) -> bool:
    """Return whether what is under a key is what belongs there, whatever it says."""
    try:
        data = store.get(key)
        if key.startswith(CONDEMNED):
            parse_condemned(data, sequence_of(key) or 0, vault)
        elif key.startswith(CATALOG):
            name = parse_segment_key(key)
            return name is not None and hashlib.sha256(data).hexdigest() == name.sha256
        elif types := _types(key):
            read_document(data, key, types=types, vault=vault)
    except UnknownFormatError:
        return True  # a newer regvault knows
    except (VaultDamagedError, ObjectNotFoundError):
        return False
    return True


def _types(key: str) -> tuple[str, ...]:
    """Return what documents may be under a key; () for what this regvault does not know."""
    if key == VAULT_JSON:
        return ("vault",)
    if key == LOCK_POLICY:
        return ("lock-policy",)
    if key == PRUNE_LOCK:
        return ("lock",)
    if key.startswith(LEASES):
        return ("lease",)
    if key.startswith(SNAPSHOTS):
        return ("root", "stub", "void")
    if key.startswith(AMENDMENTS):
        return ("amendment", "void")
    if key.startswith(RECORDS):
        return (key.split("/")[1],)
    return ()
