"""A registry, a vault and what may happen to both: the world that the tests of the verbs act in.

Registries are written here by hand, with nothing of regvault's own writer, so that a mistake there
does not hide itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.model.progress import NO_PROGRESS, Silent
from regvault.model.store import HierarchicalStore
from regvault.ops.restore import RestoreOptions, Restorer
from regvault.ops.snapshot import SnapshotOptions, snapshot
from regvault.ops.verify import VerifyOptions, verify
from regvault.ops.verify.data import Sample
from regvault.registry.reader import DistributionSource
from regvault.registry.writer import DistributionTarget
from regvault.storage.delegate import Wrapper
from regvault.storage.memory import MemoryStore
from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog, vault_cache
from regvault.vault.create import Sealing, create_vault
from regvault.vault.root import RootName
from regvault.vault.signing import NO_KEYS, Keys
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from regvault.model.store import ObjectStore
    from regvault.vault.root import Root

BASE = "docker/registry/v2"
OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_LONG_NS = 3_600_000_000_000


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def noise(size: int, *words: object) -> bytes:
    """Bytes that do not compress, the same for the same words."""
    return hashlib.shake_128("/".join(map(str, words)).encode()).digest(size)


def tree(store: ObjectStore, prefix: str = "") -> dict[str, bytes]:
    """Every key with its bytes."""
    return {entry.key: store.get(entry.key) for entry in list(store.list(prefix))}


class Image(NamedTuple):
    digest: str
    data: bytes
    media_type: str
    blobs: tuple[str, ...] = ()
    children: tuple[Image, ...] = ()

    def closure(self) -> set[str]:
        """Everything that a pull of it gets."""
        found = {self.digest, *self.blobs}
        for child in self.children:
            found |= child.closure()
        return found


def blob_key(digest: str) -> str:
    algorithm, _, hexed = digest.partition(":")
    return f"{BASE}/blobs/{algorithm}/{hexed[:2]}/{hexed}/data"


def layer_key(repository: str, digest: str) -> str:
    return f"{BASE}/repositories/{repository}/_layers/{digest.replace(':', '/')}/link"


def revision_key(repository: str, digest: str) -> str:
    where = digest.replace(":", "/")
    return f"{BASE}/repositories/{repository}/_manifests/revisions/{where}/link"


def current_key(repository: str, tag: str) -> str:
    return f"{BASE}/repositories/{repository}/_manifests/tags/{tag}/current/link"


def history_key(repository: str, tag: str, digest: str) -> str:
    where = digest.replace(":", "/")
    return f"{BASE}/repositories/{repository}/_manifests/tags/{tag}/index/{where}/link"


class Pusher:
    """Writes what a registry writes, in its order."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def write(self, key: str, data: bytes) -> None:
        self.store.put_stream(key, io.BytesIO(data), size=len(data))

    def blob(self, data: bytes, algorithm: str = "sha256") -> str:
        digest = digest_of(data, algorithm)
        self.write(blob_key(digest), data)
        return digest

    def link(self, key: str, digest: str) -> None:
        self.write(key, digest.encode())

    def manifest(self, repository: str, data: bytes, *tags: str, algorithm: str = "sha256") -> str:
        digest = self.blob(data, algorithm)
        self.link(revision_key(repository, digest), digest)
        for tag in tags:
            self.tag(repository, tag, digest)
        return digest

    def tag(self, repository: str, tag: str, digest: str) -> None:
        self.link(history_key(repository, tag, digest), digest)
        self.link(current_key(repository, tag), digest)

    def image(
        self,
        repository: str,
        *tags: str,
        layers: tuple[bytes, ...],
        config: bytes | None = None,
        algorithm: str = "sha256",
        **more: Any,
    ) -> Image:
        """Push an image with these layers."""
        if config is None:
            config = json.dumps({"layers": [digest_of(each) for each in layers]}).encode()
        blobs = [config, *layers]
        digests = [self.blob(data, algorithm) for data in blobs]
        for digest in digests:
            self.link(layer_key(repository, digest), digest)
        described = [
            {"mediaType": "application/octet-stream", "digest": digest, "size": len(data)}
            for digest, data in zip(digests, blobs, strict=True)
        ]
        body = {"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": described[0]}
        data = json.dumps({**body, "layers": described[1:], **more}).encode()
        digest = self.manifest(repository, data, *tags, algorithm=algorithm)
        return Image(digest, data, OCI_IMAGE, tuple(digests))

    def index(self, repository: str, *tags: str, children: tuple[Image, ...]) -> Image:
        """Push an index of images that this repository has."""
        data = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [
                    {"mediaType": c.media_type, "digest": c.digest, "size": len(c.data)}
                    for c in children
                ],
            }
        ).encode()
        return Image(self.manifest(repository, data, *tags), data, OCI_INDEX, (), children)


