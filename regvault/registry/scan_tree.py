"""Scan a registry on a file system: every link stated or read, no directory opened for one link.

A survey lists the directories that hold links, states their `link` files in bulk, reads every
tag's `current/link`, and states the directories of a tag's history instead of listing them: they
change when a link is added or removed. 50,000 links take a fraction of a second. What costs more
(history, contents of the other links, strays) waits for `links()`, which only changed repositories
see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError, StoreError
from regvault.model.registry import Kind, RepositoryLinks
from regvault.oci.grammar import ALGORITHMS, is_hex, is_tag
from regvault.registry.failures import ends_scan, source_error
from regvault.registry.layout import BASE, LINK_LIMIT, REPOSITORIES, parse_link
from regvault.registry.links import SETTLED_NS, Fingerprint, LinkBuilder, link_state
from regvault.registry.walk_tree import tree_repositories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from regvault.model.store import HierarchicalStore

__all__ = ["SETTLED_NS", "TreeScanner", "TreeSurvey"]

_VERSION = 1
_LAYERS = "_layers"
_REVISIONS = "_manifests/revisions"
_TAGS = "_manifests/tags"
_OWN = frozenset({"_layers", "_manifests", "_uploads"})

# A writer that truncates before it writes shows an empty link for a moment (distribution 2.8, 3.0).
_REREADS = 3
_REREAD_WAIT_S = 0.4


class _Column(NamedTuple):
    """The links of one directory, `<directory>/<name>/link`, in the order of their names."""

    directory: str
    algorithm: str
    names: Sequence[str]
    sizes: Sequence[int]
    mtimes: Sequence[int]


@dataclass(slots=True)
class _Seen:
    """What one survey saw."""

    layers: list[_Column] = field(default_factory=list)
    revisions: list[_Column] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    current: list[bytes | None] = field(default_factory=list)
    # algorithm -> the tags that have a history of such digests
    history: dict[str, list[str]] = field(default_factory=dict)
    newest_ns: int = 0


class _Problem(NamedTuple):
    path: str
    error: StoreError


class _Asker:
    """Asks the store, and notes what cannot be read instead of ending the scan.

    Raises:
        SourceUnavailableError: the whole store is out of reach.
    """

    def __init__(self, store: HierarchicalStore) -> None:
        self._store = store
        self.problems: list[_Problem] = []

    def _note(self, path: str, error: StoreError) -> None:
        if ends_scan(error):
            raise source_error(error) from error
        self.problems.append(_Problem(path, error))

    def scandir(self, path: str) -> list[tuple[str, bool]]:
        try:
            return self._store.scandir(path)
        except ObjectNotFoundError:
            return []
        except StoreError as error:
            self._note(path, error)
            return []

    def directories(self, path: str) -> list[str]:
        return [name for name, is_directory in self.scandir(path) if is_directory]

    def stat(self, path: str, leaf: str, names: list[str]) -> list[tuple[str, int, int, int]]:
        try:
            return self._store.stat_children(path, leaf, names)
        except StoreError as error:
            if len(names) <= 1 or ends_scan(error):
                self._note(f"{path}/{names[0]}/{leaf}" if names else path, error)
                return [(name, -1, 0, 0) for name in names]
        return [row for name in names for row in self.stat(path, leaf, [name])]

    def read(self, path: str, leaf: str, names: list[str]) -> list[tuple[str, bytes | None]]:
        try:
            return self._store.read_children(path, leaf, names, limit=LINK_LIMIT)
        except StoreError as error:
            if len(names) <= 1 or ends_scan(error):
                self._note(f"{path}/{names[0]}/{leaf}" if names else path, error)
                return [(name, None) for name in names]
        return [row for name in names for row in self.read(path, leaf, [name])]


class TreeScanner:
    """Looks at the repositories of a registry on a file system. Safe to use from several threads.

    Args:
        store: the registry's storage, from the root directory of its driver on.
        kind: the first word of fingerprints.
        now: the time of the file system, nanoseconds since the epoch.
        sleep: waits, in seconds, before an empty link is read again.
    """

    def __init__(
        self,
        store: HierarchicalStore,
        *,
        kind: str,
        now: Callable[[], int],
        sleep: Callable[[float], None],
    ) -> None:
        self.store = store
        self.kind = kind
        self.now = now
        self.sleep = sleep
        # Names of directories that could not be read when repositories were looked for below them.
        # Even if their surveys succeed, what lies below them was not seen.
        self._unread: dict[str, StoreError] = {}

    def names(self) -> Iterator[str]:
        """Yield the names of all repositories in byte order; see `tree_repositories`."""
        return tree_repositories(self.store, self._unread.__setitem__)

    def survey(self, repository: str) -> TreeSurvey:
        """Look at all links of one repository, whose name must be valid."""
        started_ns = self.now()
        asker = _Asker(self.store)
        base = REPOSITORIES + repository
        fingerprint = Fingerprint(repository)
        seen = _Seen()
        # In the reverse of a registry's write order: what an image that is being pushed has first
        # is looked at last, so no tag is seen without its revision, no revision without its layers.
        _look_at_tags(asker, f"{base}/{_TAGS}", seen, fingerprint)
        _look_at_section(asker, f"{base}/{_REVISIONS}", seen.revisions, seen, fingerprint)
        # A tag's history is of revisions: asking each tag for other algorithms would find nothing.
        algorithms = {column.algorithm for column in seen.revisions} & ALGORITHMS.keys()
        algorithms.add("sha256")
        _look_at_histories(asker, f"{base}/{_TAGS}", sorted(algorithms), seen, fingerprint)
        _look_at_section(asker, f"{base}/{_LAYERS}", seen.layers, seen, fingerprint)
        if not (seen.layers or seen.revisions or seen.tags):
            asker.scandir(base)  # empty, or not to be read?
        if repository in self._unread and not asker.problems:
            asker.problems.append(_Problem(base, self._unread[repository]))
        settled = not asker.problems and seen.newest_ns <= started_ns - SETTLED_NS
        words = fingerprint.finish(self.kind, _VERSION) if settled else ""
        return TreeSurvey(self, repository, words, seen, asker.problems)


def _look_at_section(
    asker: _Asker, path: str, columns: list[_Column], seen: _Seen, fingerprint: Fingerprint
) -> None:
    """Look at all links below `_layers` or `_manifests/revisions`."""
    algorithms = sorted(asker.directories(path))
    fingerprint.texts(algorithms)
    for algorithm in algorithms:
        directory = f"{path}/{algorithm}"
        names = sorted(asker.directories(directory))
        if not names:
            continue
        rows = asker.stat(directory, "link", names)
        _, sizes, mtimes, inodes = zip(*rows, strict=True)
        columns.append(_Column(directory, algorithm, names, sizes, mtimes))
        seen.newest_ns = max(seen.newest_ns, *mtimes)
        fingerprint.texts(names)
        for column in (sizes, mtimes, inodes):
            fingerprint.numbers(column)


def _look_at_tags(asker: _Asker, path: str, seen: _Seen, fingerprint: Fingerprint) -> None:
    """Read where each tag points."""
    seen.tags = sorted(asker.directories(path))
    fingerprint.texts(seen.tags)
    if seen.tags:
        seen.current = [content for _, content in asker.read(path, "current/link", seen.tags)]
        fingerprint.contents(seen.current)


def _look_at_histories(
    asker: _Asker, path: str, algorithms: list[str], seen: _Seen, fingerprint: Fingerprint
) -> None:
    """State the directories of each tag's history."""
    if not seen.tags:
        return
    for algorithm in ("", *algorithms):
        rows = asker.stat(path, f"index/{algorithm}/" if algorithm else "index/", seen.tags)
        if algorithm:
            seen.history[algorithm] = [name for name, size, _, _ in rows if size >= 0]
        _, _, mtimes, inodes = zip(*rows, strict=True)
        seen.newest_ns = max(seen.newest_ns, *mtimes)
        fingerprint.numbers(mtimes)
        fingerprint.numbers(inodes)


