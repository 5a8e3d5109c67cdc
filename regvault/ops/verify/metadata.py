"""The default depth: everything but layers is read and hashed; `closures` has the walk."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    VaultDamagedError,
)
from regvault.oci.manifest import InvalidManifestError, parse_manifest
from regvault.oci.media import MANIFESTS
from regvault.oci.verify import matches_manifest
from regvault.ops.bounded import in_order
from regvault.vault.cache import digest_bytes
from regvault.vault.fetch import fetch
from regvault.vault.frames import decompress
from regvault.vault.keys import (
    digest_of_key,
)
from regvault.vault.pack import MAX_FRAME_BYTES, MAX_META_BYTES, iter_members, most_members
from regvault.vault.presence import KeySizes
from regvault.vault.sealing import SealedToOthersError
from regvault.vault.tree import MAX_STORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.ops.verify.report import Report
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.segment import Location
    from regvault.vault.vault import Vault

__all__ = [
    "DERIVED",
    "WRONG_BYTES",
    "Manifests",
    "Proven",
    "check_meta",
    "check_segments",
    "check_trees",
    "expected_digest",
    "list_chunks",
    "named_objects",
]


#: What is said of damage of the catalog.
DERIVED = "the catalog is derived: no snapshot is lost with it"


def check_segments(vault: Vault, roots: list[Root], catalog: Catalog, report: Report) -> bool:
    """Read every segment of the catalog, whole, and that together they name every object.

    What they lack is found out from the objects themselves, for the checks that follow.

    Returns:
        whether they could be opened: else it cannot be told where blobs lie.
    """
    unopened: set[str] = set()
    for segment in catalog.segments():
        try:
            try:
                segment.prove()
            except SealedToOthersError:
                segment.prove(unopened=True)
                unopened.add(segment.name.key)
                report.add_unopened()
        except (VaultDamagedError, ObjectNotFoundError) as error:
            catalog.damaged.setdefault(segment.name.key, error.message)
        else:
            report.read(0)
    if vault.seal.opens_names:
        catalog.prepare(1 << 30)
    for key, why in catalog.damaged.items():
        if key not in unopened:
            report.add(key, "damaged", f"{why}; {DERIVED}")
    if unopened or not vault.seal.opens_names:
        return False
    lost = report.bad_keys()
    for root in roots:
        try:
            objects = vault.object_list(root)
            for ref in catalog.uncovered(objects):
                if ref.key not in lost:
                    detail = f"no segment tells what lies in it; {DERIVED}, and the next one heals"
                    report.add(ref.key, "uncatalogued", detail, (str(root.name),))
            catalog.recover(objects)
        except VaultDamagedError:
            continue  # of the object list: the quick depth has named it
    return True


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
    vault: Vault, refs: Iterable[ObjectRef], proven: Proven, report: Report, threads: int
) -> None:
    """Read every chunk of every tree, unless a walk did, and prove it against its name."""

    def one(ref: ObjectRef) -> None:
        key = ref.key
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
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != expected_digest(ref):
            report.add(key, "damaged", WRONG_BYTES)

    for _ in in_order(refs, one, threads=threads, name="verify"):
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
    opens = vault.seal.opens_contents
    if opens:
        catalog.prepare(1 << 30)

    def one(key: str) -> None:
        _read_meta(vault, key, catalog.members(key) if opens else [], report, manifests)
        progress.advance(1)

    for _ in in_order(keys, one, threads=threads, name="verify"):
        pass
    return manifests


def _read_meta(
    vault: Vault, key: str, places: list[Location], report: Report, manifests: Manifests
) -> None:
    """Prove the members of a meta object, a frame in memory at a time.

    Without an identity that opens contents, only the object itself.
    """
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
        report.add(key, "damaged", WRONG_BYTES)
    if not vault.seal.opens_contents:
        return
    frames: dict[tuple[int, int], set[str]] = {}
    for place in places:
        frames.setdefault((place.offset, place.length), set()).add(place.digest)
    left = most_members(len(data))
    for (offset, length), named in sorted(frames.items()):
        try:
            frame = vault.seal.open_content(data[offset : offset + length], key)
            text = decompress(frame, key, MAX_FRAME_BYTES)
            for digest, at, size in iter_members(text, key):
                left -= 1
                if left < 0:
                    raise VaultDamagedError("it has more members than its bytes can tell of")
                named.discard(vault.seal.name(digest))
                blob = text[at : at + size]
                if matches_manifest(blob, digest):
                    manifests.add(digest, blob)
                else:
                    report.add_member(key, digest)
            for digest in sorted(named):
                report.add_untrue(key, digest)
        except SealedToOthersError:
            report.add_unopened()  # its stored bytes were proven above, or are reported
        except VaultDamagedError as error:
            report.add(key, "damaged", error.message)
        if left < 0:
            return


#: What is said of an object that is not what the vault says of it.
WRONG_BYTES = "its bytes are not what its name says"


def expected_digest(ref: ObjectRef) -> str:
    """Return the digest that an object must have: its key's, else what the list says of it."""
    return digest_of_key(ref.key) or f"sha256:{ref.sha256}"


def named_objects(roots: Iterable[Root], vault: Vault, prefix: str) -> Iterator[ObjectRef]:
    """Yield the objects below `prefix` that any of these snapshots needs, each once."""
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
                    yield ref
        except VaultDamagedError:
            continue  # of the object list: the quick depth has named it


def list_chunks(roots: Iterable[Root], vault: Vault) -> Iterator[ObjectRef]:
    """Yield the chunks of the object lists themselves, each once."""
    seen: set[str] = set()
    for root in roots:
        try:
            for ref in vault.object_list(root).own_objects():
                if ref.key not in seen:
                    seen.add(ref.key)
                    yield ref
        except VaultDamagedError:
            continue  # the quick depth has named it
