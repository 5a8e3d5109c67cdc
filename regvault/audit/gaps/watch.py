"""Reads the counters of registries, once or all the time, and has gaps found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from regvault.audit.gaps.counters import read_counters
from regvault.audit.gaps.tracker import GapTracker
from regvault.audit.signals.follower import Follower
from regvault.errors import RegvaultError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from regvault.audit.gaps.counters import Reading
    from regvault.audit.signals.memory import Memory
    from regvault.audit.spool import Spool

__all__ = ["INTERVAL_S", "GapWatch"]

INTERVAL_S: Final = 60.0
"""Seconds between two readings, where nothing else is said."""

_GRACE_S: Final = 30.0


class GapWatch:
    """Compares what registries counted with what came into a spool.

    Attributes:
        follower: of the spool.
        readings: the newest of each registry, by URL; a problem in the place of one that failed.
    """

    def __init__(
        self,
        spool: Spool,
        urls: Sequence[str],
        *,
        endpoint: str | None = None,
        grace_s: float = _GRACE_S,
        report: Callable[..., None] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            spool: where the events of these registries go.
            urls: of their debug servers.
            endpoint: of their notifications. See `read_counters`.
            grace_s: seconds that logs have to be read when a registry has started anew.
            report: is told what goes wrong, with a `hint`.
        """
        self.readings: dict[str, Reading | RegvaultError] = {}
        self._urls = list(urls)
        self._endpoint = endpoint
        self._report = report
        self._tracker: GapTracker | None = None

        def make(memory: Memory) -> GapTracker:
            self._tracker = GapTracker(memory, grace_s=grace_s)
            return self._tracker

        self.follower = Follower(spool, "gaps", make, report=report)

    def run(self, stop: threading.Event, interval_s: float = INTERVAL_S) -> None:
        """Look every so often, until told to stop."""
        due = 0.0

        def between() -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + interval_s
                self._look()

        self.follower.run(stop, follow=True, between=between)

    def once(self) -> GapTracker:
        """Look now; return what is known then.

        Raises:
            LeaseHeldError: another process looks all the time.
            OSError, RegvaultError, sqlite3.Error: the spool or the memory cannot be used.
        """
        self._catch_up()
        return self._look()

    def _look(self) -> GapTracker:
        for url in self._urls:
            try:
                self.readings[url] = read_counters(url, self._endpoint)
            except RegvaultError as error:
                before = self.readings.get(url)
                self.readings[url] = error
                known = isinstance(before, RegvaultError) and before.message == error.message
                if self._report is not None and not known:
                    self._report(error.message, hint=error.hint)
        self._catch_up()
        assert self._tracker is not None
        for each in self.readings.values():
            if not isinstance(each, RegvaultError):
                self._tracker.reading(each)
        self._catch_up()
        self.follower.say()
        return self._tracker

    def _catch_up(self) -> None:
        while self.follower.step():
            pass
