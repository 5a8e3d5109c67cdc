"""The plan of a tiering: what moves from where to where, why, and what it costs and saves.

It is written as JSON lines: one that says what it is about, one for each move, one that says how
many these were and the SHA-256 of all lines before it, so that half a plan is none.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import orjson

from regvault.errors import LeaseHeldError, UsageError
from regvault.oci.grammar import is_digest
from regvault.ops.tier.planned_vault import is_data_key, is_promise
from regvault.registry.layout import blob_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FORMAT", "Header", "Left", "Move", "NeededImage", "Plan", "PlanFile", "lines_of"]

FORMAT = 1

_HINT = "Make it anew: regvault tier plan SOURCE --json > PLAN"
_MOST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Move:
    """One object that goes to another class.

    Attributes:
        key: of it, in the store of the plan.
        digest: of its content.
        size: bytes.
        etag: as it was listed; another one means that it was written since.
        source: the class that it lies in.
        target: the class where it goes.
        repository: the first that has it.
        why: in words.
        idle_days: for which it is known that nothing that reaches it was pulled.
        reads: how often it was pulled in the time that is known.
        used: when it was used last, through whatever reaches it, microseconds since the epoch.
        chance: probability of a read within the horizon.
        saves: expected over the horizon, the cost of the move taken off; money.
        costs: of the move itself; money.
        back: of bringing it back right after; money.
        back_hours: how long that takes.
    """

    key: str
    digest: str
    size: int
    etag: str
    source: str
    target: str
    repository: str
    why: str
    idle_days: float
    reads: int
    used: int
    chance: float
    saves: float
    costs: float
    back: float
    back_hours: float


@dataclass(slots=True)
class Left:
    """What stays where it is, for one reason.

    Attributes:
        count: how many.
        nbytes: bytes of them.
    """

    count: int = 0
    nbytes: int = 0


@dataclass(slots=True)
class Header:
    """What a plan is about.

    Attributes:
        id: of the plan, 32 hex digits.
        kind: `registry` or `vault`.
        place: what is tiered, as it was named on the command line.
        location, endpoint: where that is.
        created: when, ISO 8601 in UTC.
        prices: `name`, `as_of`, `currency` of the prices.
        access: `source` (as it was named, or None), `since`, `until`, `known_days`, and `frozen`
            (why nothing goes colder, or None).
        horizon_days: over which costs are expected.
        classes: to choose from, hottest first.
        hot: the class of what is not tiered.
        moves, nbytes: how many, and their bytes.
        saves, costs, back: sums of those of the moves; money.
        back_hours: the longest of them.
        month: what storage costs a month now, and after it; money.
        flows: (from, to) -> count and bytes, as lists.
        left: reason -> count and bytes of what stays.
        notes: what a person should know.
        promise: of a vault: the `hours` and `cost` that are promised of the `newest` snapshots,
            `back`: class -> the way back that keeps the hours, `policies`: retention by registry;
            None of a registry.
        restore: of a vault, for each snapshot under the promise: `snapshot`, `newest` (whether it
            is the newest of its registry), `bytes` of its data, `hours` and `cost` of bringing
            back what is not hot, both now and after the moves, and whether the promise is `kept`.
        prewarm: `days` ahead and number of `images` that are likely to be pulled, where asked for.
    """

    id: str
    kind: str
    place: str
    location: str
    endpoint: str
    created: str
    prices: dict[str, str]
    access: dict[str, Any]
    horizon_days: float
    classes: list[str]
    hot: str
    moves: int = 0
    nbytes: int = 0
    saves: float = 0.0
    costs: float = 0.0
    back: float = 0.0
    back_hours: float = 0.0
    month: list[float] = field(default_factory=lambda: [0.0, 0.0])
    flows: list[dict[str, Any]] = field(default_factory=list)
    left: dict[str, Left] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    promise: dict[str, Any] | None = None
    restore: list[dict[str, Any]] = field(default_factory=list)
    prewarm: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it is written."""
        return {"format": FORMAT, **asdict(self)}


