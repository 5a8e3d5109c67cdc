"""The verb `tier plan` for a live registry: which blobs go to which class, and what that saves.

Only classes that serve at once, since a registry has to serve what it has. Manifests and small
blobs stay, and a blob is cold only if every manifest that reaches it is (rule 20). What is not
known is not cold: time of which nobody knows what happened is no idle time (rule 22).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regvault.errors import UsageError
from regvault.model.event import time_text
from regvault.ops.tier.ahead import look_ahead
from regvault.ops.tier.classes import BY_RULES, moves_by_rules
from regvault.ops.tier.contents import list_contents
from regvault.ops.tier.planned import Header, Left, Move, Plan
from regvault.ops.tier.reach import read_reach
from regvault.ops.tier.simulate import MIN_IDLE_DAYS
from regvault.ops.tier.standing import known_of, long_idle
from regvault.policy.access_counts import DAY_US
from regvault.policy.prices import MONTH_DAYS
from regvault.policy.tiering.costs import class_costs
from regvault.policy.tiering.history import SMALLEST
from regvault.policy.tiering.learned import SHORT_DAYS
from regvault.policy.tiering.outlook import all_back, outlook, warmed
from regvault.registry.layout import BLOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.model.store import ObjectStore
    from regvault.ops.tier.accesses import Accesses
    from regvault.ops.tier.contents import Contents
    from regvault.ops.tier.reach import Reach
    from regvault.ops.tier.standing import Known
    from regvault.policy.prices import PriceTable
    from regvault.policy.tiering.history import Bools, Floats, Ints
    from regvault.policy.tiering.outlook import Outlook

__all__ = ["PlanOptions", "plan_registry"]


#: Contents that are priced, or moves that are made, at once: what is worked out is ever so large.
_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What was asked for.

    Attributes:
        table: the prices.
        horizon: days over which costs are expected.
        min_idle: days that a blob is known to be idle before it goes to a colder class.
        max_lag: days after which what is known of accesses is too old to call anything cold.
        source: who tells of accesses, as it is named on a command line.
        place: the registry, as it is named there.
        threads: that read manifests.
        all_hot: bring everything back, whatever that costs, and move nothing to a colder class.
        prewarm: days ahead for which what is likely to be pulled is brought back; None: nothing is.
    """

    table: PriceTable
    horizon: float = 365.0
    min_idle: float = MIN_IDLE_DAYS
    max_lag: float = 2.0
    source: str | None = None
    place: str = ""
    threads: int = 4
    prewarm: float | None = None
    all_hot: bool = False


def plan_registry(
    source: RegistrySource,
    store: ObjectStore,
    accesses: Accesses,
    options: PlanOptions,
    *,
    now_us: int,
    progress: Progress,
    contents: Contents | None = None,
) -> Plan:
    """Plan the tiering of a live registry.

    Args:
        source: the registry, to read links and manifests.
        store: its storage.
        accesses: what is known of accesses.
        options: what was asked for.
        now_us: the time, microseconds since the epoch.
        progress: is told how far it is.
        contents: what lies below its `blobs/`, of an inventory; None: it is listed.

    Raises:
        NotFoundError: there is no registry.
        UsageError: the prices have no class that what is there lies in.
        SourceError, SourceUnavailableError, StoreError: it cannot be read.
    """
    source.check()
    if contents is None:
        progress.phase("Listing blobs")
        contents = list_contents(store, progress)
    names = _classes(options.table, contents, store.location)
    progress.phase("Reading manifests")
    reach = read_reach(
        source,
        contents,
        asked=accesses.tags(),
        threads=options.threads,
        progress=progress,
        with_tags=options.prewarm is not None,
    )
    progress.phase("Weighing")
    known = known_of(accesses, contents, reach, names, now_us)
    found = outlook(known.hazards, options.table, names, known.standing, options.horizon)
    needs = None
    if options.all_hot:
        found = all_back(found, known.standing, options.table, names)
    if options.prewarm is not None:
        needs = look_ahead(known, contents, reach, now_us, options.prewarm)
        found = warmed(found, known.standing, options.table, names, needs.chance)
    ruled = moves_by_rules(store)
    made = _Made(contents, reach, known, found, names, options, ruled=ruled)
    header = Header(
        secrets.token_hex(16),
        "registry",
        options.place,
        source.location,
        source.endpoint,
        time_text(now_us * 1000),
        {
            "name": options.table.name,
            "as_of": options.table.as_of,
            "currency": options.table.currency,
        },
        made.access(accesses, now_us),
        options.horizon,
        names,
        names[0],
    )
    made.decide(header)
    if needs is not None:
        header.prewarm = {"days": options.prewarm, "images": len(needs.images)}
    return Plan(header, made.moves, () if needs is None else needs.images)


