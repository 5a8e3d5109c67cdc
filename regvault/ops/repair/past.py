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
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    RefusedError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.storage.delegate import Wrapper
from regvault.vault.condemned import read_condemned, read_list
from regvault.vault.envelope import load_object, read_document
from regvault.vault.fetch import fetch_document, sha256_of
from regvault.vault.keys import (
    AMENDMENTS,
    CATALOG,
    CONDEMNED,
    LEASES,
    LOCK_POLICY,
    LOCKED_BESIDE,
    NOT_LOCKED,
    PRUNE_LOCK,
    RECORDS,
    RETENTIONS,
    SNAPSHOTS,
    VAULT_JSON,
    name_of_slot,
    parse_segment_key,
    sequence_of,
)
from regvault.vault.records import forgotten
from regvault.vault.root import RootName, parse_root
from regvault.vault.signing import VaultId
from regvault.vault.stub import parse_stub

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from regvault.model.store import Entry, ObjectStore, SizedReader

__all__ = ["Recovered", "recover_documents"]


#: No document, and no condemned list, is larger.
_MOST_BYTES = 1 << 30


class Recovered(Wrapper):
    """The present of a vault, completed by what its past had and the present has lost.

    Attributes:
        lost: keys that are read from the past, until `put_back`.
        unconfirmed: of slots that had a root, and have its stub, though no record says who forgot
            it: they are left as they are.
    """

    def __init__(self, inner: ObjectStore, past: ObjectStore, lost: Collection[str] = ()) -> None:
        super().__init__(inner)
        self._past = past
        self.lost = set(lost)
        self.unconfirmed: list[str] = []

    def put_back(self) -> list[str]:
        """Write what is lost; return the keys. What came back meanwhile is left alone."""
        done = []
        for key in sorted(self.lost, key=_rank):
            with suppress(PreconditionError):
                self._put(key)
                done.append(key)
            self.lost.discard(key)
        self.inner.barrier()
        return done

    def _put(self, key: str) -> None:
        """Write one. Raises PreconditionError where something else came meanwhile."""
        segment = parse_segment_key(key)
        if segment is not None:  # its name proves it, and it may be large
            with self._past.open(key) as reader:
                self.inner.put_stream(key, reader, size=reader.size, sha256=segment.sha256)
            return
        data = self._past.get(key, length=_MOST_BYTES)
        try:
            # Damaged bytes are replaced only where they are still what was looked at.
            etag = self.inner.head(key).etag
        except ObjectNotFoundError:
            self.inner.put(key, data, if_none_match=True)
        else:
            self.inner.put(key, data, if_match=etag)

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
    """Find out which documents of a vault are missing or not what they were, and whole in its past.

    What was created once says the same for ever: where it says something else by now, or something
    that this regvault does not know, somebody overwrote it. What changes by right stays as it is:
    the stub of a snapshot that was forgotten since, a root in the place of a void. What was
    condemned stays gone.

    Args:
        present: the vault's store as it is.
        past: as it was.
        vault: its id, as the past has it, with the keys that it was opened with.

    Raises:
        RefusedError: another vault is there now.
    """
    _refuse_another(present, vault)
    found = Recovered(present, past)
    for prefix in LOCKED_BESIDE:
        if prefix not in (CATALOG, RETENTIONS):
            found.lost |= _lost(found, past, prefix, vault)
    for prefix in (LEASES, PRUNE_LOCK):  # nobody misses them, but no prune goes by a damaged one
        found.lost |= _lost(found, past, prefix, vault, missing=False)
    if found.unconfirmed:
        confirmed = {RootName(name, n).key for name, n, _ in forgotten(found, vault)}
        found.unconfirmed = [key for key in found.unconfirmed if key not in confirmed]
    with suppress(VaultDamagedError):  # then nothing is mended, which is said later
        condemned = read_condemned(found, vault)
        found.lost |= _lost(found, past, CATALOG, vault) - condemned
    return found


