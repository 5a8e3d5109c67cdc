"""What is expected of blobs as they lie now: what each class would cost, and which of them pays.

How likely reads are does not depend on a blob's size, so what is expected of time and of reads is
worked out for each group, number of reads and idle time, and money for each blob by its size. What
comes after the next read is the same wherever it was read from, so the time up to it is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regvault.policy.tiering.costs import class_costs
from regvault.policy.tiering.learned import decide, penalty, size_bucket
from regvault.policy.tiering.survival import IDLE_DAYS, reads_bucket

if TYPE_CHECKING:
    from regvault.policy.prices import PriceTable
    from regvault.policy.tiering.costs import ClassCosts
    from regvault.policy.tiering.history import Bools, Floats, Ints
    from regvault.policy.tiering.learned import Decisions
    from regvault.policy.tiering.survival import Hazards

__all__ = ["NEEDED", "Outlook", "Standing", "all_back", "outlook", "warmed"]

NEEDED = 0.5
"""What is needed soon with this probability, or a larger one, is brought back before."""

#: Blobs that are worked on at once: each has a row of numbers for each step of idle time.
_AT_ONCE = 65_536


class Standing(NamedTuple):
    """How blobs lie, one place of each array for each. Days, bytes, numbers.

    Attributes:
        sizes: bytes.
        groups: the number of what it belongs to, as in the history that was learned from.
        reads: how often it was read so far.
        idle: days for which it is known that nothing that reaches it was read.
        present: the number of the class that it is in.
        inside: days for which it has been in that class.
        since: how often it was read since it came there.
    """

    sizes: Ints
    groups: Ints
    reads: Ints
    idle: Floats
    present: Ints
    inside: Floats
    since: Ints

    def part(self, some: slice) -> Standing:
        """Return the same of some of them."""
        return Standing(
            self.sizes[some],
            self.groups[some],
            self.reads[some],
            self.idle[some],
            self.present[some],
            self.inside[some],
            self.since[some],
        )


class Outlook(NamedTuple):
    """What is expected of each blob. Money, and a probability.

    Attributes:
        to: the number of the class where it should lie from now on; often the present one.
        stay: cost of the time, where it is.
        go: the same there, the move not included.
        move: cost of the move: requests, retrieval, what is left of a minimum duration.
        read: what reading it once would cost from there, at once.
        chance: probability of a read in that time.
    """

    to: Ints
    stay: Floats
    go: Floats
    move: Floats
    read: Floats
    chance: Floats


def outlook(
    hazards: Hazards, table: PriceTable, names: list[str], standing: Standing, horizon: float
) -> Outlook:
    """Return where blobs should lie, and what that is expected to cost.

    A blob leaves the hot class on the day on which that is best (`learned.decide`), and a colder
    one for one that is colder still if that pays. It comes back after it was read, where that is
    expected to be cheaper than to be read there again and again.

    Args:
        hazards: what is known of reads.
        table: the prices.
        names: of the classes to choose from, hottest first; `standing.present` counts in them.
        standing: of the blobs.
        horizon: days that are looked at.
    """
    decisions = decide(hazards, table, names)
    days, reads = _ahead(hazards, horizon)
    parts = [
        _outlook(
            hazards,
            table,
            names,
            standing.part(slice(at, at + _AT_ONCE)),
            (decisions, days, reads),
        )
        for at in range(0, max(1, len(standing.sizes)), _AT_ONCE)
    ]
    return Outlook(
        np.concatenate([part.to for part in parts]),
        np.concatenate([part.stay for part in parts]),
        np.concatenate([part.go for part in parts]),
        np.concatenate([part.move for part in parts]),
        np.concatenate([part.read for part in parts]),
        np.concatenate([part.chance for part in parts]),
    )


def warmed(
    found: Outlook, standing: Standing, table: PriceTable, names: list[str], chance: Floats
) -> Outlook:
    """Return the same, but that what is likely to be needed soon is in the hot class then.

    What would have to pay for leaving its class too early stays there.

    Args:
        found: as it was.
        standing: of the blobs.
        table: the prices.
        names: of the classes.
        chance: of each blob, how likely it is needed soon.
    """
    least = np.array([table.price(name).min_days for name in names])[standing.present]
    due = chance >= NEEDED
    back = due & (standing.present > 0) & (standing.inside >= least)
    to = np.where(back, 0, np.where(due, np.minimum(found.to, standing.present), found.to))
    return _changed(found, to, standing, table, names)


def all_back(found: Outlook, standing: Standing, table: PriceTable, names: list[str]) -> Outlook:
    """Return the same, but that everything goes to the hot class."""
    return _changed(found, np.zeros_like(found.to), standing, table, names)


def _changed(
    found: Outlook, to: Ints, standing: Standing, table: PriceTable, names: list[str]
) -> Outlook:
    """Return the same with other classes to go to: the hot one, or the one where each is."""
    changed = np.flatnonzero(to != found.to)
    go, move, read = found.go.copy(), found.move.copy(), found.read.copy()
    sizes = standing.sizes[changed]
    hot = class_costs(table, names[0], sizes)
    present = standing.present[changed]
    # In the hot class it would cost what it does in the class where it is, and the difference of
    # the storage, until it is used; that is soon.
    go[changed] = found.stay[changed]
    read[changed] = hot.read
    for number, name in enumerate(names):
        some = present == number
        out = class_costs(table, name, sizes[some])
        move[changed[some]] = np.where(
            to[changed[some]] == number,
            0.0,
            out.retrieve + hot.write[some] + out.early(standing.inside[changed[some]]),
        )
    return found._replace(to=to, go=go, move=move, read=read)


def _ahead(hazards: Hazards, horizon: float) -> tuple[Floats, Floats]:
    """Return expected days without a read, and the probability that the next one comes in them.

    First axes: group, reads so far, place in `IDLE_DAYS` of the time that it is idle; the last:
    place of the time to come.
    """
    places = len(IDLE_DAYS)
    days = np.zeros((*hazards.daily.shape, places))
    reads = np.zeros_like(days)
    for begin in range(places):
        left, still = horizon, np.ones(hazards.daily.shape[:2])
        for place in range(begin, places):
            width = left
            if place + 1 < places:
                width = min(left, float(IDLE_DAYS[place + 1] - IDLE_DAYS[place]))
            rate = hazards.daily[:, :, place]
            kept = np.exp(-rate * width)
            days[:, :, begin, place] = still * -np.expm1(-rate * width) / rate
            reads[:, :, begin, place] = still * (1 - kept)
            still = still * kept
            left -= width
            if left <= 0:
                break
    return days, reads


def _outlook(
    hazards: Hazards,
    table: PriceTable,
    names: list[str],
    standing: Standing,
    known: tuple[Decisions, Floats, Floats],
) -> Outlook:
    decisions, days, reads = known
    costs = [class_costs(table, name, standing.sizes) for name in names]
    cell = standing.groups, reads_bucket(standing.reads)
    begin = np.searchsorted(IDLE_DAYS, standing.idle, side="right") - 1
    ahead, coming = days[(*cell, begin)], reads[(*cell, begin)]
    burst = hazards.burst[cell]
    came = np.maximum(0.0, standing.idle - standing.inside)
    begins = [np.where(standing.present == n, came, standing.idle) for n in range(len(costs))]
    spent = np.stack(
        [
            _spent(each, costs[0], ahead, coming, burst, watched)
            for each, watched in zip(costs, begins, strict=True)
        ]
    )
    rows = np.arange(len(standing.sizes))
    stay = spent[standing.present, rows]
    moves = _moves(costs, standing)
    whole = spent + moves
    whole[standing.present, rows] = stay
    size = size_bucket(standing.sizes)
    place = (*cell, np.maximum(size, 0))
    to = np.where(standing.present == 0, _down(decisions, place, whole, begin), standing.present)
    if not _is_ruled(decisions):
        to = np.where(standing.present > 0, _further(costs, whole, standing), to)
    extra = np.stack([each.read - costs[0].read for each in costs])[standing.present, rows]
    to = np.where(_back(decisions, place, moves, standing, extra), 0, to)
    to = np.where(size < 0, standing.present, to)
    once = np.stack([each.read for each in costs])[to, rows]
    moved = np.where(to == standing.present, 0.0, moves[to, rows])
    return Outlook(to, stay, spent[to, rows], moved, once, coming.sum(axis=1))


def _spent(
    each: ClassCosts,
    hot: ClassCosts,
    ahead: Floats,
    coming: Floats,
    burst: Floats,
    watched: Floats,
) -> Floats:
    """Return what a class is expected to cost until the next read, that read included.

    Args:
        each: the class.
        hot: the hot one.
        ahead: days that are expected in each place of `IDLE_DAYS`.
        coming: the probability that the next read comes in it.
        burst: how many reads come at once.
        watched: days idle at which a class that watches begins to: what moves there is new to it.
    """
    found = np.zeros(len(burst))
    for place, idle in enumerate(IDLE_DAYS.tolist()):
        rate = each.rate
        for after, less in each.steps:
            rate = rate - np.where(idle - watched > after, less, 0.0)
        found += rate * ahead[:, place]
        found += penalty(each, hot, burst, idle) * coming[:, place]
    return found


def _moves(costs: list[ClassCosts], standing: Standing) -> Floats:
    """Return what it costs to move each blob into each class; where it is: nothing."""
    found = np.zeros((len(costs), len(standing.sizes)))
    for present, here in enumerate(costs):
        some = np.flatnonzero(standing.present == present)
        if not len(some):
            continue
        out = here.of(some)
        leave = out.early(standing.inside[some]) + (out.retrieve if present else 0.0)
        for number, each in enumerate(costs):
            if number != present:
                enter = each.enter if number > present else each.write
                found[number, some] = leave + enter[some]
    return found


def _down(decisions: Decisions, place: tuple[Ints, Ints, Ints], whole: Floats, begin: Ints) -> Ints:
    """Return where what is hot should go now: it waits for the best day, and pays then."""
    due = begin >= decisions.move[place]
    if _is_ruled(decisions):
        return np.where(due, decisions.to[place], 0)
    return np.where(due, np.argmin(whole, axis=0), 0)


def _is_ruled(decisions: Decisions) -> bool:
    """Return whether nothing is believed of the history yet, and the ski-rental rule decides."""
    return not np.isfinite(decisions.cold).any()


def _further(costs: list[ClassCosts], whole: Floats, standing: Standing) -> Ints:
    """Return where what is colder already should go: on, where that pays; never back by itself."""
    open_to = whole.copy()
    numbers = np.arange(len(costs))[:, None]
    open_to[numbers < standing.present] = np.inf
    found: Ints = np.argmin(open_to, axis=0)
    return found


def _back(
    decisions: Decisions,
    place: tuple[Ints, Ints, Ints],
    moves: Floats,
    standing: Standing,
    extra: Floats,
) -> Bools:
    """Return what goes back into the hot class, since it was read where it is.

    Either that is expected to be cheaper than to be read there again and again; or its reads there
    have cost as much by now as the move does (the ski-rental rule: never twice the best choice).
    """
    stays = decisions.cold[(standing.present, *place)]
    cheaper = moves[0] + decisions.hot[place] < stays
    paid = standing.since * extra >= moves[0]
    found: Bools = (standing.present > 0) & (standing.since > 0) & (cheaper | paid)
    return found
