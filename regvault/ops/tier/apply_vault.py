"""What `tier apply` looks at before it moves objects of a vault, and what it says to others.

A snapshot that runs beside must not come to rely on what is archived meanwhile. So a tiering first
writes which objects it moves, and then waits for the writers that may not have read that. Only then
it looks once more what the newest snapshots need. Writers that begin later do not reuse what it
names, so nothing that it has found out becomes wrong.
"""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    LeaseHeldError,
    LeaseLostError,
    ObjectNotFoundError,
    RefusedError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.ops.tier.classes import moves_by_rules
from regvault.ops.tier.promised import spend_all
from regvault.ops.tier.shelf import read_needed, read_shelf
from regvault.policy.retention import Retention
from regvault.policy.tiering.promise import Budget, Return
from regvault.vault.keys import LEASES, SNAPSHOTS, TIERINGS, tiering_key
from regvault.vault.lease import living_writers
from regvault.vault.tiering import announce, read_announcement, read_moving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo

    from regvault.model.progress import Progress
    from regvault.ops.tier.planned import Header, Move
    from regvault.vault.vault import Vault

__all__ = ["MOST_DAYS", "guarded"]

MOST_DAYS = 7
"""A plan that is older is not done any more: too much may have happened since."""

_POLL_S = 1.0
#: How often a tiering looks whether another one has taken over, and that one waits so long for it.
_LOOK_EVERY_S = 2.0
_STOPS_WITHIN_S = 10.0
#: How often it looks whether snapshots, or those who read them, are others than when it judged.
_JUDGE_EVERY_S = 60.0


class _Judged(NamedTuple):
    """What is said of the moves of a plan.

    Attributes:
        allowed: keys that may be moved now.
        colder: (key, whether it is under the promise) of those that go to a colder class, or are
            there, in byte order.
        waiting: whether rules of the store have yet to move some of these, or of what was marked
            before.
    """

    allowed: set[str]
    colder: list[tuple[str, bool]]
    waiting: bool


@contextlib.contextmanager
def guarded(
    vault: Vault,
    header: Header,
    moves: Callable[[], Iterator[Move]],
    *,
    timezone: tzinfo,
    wait_s: float,
    threads: int,
    progress: Progress,
) -> Iterator[Callable[[Move], bool]]:
    """Give what tells of a move that it must not be made any more.

    Args:
        vault: where.
        header: of the plan.
        moves: yields its moves, in byte order of their keys.
        timezone: whose days retention counts.
        wait_s: seconds to wait for snapshots that are at work.
        threads: that LIST.
        progress: is told how far it is.

    Raises:
        RefusedError: the plan is too old.
        LeaseHeldError: a snapshot that began before is still at work.
        VaultDamagedError: what is needed cannot be known.
    """
    _refuse_if_old(vault, header)
    by_rules = moves_by_rules(vault.store)
    # What another plan is at, or has marked, moves yet, whatever is said of that plan.
    moving = read_moving(vault.store, vault.id, besides=header.id)
    first = dict.fromkeys(moving, False)
    first.update((move.key, False) for move in moves() if move.target != header.hot)
    # What an earlier run of this plan has promised is promised still, should this one end here.
    first.update(dict.fromkeys(_promised_before(vault, header.id), True))
    watch = _Watch(vault, header)
    watch.say(sorted(first.items()))
    _wait_for_writers(vault, wait_s, progress)
    # Only now: of two that begin at once, each is ended by the other, or one of them is.
    others = _end_others(vault, header.id, progress)

    def judge() -> _Judged:
        found = _judge(
            vault,
            header,
            moves,
            moving if by_rules else None,
            timezone=timezone,
            threads=threads,
            progress=progress,
        )
        watch.say(sorted({**dict.fromkeys(moving, False), **dict(found.colder)}.items()))
        return found

    seen = _state(vault)
    judged = judge()
    if _others(vault, header.id) != others:
        raise _overtaken(vault)
    again = time.monotonic() + _JUDGE_EVERY_S
    lock = threading.Lock()

    def must_stay(move: Move) -> bool:
        nonlocal judged, seen, again
        with lock:
            watch.look()
            if time.monotonic() >= again:
                _refuse_if_old(vault, header)
                now = _state(vault)
                if now != seen:
                    judged, seen = judge(), now
                    progress.phase("Moving")
                again = time.monotonic() + _JUDGE_EVERY_S
            return move.key not in judged.allowed

    yield must_stay
    # An error ends here without a word: what is moving stays so until the plan is gone on with.
    if not judged.waiting:
        # Where another one has taken over, that one says what lies where.
        with contextlib.suppress(LeaseLostError):
            watch.say(judged.colder, done=True)


