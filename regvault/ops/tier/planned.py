"""The plan of a tiering: what moves from where to where, why, and what it costs and saves.

It is written as JSON lines: one that says what it is about, one for each move, one that says how
many these were and the SHA-256 of all lines before it, so that half a plan is none.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import orjson

from regvault.errors import UsageError

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
        each: yields its moves, in the order of their keys.
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

    Attributes:
        header: what it is about.
    """

    def __init__(self, path: str) -> None:
        """Read it once.

        Raises:
            UsageError: there is none, it is not whole, or of a later version.
        """
        self.path = path
        header: Header | None = None
        digest = hashlib.sha256()
        count, ended = 0, False
        for number, line in enumerate(self._lines(), 1):
            if ended:
                raise self._wrong(f"line {number} comes after its end")
            if number == 1:
                header = self._header(line)
            elif "move" in line:
                self._move(line, number)
                count += 1
            elif line.get("end") == {"moves": count, "sha256": digest.hexdigest()}:
                ended = True
            else:
                raise self._wrong(f"line {number} is not what it should be")
            digest.update(_encode(line))
        if header is None or not ended:
            raise self._wrong("its end is missing")
        self.header = header

    def moves(self) -> Iterator[Move]:
        """Yield the moves, in the order of their keys."""
        for number, line in enumerate(self._lines(), 1):
            if "move" in line:
                yield self._move(line, number)

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            with open(self.path, "rb") as file:
                yield from self._parsed(file)
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
            return Header(**fields)
        except (KeyError, TypeError, AttributeError):
            raise self._wrong("its first line lacks something") from None

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


_KINDS: dict[str, Any] = {
    name: {"int": int, "float": (int, float), "str": str}[str(kind)]
    for name, kind in Move.__annotations__.items()
}