class NeededImage(NamedTuple):
    """An image that is likely to be pulled soon.

    Attributes:
        repository: that has it.
        tag: that points to it, or "".
        digest: of its manifest.
        chance: how likely.
    """

    repository: str
    tag: str
    digest: str
    chance: float

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Plan:
    """A plan that was just made.

    Attributes:
        header: what it is about.
        each: yields its moves; of a vault in the order of their keys, else what saves most first.
        images: that are likely to be pulled soon, where that was asked for; the likeliest first.
    """

    header: Header
    each: Callable[[], Iterator[Move]]
    images: tuple[NeededImage, ...] = ()

    def moves(self) -> Iterator[Move]:
        """Yield the moves."""
        return self.each()


def lines_of(plan: Plan) -> Iterator[bytes]:
    """Yield the lines of a plan."""
    digest = hashlib.sha256()
    count = 0
    line = _encode({"plan": plan.header.to_json()})
    digest.update(line)
    yield line
    for move in plan.moves():
        line = _encode({"move": {name: getattr(move, name) for name in _KINDS}})
        digest.update(line)
        count += 1
        yield line
    yield _encode({"end": {"moves": count, "sha256": digest.hexdigest()}})


def _encode(line: dict[str, Any]) -> bytes:
    """Return a line as the checksum of a plan has it, however it is written."""
    return orjson.dumps(line, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


class PlanFile:
    """A plan in a file: checked as a whole before anything of it is done.

    The file stays locked, and what was checked is kept aside: it is not read again.

    Attributes:
        header: what it is about.
    """

    def __init__(self, path: str) -> None:
        """Read it once.

        Raises:
            LeaseHeldError: another process has it.
            UsageError: there is none, it is not whole, or of a later version.
        """
        self.path = path
        try:
            self._file = open(path, "rb")  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        # What was checked is what is done, whatever becomes of the file.
        self._copy = tempfile.TemporaryFile()  # noqa: SIM115 (likewise)
        try:
            _lock(self._file, path)
            self.header = self._checked()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._copy.close()

    def moves(self) -> Iterator[Move]:
        """Yield the moves, in the order of the file."""
        self._copy.seek(0)
        for number, text in enumerate(self._copy, 2):
            yield self._move(orjson.loads(text), number)

    def _checked(self) -> Header:
        header: Header | None = None
        digest = hashlib.sha256()
        flows: dict[tuple[str, str], list[int]] = {}
        count, nbytes, costs, ended, last = 0, 0, 0.0, False, ""
        for number, line in enumerate(self._lines(), 1):
            if ended:
                raise self._wrong(f"line {number} comes after its end")
            if header is None:
                header = self._header(line)
            elif "move" in line:
                move = self._move(line, number)
                self._check(move, header, number)
                if header.kind == "vault" and move.key <= last:
                    raise self._wrong(f"line {number} is out of order")
                last = move.key
                flow = flows.setdefault((move.source, move.target), [0, 0])
                flow[0] += 1
                flow[1] += move.size
                self._copy.write(_encode(line))
                count, nbytes, costs = count + 1, nbytes + move.size, costs + move.costs
            elif line.get("end") == {"moves": count, "sha256": digest.hexdigest()}:
                ended = True
            else:
                raise self._wrong(f"line {number} is not what it should be")
            digest.update(_encode(line))
        if header is None or not ended:
            raise self._wrong("its end is missing")
        told = {(f["from"], f["to"]): [f["count"], f["bytes"]] for f in header.flows}
        if (
            (header.moves, header.nbytes) != (count, nbytes)
            or told != flows
            or abs(header.costs - costs) > 1e-6 * count + 1e-9 * costs
        ):
            raise self._wrong("its first line does not say what its moves are")
        return header

    def _check(self, move: Move, header: Header, number: int) -> None:
        """Raise UsageError where a move is none that a plan of this kind may have."""
        good = (
            {move.source, move.target} <= set(header.classes)
            and move.source != move.target
            and min(move.size, move.costs, move.back, move.back_hours, move.used) >= 0
        )
        if header.kind == "registry":
            named = is_digest(move.digest) and move.key == blob_key(move.digest)
            good = good and named and move.back_hours == 0
        else:
            good = good and header.kind == "vault" and is_data_key(move.key, move.digest)
        if not good:
            raise self._wrong(f"line {number} is no move that such a plan may have")

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            self._file.seek(0)
            yield from self._parsed(self._file)
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error

    def _parsed(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        number = 0
        while text := file.readline(_MOST_LINE):
            if not text.strip():
                continue
            number += 1
            try:
                line = orjson.loads(text)
            except ValueError:
                line = None
            if not isinstance(line, dict):
                raise self._wrong(f"line {number} is no JSON object")
            yield line

    def _header(self, line: dict[str, Any]) -> Header:
        found = line.get("plan")
        if not isinstance(found, dict) or "format" not in found:
            raise self._wrong("it does not begin like one")
        if found["format"] != FORMAT:
            raise self._wrong(f"it is of format {found['format']!r}, which is not known here")
        try:
            fields = {name: found[name] for name in Header.__slots__ if name in found}
            fields["left"] = {name: Left(**each) for name, each in fields["left"].items()}
            header = Header(**fields)
            if not _is_good(header):
                raise self._wrong("its first line has something that is none")
        except (KeyError, TypeError, AttributeError, ValueError):
            raise self._wrong("its first line lacks something") from None
        return header

    def _move(self, line: dict[str, Any], number: int) -> Move:
        try:
            move = Move(**line["move"])
        except TypeError:
            raise self._wrong(f"line {number} is no move") from None
        for name, kind in _KINDS.items():
            if not isinstance(getattr(move, name), kind) or isinstance(getattr(move, name), bool):
                raise self._wrong(f"line {number} has no good {name}")
        return move

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self.path} is no plan: {what}", hint=_HINT)


def _lock(file: IO[bytes], path: str) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LeaseHeldError(
            f"another process does this plan: it has {path}", hint="Wait for it to end."
        ) from None
    except OSError:  # no locks there: the journal has one
        return


def _is_good(header: Header) -> bool:
    """Return whether all that is shown or gone by is of its kind."""
    texts = (header.id, header.kind, header.place, header.location, header.endpoint)
    numbers = (header.horizon_days, header.saves, header.costs, header.back, header.back_hours)
    return (
        all(isinstance(each, str) for each in (*texts, header.created, header.hot))
        and re.fullmatch(r"[0-9a-f]{32}", header.id, re.ASCII) is not None
        and all(isinstance(each, (int, float)) for each in (*numbers, *header.month))
        and len(header.month) == 2
        and all(isinstance(each, int) for each in (header.moves, header.nbytes))
        and all(isinstance(each, str) for each in (*header.classes, *header.notes))
        and header.hot in header.classes[:1]
        and all(isinstance(header.prices[name], str) for name in ("name", "as_of", "currency"))
        and all(isinstance(header.access[name], str | None) for name in _ACCESS)
        and isinstance(header.access["known_days"], (int, float))
        and _is_time(header.created)
        and all(_is_time(header.access[name] or header.created) for name in ("since", "until"))
        and all(
            isinstance(flow[name], kind)
            for flow in header.flows
            for name, kind in (("from", str), ("to", str), ("count", int), ("bytes", int))
        )
        and all(isinstance(flow[n], (int, float)) for flow in header.flows for n in _MONEY)
        and (header.kind == "registry" or is_promise(header))
        and all(
            isinstance(each, int)
            for left in header.left.values()
            for each in (left.count, left.nbytes)
        )
    )


_ACCESS = ("source", "since", "until", "frozen")
_MONEY = ("saves", "costs")


def _is_time(text: str) -> bool:
    """Return whether a text is a time that has been."""
    return datetime.fromisoformat(text) <= datetime.now(UTC) + _SKEW


_SKEW = timedelta(minutes=5)


_KINDS: dict[str, Any] = {
    name: {"int": int, "float": (int, float), "str": str}[str(kind)]
    for name, kind in Move.__annotations__.items()
}