def _refuse_if_old(vault: Vault, header: Header) -> None:
    age = vault.store.now_ns() / 1e9 - datetime.fromisoformat(header.created).timestamp()
    if age > MOST_DAYS * 86_400:
        raise RefusedError(
            f"the plan was made {age / 86_400:.0f} days ago",
            hint="Make a new one: regvault tier plan",
        )


def _promised_before(vault: Vault, plan: str) -> set[str]:
    """Return what an earlier run of a plan has said of what it moves."""
    try:
        return read_announcement(vault.store, tiering_key(plan), vault.id).promised
    except (ObjectNotFoundError, VaultDamagedError, UnknownFormatError):
        return set()


def _state(vault: Vault) -> frozenset[tuple[str, str]]:
    """Return what changes where snapshots, or those who read them, do."""
    store = vault.store
    roots = ((entry.key, entry.etag) for entry in store.list(SNAPSHOTS))
    readers = ((entry.key, "") for entry in store.list(LEASES))  # a lease is renewed now and then
    return frozenset((*roots, *readers))


def _others(vault: Vault, plan: str) -> dict[str, str]:
    """Return key -> etag of what other tierings say."""
    found = {entry.key: entry.etag for entry in vault.store.list(TIERINGS)}
    found.pop(tiering_key(plan), None)
    return found


def _overtaken(vault: Vault) -> LeaseLostError:
    return LeaseLostError(
        f"another tiering of {vault.store.location} has begun, and this one stops",
        hint="One at a time. Make a new plan when that one is done.",
    )


def _end_others(vault: Vault, plan: str, progress: Progress) -> dict[str, str]:
    """Take over from other plans: of two tierings at once each would spend what is promised.

    Returns what `_others` does, after that.
    """
    ended = _others(vault, plan)
    alive = False
    for at in list(ended):
        try:
            found = read_announcement(vault.store, at, vault.id)
        except ObjectNotFoundError:
            del ended[at]
            continue
        except (VaultDamagedError, UnknownFormatError) as error:
            progress.warn(
                error.message,
                hint=f"Once this tiering is done, {at} may be deleted.",
            )
            continue
        if not found.done:
            other = at.removeprefix(TIERINGS).removesuffix(".zst")
            keys = [(key, key in found.promised) for key in sorted(found.keys)]
            alive = True
            ended[at] = announce(
                vault.store,
                vault.id,
                other,
                keys,
                hot=found.hot,
                promise=found.promise,
                done=True,
            )
    if alive:  # it may be about to move one more
        time.sleep(_STOPS_WITHIN_S)
    return ended


def _wait_for_writers(vault: Vault, wait_s: float, progress: Progress) -> None:
    """Return once no writer lives that may have begun before what is moving was written."""
    there = {entry.key: body for entry, body in living_writers(vault.store, vault.id, certain=True)}
    deadline = time.monotonic() + wait_s
    while there:
        body = next(iter(there.values()))
        if time.monotonic() >= deadline:
            raise LeaseHeldError(
                f"a snapshot of {body.get('registry')} is at work: run {body.get('run')}",
                hint="It may be about to need what is to be moved. Wait for it with --retry-lock "
                "1h; the same plan goes on then.",
            )
        progress.phase(f"Waiting for a snapshot of {body.get('registry')}")
        time.sleep(_POLL_S)
        alive = {entry.key for entry, _ in living_writers(vault.store, vault.id, certain=True)}
        there = {key: body for key, body in there.items() if key in alive}


