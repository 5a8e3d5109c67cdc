"""Brings access statistics up to date: each link of each chain counted once."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    RegvaultError,
    TemporaryError,
    VaultDamagedError,
)
from regvault.model.progress import NO_PROGRESS
from regvault.ops.audit.access.fold import count_alone, settle
from regvault.ops.audit.access.kept import keep, kept_links, load_kept
from regvault.ops.audit.access.link import LinkReader, span_of
from regvault.ops.audit.access.tables import LATE_US, Tables
from regvault.ops.audit.access.view import AccessView
from regvault.ops.audit.known import known_heads
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.expiry import expired
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.ops.audit.access.tables import ChainState, Record
    from regvault.policy.access import AccessRules
    from regvault.vault.audit.chain import Link
    from regvault.vault.vault import Vault

__all__ = ["AccessStatistics", "Counted", "view_of_file"]

_KEPT_BEHIND = 32
"""Where so many links are not counted here, what is kept in the vault is looked at."""
_TIMES = 5
_KEEP_AFTER = 24
"""So many links after those that it has the object in the vault is written anew."""


class _OutOfOrderError(Exception):
    """A link has records of requests that are counted: all is counted anew, in order."""


@dataclass
class Counted:
    """What was done to bring statistics up to date.

    Attributes:
        links: that were counted now.
        left: that are not counted yet.
        loaded: links that were known from what is kept in the vault.
        damaged: what cannot be read, and is unknown time: key -> why.
    """

    links: int = 0
    left: int = 0
    loaded: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


class AccessStatistics:
    """The access statistics of a vault, by one set of rules."""

    def __init__(
        self,
        vault: Vault,
        rules: AccessRules,
        *,
        cache: str | None = None,
        say: Callable[[str], None] = lambda _: None,
        wait_s: float = 60,
    ) -> None:
        """Open what is in the local cache.

        Args:
            vault: whose archived events count.
            rules: who is no real client.
            cache: directory of the vault's local cache; None: keep nothing there.
            say: tells people.
            wait_s: for another process that has the local cache.

        Raises:
            TemporaryError: it has it for longer.
        """
        self._vault = vault
        self._rules = rules
        self._months = Months(vault)
        self._say = say
        self._tables = Tables(cache, rules.id, wait_s=wait_s)
        self._unknown: set[str] = set()
        self._gone: dict[str, int] = {}

    def close(self) -> None:
        """Close what is in the local cache."""
        self._tables.close()

    def bring_up_to_date(
        self, limit: int | None = None, *, progress: Progress = NO_PROGRESS
    ) -> Counted:
        """Count the links that are not counted yet.

        Args:
            limit: links, at most; None: all.
            progress: is told of each event.

        Raises:
            RegvaultError: the vault cannot be read, or the local cache not be written.
        """
        done = Counted()
        for _ in range(_TIMES):
            try:
                self._go_on(done, limit, progress)
                return done  # noqa: TRY300 (what follows is for what goes wrong)
            except _OutOfOrderError:
                self._say("archived events came out of order: all are counted anew")
                self._begin_anew()
            except sqlite3.OperationalError as error:
                raise _unusable(error) from None
            except sqlite3.DatabaseError as error:
                self._say(f"the access statistics of the local cache are made anew: {error}")
                self._tables.make_anew()
        raise _unusable(f"{_TIMES} times in a row")

    def _begin_anew(self) -> None:
        with self._tables.transaction():
            self._tables.clear()
            self._tables.set_meta("anew", 1)

    def _go_on(self, done: Counted, limit: int | None, progress: Progress) -> None:
        found = {name: Chain(self._vault, name) for name in chains(self._vault)}
        # What is not kept any more is not read: without it, it is unknown what happened then.
        self._gone = {name: expired(self._vault, name).through for name in found}
        numbers = {name: chain.numbers() for name, chain in found.items()}
        if not self._fits(found, numbers):
            self._say("the access statistics are of another archive, or of less: made anew")
            self._begin_anew()
        self._load(found, numbers, done)
        states = self._tables.chains()
        left = {name: deque(self._after(name, numbers, states)) for name in found}
        ahead: dict[str, Link] = {}
        for name, chain in found.items():
            self._look_ahead(ahead, chain, left[name], done)
        if ahead:
            progress.phase("Counting archived events")
        while ahead and (limit is None or done.links < limit):
            states = self._tables.chains()
            name = min(ahead, key=lambda each: (_key(ahead[each], states.get(each)), each))
            link = ahead.pop(name)
            self._look_ahead(ahead, found[name], left[name], done)
            self._count(link, states.get(name), ahead, done)
            done.links += 1
            progress.advance(link.events, link.size)
        done.left = len(ahead) + sum(map(len, left.values()))
        self._unknown = found.keys() - self._tables.chains().keys()
        for name, number in known_heads(self._vault).items():
            if number > max(numbers.get(name, ()), default=0):
                done.damaged[f"audit/{name}/"] = f"links up to {number} were there, and are gone"
                self._unknown.add(name)
        if not done.left and self._tables.meta("anew"):
            with self._tables.transaction():
                self._tables.set_meta("anew", 0)

    def _look_ahead(
        self, ahead: dict[str, Link], chain: Chain, left: deque[int], done: Counted
    ) -> None:
        """Read the next link of a chain that can be read; those before it are passed over."""
        while left:
            number = left.popleft()
            try:
                ahead[chain.id] = chain.read(number)
            except (VaultDamagedError, ObjectNotFoundError) as error:
                done.damaged[f"{chain.id}@{number}"] = error.message
            else:
                return

    def _after(
        self, name: str, numbers: dict[str, list[int]], states: dict[str, ChainState]
    ) -> list[int]:
        """Return the links of a chain that are not counted, and whose segments are kept."""
        state = states.get(name)
        known = max(self._gone[name], 0 if state is None else state.number)
        return [number for number in numbers[name] if number > known]

    # What there is

    def _fits(self, found: dict[str, Chain], numbers: dict[str, list[int]]) -> bool:
        """Return whether what was counted is of these chains."""
        for name, state in self._tables.chains().items():
            if name in found and state.number in numbers[name]:
                with contextlib.suppress(VaultDamagedError, ObjectNotFoundError):
                    if found[name].read(state.number).sha256 != state.sha256:
                        return False
        return not self._is_readable_again(found)

    def _is_readable_again(self, found: dict[str, Chain]) -> bool:
        """Return whether something can be read that could not be, and was passed over."""
        for name, number in self._tables.db.execute("SELECT chain, number FROM unread").fetchall():
            with contextlib.suppress(RegvaultError, KeyError):
                if number <= self._gone[name]:
                    continue
                link = found[name].read(number)
                reader = SegmentReader.of(self._vault, link, self._months)
                for frame in range(len(reader.table().frames)):
                    reader.lines(frame)
                return True
        return False

    def _load(self, found: dict[str, Chain], numbers: dict[str, list[int]], done: Counted) -> None:
        """Take what is kept in the vault, where that has much more than is here."""
        if self._tables.meta("anew"):
            return
        states = self._tables.chains()
        known = {name: state.number for name, state in states.items()}
        behind = sum(len(self._after(name, numbers, states)) for name in found)
        if states and behind < _KEPT_BEHIND:
            return
        try:
            kept = kept_links(self._vault, self._rules.id)
        except RegvaultError as error:
            self._say(f"what is kept in the vault of statistics is not used: {error.message}")
            return
        if any(kept.get(name, (0, ""))[0] < number for name, number in known.items()) or not kept:
            return
        try:
            for name, (number, sha256) in kept.items():
                if name not in found or found[name].read(number).sha256 != sha256:
                    return
            load_kept(self._vault, self._tables, self._rules.id)
        except RegvaultError as error:
            self._say(f"what is kept in the vault of statistics is not used: {error.message}")
            return
        done.loaded = sum(number for number, _ in kept.values())

    # Counting

    def _count(
        self, link: Link, state: ChainState | None, ahead: dict[str, Link], done: Counted
    ) -> None:
        """Count one link, or nothing of it."""
        tables = self._tables
        with tables.transaction():
            self._read(link, state, done)
            tables.age()
            states = tables.chains()
            following = {name: _key(each, states.get(name)) for name, each in ahead.items()}
            settle(tables, tables.settled_before(following))

    def _read(self, link: Link, state: ChainState | None, done: Counted) -> None:
        tables, chain = self._tables, link.chain
        rows = tables.db.execute("SELECT spool, seq, last FROM spools WHERE chain = ?", (chain,))
        reader = LinkReader(
            self._vault,
            link,
            self._months,
            self._rules,
            last=None if state is None else state.last,
            before=0 if state is None else state.before,
            spools={spool: (seq, last) for spool, seq, last in rows},
        )
        passed = range(1 if state is None else state.number + 1, link.number)
        for number in passed if state is not None else ():  # before the first they may have gone
            tables.db.execute("INSERT OR IGNORE INTO unread VALUES (?, ?)", (chain, number))
        if passed and state is not None:
            reader.miss()
        self._take(reader, link, state, done)
        first = reader.first if state is None else state.first
        row = (chain, link.number, link.sha256, first, reader.last, reader.first)
        tables.db.execute("INSERT OR REPLACE INTO chains VALUES (?, ?, ?, ?, ?, ?)", row)
        tables.db.executemany(
            "INSERT OR IGNORE INTO gaps VALUES (?, ?, ?)", [(chain, *gap) for gap in reader.gaps]
        )
        tables.db.executemany(
            "INSERT OR REPLACE INTO spools VALUES (?, ?, ?, ?)",
            [(chain, spool, *each) for spool, each in reader.spools.items()],
        )

    def _take(
        self, reader: LinkReader, link: Link, state: ChainState | None, done: Counted
    ) -> None:
        """Take the records of a link; what cannot be read of it is unknown time."""
        tables = self._tables
        since = _key(link, state) - LATE_US
        settled = tables.meta("settled")
        late: list[Record] = []
        try:
            for records in reader.frames():
                waiting = [record for record in records if record.time >= since]
                late += [record for record in records if record.time < since]
                if waiting and min(record.time for record in waiting) < settled:
                    raise _OutOfOrderError
                tables.wait(waiting)
        except (VaultDamagedError, ObjectNotFoundError) as error:
            done.damaged[link.key] = error.message
            row = (link.chain, link.number)
            tables.db.execute("INSERT OR IGNORE INTO unread VALUES (?, ?)", row)
            reader.miss()
        reader.end_here()
        count_alone(tables, late)

    # Answers

    @contextlib.contextmanager
    def view(self, aside: Iterable[str] = ()) -> Iterator[AccessView]:
        """Give the answers, of what was counted when they were brought up to date.

        Args:
            aside: chains that tell nothing that others do not, or have ended: for what time it is
                known what happened does not depend on them.
        """
        try:
            with self._tables.transaction(keep=False):
                settle(self._tables, None)
                self._tables.age()
                yield AccessView(self._tables, frozenset(aside), self._unknown)
        except sqlite3.DatabaseError as error:
            raise _unusable(error) from None

    def keep(self, *, always: bool = False) -> bool:
        """Keep the statistics in the vault too, if it has them of many links less; return whether.

        Args:
            always: also where it has nearly as many.

        Raises:
            RegvaultError: the vault cannot be written.
        """
        ours = sum(state.number for state in self._tables.chains().values())
        theirs: dict[str, tuple[int, str]] = {}
        with contextlib.suppress(VaultDamagedError, ObjectNotFoundError):
            theirs = kept_links(self._vault, self._rules.id)
        more = ours - sum(number for number, _ in theirs.values())
        if not ours or self._tables.meta("anew") or more < (1 if always else _KEEP_AFTER):
            return False
        keep(self._vault, self._tables, self._rules.id)
        return True


@contextlib.contextmanager
def view_of_file(directory: str, rules: str) -> Iterator[AccessView]:
    """Give the answers of a file that was counted elsewhere: `access-<rules>.sqlite`.

    Args:
        directory: where it is.
        rules: the part of its name.

    Raises:
        TemporaryError: it cannot be used.
    """
    try:
        tables = Tables(directory, rules)
        try:
            with tables.transaction(keep=False):
                settle(tables, None)
                tables.age()
                yield AccessView(tables, frozenset())
        finally:
            tables.close()
    except sqlite3.DatabaseError as error:
        raise _unusable(error) from None


def _unusable(why: object) -> TemporaryError:
    return TemporaryError(
        f"the access statistics in the local cache cannot be used: {why}",
        hint="Is its disk full, or failing?",
    )


def _key(link: Link, state: ChainState | None) -> int:
    """Return what links are ordered by: records before it came too late to be joined."""
    return max(span_of(link).first, 0 if state is None else state.last)