def _classes(table: PriceTable, contents: Contents, location: str) -> list[str]:
    """Return the classes to choose from.

    Raises:
        UsageError: nothing lies in any of them.
    """
    names = table.instant
    if len(contents) and not set(names) & set(contents.classes):
        raise UsageError(
            f"the prices {table.name} have none of the classes that {location} has: "
            f"{', '.join(contents.classes)}",
            hint="Write down what its storage costs, and name that: --prices FILE "
            "(docs/tiering.md)",
        )
    return names


class _Made:
    """What is decided of each content."""

    def __init__(
        self,
        contents: Contents,
        reach: Reach,
        known: Known,
        found: Outlook,
        names: list[str],
        options: PlanOptions,
        *,
        ruled: bool,
    ) -> None:
        self._ruled = ruled
        self._contents = contents
        self._reach = reach
        self._known = known
        self._found = found
        self._names = names
        self._options = options
        self._frozen = ""
        self._told: list[str] = []
        self._known_days = 0.0
        self._chosen: Ints = np.zeros(0, dtype=np.int64)
        self._back: Floats = np.zeros(0)
        self._saves = found.stay - found.go - found.move

    def access(self, accesses: Accesses, now_us: int) -> dict[str, Any]:
        """Return what is known of accesses; from now on nothing goes colder where that is old."""
        coverage = accesses.coverage
        lag = (now_us - coverage.end) / DAY_US
        if not coverage.end:
            self._frozen = "nothing is known of accesses"
        elif lag > self._options.max_lag:
            self._frozen = f"what is known of accesses ends {lag:.1f} days ago"
        elif any(gap.last > coverage.end - self._recent_us() for gap in coverage.gaps):
            self._frozen = "it is not known what was pulled in all of the last days (--min-idle)"
        self._told = accesses.notes
        self._known_days = coverage.idle_us(coverage.start) / DAY_US
        return {
            "source": self._options.source,
            "since": time_text(coverage.start * 1000) if coverage.end else None,
            "until": time_text(coverage.end * 1000) if coverage.end else None,
            "known_days": round(self._known_days, 3),
            "frozen": self._frozen or None,
        }

    def _recent_us(self) -> int:
        """Return for how long all has to be known, microseconds: what was used in it stays."""
        return int(self._options.min_idle * DAY_US)

    def decide(self, header: Header) -> None:
        """Choose what moves, and put it into the header."""
        contents, reach, known, found = self._contents, self._reach, self._known, self._found
        standing, options = known.standing, self._options
        colder = found.to > standing.present
        pays = self._saves > 0
        # In this order: the first that holds is told.
        reasons: list[tuple[str, Bools]] = [
            ("in a class that the prices do not have", known.foreign),
            ("manifests", reach.manifest),
            ("nothing refers to it: see tier gc", reach.repository < 0),
            ("a manifest that cannot be read may need it", reach.doubtful),
            (f"smaller than {SMALLEST >> 10} KiB", standing.sizes < SMALLEST),
            (self._frozen or "frozen", (found.to >= standing.present) & bool(self._frozen)),
            ("stays where it is cheapest", found.to == standing.present),
            ("not known to be idle for long enough", colder & (standing.idle < options.min_idle)),
            ("would not pay", colder & ~pays),
            (
                "would come back, but rules only move what gets colder",
                (found.to < standing.present) & self._ruled,
            ),
        ]
        open_to = np.ones(len(contents), dtype=bool)
        for reason, holds in reasons:
            some = open_to & holds
            if some.any():
                header.left[reason] = Left(int(some.sum()), int(standing.sizes[some].sum()))
            open_to &= ~holds
        chosen = np.flatnonzero(open_to)
        # What saves most comes first: a ceiling may end it anywhere.
        self._chosen = chosen[np.argsort(-self._saves[chosen], kind="stable")]
        self._sum_up(header)

    def _sum_up(self, header: Header) -> None:
        chosen, found, standing = self._chosen, self._found, self._known.standing
        to, present = found.to[chosen], standing.present[chosen]
        sizes = standing.sizes[chosen]
        self._back = self._costs_back(to, sizes)
        header.moves, header.nbytes = len(chosen), int(sizes.sum())
        header.saves = _money(self._saves[chosen].sum())
        header.costs, header.back = _money(found.move[chosen].sum()), _money(self._back.sum())
        for source, target in sorted({*zip(present.tolist(), to.tolist(), strict=True)}):
            some = (present == source) & (to == target)
            header.flows.append(
                {
                    "from": self._names[source],
                    "to": self._names[target],
                    "count": int(some.sum()),
                    "bytes": int(sizes[some].sum()),
                    "saves": _money(self._saves[chosen][some].sum()),
                    "costs": _money(found.move[chosen][some].sum()),
                }
            )
        header.month = self._month(to)
        header.notes = self._notes(header)

    def _costs_back(self, to: Ints, sizes: Ints) -> Floats:
        """Return what it costs to bring each back from its new class, right after the move."""
        table, back = self._options.table, np.zeros(len(to))
        for number, name in enumerate(self._names[1:], 1):
            for some in _in_parts(np.flatnonzero(to == number)):
                out = class_costs(table, name, sizes[some])
                hot = class_costs(table, self._names[0], sizes[some])
                back[some] = out.retrieve + hot.write + out.early(np.zeros(len(some)))
        return back

    def _month(self, to: Ints) -> list[float]:
        """Return what storage costs a month, before and after."""
        standing, table = self._known.standing, self._options.table
        after = standing.present.copy()
        after[self._chosen] = to
        spent = []
        for where in (standing.present, after):
            rate = 0.0
            for number, name in enumerate(self._names):
                here = np.flatnonzero((where == number) & ~self._known.foreign)
                for some in _in_parts(here):
                    rate += float(class_costs(table, name, standing.sizes[some]).rate.sum())
            spent.append(_money(rate * MONTH_DAYS))
        return spent

    def _notes(self, header: Header) -> list[str]:
        found = list(self._told)
        if self._frozen:
            count, nbytes = long_idle(self._contents, self._known, self._reach)
            found.append(
                f"{self._frozen}: nothing goes to a colder class. {count} blobs "
                f"({nbytes / (1 << 20):.1f} MiB) in the hot class are older than 90 days, and may "
                "be cold; who pulls what is told by regvault audit (docs/audit.md), or by a log of "
                "accesses (--access)"
            )
        elif self._known_days < SHORT_DAYS:
            found.append(
                f"only {self._known_days:.1f} days of accesses are known: nothing is learned of "
                "them yet, and what is idle moves once its storage has cost what a move would"
            )
        if self._ruled and header.moves:
            found.append(BY_RULES)
        if self._reach.unreadable:
            found.append(
                f"{self._reach.unreadable} manifests cannot be read, or are not listed: what they "
                "may reach stays (see regvault scan)"
            )
        if self._contents.others:
            found.append(f"{self._contents.others} blobs have no SHA-256 for a name, and stay")
        foreign = header.left.get("in a class that the prices do not have")
        if foreign is not None:
            names = sorted(set(self._contents.classes) - set(self._names))
            found.append(
                f"{foreign.count} blobs lie in {', '.join(names)}: if that is an archive, they "
                "cannot be pulled"
            )
        return found

    def moves(self) -> Iterator[Move]:
        """Yield the moves, what saves most first."""
        for part in _in_parts(np.arange(len(self._chosen))):
            yield from self._some(part)

    def _some(self, part: Ints) -> Iterator[Move]:
        contents, found, standing = self._contents, self._found, self._known.standing
        chosen = self._chosen[part]
        columns = (
            chosen,
            standing.sizes[chosen],
            standing.present[chosen],
            found.to[chosen],
            self._reach.repository[chosen],
            standing.idle[chosen].round(3),
            standing.reads[chosen],
            self._known.used[chosen],
            found.chance[chosen].round(6),
            self._saves[chosen].round(8),
            found.move[chosen].round(8),
            self._back[part].round(8),
        )
        for row in zip(*(column.tolist() for column in columns), strict=True):
            number, size, source, target, repository, idle, reads, used, chance, *money = row
            digest = contents.digest(number)
            saves, costs, back = money
            yield Move(
                f"{BLOBS}sha256/{digest[7:9]}/{digest[7:]}/data",
                digest,
                size,
                contents.etag(number),
                self._names[source],
                self._names[target],
                self._reach.repositories[repository],
                _why(source, target, idle, reads, chance, self._options.horizon),
                idle,
                reads,
                used,
                chance,
                saves,
                costs,
                back,
                0.0,
            )


def _in_parts(numbers: Ints) -> Iterator[Ints]:
    """Yield them, `_AT_ONCE` at a time."""
    for begin in range(0, len(numbers), _AT_ONCE):
        yield numbers[begin : begin + _AT_ONCE]


def _why(source: int, target: int, idle: float, reads: int, chance: float, days: float) -> str:
    likely = f"a read within {days:.0f} days: {chance:.1%}"
    if target < source:
        return f"read again, or needed soon; {reads} reads so far; {likely}"
    return f"idle {idle:.0f} days, read {reads} times before; {likely}"


def _money(value: float) -> float:
    return round(float(value), 8)