class TreeSurvey:
    """One look at the links of one repository."""

    def __init__(
        self,
        scanner: TreeScanner,
        repository: str,
        fingerprint: str,
        seen: _Seen,
        problems: list[_Problem],
    ) -> None:
        self._scanner = scanner
        self._repository = repository
        self._fingerprint = fingerprint
        self._seen = seen
        self._problems = problems

    @property
    def repository(self) -> str:
        """Its name."""
        return self._repository

    @property
    def fingerprint(self) -> str:
        """`kind:version:hash`, or "" where it was not settled."""
        return self._fingerprint

    @property
    def looked_at(self) -> int:
        """How many links it took, about."""
        columns = (*self._seen.layers, *self._seen.revisions)
        return 1 + 3 * len(self._seen.tags) + sum(len(column.names) for column in columns)

    def links(self) -> RepositoryLinks:
        """Read what the survey only stated.

        What changed since the survey may show already. The fingerprint is of before, so the next
        one differs, and the repository is read again.
        """
        return _LinkReader(self._scanner, self._repository, self._seen).read(self._problems)


class _LinkReader:
    """Reads the links of one repository once."""

    def __init__(self, scanner: TreeScanner, repository: str, seen: _Seen) -> None:
        self._asker = _Asker(scanner.store)
        self._sleep = scanner.sleep
        self._base = REPOSITORIES + repository
        self._seen = seen
        self._builder = LinkBuilder(repository)
        # (directory, leaf) -> name -> content
        self._contents: dict[tuple[str, str], dict[str, bytes | None]] = {}

    def read(self, problems: Iterable[_Problem]) -> RepositoryLinks:
        seen = self._seen
        history = self._history()
        columns = [*seen.layers, *seen.revisions]
        for column in columns:
            there = [n for n, size in zip(column.names, column.sizes, strict=True) if size >= 0]
            self._contents[column.directory, "link"] = dict(
                self._asker.read(column.directory, "link", there)
            )
        tags = f"{self._base}/{_TAGS}"
        self._contents[tags, "current/link"] = dict(zip(seen.tags, seen.current, strict=True))
        self._read_again()
        for column in seen.layers:
            self._take(column.directory, column.algorithm, self._builder.layer)
        for column in seen.revisions:
            self._take(column.directory, column.algorithm, self._builder.revision)
        for directory, tag, algorithm in history:
            self._take_history(directory, tag, algorithm)
        for tag, content in self._contents[tags, "current/link"].items():
            if is_tag(tag):
                # With a directory in place of its link, where it pointed is lost.
                lost = content is None and self._is_directory(f"{tags}/{tag}/current", "link")
                self._builder.tag(tag, b"" if lost else content)
            else:
                self._builder.note(Kind.INVALID_NAME, _subject(f"{tags}/{tag}"))
        self._strays()
        for problem in {*problems, *self._asker.problems}:
            self._builder.note(
                Kind.UNREADABLE, _subject(problem.path), detail=problem.error.message
            )
        return self._builder.build()

    def _is_directory(self, path: str, name: str) -> bool:
        return dict(self._asker.scandir(path)).get(name, False)

    def _history(self) -> list[tuple[str, str, str]]:
        """Read all links of all histories; return (directory, tag, algorithm) of each."""
        found = []
        tags = f"{self._base}/{_TAGS}"
        for algorithm, names in self._seen.history.items():
            for tag in filter(is_tag, names):
                directory = f"{tags}/{tag}/index/{algorithm}"
                digits = [n for n in self._asker.directories(directory) if is_hex(algorithm, n)]
                self._contents[directory, "link"] = dict(
                    self._asker.read(directory, "link", digits)
                )
                found.append((directory, tag, algorithm))
        return found

    def _read_again(self) -> None:
        """Read again what may be amid a write: 3 times, with one wait for all of them."""
        doubtful = {
            place: names
            for place, contents in self._contents.items()
            if (names := _doubtful(place, contents))
        }
        for _ in range(_REREADS):
            if not doubtful:
                return
            self._sleep(_REREAD_WAIT_S)
            for (directory, leaf), names in list(doubtful.items()):
                again = dict(self._asker.read(directory, leaf, names))
                self._contents[directory, leaf].update(again)
                still = _doubtful((directory, leaf), again)
                if still:
                    doubtful[directory, leaf] = still
                else:
                    del doubtful[directory, leaf]

    def _take(self, directory: str, algorithm: str, add: Callable[..., None]) -> None:
        for name, content in self._contents[directory, "link"].items():
            if not is_hex(algorithm, name):
                self._builder.note(Kind.UNKNOWN_FILE, _subject(f"{directory}/{name}"))
            elif content is not None:
                digest = f"{algorithm}:{name}"
                add(digest, link_state(digest, content))

    def _take_history(self, directory: str, tag: str, algorithm: str) -> None:
        for name, content in self._contents[directory, "link"].items():
            if content is not None:
                digest = f"{algorithm}:{name}"
                self._builder.history(tag, digest, link_state(digest, content))

    def _strays(self) -> None:
        """Look for what is beside the links."""
        for name, is_directory in self._asker.scandir(self._base):
            if name not in _OWN and (name.startswith("_") or not is_directory):
                self._stray(f"{self._base}/{name}")
        for name in self._asker.directories(f"{self._base}/_uploads"):
            self._builder.note(Kind.UPLOAD, _subject(f"{self._base}/_uploads/{name}"))
        for column in (*self._seen.layers, *self._seen.revisions):
            self._strays_beside(column.directory, "", column.names, column.mtimes)
        tags = f"{self._base}/{_TAGS}"
        rows = self._asker.stat(tags, "current/link", self._seen.tags)
        mtimes = [mtime for _, _, mtime, _ in rows]
        self._strays_beside(tags, "current/", self._seen.tags, mtimes)

    def _strays_beside(
        self, directory: str, leaf: str, names: Sequence[str], link_mtimes: Sequence[int]
    ) -> None:
        """List those directories of links that changed well after their link did, or have none.

        A temporary file that stayed has changed its directory. This finds it without opening the
        directory of each good link.
        """
        rows = self._asker.stat(directory, leaf, list(names))
        for (name, size, mtime, _), link_mtime in zip(rows, link_mtimes, strict=True):
            if size >= 0 and mtime > link_mtime + SETTLED_NS:
                path = f"{directory}/{name}/{leaf}".rstrip("/")
                for stray, _ in self._asker.scandir(path):
                    if stray != "link":
                        self._stray(f"{path}/{stray}")

    def _stray(self, path: str) -> None:
        kind = Kind.TEMPORARY_FILE if path.endswith(".tmp") else Kind.UNKNOWN_FILE
        self._builder.note(kind, _subject(path))


def _doubtful(place: tuple[str, str], contents: dict[str, bytes | None]) -> list[str]:
    """Return the names whose link is there, but holds no digest, or not that of its path."""
    directory, leaf = place
    if leaf != "link":
        return [n for n, c in contents.items() if c is not None and parse_link(c) is None]
    algorithm = directory.rpartition("/")[2]
    return [n for n, c in contents.items() if c is not None and c != f"{algorithm}:{n}".encode()]


def _subject(path: str) -> str:
    return path.removeprefix(f"{BASE}/")
