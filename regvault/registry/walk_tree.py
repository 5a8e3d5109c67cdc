"""Walk a registry on a file system: names of repositories, blobs, and what is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError, StoreError
from regvault.model.registry import Finding, Kind
from regvault.oci.grammar import ALGORITHMS, MAX_NAME_LENGTH, is_component, is_hex
from regvault.registry.failures import ends_scan, source_error
from regvault.registry.layout import BASE, BLOBS, REPOSITORIES
from regvault.registry.links import SETTLED_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from regvault.model.store import HierarchicalStore

__all__ = ["tree_blobs", "tree_findings", "tree_repositories"]

_MARKS = frozenset({"_manifests", "_layers"})


def tree_repositories(
    store: HierarchicalStore, unread: Callable[[str, StoreError], None]
) -> Iterator[str]:
    """Yield the names of all repositories in byte order, one directory level in memory at a time.

    Args:
        store: of the registry.
        unread: is told the name of each directory that cannot be read, before it is yielded like
            a repository's: what lies below it is not known.

    Raises:
        SourceUnavailableError: the whole store is out of reach.
        SourceError: `repositories/` itself cannot be read.
    """
    walk = _NameWalk(store, unread)
    for name in walk.names():
        walk.notes.clear()
        yield name


def tree_findings(store: HierarchicalStore) -> Iterator[Finding]:
    """Yield what belongs to no repository: names that none may have, strays below `blobs/`."""
    walk = _NameWalk(store)
    for _ in walk.names():
        yield from walk.take()
    yield from walk.take()
    yield from _BlobWalk(store).strays()


def tree_blobs(store: HierarchicalStore) -> Iterator[tuple[str, int]]:
    """Yield (digest, size in bytes) of all blobs, in byte order.

    What cannot be read is left out; `tree_findings` names it.
    """
    return _BlobWalk(store).blobs()


def _subject(path: str) -> str:
    return path.removeprefix(f"{BASE}/")


class _Walk:
    def __init__(self, store: HierarchicalStore) -> None:
        self._store = store
        self.notes: list[Finding] = []

    def take(self) -> list[Finding]:
        notes, self.notes = self.notes, []
        return notes

    def note(self, kind: Kind, path: str, detail: str = "") -> None:
        self.notes.append(Finding("", kind, _subject(path), "", detail))

    def guarded(self, path: str, error: StoreError, repository: str = "") -> None:
        if ends_scan(error):
            raise source_error(error) from error
        subject = _subject(path)
        self.notes.append(Finding(repository, Kind.UNREADABLE, subject, "", error.message))

    def stray(self, path: str) -> None:
        self.note(Kind.TEMPORARY_FILE if path.endswith(".tmp") else Kind.UNKNOWN_FILE, path)


class _NameWalk(_Walk):
    """Walks `repositories/`."""

    def __init__(
        self,
        store: HierarchicalStore,
        unread: Callable[[str, StoreError], None] = lambda _name, _error: None,
    ) -> None:
        super().__init__(store)
        self._unread = unread

    def names(self) -> Iterator[str]:
        try:
            rows = self._store.scandir(REPOSITORIES)
        except ObjectNotFoundError:
            return
        except StoreError as error:
            raise source_error(error) from error
        for name, is_directory in rows:
            if name.startswith("_") or not is_directory:
                self.stray(REPOSITORIES + name)
        yield from self._below("", self._components("", rows))

    def _components(self, prefix: str, rows: list[tuple[str, bool]]) -> list[str]:
        names = []
        for name, is_directory in rows:
            if not is_directory or name.startswith("_"):
                continue  # of the repository itself; its survey looks at them
            if is_component(name) and len(prefix) + len(name) <= MAX_NAME_LENGTH:
                names.append(name)
            else:
                self.note(Kind.INVALID_NAME, f"{REPOSITORIES}{prefix}{name}")
        return names

    def _below(self, prefix: str, names: list[str]) -> Iterator[str]:
        # `a` < `a-b` < `a/b` < `a0`: a repository comes before its siblings that continue its
        # name, and what is nested in it after some of them. Sorting both sorts everything.
        nested: dict[str, list[str]] = {}
        for step in sorted([*names, *(f"{name}/" for name in names)]):
            if step.endswith("/"):
                inner = nested.pop(step[:-1], None)
                if inner:
                    yield from self._below(prefix + step, inner)
                continue
            path = REPOSITORIES + prefix + step
            try:
                rows = self._store.scandir(path)
            except ObjectNotFoundError:
                continue
            except StoreError as error:
                self.guarded(path, error, prefix + step)
                self._unread(prefix + step, error)
                yield prefix + step
                continue
            inner = self._components(f"{prefix}{step}/", rows)
            if inner:
                nested[step] = inner
            if any(name in _MARKS for name, is_directory in rows if is_directory):
                yield prefix + step
            else:
                for name, is_directory in rows:
                    if not is_directory:
                        self.stray(f"{path}/{name}")


class _BlobWalk(_Walk):
    """Walks `blobs/`."""

    def _scandir(self, path: str, keep: Callable[[str], bool]) -> list[str]:
        """Return the directories whose names `keep` wants, sorted; note the rest."""
        try:
            rows = self._store.scandir(path)
        except ObjectNotFoundError:
            return []
        except StoreError as error:
            self.guarded(path, error)
            return []
        base = path.rstrip("/")
        names = []
        for name, is_directory in rows:
            if is_directory and keep(name):
                names.append(name)
            else:
                self.stray(f"{base}/{name}")
        names.sort()
        return names

    def _fans(self) -> Iterator[tuple[str, str, list[str]]]:
        """Yield (algorithm, directory, names) of each directory that holds those of blobs."""
        for algorithm in self._scandir(BLOBS, ALGORITHMS.__contains__):
            path = BLOBS + algorithm
            for two in self._scandir(path, lambda name: len(name) == 2):
                fan = f"{path}/{two}"
                names = self._scandir(
                    fan,
                    lambda name, two=two, algorithm=algorithm: (  # type: ignore[misc]
                        name[:2] == two and is_hex(algorithm, name)
                    ),
                )
                if names:
                    yield algorithm, fan, names

    def _stat(self, fan: str, leaf: str, names: list[str]) -> list[tuple[str, int, int, int]]:
        try:
            return self._store.stat_children(fan, leaf, names)
        except StoreError as error:
            if len(names) == 1 or ends_scan(error):
                self.guarded(f"{fan}/{names[0]}/{leaf}", error)
                return [(names[0], -1, 0, 0)]
        return [row for name in names for row in self._stat(fan, leaf, [name])]

    def blobs(self) -> Iterator[tuple[str, int]]:
        for algorithm, fan, names in self._fans():
            for name, size, _, _ in self._stat(fan, "data", names):
                if size >= 0:
                    yield f"{algorithm}:{name}", size
            self.notes.clear()

    def strays(self) -> Iterator[Finding]:
        for _, fan, names in self._fans():
            data = self._stat(fan, "data", names)
            directories = self._stat(fan, "", names)
            # A stray has changed its directory after the data came there (see scan_tree).
            for (name, _, data_ns, _), (_, size, mtime, _) in zip(data, directories, strict=True):
                if size >= 0 and mtime > data_ns + SETTLED_NS:
                    self._beside(f"{fan}/{name}")
            yield from self.take()
        yield from self.take()

    def _beside(self, path: str) -> None:
        try:
            rows = self._store.scandir(path)
        except ObjectNotFoundError:
            return
        except StoreError as error:
            self.guarded(path, error)
            return
        for name, _ in rows:
            if name != "data":
                self.stray(f"{path}/{name}")
