"""The verb `tier apply`: does a plan, exactly, and stops at whatever it does not expect.

Each object is looked at once more: it has to be what the plan says, and where. What somebody has
used since stays. After a move it is looked at again, and read where it should be readable. The
journal says what is done, so a run that was struck down goes on where it ended.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    RegvaultError,
    StoreAccessError,
    StoreUnavailableError,
)
from regvault.model.classes import RuledStore, archives_of
from regvault.ops.bounded import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.classes import ClassedStore, Placement
    from regvault.model.progress import Progress
    from regvault.ops.tier.journal import Journal
    from regvault.ops.tier.planned import Move

__all__ = ["Applied", "ApplyOptions", "apply"]

_BATCH = 64
_LISTED = 100
#: Words of the journal. Only the last two are no end of what was asked for.
MOVED, MARKED, THERE, GONE, USED = "moved", "marked", "there", "gone", "used"
WRITTEN, DAMAGED, FAILED = "written", "damaged", "failed"


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """What was asked for.

    Attributes:
        max_cost: money that the moves may cost, by the prices of the plan; None: all of them.
        rate: moves a second, at most; None: as fast as it goes.
        threads: at work at once.
        by_rules: objects are only marked: rules of the store move them.
        archives: objects may go where they cannot be read before they are thawed.
        mend: what to do about an object whose bytes are not what its name says.
    """

    max_cost: float | None = None
    rate: float | None = None
    threads: int = 4
    by_rules: bool = False
    archives: bool = False
    mend: str = "Bring it back: regvault restore latest --to SOURCE --digest DIGEST"


@dataclass(slots=True)
class Applied:
    """What was done.

    Attributes:
        moved: objects that were moved now.
        nbytes: bytes of those that were moved or marked.
        marked: that were marked now, for rules of the store to move them.
        before: that an earlier run of the same plan had ended.
        there: that lay in their class already.
        gone: that are not there any more.
        used: that were used since the plan was made, and stay.
        written: that were written since, and stay: what they are now nobody has planned.
        damaged: whose bytes are not what their names say, by all runs of the plan; they were moved.
        left: that are not done.
        cost: of the moves that were made, by all runs of the plan; money.
        stopped: why it stopped, or None.
        hint: what to do about it, or None.
        exit_code: of the command.
        listed: key -> what is wrong with it, the first hundred.
    """

    moved: int = 0
    nbytes: int = 0
    marked: int = 0
    before: int = 0
    there: int = 0
    gone: int = 0
    used: int = 0
    written: int = 0
    damaged: int = 0
    left: int = 0
    cost: float = 0.0
    stopped: str | None = None
    hint: str | None = None
    exit_code: int = 0
    listed: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        return {
            "moved": self.moved,
            "bytes": self.nbytes,
            "marked": self.marked,
            "before": self.before,
            "there": self.there,
            "gone": self.gone,
            "used": self.used,
            "written": self.written,
            "damaged": self.damaged,
            "left": self.left,
            "cost": round(self.cost, 8),
            "stopped": self.stopped,
            "listed": self.listed,
        }


class _End(NamedTuple):
    """What came of one move."""

    what: str
    more: dict[str, Any]
    error: RegvaultError | None = None


class _Pace:
    """So many a second, at most."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 0.0 if rate is None else 1 / rate
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._gap
        time.sleep(at - now)


