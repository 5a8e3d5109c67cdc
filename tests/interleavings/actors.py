"""Parties that run the real verbs, each in a thread of its own, one request at a time.

A party is a function of the answers that it gets: of the stores, of the clock, of what is asked
about other processes. So whoever gives the same answers again gets the same requests again, and a
party can be brought back to any point of its life. `Party.step` keeps what it learned of this: the
code runs once for every series of answers.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from inline import no_threads

from regvault import errors
from regvault.errors import LeaseLostError, StoreError
from regvault.model.store import Entry, Space, Stored
from regvault.storage.streams import BytesReader
from regvault.storage.wrappers import CrashError
from regvault.vault import lease, parties, prune_lock
from regvault.vault.parties import Holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

#: So many threads are kept where they stand, to go on from there.
PARKED = 64


class Request(NamedTuple):
    """What a party asks.

    Attributes:
        store: the number of the store.
        verb: a method of the port; `commit` of a stage; or `sleep`, or `started` of a process.
        key: a key, or a prefix.
        more: the other arguments.
    """

    store: int
    verb: str
    key: str = ""
    more: tuple[Any, ...] = ()


class Refused(NamedTuple):
    """An answer that is an error."""

    kind: str
    message: str
    key: str | None

    def error(self) -> StoreError:
        error: StoreError = getattr(errors, self.kind)(self.message, key=self.key)
        return error


#: An answer that is none: the party's lease is renewed, by the thread that does so in real life.
RENEW = "renew"


class Live:
    """One run of a party: it stands still at a request, or has come to its end.

    Attributes:
        request: that it stands at; None at the end.
        holds: whether a thread would renew something for it now.
        result, error: of its work, at the end.
    """

    def __init__(self, number: int, name: str, work: Callable[[Live], Any], clock_ns: int) -> None:
        self.number = number
        self.name = name
        self.clock_ns = clock_ns
        self.request: Request | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.holdings: list[Holding] = []
        self._chances = 0
        self._killed = False
        self._answer: Any = None
        self._go, self._stands = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._stands.acquire()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._stands.acquire()

    def _run(self, work: Callable[[Live], Any]) -> None:
        _LOCAL.live = self
        try:
            self.result = work(self)
        except BaseException as error:  # noqa: BLE001 - it is judged by who explores
            self.error = error
        self.request = None
        self._stands.release()

    @property
    def holds(self) -> bool:
        return any(not each._lock.locked() and each._lost is None for each in self.holdings)

    def ask(self, request: Request) -> Any:
        """Stand still until there is an answer. Called by the party."""
        while True:
            if self._killed:
                raise CrashError
            self.request = request
            self._stands.release()
            self._go.acquire()
            if self._killed:
                raise CrashError
            answer = self._answer
            if isinstance(answer, Refused):
                raise answer.error()
            if answer is not RENEW:
                return answer
            self._renew()

    def _renew(self) -> None:
        for holding in self.holdings:
            if not holding._lock.locked():
                try:
                    holding.renew()
                except (LeaseLostError, StoreError):
                    continue

    def answer(self, clock_ns: int, answer: Any) -> None:
        """Let it go on to its next request."""
        self.clock_ns = clock_ns
        self._answer = answer
        self._go.release()
        self._stands.acquire()

    def kill(self) -> None:
        """End its thread, wherever it stands."""
        if self._thread.is_alive() and self.request is not None:
            self._killed = True
            self._go.release()
        self._thread.join()

    def token_hex(self, size: int) -> str:
        self._chances += 1
        return hashlib.shake_128(f"{self.name} {self._chances}".encode()).hexdigest(size)


class Port:
    """A store as a party sees it: each request is a question."""

    def __init__(self, live: Live, number: int, location: str) -> None:
        self._live = live
        self._number = number
        self.location = location

    def _ask(self, verb: str, key: str = "", *more: Any) -> Any:
        return self._live.ask(Request(self._number, verb, key, more))

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._ask("get", key, start, length)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BytesReader:
        return BytesReader(self._ask("get", key, start, length))

    def head(self, key: str) -> Entry:
        return self._ask("head", key)

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        return iter(self._ask("list", prefix, after))

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        return iter(self._ask("list_prefixes", prefix))

    def put(
        self, key: str, data: bytes, *, if_none_match: bool = False, if_match: str | None = None
    ) -> Stored:
        return self._ask("put", key, bytes(data), if_none_match, if_match)

    def put_stream(self, key: str, reader: Any, *, size: int, sha256: str | None = None) -> Stored:
        return self._ask("put_stream", key, reader.read(), size, sha256)

    def stage(self) -> _Stage:
        return _Stage(self)

    def copy_in(self, *_: Any, **__: Any) -> None:
        """No store copies by itself."""

    def stored_sha256(self, key: str) -> str | None:
        del key

    def delete(self, key: str) -> None:
        self._ask("delete", key)

    def barrier(self) -> None:
        """All that is written is durable at once: what a power cut loses is tried elsewhere."""

    def now_ns(self) -> int:
        return self._ask("now_ns")

    def space(self) -> Space:
        return Space(None, None)

    def close(self) -> None:
        """Nothing is open."""


class _Stage:
    def __init__(self, port: Port) -> None:
        self._port = port
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def sha256(self) -> str:
        return hashlib.sha256(self._data).hexdigest()

    def commit(self, key: str) -> Stored:
        return self._port._ask("put", key, bytes(self._data), False, None)

    def abort(self) -> None:
        self._data = bytearray()


class Node:
    """A point in a party's life: what it asks, after the answers on the way from `parent`."""

    __slots__ = ("answer", "children", "depth", "error", "holds", "parent", "request", "result")

    def __init__(self, parent: Node | None, answer: tuple[int, Any] | None, live: Live) -> None:
        self.parent = parent
        self.answer = answer
        self.depth = 0 if parent is None else parent.depth + 1
        self.children: dict[tuple[int, Any], Node] = {}
        self.request = live.request
        self.holds = live.holds
        self.result, self.error = live.result, live.error

    def answers(self) -> list[tuple[Node, tuple[int, Any]]]:
        """The nodes on the way to this one, each with the answer that it got."""
        found = []
        node = self
        while node.parent is not None and node.answer is not None:
            found.append((node.parent, node.answer))
            node = node.parent
        return found[::-1]


