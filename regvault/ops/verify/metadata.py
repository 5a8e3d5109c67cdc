"""The default depth: everything but layers is read and hashed; `closures` has the walk."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    RegvaultError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.oci.manifest import InvalidManifestError, parse_manifest
from regvault.oci.media import MANIFESTS
from regvault.oci.verify import matches_manifest
from regvault.ops.bounded import in_order
from regvault.vault.cache import digest_bytes
from regvault.vault.condemned import read_list
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch, fetch_document
from regvault.vault.frames import decompress
from regvault.vault.keys import (
    AMENDMENTS,
    CONDEMNED,
    LEASES,
    PRUNE_LOCK,
    RECORDS,
    SNAPSHOTS,
    amendment_key,
    condemned_key,
    digest_of_key,
    root_key,
    sequence_of,
)
from regvault.vault.pack import MAX_FRAME_BYTES, MAX_META_BYTES, iter_members, most_members
from regvault.vault.parties import is_slot
from regvault.vault.presence import KeySizes
from regvault.vault.records import parse_amendment
from regvault.vault.root import RootName
from regvault.vault.tree import MAX_STORED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from regvault.model.progress import Progress
    from regvault.ops.verify.report import Report
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.segment import Location
    from regvault.vault.vault import Vault

__all__ = [
    "Manifests",
    "Proven",
    "check_chains",
    "check_documents",
    "check_meta",
    "check_segments",
    "check_trees",
]


def check_chains(vault: Vault, registry: str, report: Report) -> list[Root]:
    """Read every root of a chain, oldest first; report gaps and broken links between them."""
    roots: list[Root] = []
    slots = vault.slots(registry)
    report.add_gaps(slots, lambda number: root_key(registry, number), "snapshots")
    previous: Root | None = None
    broken = False
    for sequence in slots:
        name = RootName(registry, sequence)
        try:
            root = vault.read_slot(name)
        except UnknownFormatError:
            raise
        except RegvaultError as error:
            report.add(name.key, "damaged", error.message, (str(name),))
            broken = True
            continue
        if root is None:
            broken = True  # a stub does not tell its predecessor's digest again
            continue
        if not broken and previous is not None and root.previous != previous.sha256:
            report.add(
                name.key, "chain", f"it does not follow {previous.name} as it is", (str(name),)
            )
        roots.append(root)
        previous, broken = root, False
    return roots


def check_documents(vault: Vault, report: Report) -> None:
    """Read amendments, condemned lists, records, leases and the prune lock."""
    store = vault.store
    slots = {entry.key for entry in store.list(SNAPSHOTS)}
    slots |= _check_slots(
        vault,
        CONDEMNED,
        condemned_key,
        lambda key, number: read_list(store, key, number, vault.id),
        report,
    )
    slots |= _check_slots(
        vault,
        AMENDMENTS,
        amendment_key,
        lambda key, number: parse_amendment(
            fetch_document(store, key), amendment_key(number), vault.id
        ),
        report,
    )
    for kind in store.list_prefixes(RECORDS):
        if f"{RECORDS}{kind}/" != AMENDMENTS:
            for entry in store.list(f"{RECORDS}{kind}/"):
                _check_document(vault, entry.key, kind, report)
    for entry in store.list(LEASES):
        _check_slot_of(vault, _check_document(vault, entry.key, "lease", report), slots, report)
    _check_slot_of(vault, _check_document(vault, PRUNE_LOCK, "lock", report), slots, report)


def _check_slots(
    vault: Vault,
    prefix: str,
    key_of: Callable[[int], str],
    read: Callable[[str, int], object],
    report: Report,
) -> set[str]:
    """Read everything in numbered slots, each under its own name; return their keys."""
    found: dict[int, str] = {}
    for entry in vault.store.list(prefix):
        number = sequence_of(entry.key)
        if number is None:
            continue
        found[number] = entry.key
        try:
            read(entry.key, number)
        except ObjectNotFoundError:
            report.add(entry.key, "missing", "it is gone since it was listed")
        except VaultDamagedError as error:
            report.add(entry.key, "damaged", error.message)
    report.add_gaps(sorted(found), key_of, "ones")
    return set(found.values())


def _check_document(vault: Vault, key: str, kind: str, report: Report) -> dict[str, Any]:
    """Read one document; return its body, or nothing where there is none that is right."""
    try:
        data = fetch_document(vault.store, key)
        body = read_document(data, key, types=(kind,), vault=vault.id).body
    except ObjectNotFoundError:
        return {}
    except VaultDamagedError as error:
        report.add(key, "damaged", error.message)
        return {}
    if key != PRUNE_LOCK and key.rpartition("/")[2] != f"{body.get('run')}.json":
        report.add(key, "damaged", f"it is that of run {body.get('run')!r:.100}")
        return {}
    return body


def _check_slot_of(vault: Vault, body: dict[str, Any], slots: set[str], report: Report) -> None:
    """See that the slot is filled which a lease or the lock named before it was given back.

    So the newest root, or condemned list, cannot go without a trace.
    """
    slot = body.get("slot")
    if body.get("state") not in ("released", "ended") or not isinstance(slot, str):
        return
    if is_slot(slot) and slot not in slots:
        try:
            vault.store.head(slot)
        except ObjectNotFoundError:
            report.add(slot, "gap", f"run {body.get('run')} filled this slot, and it is empty")


def check_segments(vault: Vault, roots: list[Root], catalog: Catalog, report: Report) -> None:
    """Read every segment of the catalog, whole, and that together they name every object.

    What they lack is found out from the objects themselves, for the checks that follow.
    """
    for segment in catalog.segments():
        try:
            for _ in segment.read():
                pass
        except (VaultDamagedError, ObjectNotFoundError) as error:
            catalog.damaged.setdefault(segment.name.key, error.message)
        else:
            report.read(0)
    catalog.prepare(1 << 30)
    derived = "the catalog is derived: no snapshot is lost with it"
    for key, why in catalog.damaged.items():
        report.add(key, "damaged", f"{why}; {derived}")
    lost = report.bad_keys()
    for root in roots:
        try:
            objects = vault.object_list(root)
            for ref in catalog.uncovered(objects):
                if ref.key not in lost:
                    detail = f"no segment tells what lies in it; {derived}, and the next one heals"
                    report.add(ref.key, "uncatalogued", detail, (str(root.name),))
            catalog.recover(objects)
        except VaultDamagedError:
            continue  # of the object list: the quick depth has named it


class Proven:
    """The chunks that a walk has read and proven already. Thread-safe."""

    def __init__(self) -> None:
        self._sizes = KeySizes()
        self._lock = threading.Lock()

    def add(self, key: str, size: int) -> None:
        """Note one; see `Vault.on_proof`."""
        with self._lock:
            self._sizes[key] = size

    def size(self, key: str) -> int | None:
        """Return its size in bytes, or None where it was not read."""
        with self._lock:
            return self._sizes.get(key)

    def close(self) -> None:
        """Free what is held."""
        self._sizes.close()


def check_trees(
    vault: Vault, keys: Iterable[str], proven: Proven, report: Report, threads: int
) -> None:
    """Read every chunk of every tree, unless a walk did, and prove it against its name."""

    def one(key: str) -> None:
        size = proven.size(key)
        if size is not None:
            report.read(size)
            return
        try:
            data = fetch(vault.store, key, MAX_STORED)
        except ObjectNotFoundError:
            report.add(key, "missing", "the object is not there")
            return
        except VaultDamagedError as error:
            report.add(key, "damaged", error.message)
            return
        report.read(len(data))
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest_of_key(key):
            report.add(key, "damaged", "its bytes are not what its name says")

    for _ in in_order(keys, one, threads=threads, name="verify"):
        pass


class Manifests:
    """What every manifest of the vault refers to, kept on disk when there are many."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("CREATE TABLE refs (digest BLOB PRIMARY KEY, needs TEXT) WITHOUT ROWID")
        self._db.execute("BEGIN")
        self._lock = threading.Lock()

    def add(self, digest: str, data: bytes) -> None:
        """Keep what a blob of a meta object refers to, if it is a manifest. Thread-safe."""
        try:
            manifest = parse_manifest(data)
        except InvalidManifestError:
            return
        needs = [[blob.digest, blob.foreign] for blob in manifest.blobs]
        needs += [
            [child.digest, child.foreign or child.media_type in MANIFESTS]
            for child in manifest.children
        ]
        row = digest_bytes(digest), json.dumps(needs)
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO refs VALUES (?, ?)", row)

    def needs(self, digest: str) -> list[tuple[str, bool]]:
        """Return (digest, may be absent) of what a manifest refers to."""
        row = self._db.execute(
            "SELECT needs FROM refs WHERE digest = ?", (digest_bytes(digest),)
        ).fetchone()
        return [(d, absent) for d, absent in json.loads(row[0])] if row else []

    def close(self) -> None:
        """Free the temporary database."""
        self._db.close()


