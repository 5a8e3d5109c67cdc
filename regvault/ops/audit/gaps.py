"""What registries counted, against what came into a spool."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.audit.gaps.counters import read_counters
from regvault.audit.gaps.tracker import GapTracker
from regvault.audit.gaps.watch import GapWatch
from regvault.audit.signals.follower import memory_path
from regvault.audit.signals.memory import Memory
from regvault.audit.signals.signal import stamp
from regvault.errors import LeaseHeldError, RegvaultError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regvault.audit.gaps.tracker import Process
    from regvault.audit.spool import Spool

__all__ = ["RegistryStatus", "registry_statuses"]

_RECENT_S = 86400.0


@dataclass
class RegistryStatus:
    """What a registry counted, and what of it came.

    Attributes:
        url: of its debug server.
        started: when its process started; None: it does not say.
        events, delivered, waiting: notifications that it had, that were acknowledged, that are in
            its memory.
        here: of this process, that came into the spool since somebody looked.
        gaps: of processes of it that have ended: see `Process.to_json`.
        recent: one of those was seen to have ended within the last day, and lacks something.
        problem: why it cannot be asked, or None.
    """

    url: str
    started: str | None = None
    events: int = 0
    delivered: int = 0
    waiting: int = 0
    here: int = 0
    gaps: list[dict[str, Any]] = field(default_factory=list)
    recent: bool = False
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {name: value for name, value in self.__dict__.items() if name != "recent"}


def registry_statuses(
    spool: Spool, urls: Sequence[str], endpoint: str | None = None
) -> list[RegistryStatus]:
    """Ask registries for their counters, and have gaps found and put into the spool.

    Where another process does that all the time, what it found is returned.

    Args:
        spool: where their events go.
        urls: of their debug servers.
        endpoint: of their notifications. See `read_counters`.

    Raises:
        TemporaryError: the spool, or what is remembered, cannot be used now.
    """
    watch = GapWatch(spool, urls, endpoint=endpoint, grace_s=0.0)
    try:
        tracker = watch.once()
        return [_status(url, watch.readings[url], tracker) for url in urls]
    except LeaseHeldError:
        return _found_by_another(spool, urls, endpoint)
    except (OSError, sqlite3.Error) as error:
        raise TemporaryError(
            f"what came into {spool.directory} cannot be compared: {error}",
            hint="Nothing is lost: run it again.",
        ) from error
    finally:
        watch.follower.close()


def _found_by_another(
    spool: Spool, urls: Sequence[str], endpoint: str | None
) -> list[RegistryStatus]:
    memory = Memory(memory_path(spool.directory, "gaps"))
    try:
        tracker = GapTracker(memory)
        found = []
        for url in urls:
            try:
                reading = read_counters(url, endpoint)
            except RegvaultError as error:
                found.append(_status(url, error, tracker))
            else:
                found.append(_status(url, reading, tracker))
        return found
    finally:
        memory.close()


def _status(url: str, found: Any, tracker: GapTracker) -> RegistryStatus:
    status = RegistryStatus(url)
    if isinstance(found, RegvaultError):
        status.problem = found.message
    else:
        status.started = None if found.started is None else stamp(found.started)
        status.events, status.delivered = found.events, found.successes
        status.waiting = found.pending
    running = tracker.running.get(url)
    if running is not None:
        status.here = tracker.received(running)
    ended = [each for each in tracker.ended if each.url == url and each.judged]
    status.gaps = [each.to_json() for each in ended if _lacks(each)]
    recent = time.time() - _RECENT_S
    status.recent = any(each.seen >= recent and each.missing for each in ended)
    return status


def _lacks(process: Process) -> bool:
    return process.missing != 0 or process.reconstructed > 0