def apply(
    moves: Iterable[Move],
    store: ClassedStore,
    journal: Journal,
    options: ApplyOptions,
    *,
    is_used: Callable[[Move], bool],
    prove: Callable[[Move], None] | None = None,
    progress: Progress,
) -> Applied:
    """Do the moves of a plan.

    Args:
        moves: of it, in their order.
        store: where.
        journal: of this plan.
        options: what was asked for.
        is_used: whether something was used since the plan was made; asked of what gets colder too.
        prove: pulls the first that goes to each class, as clients do; what it raises brings that
            one back, and ends all.
        progress: is told of moves and bytes.
    """
    result = Applied()
    work = _Work(store, options, is_used, prove, frozenset(journal.begun))
    # So that a run that is told to end does so within seconds.
    count = _BATCH if options.rate is None else max(1, min(_BATCH, int(options.rate)))
    for batch in _batches(enumerate(moves), count):
        for number, move in batch:
            if number in journal.ended:
                result.before += 1
                if journal.ended[number] in (MOVED, MARKED, DAMAGED):
                    result.cost += move.costs
                if number in journal.damaged:
                    result.damaged += 1
                    result.listed[move.key] = journal.damaged[number]
        todo = [(number, move) for number, move in batch if number not in journal.ended]
        chosen = [] if result.stopped else _within(todo, options, result)
        result.left += len(todo) - len(chosen)
        if not chosen:
            continue
        journal.begin(number for number, _ in chosen)
        ends = zip(chosen, work.do(chosen), strict=True)
        journal.end(_noted(ends, result, progress))
        if work.failure is not None and result.stopped is None:
            _stop(result, work.failure)
    if (result.written or result.damaged) and not result.exit_code:
        result.exit_code = 3
    return result


def _batches(moves: Iterable[tuple[int, Move]], count: int) -> Iterator[list[tuple[int, Move]]]:
    found: list[tuple[int, Move]] = []
    for move in moves:
        found.append(move)
        if len(found) == count:
            yield found
            found = []
    if found:
        yield found


def _within(
    todo: list[tuple[int, Move]], options: ApplyOptions, result: Applied
) -> list[tuple[int, Move]]:
    """Return the first moves that the ceiling allows."""
    if options.max_cost is None:
        return todo
    cost = result.cost
    for place, (_, move) in enumerate(todo):
        cost += move.costs
        if cost > options.max_cost * (1 + 1e-9):
            result.stopped = f"the ceiling of {options.max_cost:g} is reached"
            result.hint = "Give a higher one: --max-cost; the same plan goes on where it ended."
            result.exit_code = 3
            return todo[:place]
    return todo


