"""How the blobs of a registry lie, and what is known of their use: what a plan is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from regvault.ops.tier.accesses import KnownTime
from regvault.policy.access_counts import DAY_US
from regvault.policy.prices import MONTH_DAYS
from regvault.policy.tiering.history import SMALLEST, grouped, make_history
from regvault.policy.tiering.outlook import Standing
from regvault.policy.tiering.survival import hazards_of_months

if TYPE_CHECKING:
    from regvault.ops.tier.accesses import Accesses
    from regvault.ops.tier.contents import Contents
    from regvault.ops.tier.reach import Reach
    from regvault.policy.tiering.history import Bools, Ints
    from regvault.policy.tiering.survival import Hazards

__all__ = ["Known", "Use", "known_of", "long_idle", "use_of"]

#: Reads of one content on one day that are told apart.
_MOST_A_DAY = 20
_KINDS = 3


class Use(NamedTuple):
    """When contents were used, by the numbers of `Contents`.

    Attributes:
        last: when each was pulled last, microseconds since the epoch; 0: never, as far as known.
        pushed: when it was pushed last, as events tell; 0 where they do not.
        owners, times: of each read, the content, and when it was.
    """

    last: Ints
    pushed: Ints
    owners: Ints
    times: Ints


class Known(NamedTuple):
    """What is known, and what was learned of it.

    Attributes:
        hazards: how likely reads are now.
        standing: of all contents; `present` by the names that were given.
        used: when each was used last, through whatever reaches it; microseconds since the epoch.
        foreign: which lie in a class that is none of those names.
        use: when contents were used.
        days: how long it is known what happened.
    """

    hazards: Hazards
    standing: Standing
    used: Ints
    foreign: Bools
    use: Use
    days: float


def use_of(accesses: Accesses, contents: Contents, reach: Reach) -> Use:
    """Return when contents were used: what was pulled by a tag is all that the tag may have been.

    Args:
        accesses: what is known.
        contents: of the registry.
        reach: of its manifests; it knows what tags name.
    """
    count = len(contents)
    last, pushed = np.zeros(count, np.int64), np.zeros(count, np.int64)
    targets: list[Ints] = []
    numbers: list[Ints] = []
    for some in accesses.targets():
        known = [each for each in some if each.digest.startswith("sha256:")]
        found = contents.numbers(b"".join(bytes.fromhex(each.digest[7:]) for each in known))
        pairs = [(at, each) for at, each in zip(found.tolist(), known, strict=True) if at >= 0]
        for each in some:
            if not each.digest:
                named = reach.named.get((each.repository, each.tag), ())
                pairs += [(at, each) for at in named]
        here = np.array([at for at, _ in pairs], dtype=np.int64)
        np.maximum.at(last, here, np.array([each.last for _, each in pairs], dtype=np.int64))
        np.maximum.at(pushed, here, np.array([each.pushed for _, each in pairs], dtype=np.int64))
        targets.append(np.array([each.number for _, each in pairs], dtype=np.int64))
        numbers.append(here)
    owners, times = _reads(accesses, _joined(targets), _joined(numbers))
    return Use(last, pushed, owners, times)


def _reads(accesses: Accesses, targets: Ints, numbers: Ints) -> tuple[Ints, Ints]:
    """Return the content and the time of each read; some targets are several contents."""
    order = np.argsort(targets, kind="stable")
    targets, numbers = targets[order], numbers[order]
    owners: list[Ints] = []
    times: list[Ints] = []
    for ids, moments, counts in accesses.reads():
        begin = np.searchsorted(targets, ids, side="left")
        several = np.searchsorted(targets, ids, side="right") - begin
        which = np.repeat(np.arange(len(ids)), several)
        offset = np.arange(len(which)) - np.repeat(np.cumsum(several) - several, several)
        owner, moment = numbers[begin[which] + offset], moments[which]
        often = np.minimum(counts[which], _MOST_A_DAY)
        owners.append(np.repeat(owner, often).astype(np.int32))
        times.append(np.repeat(moment, often))
    return _joined(owners), _joined(times)


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def known_of(
    accesses: Accesses, contents: Contents, reach: Reach, names: list[str], now_us: int
) -> Known:
    """Return how contents lie, and what was learned of how they are read.

    Args:
        accesses: what is known of accesses.
        contents: of the registry.
        reach: of its manifests.
        names: of the classes to choose from, hottest first.
        now_us: the time, microseconds since the epoch.
    """
    use = use_of(accesses, contents, reach)
    time = KnownTime(accesses.coverage)
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([place.get(name, -1) for name in contents.classes] or [0], dtype=np.int64)
    present = numbers[contents.present]
    foreign = present < 0
    present = np.maximum(present, 0)
    # What lies in a colder class was written anew when it came there: that is no use of it.
    written = np.where((present == 0) & ~foreign, contents.modified, 0)
    used = reach.spread(np.maximum(np.maximum(use.last, use.pushed), written))
    groups, families = _groups(reach)
    hazards = _hazards(use, contents, reach, written, (groups, families), time)
    standing = Standing(
        contents.sizes,
        groups,
        np.bincount(use.owners, minlength=len(contents)).astype(np.int64),
        np.maximum(0.0, time.days - time.at(used)),
        present,
        np.maximum(0.0, (now_us - contents.modified) / DAY_US),
        _since(use, contents),
    )
    return Known(hazards, standing, used, foreign, use, time.days)


def long_idle(contents: Contents, known: Known, reach: Reach) -> tuple[int, int]:
    """Return number and bytes of hot blobs of which no use in the last 90 days is known."""
    old = ~reach.manifest & (known.standing.inside > 90) & (contents.sizes >= SMALLEST)
    recently = known.use.last > (contents.modified.max(initial=0) - 90 * DAY_US)
    old &= (known.standing.present == 0) & ~known.foreign & ~recently
    return int(old.sum()), int(contents.sizes[old].sum())


def _since(use: Use, contents: Contents) -> Ints:
    """Return how often each content was read since it was written, or came where it is."""
    later = use.owners[use.times > contents.modified[use.owners]]
    return np.bincount(later, minlength=len(contents)).astype(np.int64)


def _groups(reach: Reach) -> tuple[Ints, Ints]:
    """Return groups by repository and kind of tags, and their families: projects."""
    labels = [
        (name.rpartition("/")[0], f"{name} {kind}")
        for name in reach.repositories
        for kind in range(_KINDS)
    ]
    labels.append(("", ""))
    of = np.where(
        reach.repository >= 0, reach.repository * _KINDS + reach.tags, len(labels) - 1
    ).astype(np.int64)
    return grouped(of, labels)


def _hazards(
    use: Use,
    contents: Contents,
    reach: Reach,
    written: Ints,
    groups: tuple[Ints, Ints],
    time: KnownTime,
) -> Hazards:
    """Return what was learned from all reads in the known time, in months up to its end."""
    # Only what may move is learned from, and moves.
    some = np.flatnonzero(~reach.manifest & (contents.sizes >= SMALLEST))
    count = len(some)
    number = np.full(len(contents), -1, dtype=np.int32)
    number[some] = np.arange(count, dtype=np.int32)
    kept = number[use.owners] >= 0
    owners = number[use.owners[kept]].astype(np.int64)
    reads = time.at(use.times[kept])
    born = time.at(np.where(use.pushed > 0, use.pushed, written)[some])
    # What was read before it was written was written anew.
    np.minimum.at(born, owners, reads)
    end = max(time.days, 1e-6)
    history = make_history(
        owners,
        reads,
        sizes=contents.sizes[some],
        born=np.minimum(born, end),
        begin=0.0,
        ended=np.full(count, end),
        deleted=np.zeros(count, dtype=bool),
        groups=groups[0][some],
        movable=np.ones(count, dtype=bool),
    )
    del owners, reads, born, number, kept
    months = np.append(np.arange(0.0, end, MONTH_DAYS), end)
    found = None
    for each in hazards_of_months(history, months, groups[1]):
        found = each
    assert found is not None
    return found