class Listener(Silent):
    """A progress that remembers what people are told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str, *, hint: str | None = None) -> None:
        del hint
        self.warnings.append(message)


class Before(Wrapper):
    """Does something once, before the first request that matches."""

    def __init__(self, inner, verb: str, part: str, do) -> None:
        super().__init__(inner)
        self.what = verb, part
        self.do = do

    def _run(self, verb, key, call):
        if self.do is not None and verb == self.what[0] and self.what[1] in key:
            do, self.do = self.do, None
            do()
        return call()


class World:
    """One registry and one vault.

    Attributes:
        registry, store: where they are.
        cache: directory of the local caches, or None.
        trust: the keys that the vault is opened with.
        sealing: to whom a new vault is sealed, or None.
    """

    trust: Keys = NO_KEYS
    sealing: Sealing | None = None

    def __init__(
        self,
        registry: ObjectStore | None = None,
        store: ObjectStore | None = None,
        *,
        cache: str | None = None,
        name: str = "prod",
    ) -> None:
        self.registry: Any = MemoryStore("registry") if registry is None else registry
        self.store: Any = MemoryStore("vault") if store is None else store
        self.cache = cache
        self.name = name
        self.push = Pusher(self.registry)
        self.progress = Listener()
        if not list(self.store.list("vault.json")):
            create_vault(self.store, self.trust, sealing=self.sealing)

    # -- the verbs ------------------------------------------------------------------------------

    def vault(self, store: ObjectStore | None = None) -> Vault:
        """Opened anew, as each command does."""
        return Vault(store or self.store, self.trust)

    def source(self, store: ObjectStore | None = None) -> DistributionSource:
        """The registry, looked at so late that its links have settled."""
        store = self.registry if store is None else store
        kind = "distribution-fs" if isinstance(store, HierarchicalStore) else "distribution-s3"
        return DistributionSource(
            store,
            kind=kind,
            threads=1,
            now=lambda: max(time.time_ns(), store.now_ns()) + _LONG_NS,
            sleep=lambda _: None,
        )

    def snapshot(
        self,
        *,
        store: ObjectStore | None = None,
        source: Any = None,
        registry: str | None = None,
        **options: Any,
    ) -> Any:
        options.setdefault("threads", 2)
        return snapshot(
            self.vault(store),
            source or self.source(),
            SnapshotOptions(registry=registry or self.name, **options),
            progress=self.progress,
            cache_base=self.cache,
        )

    def chain(self, registry: str | None = None) -> str:
        """What the slots of a registry are named by."""
        name = registry or self.name
        ids = {title: each for each, title in self.vault().titles().items()}
        return ids.get(name, name)

    def roots(self, registry: str | None = None) -> list[Root]:
        """All of them, oldest first."""
        return list(self.vault().roots(self.chain(registry)))[::-1]

    def root(self, sequence: int | None = None, registry: str | None = None) -> Root:
        if sequence is None:
            return self.roots(registry)[-1]
        root = self.vault().read_slot(RootName(self.chain(registry), sequence))
        assert root is not None
        return root

    def restore(
        self,
        sequence: int | None = None,
        target: Any = None,
        *,
        store: ObjectStore | None = None,
        registry: str | None = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        """Restore; return the result, or the plan of a dry run, and the target."""
        target = MemoryStore("target") if target is None else target
        vault = self.vault(store)
        root = self.root(sequence, registry)
        objects = vault.object_list(root)
        catalog = Catalog(vault.store, vault_cache(self.cache, vault.id), vault.seal)
        catalog.prepare(1 << 30)
        options.setdefault("threads", 2)
        existing = list(DistributionSource(target, kind="x", threads=1).blobs())
        restorer = Restorer(
            vault,
            root,
            objects,
            BlobReader(vault.store, catalog, objects),
            DistributionTarget(target),
            existing,
            RestoreOptions(**options),
            NO_PROGRESS,
        )
        try:
            plan = restorer.plan()
            return (plan if options.get("dry_run") else restorer.execute(plan)), target
        finally:
            restorer.close()
            catalog.close()

    def restored(self, sequence: int | None = None, **options: Any) -> dict[str, bytes]:
        """Every key of an empty target after a restore."""
        result, target = self.restore(sequence, **options)
        assert result.exit_code() == 0, result.to_json()
        return tree(target)

    def verify(self, depth: str = "data", *, store: ObjectStore | None = None) -> Any:
        options = VerifyOptions(
            quick=depth == "quick", read_data=Sample() if depth == "data" else None, threads=2
        )
        vault = self.vault(store)
        return verify(vault, options, progress=self.progress)

    def verified(self) -> None:
        """Assert that nothing at all is wrong with the vault."""
        result = self.verify()
        assert result.exit_code() == 0, result.to_json()["problems"]

    # -- what may happen ------------------------------------------------------------------------

    def remove(self, repository: str) -> None:
        """Remove a repository from the registry; its blobs stay."""
        prefix = f"{BASE}/repositories/{repository}/"
        if isinstance(self.registry, HierarchicalStore):
            shutil.rmtree(os.path.join(self.registry.root, prefix))
            return
        for entry in list(self.registry.list(prefix)):
            self.registry.delete(entry.key)

    def lose(self, *names: str) -> list[str]:
        """Delete keys of the vault, and everything below prefixes; return the keys."""
        keys: list[str] = []
        for name in names:
            keys += self.keys(name) if name.endswith("/") else [name]
        for key in keys:
            self.store.delete(key)
        return keys

    def keys(self, prefix: str = "") -> list[str]:
        return [entry.key for entry in self.store.list(prefix)]

    def spoil(self, key: str, change: Any) -> bytes:
        """Change an object of the vault behind its back; return what it was."""
        data = self.store.get(key)
        changed = change(data)
        self.store.put_stream(key, io.BytesIO(changed), size=len(changed))
        return data


def flip(data: bytes, at: int | None = None) -> bytes:
    """One bit wrong."""
    changed = bytearray(data)
    changed[len(data) // 2 if at is None else at] ^= 1
    return bytes(changed)


def kinds(result: Any) -> set[tuple[str, str, str, str]]:
    """(rank, kind, subject, image) of all findings of a snapshot."""
    return {(str(rank), str(f.kind), f.subject, f.image) for rank, f in result.findings}


def fill(made: World) -> None:
    push = made.push
    first = push.image("app", "1", layers=(noise(3000, 1), noise(1 << 20, "raw")))
    second = push.image("app", "2", "latest", layers=(noise(3000, 2), noise(1 << 20, "raw")))
    push.index("app", "all", children=(first, second))
    push.image("tools/cli", "1", layers=(noise(3000, 1), noise(5000, 3)))
    push.image("tools/cli", layers=(noise(700, 4),))  # pushed by digest only
