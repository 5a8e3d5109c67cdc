"""Enumerates what parties may do to each other, each party running the real code of its verb.

A state is what the stores hold, the time, and where each party stands. From a state one party goes
on by a step: one request to a store, and those after it that nobody else can have to do with. Or it
dies there. Or time passes there, for all: the leases of the others are renewed meanwhile, or not (a
machine that was suspended). States that were met before, with as much left to disturb, are not
gone on from.

What is bounded, as CHESS does: how often a party is interrupted that could go on (whoever waits,
sleeps, dies or ends is none), how many die, how often somebody sleeps.

A schedule is written as `A12 B3 B! A~1200 A4`: twelve steps of A, three of B, which then dies; then
20 minutes pass at A, with B's lease renewed if it lives (`A=1200`: not renewed).
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from actors import RENEW, Refused, Request
from shelves import Model, Shelf, do, mark_of

from regvault.errors import (
    DigestMismatchError,
    ObjectNotFoundError,
    PreconditionError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors import Node, Party
    from oracle import Oracle

CHANGES = frozenset({"put", "put_stream", "delete"})
OBJECTS = ("blobs/", "packs/", "meta/", "trees/", "catalog/")
#: A party that takes more steps hangs.
STEPS_AT_MOST = 1500
#: Where all that is left wait for each other, so many seconds pass.
IDLE_S = 300.0


class Left(NamedTuple):
    """How much may yet be disturbed."""

    interruptions: int
    deaths: int
    sleeps: int

    def covers(self, other: Left) -> bool:
        return all(mine >= its for mine, its in zip(self, other, strict=True))


@dataclass(slots=True)
class State:
    """Where all parties stand.

    Attributes:
        shelves: of the stores.
        clock_ns: the time.
        nodes: of the parties.
        waits: the marks of the stores when a party began to wait, or None.
        dead: numbers of the parties that died.
        last: who went on last, and may go on; -1: nobody.
        left: what may be disturbed from here on.
        before, what: the state before, and what led from it to this one.
        depth: how many steps it took.
    """

    shelves: tuple[Shelf, ...]
    clock_ns: int
    nodes: tuple[Node, ...]
    waits: tuple[int | None, ...]
    dead: frozenset[int]
    last: int
    left: Left
    before: State | None = None
    what: str = ""
    depth: int = 0

    def key(self) -> tuple[Any, ...]:
        marks = tuple(shelf.mark for shelf in self.shelves)
        nodes = tuple(0 if node.request is None else id(node) for node in self.nodes)
        return marks, self.clock_ns, nodes, self.waits, self.dead, self.last

    def mark(self) -> int:
        return hash(tuple(shelf.mark for shelf in self.shelves))

    def ended(self, number: int) -> bool:
        return number in self.dead or self.nodes[number].request is None

    def schedule(self) -> str:
        """What led here, to be replayed."""
        words: list[str] = []
        state: State | None = self
        while state is not None and state.before is not None:
            words.append(state.what)
            state = state.before
        found: list[list[Any]] = []
        for word in reversed(words):
            if len(word) == 1 and found and found[-1][0] == word:
                found[-1][1] += 1
            else:
                found.append([word, 1])
        return " ".join(f"{word}{count}" if len(word) == 1 else word for word, count in found)


@dataclass
class Bounds:
    """What is tried.

    Attributes:
        left: how much is disturbed at most.
        sleeps_s: how long somebody sleeps.
    """

    left: Left
    sleeps_s: tuple[int, ...] = ()


@dataclass
class Found:
    """What was tried."""

    states: int = 0
    steps: int = 0
    ends: int = 0
    deaths: int = 0
    sleeps: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


class BrokenPromiseError(AssertionError):
    """Something was lost; the message has the schedule."""


class Explorer:
    """Goes through all schedules of some parties."""

    def __init__(
        self, parties: list[Party], shelves: Iterable[Shelf], clock_ns: int, oracle: Oracle
    ) -> None:
        self.parties = parties
        self.oracle = oracle
        self.found = Found()
        self._model = Model("vault")
        self._seen: dict[int, tuple[Left, ...]] = {}
        self._shelves = tuple(shelves)
        self._clock_ns = clock_ns

    # -- one step ---------------------------------------------------------------------------------

    def first(self, left: Left) -> State:
        nodes = tuple(party.start for party in self.parties)
        nothing = (None,) * len(nodes)
        state = State(self._shelves, self._clock_ns, nodes, nothing, frozenset(), -1, left)
        for number in range(len(nodes)):
            self._run_hidden(state, number)
        return state

    def _answer(self, state: State, request: Request) -> Any:
        """Do what a party asks; the state is changed."""
        number, verb, key, more = request
        if verb == "started":
            dead = int(key) - 100 in state.dead
            return "" if dead else "1"
        shelf = state.shelves[number]
        if verb in CHANGES:
            shelf = Shelf(dict(shelf.objects), dict(shelf.writes), shelf.mark)
        model = self._model
        model.load(shelf, state.clock_ns)
        try:
            answer = do(model, verb, key, more)
        except (ObjectNotFoundError, PreconditionError, DigestMismatchError) as error:
            return Refused(type(error).__name__, error.message, error.key)
        if verb in CHANGES:
            before = state.shelves[number]
            mark = shelf.mark ^ mark_of(before, key) ^ mark_of(shelf, key)
            shelves = list(state.shelves)
            shelves[number] = shelf._replace(mark=mark)
            state.shelves = tuple(shelves)
            self.oracle.look(state, request, before.objects.get(key))
        return answer

    def _step(self, state: State, number: int) -> None:
        """Let a party get an answer, and go on while nobody else has to do with it."""
        node = state.nodes[number]
        assert node.request is not None
        if node.request.verb == "sleep":
            waits = list(state.waits)
            if waits[number] is None:  # it begins to wait
                waits[number] = state.mark()
                state.waits = tuple(waits)
                return
            if waits[number] == state.mark():  # nobody will do anything any more
                state.clock_ns += int(IDLE_S * 1e9)
            waits[number] = None
            state.waits = tuple(waits)
            answer = None
        else:
            answer = self._answer(state, node.request)
        self._move(state, number, answer)
        self._run_hidden(state, number)

    def _move(self, state: State, number: int, answer: Any) -> None:
        self.found.steps += 1
        node = self.parties[number].step(state.nodes[number], state.clock_ns, answer)
        assert node.depth < STEPS_AT_MOST, f"{self.parties[number].name} does not end"
        nodes = list(state.nodes)
        nodes[number] = node
        state.nodes = tuple(nodes)
        if node.request is None:
            self.oracle.judge(state, number, node)

    def _run_hidden(self, state: State, number: int) -> None:
        while True:
            request = state.nodes[number].request
            if request is None or not self._hidden(state, number, request):
                return
            self._move(state, number, self._answer(state, request))

    def _hidden(self, state: State, number: int, request: Request) -> bool:
        """Whether no step of another party could make a difference to an answer, nor it to them.

        An object is only ever deleted, and what a snapshot needs may not be: the oracle says so.
        """
        if request.verb != "get":
            return False
        if request.key == "vault.json":
            return True
        if not request.key.startswith(OBJECTS):
            return False
        destroyers = self.oracle.destroyers - {number}
        if all(state.ended(each) for each in destroyers):
            return request.key in state.shelves[request.store].objects
        forgetting = any(not state.ended(n) for n in destroyers & self.oracle.forgetters)
        return not forgetting and self.oracle.needed(state, request.store, request.key)

    # -- what may come next -----------------------------------------------------------------------

    def _able(self, state: State) -> list[int]:
        """Who can go on: not who waits while nothing changed, unless all do."""
        alive = [n for n in range(len(self.parties)) if not state.ended(n)]
        mark = state.mark()
        able = [n for n in alive if state.waits[n] != mark]
        return able or alive

    def _follow(self, state: State, what: str, left: Left, last: int) -> State:
        return State(
            state.shelves, state.clock_ns, state.nodes, state.waits, state.dead,
            last, left, state, what, state.depth + 1,
        )  # fmt: skip

    def after(self, state: State, bounds: Bounds) -> Iterator[State]:
        """Yield what may come next; what goes on without a disturbance comes last."""
        able, left = self._able(state), state.left
        last = state.last if state.last in able else -1
        if last >= 0:
            yield from self._disturbed(state, bounds, last)
        only_time = last >= 0 and self._asks_time(state, last)
        for number in able:
            if number == last or (last >= 0 and (not left.interruptions or only_time)):
                continue
            rest = left._replace(interruptions=left.interruptions - 1) if last >= 0 else left
            yield self.go_on(state, number, rest)
        if last >= 0:
            yield self.go_on(state, last, left)

    def _asks_time(self, state: State, number: int) -> bool:
        request = state.nodes[number].request
        return request is not None and request.verb == "now_ns"

    def _disturbed(self, state: State, bounds: Bounds, number: int) -> Iterator[State]:
        left = state.left
        if left.sleeps:
            rest = left._replace(sleeps=left.sleeps - 1)
            for seconds in bounds.sleeps_s:
                renewing = any(self._renews(state, n) for n in range(len(self.parties)))
                for way in "~=" if renewing else "=":
                    yield self.sleep(state, number, seconds, way, rest)
        if left.deaths and not self._asks_time(state, number):
            yield self.die(state, number, left._replace(deaths=left.deaths - 1))

    def _renews(self, state: State, number: int) -> bool:
        return not state.ended(number) and state.nodes[number].holds and number != state.last

    def go_on(self, state: State, number: int, left: Left) -> State:
        made = self._follow(state, self.parties[number].name, left, number)
        with blamed(made):
            self._step(made, number)
        if made.waits[number] is not None:
            made.last = -1
        return made

    def die(self, state: State, number: int, left: Left) -> State:
        made = self._follow(state, f"{self.parties[number].name}!", left, -1)
        made.dead |= {number}
        made.waits = tuple(None if n == number else w for n, w in enumerate(made.waits))
        return made

    def sleep(self, state: State, number: int, seconds: int, way: str, left: Left) -> State:
        """Let time pass while a party sleeps; the others' leases are renewed (`~`) or not (`=`)."""
        made = self._follow(state, f"{self.parties[number].name}{way}{seconds}", left, -1)
        made.clock_ns += seconds * 1_000_000_000
        with blamed(made):
            for other in range(len(self.parties)):
                if way == "~" and other != number and self._renews(state, other):
                    asked = made.nodes[other].request
                    self._move(made, other, RENEW)
                    while made.nodes[other].request != asked:
                        request = made.nodes[other].request
                        assert request is not None
                        self._move(made, other, self._answer(made, request))
        return made

    # -- all of it --------------------------------------------------------------------------------

    def explore(self, bounds: Bounds) -> Found:
        """Go through all schedules within bounds, those that disturb least first."""
        gc.disable()  # nothing here is a circle, and there are millions of it
        try:
            return self._explore(bounds)
        finally:
            gc.enable()

    def _explore(self, bounds: Bounds) -> Found:
        found = self.found
        levels: list[list[State]] = [[] for _ in range(sum(bounds.left) + 1)]
        levels[0].append(self.first(bounds.left))
        for stack in levels:
            while stack:
                state = stack.pop()
                if not self._new(state):
                    continue
                found.states += 1
                if all(state.ended(n) for n in range(len(self.parties))):
                    self._end(state)
                    continue
                for following in self.after(state, bounds):
                    what = following.what[1:2]
                    found.deaths += what == "!"
                    found.sleeps += what in {"~", "="} if what else False
                    levels[sum(bounds.left) - sum(following.left)].append(following)
        return found

    def _new(self, state: State) -> bool:
        key = hash(state.key())  # of 64 bits: two of a million are the same once in 10**7 runs
        left, known = state.left, self._seen.get(key, ())
        if any(each == left or each.covers(left) for each in known):
            return False
        self._seen[key] = (*(each for each in known if not left.covers(each)), left)
        return True

    def _end(self, state: State) -> None:
        self.found.ends += 1
        with blamed(state):
            self.oracle.end(state)

    def replay(self, schedule: str) -> State:
        """Go one way, as it is printed where something is lost, and then to the end."""
        letters = {party.name: number for number, party in enumerate(self.parties)}
        many = Left(1000, 1000, 1000)
        state = self.first(many)
        for word in schedule.split():
            name, what, count = re.fullmatch(r"(\w)([!~=]?)(\d*)", word).groups()  # type: ignore[union-attr]
            number = letters[name]
            if what == "!":
                state = self.die(state, number, many)
            elif what:
                state.last = number
                state = self.sleep(state, number, int(count), what, many)
            else:
                for _ in range(int(count)):
                    if not state.ended(number):  # it may take fewer steps by now
                        state = self.go_on(state, number, many)
        while able := [n for n in self._able(state) if not state.ended(n)]:
            state = self.go_on(state, able[0], many)
        self._end(state)
        return state


@contextlib.contextmanager
def blamed(state: State) -> Iterator[None]:
    """Add the schedule to what is found wrong in the block."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}\nReplay it: {state.schedule()}"
        raise BrokenPromiseError(text) from error