def _noted(
    ends: Iterable[tuple[tuple[int, Move], _End]], result: Applied, progress: Progress
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Count what came of moves; yield what goes into the journal."""
    for (number, move), end in ends:
        if end.what in (MOVED, MARKED, DAMAGED):
            setattr(result, end.what, getattr(result, end.what) + 1)
            result.nbytes += move.size
            result.cost += move.costs
        elif end.what == FAILED:
            result.left += 1
        else:
            setattr(result, end.what, getattr(result, end.what) + 1)
        said = end.error.message if end.error is not None else end.more.get("why")
        if said is not None and len(result.listed) < _LISTED:
            result.listed[move.key] = said
        progress.advance(1, move.size if end.what in (MOVED, MARKED) else 0)
        if end.what != FAILED:  # that is tried again
            yield number, end.what, end.more


def _stop(result: Applied, error: RegvaultError) -> None:
    result.stopped = error.message
    result.hint = error.hint
    kinds = StoreUnavailableError, StoreAccessError
    result.exit_code = error.exit_code if isinstance(error, kinds) else 3


class _Work:
    """Does moves, several at once, until one fails.

    Attributes:
        failure: of the first that did.
    """

    def __init__(
        self,
        store: ClassedStore,
        options: ApplyOptions,
        is_used: Callable[[Move], bool],
        prove: Callable[[Move], None] | None,
        struck: frozenset[int],
    ) -> None:
        self._store = store
        self._archives = archives_of(store)
        self._may_archive = options.archives
        self._struck = struck
        self._threads = options.threads
        self._mend = options.mend
        self._by_rules = options.by_rules
        self._pace = _Pace(options.rate)
        self._is_used = is_used
        self._prove = prove
        self._proven: set[str] = set()
        self.failure: RegvaultError | None = None

    def do(self, moves: list[tuple[int, Move]]) -> Iterator[_End]:
        """Yield what came of moves, in their order; those behind one that failed are not begun."""
        rest = list(moves)
        while rest and self._prove is not None and rest[0][1].target not in self._proven:
            yield self._one(rest.pop(0))
        yield from in_order(rest, self._one, threads=self._threads, name="tier")

    def _one(self, task: tuple[int, Move]) -> _End:
        number, move = task
        if self.failure is not None:
            return _End(FAILED, {})
        try:
            return self._move(move, struck=number in self._struck)
        except RegvaultError as error:
            self._fail(error)
            return _End(FAILED, {}, error)

    def _fail(self, error: RegvaultError) -> None:
        if self.failure is None:
            self.failure = error

    def _move(self, move: Move, *, struck: bool) -> _End:
        try:
            found = self._store.placement(move.key)
        except ObjectNotFoundError:
            return _End(GONE, {})
        if found.entry.size != move.size:
            raise PreconditionError(
                f"{move.key!r} has {found.entry.size} bytes; when it was planned it had "
                f"{move.size}",
                key=move.key,
                hint="A blob never changes: is it damaged? See: regvault scan --read-data",
            )
        if found.storage_class == move.target:
            return self._there(move, found, struck=struck)
        if found.entry.etag != move.etag or found.storage_class != move.source:
            return _End(WRITTEN, {"why": "it was written since it was planned"})
        if move.target in self._archives and not self._may_archive:
            raise RegvaultError(
                f"{move.target} is an archive: nothing that is to be pulled may go there",
                hint="Make a new plan: regvault tier plan",
            )
        if self._is_used(move):
            return _End(USED, {})
        self._pace.wait()
        if self._by_rules:
            return self._mark(move, found)
        if self._prove is not None and move.target not in self._proven:
            self._prove(move)  # as it is: that says whether such a pull can prove anything
        try:
            moved = self._store.change_class(move.key, move.target, expected=found)
        except PreconditionError:
            return _End(WRITTEN, {"why": "it was written while it was to be moved"})
        except ObjectNotFoundError:
            # It may have gone before, or the store has lost it.
            if self._is_gone(move):
                raise self._lost(move) from None
            raise
        more = {"from": move.source, "to": move.target}
        named = move.digest.startswith("sha256:")  # what is sealed is named by no digest
        if named and moved.sha256 is not None and f"sha256:{moved.sha256}" != move.digest:
            error = RegvaultError(
                f"{move.key!r} has other bytes than its name says: sha256:{moved.sha256}",
                hint=f"It had them before, too. {self._mend.replace('DIGEST', move.digest)}",
            )
            self._fail(error)
            return _End(DAMAGED, {**more, "why": error.message}, error)
        self._look(move, moved.placement)
        more["etag"] = moved.placement.entry.etag
        return _End(MOVED, more if moved.sha256 is None else {**more, "sha256": moved.sha256})

    def _there(self, move: Move, found: Placement, *, struck: bool) -> _End:
        """Return what came of something that is where it should be."""
        if not struck:
            return _End(THERE, {"etag": found.entry.etag})
        # A run that was struck down has moved it, and perhaps not looked at it.
        self._look(move, found)
        return _End(MOVED, {"from": move.source, "to": move.target, "etag": found.entry.etag})

    def _look(self, move: Move, after: Placement) -> None:
        """Read what has moved, as one does; bring it back where that fails."""
        try:
            if not after.archived and move.size:
                self._store.get(move.key, start=move.size - 1, length=1)
            if self._prove is not None and move.target not in self._proven:
                self._prove(move)
                self._proven.add(move.target)
        except RegvaultError:
            if self._is_gone(move):
                raise self._lost(move) from None
            now = self._store.placement(move.key)
            self._store.change_class(move.key, move.source, expected=now)
            raise

    def _is_gone(self, move: Move) -> bool:
        try:
            self._store.placement(move.key)
        except ObjectNotFoundError:
            return True
        return False

    def _lost(self, move: Move) -> RegvaultError:
        return RegvaultError(
            f"{move.key!r} is gone, right after it was to be moved",
            hint="Was it deleted at this moment? If not, do not move anything in this store. "
            f"{self._mend.replace('DIGEST', move.digest)}",
        )

    def _mark(self, move: Move, found: Placement) -> _End:
        if not isinstance(self._store, RuledStore):
            raise TypeError(self._store)
        try:
            self._store.mark_class(move.key, move.target, expected=found)
        except PreconditionError:
            return _End(WRITTEN, {"why": "it was written while it was to be marked"})
        return _End(MARKED, {"from": move.source, "to": move.target})