def _judge(
    vault: Vault,
    header: Header,
    moves: Callable[[], Iterator[Move]],
    marked: list[str] | None,
    *,
    timezone: tzinfo,
    threads: int,
    progress: Progress,
) -> _Judged:
    """Look what the snapshots need now, and which moves keep the promise.

    Where rules of the store move objects, `marked` is what was marked before. There nothing of the
    newest snapshots is: when it would move is not known, and nothing could bring it back.
    """
    promise, hot = header.promise or {}, header.hot
    shelf = read_shelf(vault, threads=threads, progress=progress)
    needed = read_needed(
        vault,
        shelf,
        newest=int(promise["newest"]),
        policies={name: _retention(each) for name, each in promise["policies"].items()},
        horizon=1.0,
        timezone=timezone,
        progress=progress,
        claims=True,
    )
    back = {name: Return(**each) for name, each in promise["back"].items()}
    budget = Budget(float(promise["cost"]), len(needed.newest), back)
    spend_all(budget, needed, shelf, hot)
    allowed: set[str] = set()
    colder: list[tuple[str, bool]] = []
    waiting = False
    numbers = {
        shelf.key(number): number for number in shelf.among(move.key for move in moves()).tolist()
    }
    for move in moves():
        number = numbers.get(move.key)
        if number is None:
            continue  # gone, which is found when it is looked at
        lies = shelf.classes[shelf.present[number]]
        snapshots = needed.sets[needed.of[number]]
        if lies != move.target:
            kept = needed.days[number] < 0 or any(which[number] for _, which in needed.kept)
            kept = kept or (marked is not None and bool(snapshots))
            if (kept and move.target != hot) or not _may(move, lies, snapshots, budget, hot=hot):
                continue
        allowed.add(move.key)
        if move.target != hot:
            colder.append((move.key, bool(snapshots)))
            waiting = waiting or (marked is not None and lies != move.target)
    # Those that lie in a colder class by now are named by the tiering that has marked them.
    for number in shelf.among(marked or ()).tolist():
        waiting = waiting or shelf.classes[shelf.present[number]] == hot
    return _Judged(allowed, colder, waiting)


def _may(move: Move, lies: str, snapshots: tuple[int, ...], budget: Budget, *, hot: str) -> bool:
    if move.target == hot or not snapshots:
        return True
    return budget.take(snapshots, move.target, move.size, now=lies)


def _retention(rules: dict[str, Any]) -> Retention:
    """Return rules as `ops.forget.rules_of` has written them."""
    given = dict(rules)
    seconds = given.pop("within_seconds", None)
    return Retention(**given, within=None if seconds is None else timedelta(seconds=seconds))


class _Watch:
    """Says what this tiering moves, and looks now and then whether another one has taken over.

    One thread at a time.
    """

    def __init__(self, vault: Vault, header: Header) -> None:
        self._vault = vault
        self._key = tiering_key(header.id)
        self._announce = partial(
            announce,
            vault.store,
            vault.id,
            header.id,
            hot=header.hot,
            promise=header.promise or {},
        )
        self._etag: str | None = None
        self._next = 0.0

    def say(self, keys: list[tuple[str, bool]], *, done: bool = False) -> None:
        """Write what is moved, in place of what was said before, if that is there yet."""
        if self._etag is not None:
            self.look(at_once=True)
        self._etag = self._announce(keys, done=done)
        self._next = time.monotonic() + _LOOK_EVERY_S

    def look(self, *, at_once: bool = False) -> None:
        """Raise LeaseLostError where what this tiering said was overwritten."""
        if not at_once and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK_EVERY_S
        try:
            etag = self._vault.store.head(self._key).etag
        except ObjectNotFoundError:
            etag = ""
        if etag != self._etag:
            raise _overtaken(self._vault)