class Party:
    """One party, in all its possible lives.

    Attributes:
        name: one letter.
        start: where each of its lives begins.
        ran: how often its code was run from the beginning.
        lives: how many different ends it came to.
    """

    def __init__(self, number: int, name: str, work: Callable[[Live], Any], clock_ns: int) -> None:
        self.number = number
        self.name = name
        self._work = work
        self._clock_ns = clock_ns
        self._parked: OrderedDict[int, Live] = OrderedDict()
        self.ran = self.lives = 0
        live = self._begin()
        self.start = Node(None, None, live)
        self._park(self.start, live)

    def _begin(self) -> Live:
        self.ran += 1
        return Live(self.number, self.name, self._work, self._clock_ns)

    def step(self, node: Node, clock_ns: int, answer: Any) -> Node:
        """Return where the party comes to, from a node, by an answer."""
        known = node.children.get((clock_ns, answer))
        if known is not None:
            return known
        live = self._parked.pop(id(node), None) or self._again(node)
        live.answer(clock_ns, answer)
        made = Node(node, (clock_ns, answer), live)
        node.children[clock_ns, answer] = made
        self._park(made, live)
        return made

    def _again(self, node: Node) -> Live:
        """Live the same life once more, up to a node."""
        live = self._begin()
        for before, (clock_ns, answer) in node.answers():
            assert live.request == before.request, (self.name, live.request, before.request)
            live.answer(clock_ns, answer)
        assert live.request == node.request, (self.name, live.request, node.request)
        return live

    def _park(self, node: Node, live: Live) -> None:
        if live.request is None:
            self.lives += 1
            live.kill()
            return
        self._parked[id(node)] = live
        if len(self._parked) > PARKED:
            self._parked.popitem(last=False)[1].kill()

    def close(self) -> None:
        while self._parked:
            self._parked.popitem()[1].kill()


# -- what the code asks besides stores -----------------------------------------------------------


class _Local(threading.local):
    live: Live | None = None


class Here:
    """What whoever is no party sees: who prepares, and who looks at what became of it.

    Attributes:
        clock_ns: the time.
    """

    def __init__(self) -> None:
        self.clock_ns = 0
        self.count = 0

    def token_hex(self, size: int) -> str:
        self.count += 1
        return hashlib.shake_128(f"here {self.count}".encode()).hexdigest(size)


_LOCAL = _Local()
HERE = Here()


def _token_hex(size: int) -> str:
    return (_LOCAL.live or HERE).token_hex(size)


def _time_ns() -> int:
    return (_LOCAL.live or HERE).clock_ns


def _identity() -> dict[str, Any]:
    """Each party has a machine of its own, or all run on one (`one_machine`)."""
    live = _LOCAL.live
    name = "here" if live is None else "one" if ONE_MACHINE.is_set() else live.name
    pid = 100 + (live.number if live is not None else -1)
    return {
        "host": name, "machine": name, "boot": name, "namespace": "n", "pid": pid, "started": "1",
    }  # fmt: skip


def _started(pid: int) -> str:
    live = _LOCAL.live
    return "" if live is None else live.ask(Request(0, "started", str(pid)))


def _begin(holding: Holding, renew_every_s: float) -> None:
    del renew_every_s
    if _LOCAL.live is not None:
        _LOCAL.live.holdings.append(holding)


#: Set while parties see whether another's process is dead.
ONE_MACHINE = threading.Event()


def nothing_by_chance(patch: pytest.MonkeyPatch) -> None:
    """Let the code see times, random numbers and processes of ours, and work without threads."""
    import time

    no_threads(patch)
    release, monotonic, sleep = Holding.release, time.monotonic, time.sleep

    def let_go(holding: Holding, *, failed: bool = False) -> None:
        if _LOCAL.live is not None and holding in _LOCAL.live.holdings:
            _LOCAL.live.holdings.remove(holding)
        release(holding, failed=failed)

    def wait(seconds: float) -> None:
        if _LOCAL.live is None:
            sleep(seconds)
        else:
            _LOCAL.live.ask(Request(0, "sleep", "", (seconds,)))

    patch.setattr(Holding, "_begin", _begin)
    patch.setattr(Holding, "release", let_go)
    patch.setattr("secrets.token_hex", _token_hex)
    patch.setattr("time.time_ns", _time_ns)
    patch.setattr(parties, "uptime", lambda: _time_ns() / 1e9)
    patch.setattr("time.sleep", wait)
    patch.setattr(
        "time.monotonic", lambda: _LOCAL.live.clock_ns / 1e9 if _LOCAL.live else monotonic()
    )
    for module in (parties, lease, prune_lock):
        patch.setattr(module, "process_identity", _identity)
    patch.setattr(parties, "_started", _started)
