"""A registry in a store of each kind, and how the tests look at it."""

from __future__ import annotations

import hashlib
import time

from registry_build import Builder

from regvault.errors import StoreAccessError
from regvault.registry.reader import DistributionSource
from regvault.storage.memory import MemoryStore

HOUR_NS = 3600 * 10**9


class Md5Store(MemoryStore):
    """Object storage whose ETags are MD5s, as those of S3 are, and that counts its GETs."""

    def __init__(self):
        super().__init__()
        self.gets = []

    def get(self, key, *, start=0, length=None):
        self.gets.append(key)
        return super().get(key, start=start, length=length)

    def list(self, prefix="", *, after=""):
        for entry in super().list(prefix, after=after):
            data = self._objects[entry.key].data
            yield entry._replace(etag=hashlib.md5(data).hexdigest())


class Place:
    """A store with a registry in it, and how to look at it."""

    def __init__(self, store, flavour, root=None):
        self.store = store
        self.flavour = flavour
        self.root = root
        self.build = Builder(store)
        self.sleeps = []
        self.on_sleep = lambda: None
        self.ahead_ns = HOUR_NS
        self.sources = []

    def now(self):
        base = time.time_ns() if self.flavour == "tree" else self.store.now_ns()
        return base + self.ahead_ns

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.on_sleep()

    def source(self, store=None, **words):
        words = {
            "kind": f"distribution-{self.flavour}",
            "now": self.now,
            "sleep": self.sleep,
        } | words
        self.sources.append(DistributionSource(store or self.store, **words))
        return self.sources[-1]

    def links(self, repository, **words):
        return self.source(**words).survey(repository).links()

    def kinds(self, repository):
        return [(each.kind, each.subject) for each in self.links(repository).findings]


class Wrapper:
    """Passes all methods of an ObjectStore on; subclasses change some."""

    def __init__(self, store):
        self._store = store


def _passed(method):
    return property(lambda self: getattr(self._store, method))


for _method in (
    *("location", "get", "open", "head", "list", "list_prefixes", "put", "put_stream", "stage"),
    *("delete", "barrier", "now_ns", "space", "close", "copy_in", "stored_sha256"),
):
    setattr(Wrapper, _method, _passed(_method))


class Failing(Wrapper):
    """A store of which those keys that hold `part` cannot be read."""

    def __init__(self, store, part, error=StoreAccessError):
        super().__init__(store)
        self._part = part
        self._error = error

    def _check(self, path):
        if self._part in path:
            raise self._error(f"denied: {path}", key=path)

    def get(self, key, *, start=0, length=None):
        self._check(key)
        return self._store.get(key, start=start, length=length)


class FailingTree(Failing):
    def scandir(self, prefix):
        self._check(prefix)
        return self._store.scandir(prefix)

    def stat_children(self, prefix, leaf, names):
        for name in names:
            self._check(f"{prefix}/{name}/{leaf}")
        return self._store.stat_children(prefix, leaf, names)

    def sweep_seen(self, older_than_s):
        return self._store.sweep_seen(older_than_s)

    def read_children(self, prefix, leaf, names, *, limit):
        for name in names:
            self._check(f"{prefix}/{name}/{leaf}")
        return self._store.read_children(prefix, leaf, names, limit=limit)

    def create_files(self, prefix, files, *, whole):
        self._check(prefix)
        return self._store.create_files(prefix, files, whole=whole)