def check_meta(
    vault: Vault,
    catalog: Catalog,
    keys: Iterable[str],
    report: Report,
    progress: Progress,
    threads: int,
) -> Manifests:
    """Read every meta object and prove each member; return what the manifests refer to."""
    keys = sorted(keys)
    progress.phase("Reading manifests and configs", total_items=len(keys))
    manifests = Manifests()
    catalog.prepare(1 << 30)

    def one(key: str) -> None:
        _read_meta(vault, key, catalog.members(key), report, manifests)
        progress.advance(1)

    for _ in in_order(keys, one, threads=threads, name="verify"):
        pass
    return manifests


def _read_meta(
    vault: Vault, key: str, places: list[Location], report: Report, manifests: Manifests
) -> None:
    """Prove the members of a meta object, a frame in memory at a time."""
    try:
        data = fetch(vault.store, key, MAX_META_BYTES)
    except ObjectNotFoundError:
        report.add(key, "missing", "the object is not there")
        return
    except VaultDamagedError as error:
        report.add(key, "damaged", error.message)
        return
    report.read(len(data))
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest_of_key(key):
        report.add(key, "damaged", "its bytes are not what its name says")
    frames: dict[tuple[int, int], set[str]] = {}
    for place in places:
        frames.setdefault((place.offset, place.length), set()).add(place.digest)
    left = most_members(len(data))
    for (offset, length), named in sorted(frames.items()):
        try:
            text = decompress(data[offset : offset + length], key, MAX_FRAME_BYTES)
            for digest, at, size in iter_members(text, key):
                left -= 1
                if left < 0:
                    raise VaultDamagedError("it has more members than its bytes can tell of")
                named.discard(digest)
                blob = text[at : at + size]
                if matches_manifest(blob, digest):
                    manifests.add(digest, blob)
                else:
                    report.add_member(key, digest)
            for digest in sorted(named):
                report.add_untrue(key, digest)
        except VaultDamagedError as error:
            report.add(key, "damaged", error.message)
        if left < 0:
            return


def named_keys(roots: Iterable[Root], vault: Vault, prefix: str) -> Iterator[str]:
    """Yield the keys below `prefix` that any of these snapshots needs, each once."""
    seen = KeySizes()
    bases: set[str] = set()
    for root in roots:
        digest = root.objects.base.top.digest
        try:
            objects = vault.object_list(root)
            refs: Iterable[ObjectRef | None] = (
                map(objects.get, objects.delta()) if digest in bases else objects
            )
            bases.add(digest)
            for ref in refs:
                if ref is not None and ref.key.startswith(prefix) and seen.get(ref.key) is None:
                    seen[ref.key] = ref.size
                    yield ref.key
        except VaultDamagedError:
            continue  # of the object list: the quick depth has named it


def list_chunks(roots: Iterable[Root], vault: Vault) -> Iterator[str]:
    """Yield the keys of the chunks of the object lists themselves, each once."""
    seen: set[str] = set()
    for root in roots:
        try:
            for chunk in vault.object_list(root).own_chunks():
                if chunk.key not in seen:
                    seen.add(chunk.key)
                    yield chunk.key
        except VaultDamagedError:
            continue  # the quick depth has named it