def _refuse_another(present: ObjectStore, vault: str) -> None:
    with suppress(ObjectNotFoundError, VaultDamagedError):
        data = fetch_document(present, VAULT_JSON)
        try:
            owner = read_document(data, VAULT_JSON, types=("vault",), vault=None).body.get("vault")
        except UnknownFormatError:
            owner = load_object(data.split(b"\n", 1)[0]).get("vault")
        if owner != vault:
            raise RefusedError(
                f"another vault is at {present.location} now ({owner!s:.100}); it was {vault}",
                hint="Someone made a new one there since. Move that away first, or read the old "
                "one as it was: regvault restore --vault-at TIME",
            )


def _lost(
    found: Recovered, past: ObjectStore, prefix: str, vault: str, *, missing: bool = True
) -> set[str]:
    """Return what is not what it was, or missing too, and was whole then."""
    present = found.inner
    there = {entry.key: entry for entry in present.list(prefix)}
    lost = set()
    for entry in past.list(prefix):
        key, now = entry.key, there.get(entry.key)
        if (now is None and not missing) or key.startswith(NOT_LOCKED):
            continue
        if now is not None and (now.etag, now.size) == (entry.etag, entry.size):
            continue
        then = _said(past, key, vault)
        if then is None:
            continue
        says = None if now is None else _said(present, key, vault)
        if says is None or not _may_follow(then, says):
            lost.add(key)
        elif (then.kind, says.kind) == ("root", "stub") and not _vouched_for(vault):
            found.unconfirmed.append(key)
    return lost


class _Said(NamedTuple):
    """What is under a key, as far as it matters whether it may have changed.

    Attributes:
        kind: type of the document; `unknown`, of a newer regvault; `segment`; "" for what this
            regvault does not know.
        of: of a root, or the stub of one, the SHA-256 of the root's body; of what is created once,
            one of what it says, whoever has signed it since; "" of what is overwritten by right.
    """

    kind: str
    of: str = ""


def _may_follow(then: _Said, now: _Said) -> bool:
    """Return whether what is under a key may have become this, by right."""
    if now.kind == "unknown":  # whatever wrote it, it overwrote what nobody overwrites
        return then.kind in ("", "unknown", "lease", "lock")
    if now.kind == "void":
        return then.kind == "void"
    return then.kind in ("void", "unknown") or then.of == now.of


def _vouched_for(vault: str) -> bool:
    """Return whether only who has a key of the vault can have written what is signed in it."""
    return isinstance(vault, VaultId) and bool(vault.keys.trusted)


def _said(store: ObjectStore, key: str, vault: str) -> _Said | None:
    """Return what is under a key; None where that is not what belongs there."""
    try:
        if key.startswith(CONDEMNED):
            keys = read_list(store, key, sequence_of(key) or 0, vault)
            return _Said("void") if keys is None else _Said("condemned", _digest("\n".join(keys)))
        if key.startswith(CATALOG):
            name = parse_segment_key(key)
            right = name is not None and sha256_of(store, key) == name.sha256
            return _Said("segment") if right else None
        data = fetch_document(store, key)
        if key.startswith(SNAPSHOTS):
            return _in_slot(data, key, vault)
        types = _types(key)
        if not types:
            return _Said("")
        document = read_document(data, key, types=types, vault=vault)
    except UnknownFormatError:
        return _Said("unknown")
    except (VaultDamagedError, ObjectNotFoundError):
        return None
    kind = document.body["type"]
    return _Said(kind, "" if kind in ("void", "lease", "lock") else document.sha256)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _in_slot(data: bytes, key: str, vault: str) -> _Said | None:
    """Return what is in a slot of a chain. Raises VaultDamagedError, UnknownFormatError."""
    name = name_of_slot(key)
    if name is None:
        return None  # nobody reads it
    slot = RootName(*name)
    root = parse_root(data, slot, vault)
    if root is not None:
        return _Said("root", root.sha256)
    stub = parse_stub(data, slot, vault)
    return _Said("void") if stub is None else _Said("stub", stub.root)


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
    if key.startswith(AMENDMENTS):
        return ("amendment", "void")
    if key.startswith(RECORDS):
        return (key.split("/")[1],)
    return ()
