"""A registry's object storage of any size: keys and contents are computed when they are asked for.

Deterministic by seed. What a digest stands for cannot be computed, so one SQLite file on disk maps
the first eight bytes of each digest to its place; building it is no part of what is measured, and
neither is the time that this adapter itself takes (`Synthetic.own_s`).
"""

import bisect
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from regvault.errors import ObjectNotFoundError, StoreError
from regvault.model.store import Entry, Space
from regvault.storage.streams import BytesReader

BASE = "docker/registry/v2/"
IMAGES = 50  # images of one repository
SHARED = 4  # layers that all images of a repository share
STARTED_NS = 1_700_000_000 * 10**9


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Synthetic:
    """An ObjectStore that is only read: `images` images in repositories of fifty.

    Attributes:
        own_s: seconds of CPU that the adapter itself took, over all threads.
        listed: keys that were listed.
    """

    def __init__(self, images, seed, index):
        self.repositories = max(1, images // IMAGES)
        self.seed = seed
        self.own_s = 0.0
        self.listed = 0
        self._lock = threading.Lock()
        self._index = index
        self._local = threading.local()
        self._repository = lru_cache(64)(self._make_repository)
        self._keys = lru_cache(64)(self._make_keys)

    location = "synthetic://registry"

    # -- contents -------------------------------------------------------------------------------

    def name(self, number):
        return f"team{number // 100:04d}/app{number:06d}"

    def _make_repository(self, number):
        """Return ([(manifest digest, manifest, config digest, config)], {layer digest: bytes})."""
        mark = f"{self.seed}/{number}/"
        shared = [f"layer {mark}s{n} ".encode() * 3 for n in range(SHARED)]
        layers = {digest(data): data for data in shared}
        images = []
        for n in range(IMAGES):
            own = f"layer {mark}{n} ".encode() * 3
            layers[digest(own)] = own
            config = json.dumps(
                {"architecture": "amd64", "os": "linux", "id": mark + str(n)}
            ).encode()
            parts = [*shared, own]
            manifest = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": {
                        "mediaType": "application/vnd.oci.image.config.v1+json",
                        "digest": digest(config),
                        "size": len(config),
                    },
                    "layers": [
                        {
                            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                            "digest": digest(part),
                            "size": len(part),
                        }
                        for part in parts
                    ],
                }
            ).encode()
            images.append((digest(manifest), manifest, digest(config), config))
        return images, layers

    def contents(self, number):
        """Return digest -> bytes of one repository."""
        images, layers = self._repository(number)
        found = dict(layers)
        for manifest_digest, manifest, config_digest, config in images:
            found[manifest_digest] = manifest
            found[config_digest] = config
        return found

    def _make_keys(self, number):
        """Return [(key, link digest)] of one repository, in byte order."""
        images, layers = self._repository(number)
        prefix = f"{BASE}repositories/{self.name(number)}/"
        keys = []
        blobs = [*layers, *(image[2] for image in images)]
        keys += [(f"{prefix}_layers/sha256/{one[7:]}/link", one) for one in blobs]
        for n, image in enumerate(images):
            one = image[0]
            keys.append((f"{prefix}_manifests/revisions/sha256/{one[7:]}/link", one))
            tag = f"{prefix}_manifests/tags/v{n}/"
            keys.append((f"{tag}current/link", one))
            keys.append((f"{tag}index/sha256/{one[7:]}/link", one))
        return sorted(keys)

    def build_index(self):
        """Fill the file that tells the repository of a digest."""
        db = sqlite3.connect(self._index)
        db.execute("PRAGMA synchronous=OFF")
        db.execute(
            "CREATE TABLE IF NOT EXISTS places (digest BLOB PRIMARY KEY, n INT) WITHOUT ROWID"
        )
        rows = []
        for number in range(self.repositories):
            rows += [(bytes.fromhex(one[7:23]), number) for one in self.contents(number)]
            if len(rows) > 200_000:
                db.executemany("INSERT OR IGNORE INTO places VALUES (?, ?)", sorted(rows))
                rows.clear()
        db.executemany("INSERT OR IGNORE INTO places VALUES (?, ?)", sorted(rows))
        db.commit()
        db.close()

    def _place(self, one):
        if not hasattr(self._local, "db"):
            self._local.db = sqlite3.connect(self._index)
        row = self._local.db.execute(
            "SELECT n FROM places WHERE digest = ?", (bytes.fromhex(one[7:23]),)
        ).fetchone()
        return None if row is None else row[0]

    # -- the port -------------------------------------------------------------------------------

    @contextmanager
    def _own(self):
        began = time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self.own_s += time.thread_time() - began

    def _data(self, key):
        parts = key.removeprefix(BASE).split("/")
        if parts[0] == "blobs" and len(parts) == 5:
            one = f"{parts[1]}:{parts[3]}"
            number = self._place(one)
            found = None if number is None else self.contents(number).get(one)
        elif parts[0] == "repositories" and parts[-1] == "link":
            number = int(parts[2][3:]) if parts[2].startswith("app") else -1
            found = dict(self._keys(number)).get(key) if 0 <= number < self.repositories else None
            found = found.encode() if found else None
        else:
            found = None
        if found is None:
            raise ObjectNotFoundError(f"no {key}", key=key)
        return found

    def get(self, key, *, start=0, length=None):
        with self._own():
            data = self._data(key)
            data = data[start:] if start else data
            return data if length is None else data[:length]

    def open(self, key, *, start=0, length=None):
        return BytesReader(self.get(key, start=start, length=length))

    def head(self, key):
        data = self.get(key)
        return Entry(key, len(data), hashlib.md5(data).hexdigest(), STARTED_NS)

    def list(self, prefix="", *, after=""):
        root = f"{BASE}repositories/"
        if not prefix.startswith(root) and not root.startswith(prefix):
            if prefix.startswith(f"{BASE}blobs/"):
                raise NotImplementedError("blobs are not listed here")
            return
        numbers = self._numbers(prefix, after)
        for number in numbers:
            with self._own():
                entries = [
                    Entry(key, 71, hashlib.md5(one.encode()).hexdigest(), STARTED_NS)
                    for key, one in self._keys(number)
                    if key.startswith(prefix) and key > after
                ]
                self.listed += len(entries)
            yield from entries

    def _numbers(self, prefix, after):
        """Yield the repositories that may hold keys of a prefix greater than `after`."""
        names = _Names(self)
        root = f"{BASE}repositories/"
        low = max(prefix, after)[len(root) :] if len(max(prefix, after)) > len(root) else ""
        begin = max(0, bisect.bisect_left(names, low) - 1)
        for number in range(begin, self.repositories):
            name = root + self.name(number) + "/"
            if name.startswith(prefix) or prefix.startswith(name):
                yield number
            elif name > prefix:
                return

    def list_prefixes(self, prefix=""):
        root = f"{BASE}repositories/"
        with self._own():
            if root.startswith(prefix) and prefix != root:
                return iter([root[len(prefix) :].split("/", maxsplit=1)[0]])
            if prefix == f"{BASE}":
                return iter(["repositories"])
            rest = prefix[len(root) :]
            if not rest:
                return iter([f"team{n:04d}" for n in range((self.repositories + 99) // 100)])
            parts = rest.rstrip("/").split("/")
            if len(parts) == 1:
                first = int(parts[0][4:]) * 100
                last = min(first + 100, self.repositories)
                return iter([f"app{n:06d}" for n in range(first, last)])
            found = {
                key[len(prefix) :].split("/")[0]
                for key, _ in self._keys(int(parts[1][3:]))
                if key.startswith(prefix) and "/" in key[len(prefix) :]
            }
            return iter(sorted(found))

    def now_ns(self):
        return time.time_ns()

    def space(self):
        return Space(None, None)

    def close(self):
        """Nothing to release."""

    def _refuse(self, *_, **__):
        raise StoreError("this registry is only read")

    put = put_stream = stage = copy_in = stored_sha256 = delete = barrier = _refuse


class _Names:
    def __init__(self, store: Synthetic) -> None:
        self._store = store

    def __len__(self) -> int:
        return self._store.repositories

    def __getitem__(self, number: int) -> str:
        return self._store.name(number)

    def __iter__(self) -> Iterator[str]:
        return (self[n] for n in range(len(self)))
