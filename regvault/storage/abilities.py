"""What wrappers of stores have besides, where the store behind them can do more than every store.

One class for each such port: `delegate` puts together what a store can do.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from regvault.model.classes import ArchivingStore, ClassedStore, RuledStore
from regvault.model.store import HierarchicalStore, LockingStore, VersionedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.classes import Moved, Placement
    from regvault.model.store import Entry, ObjectStore, Retention

    # `list` is a method of the port.
    Names = list[tuple[str, bool]]
    Statuses = list[tuple[str, int, int, int]]
    Contents = list[tuple[str, bytes | None]]
    Paths = list[str]
    RuleList = list[dict[str, Any]]

__all__ = ["ABILITIES"]


class _Directories:
    """What a wrapper of a hierarchical store has besides."""

    inner: HierarchicalStore

    _run: Callable[..., Any]
    _goes: Callable[[int], None]
    _came: Callable[[str, bytes], bytes]

    def sweep_seen(self, older_than_s: float) -> int:
        """Pass on."""
        count: int = self._run("sweep_seen", "", lambda: self.inner.sweep_seen(older_than_s))
        return count

    def scandir(self, prefix: str) -> Names:
        """Pass on."""
        found: Names = self._run("scandir", prefix, lambda: self.inner.scandir(prefix))
        return found

    def stat_children(self, prefix: str, leaf: str, names: Iterable[str]) -> Statuses:
        """Pass on."""
        found: Statuses = self._run(
            "stat_children", prefix, lambda: self.inner.stat_children(prefix, leaf, names)
        )
        return found

    def read_children(
        self, prefix: str, leaf: str, names: Iterable[str], *, limit: int
    ) -> Contents:
        """Pass on."""
        found: Contents = self._run(
            "read_children",
            prefix,
            lambda: self.inner.read_children(prefix, leaf, names, limit=limit),
        )
        base = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        return [
            (name, None if data is None else self._came(f"{base}{name}/{leaf}", data))
            for name, data in found
        ]

    def create_files(
        self, prefix: str, files: Iterable[tuple[str, bytes]], *, whole: bool
    ) -> Paths:
        """Pass on, each file as a request of its own: a fault may strike between any two."""
        there: Paths = []
        for path, data in files:
            self._goes(len(data))
            call = partial(self.inner.create_files, prefix, [(path, data)], whole=whole)
            there += self._run("create_files", f"{prefix}/{path}", call)
        return there


class _Locks:
    """What a wrapper of a store that locks has besides."""

    inner: LockingStore

    _run: Callable[..., Any]

    def locks(self) -> bool:
        """Pass on."""
        found: bool = self._run("locks", "", self.inner.locks)
        return found

    def lock_writes(self, rule: Callable[[str], Retention | None] | None) -> None:
        """Pass on."""
        self.inner.lock_writes(rule)

    def retention(self, key: str) -> Retention | None:
        """Pass on."""
        found: Retention | None = self._run("retention", key, lambda: self.inner.retention(key))
        return found

    def extend_retention(self, key: str, retention: Retention) -> bool:
        """Pass on."""
        done: bool = self._run(
            "extend_retention", key, lambda: self.inner.extend_retention(key, retention)
        )
        return done


class _Versions:
    """What a wrapper of a store with versions has besides."""

    inner: VersionedStore

    _run: Callable[..., Any]

    def versioned(self) -> bool:
        """Pass on."""
        found: bool = self._run("versioned", "", self.inner.versioned)
        return found

    def as_of(self, moment_ns: int) -> ObjectStore:
        """Return the store behind as it was, without this wrapper."""
        found: ObjectStore = self._run("as_of", "", lambda: self.inner.as_of(moment_ns))
        return found


class _Classes:
    """What a wrapper of a store with storage classes has besides."""

    inner: ClassedStore

    _run: Callable[..., Any]

    def list_classes(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[Entry, str]]:
        """Pass on."""
        call = partial(self.inner.list_classes, prefix, after=after)
        found: Iterator[tuple[Entry, str]] = self._run("list_classes", prefix, call)
        return found

    def placement(self, key: str) -> Placement:
        """Pass on."""
        found: Placement = self._run("placement", key, lambda: self.inner.placement(key))
        return found

    def change_class(self, key: str, storage_class: str, *, expected: Placement) -> Moved:
        """Pass on."""
        call = partial(self.inner.change_class, key, storage_class, expected=expected)
        done: Moved = self._run("change_class", key, call)
        return done

    def thaw(self, key: str, *, way: str, days: int) -> None:
        """Pass on."""
        self._run("thaw", key, lambda: self.inner.thaw(key, way=way, days=days))


class _Archives:
    """What a wrapper of a store with archives has besides."""

    inner: ArchivingStore

    @property
    def archives(self) -> frozenset[str]:
        """Pass on."""
        return self.inner.archives


class _Rules:
    """What a wrapper of a store that moves objects by rules has besides."""

    inner: RuledStore

    _run: Callable[..., Any]

    def moves_by_rules(self) -> bool:
        """Pass on."""
        found: bool = self._run("moves_by_rules", "", self.inner.moves_by_rules)
        return found

    def mark_class(self, key: str, storage_class: str, *, expected: Placement) -> None:
        """Pass on."""
        call = partial(self.inner.mark_class, key, storage_class, expected=expected)
        self._run("mark_class", key, call)

    def missing_rules(self, prefix: str, classes: Iterable[str]) -> RuleList:
        """Pass on."""
        call = partial(self.inner.missing_rules, prefix, classes)
        found: RuleList = self._run("missing_rules", prefix, call)
        return found

    def add_rules(self, prefix: str, classes: Iterable[str]) -> None:
        """Pass on."""
        self._run("add_rules", prefix, lambda: self.inner.add_rules(prefix, classes))


ABILITIES: tuple[tuple[Any, type[Any]], ...] = (
    (HierarchicalStore, _Directories),
    (LockingStore, _Locks),
    (VersionedStore, _Versions),
    (ClassedStore, _Classes),
    (ArchivingStore, _Archives),
    (RuledStore, _Rules),
)
"""Ports, and what a wrapper of a store that has one has besides."""
