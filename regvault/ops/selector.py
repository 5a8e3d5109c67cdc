"""From the words for a snapshot to its root."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from regvault.errors import NotFoundError, UsageError, VaultDamagedError
from regvault.model.store import HierarchicalStore
from regvault.ops.bounded import in_order
from regvault.policy.selectors import (
    AsOf,
    Candidate,
    Latest,
    Miss,
    Selector,
    Sequence,
    choose,
    parse_selector,
)
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import REGISTRY_NAME
from regvault.vault.records import is_held
from regvault.vault.root import RootName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, tzinfo

    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = [
    "Slot",
    "look",
    "read_slots",
    "registry_names",
    "resolve",
]

_T = TypeVar("_T")
_R = TypeVar("_R")
_THREADS = 8


class Slot(NamedTuple):
    """One filled slot of a chain.

    Attributes:
        name: registry and sequence.
        root: what is in it; None for a void, for the stub of a forgotten one, and on `error`.
        error: why it cannot be read, or None.
    """

    name: RootName
    root: Root | None
    error: VaultDamagedError | None = None


def look(tasks: Iterable[_T], read: Callable[[_T], _R], vault: Vault) -> Iterator[_R]:
    """Yield `read(task)` in order, some ahead: not on a disk, which answers faster than that."""
    threads = 1 if isinstance(vault.store, HierarchicalStore) else _THREADS
    return in_order(tasks, read, threads=threads, name="look", first_alone=True)


def registry_names(vault: Vault) -> list[str]:
    """Return the names of the vault's registries, sorted.

    What is no such name is passed over, and so is one that has no snapshot, but only the void that
    an interrupted first run left.
    """
    names = [name for name in vault.registries() if REGISTRY_NAME.fullmatch(name)]
    return names if len(names) == 1 else [name for name in names if _has_snapshot(vault, name)]


def registry_named(vault: Vault, text: str, names: list[str]) -> str:
    """Return the one of `names` that a person means: in a sealed vault by its name, or its id.

    Raises:
        NotFoundError: the vault has no such registry.
        UsageError: two have this name.
    """
    if text in names:
        return text
    titles = vault.titles()
    found = [name for name in names if titles.get(name) == text]
    if not found:
        listed = ", ".join(titles.get(name, name) for name in names)
        raise NotFoundError(
            f"the vault has no registry {text!r}", hint=f"It has: {listed or 'none yet'}"
        )
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} registries of the vault are called {text}", hint=" or ".join(found)
        )
    return found[0]


def _has_snapshot(vault: Vault, registry: str) -> bool:
    damaged: list[VaultDamagedError] = []
    newest = next(vault.roots(registry, damaged=damaged.append), None)
    return newest is not None or bool(damaged)


def read_slots(vault: Vault, registry: str, numbers: Iterable[int]) -> Iterator[Slot]:
    """Yield slots in the order of their numbers; a damaged one says so, and does not end it."""

    def read(number: int) -> Slot:
        name = RootName(registry, number)
        try:
            return Slot(name, vault.read_slot(name))
        except VaultDamagedError as error:
            return Slot(name, None, error)

    return look(numbers, read, vault)


def resolve(
    vault: Vault,
    text: str,
    *,
    now: datetime,
    timezone: tzinfo,
    warn: Callable[..., None] | None = None,
) -> Root:
    """Return the root of the SNAPSHOT that `text` names (`regvault.policy.selectors`).

    Args:
        vault: where.
        text: as typed.
        now: aware; what "ago" counts from.
        timezone: of times that state none.
        warn: is told, with a `hint`, which newer snapshots were passed over.

    Raises:
        UsageError: it is no SNAPSHOT.
        NotFoundError: there is no such snapshot or registry, or several registries may be meant.
        VaultDamagedError: a root that had to be looked at cannot be read.
    """
    selector = parse_selector(text, now=now, timezone=timezone)
    registry = _registry(vault, selector)
    if isinstance(selector.point, Sequence):
        return _exactly(vault, RootName(registry, selector.point.number))
    point = selector.point
    confirmations = vault.confirmations
    roots: dict[int, Root] = {}
    passed: list[str] = []

    def candidates() -> Iterator[Candidate]:
        for slot in read_slots(vault, registry, reversed(vault.slots(registry))):
            if slot.error is not None:
                raise VaultDamagedError(
                    f"{slot.error.message}; which snapshot is meant cannot be known without it",
                    hint=f"Name one by its number, such as {registry}@{slot.name.sequence - 1}; "
                    "see: regvault snapshots",
                )
            if slot.root is not None:
                root = slot.root
                sequence = root.name.sequence
                roots.clear()
                roots[sequence] = root
                held = is_held(root, confirmations)
                late = isinstance(point, AsOf) and root.started_at > point.moment
                if (held or not root.complete) and not late:
                    passed.append(f"{root.name} ({'held' if held else 'incomplete'})")
                yield Candidate(sequence, root.started_at, root.complete, held)

    found = choose(point, candidates())
    if isinstance(found, Miss):
        raise _missed(selector, registry, found, timezone)
    if passed and warn is not None:
        warn(
            f"{roots[found.sequence].name} is meant; newer, and passed over: {_some(passed)}",
            hint="A snapshot that is held or incomplete is only meant by its number; see: "
            "regvault snapshots",
        )
    return roots[found.sequence]


def _some(names: list[str]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")


def _registry(vault: Vault, selector: Selector) -> str:
    names = registry_names(vault)
    if not names:
        raise NotFoundError(
            f"the vault at {vault.store.location} has no snapshot yet",
            hint="Take one with: regvault snapshot SOURCE --vault VAULT",
        )
    if selector.registry is None:
        if len(names) > 1:
            raise NotFoundError(
                "the vault has several registries, and none is named: "
                + ", ".join(map(vault.title, names)),
                hint=f"Put its name first, for example {vault.title(names[0])}@latest",
            )
        return names[0]
    return registry_named(vault, selector.registry, names)


def _exactly(vault: Vault, name: RootName) -> Root:
    root = vault.read_slot(name)
    if root is not None:
        return root
    data = fetch_document(vault.store, name.key)
    kind = read_document(data, name.key, types=("void", "stub"), vault=vault.id).body["type"]
    if kind == "stub":
        raise NotFoundError(
            f"snapshot {name} was forgotten", hint="See what is left: regvault snapshots"
        )
    raise NotFoundError(
        f"there is no snapshot {name}: the run that was to write it was ended before it did",
        hint="See: regvault snapshots",
    )


def _missed(selector: Selector, registry: str, miss: Miss, timezone: tzinfo) -> NotFoundError:
    """Say why there is no such snapshot, and what would help."""
    if miss.seen == 0:
        return NotFoundError(
            f"registry {registry} has no snapshot any more",
            hint="Take one with: regvault snapshot SOURCE --vault VAULT",
        )
    by = ""
    if isinstance(selector.point, AsOf):
        moment = selector.point.moment.astimezone(timezone)
        by = f" that was started by {moment.isoformat(timespec='seconds')}"
    assert isinstance(selector.point, (AsOf, Latest))
    if not miss.held and not miss.incomplete:
        assert miss.oldest is not None
        oldest = miss.oldest
        when = oldest.started.astimezone(timezone).isoformat(timespec="seconds")
        return NotFoundError(
            f"registry {registry} has no snapshot{by}",
            hint=f"Its oldest is {registry}@{oldest.sequence}, of {when}",
        )
    if miss.held:
        newest = f"{registry}@{miss.held[0]}"
        others = " All others are incomplete." if miss.incomplete else ""
        return NotFoundError(
            f"registry {registry} has only held snapshots{by}, the newest is {newest}.{others}",
            hint=f"Look at it with: regvault ls {newest}. If it is as it should be: "
            f"regvault confirm {newest}",
        )
    newest = f"{registry}@{miss.incomplete[0]}"
    return NotFoundError(
        f"registry {registry} has only incomplete snapshots{by}, the newest is {newest}",
        hint=f"Use one as it is by its number ({newest}), or mend what could not be read and take "
        "another.",
    )
