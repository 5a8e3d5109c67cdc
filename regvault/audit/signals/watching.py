"""All that watches a spool: signals, and gaps against what registries count."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from regvault.audit.gaps.watch import INTERVAL_S, GapWatch
from regvault.audit.signals.counts import Counts
from regvault.audit.signals.engine import Engine
from regvault.audit.signals.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from regvault.audit.signals.memory import Memory
    from regvault.audit.signals.settings import Thresholds
    from regvault.audit.spool import Spool

__all__ = ["Watching"]


class Watching:
    """The signals of a spool, and its gaps where registries are named.

    Attributes:
        counts: what was counted.
        signals: the follower that signals come from.
        gaps: what compares with registries' counters, or None.
    """

    def __init__(
        self,
        spool: Spool,
        thresholds: Thresholds,
        *,
        registries: Sequence[str] = (),
        endpoint: str | None = None,
        interval_s: float = INTERVAL_S,
        report: Callable[..., None] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            spool: that is watched.
            thresholds: bounds of the signals.
            registries: URLs of their debug servers.
            endpoint: of their notifications. See `read_counters`.
            interval_s: seconds between two readings of their counters.
            report: is told what goes wrong, with a `hint`.
        """
        self.counts = Counts()
        self._engine: Engine | None = None
        self._interval = interval_s

        def make(memory: Memory) -> Engine:
            self._engine = Engine(memory, thresholds, self.counts)
            return self._engine

        self.signals = Follower(spool, "signals", make, report=report)
        self.gaps: GapWatch | None = None
        if registries:
            self.gaps = GapWatch(spool, registries, endpoint=endpoint, report=report)

    def active(self) -> Mapping[str, int]:
        """Return how many of each signal that lasts go on now."""
        return {} if self._engine is None else self._engine.active()

    def once(self) -> None:
        """Take what is there.

        Raises:
            LeaseHeldError: another process watches this spool.
            TemporaryError: something went wrong; nothing is lost.
        """
        try:
            if self.gaps is not None:
                self.gaps.once()
            self.signals.run(threading.Event(), follow=False)
        finally:
            self.close()

    def run(self, stop: threading.Event) -> None:
        """Take what comes, until told to stop or interrupted; what goes wrong is reported."""
        threads = self.start(stop)
        try:
            for thread in threads:
                thread.join()
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def start(self, stop: threading.Event) -> list[threading.Thread]:
        """Begin, and return the threads that end once `stop` is set."""
        threads = [
            threading.Thread(
                target=self.signals.run, args=(stop,), kwargs={"follow": True}, name="signals"
            )
        ]
        if self.gaps is not None:
            args = (stop, self._interval)
            threads.append(threading.Thread(target=self.gaps.run, args=args, name="gaps"))
        for thread in threads:
            thread.start()
        return threads

    def close(self) -> None:
        """Let go of the spool."""
        self.signals.close()
        if self.gaps is not None:
            self.gaps.follower.close()
