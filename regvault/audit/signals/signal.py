"""A signal, and the event that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from regvault.audit.formats.fields import derived_id
from regvault.model.event import new_event, time_text

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["SIGNALS", "Detector", "Signal", "stamp"]

SIGNALS: Final = {
    "auth-failures": "more requests than usual failed to authenticate",
    "pull-latency": "pulls are slow",
    "mass-deletion": "much was deleted in a short time",
    "tag-new-actor": "a tag was overwritten by somebody who had not pushed it before",
    "new-network": "a pull came from a network that none had come from before",
}
"""Every value of the field `signal`, with its meaning."""


@dataclass(frozen=True)
class Signal:
    """Something that was noticed.

    Attributes:
        name: one of `SIGNALS`.
        moment: when, seconds since the epoch.
        key: with the name and `state`, what makes its id: equal whenever it is noticed again.
        reason: in words; never what names a person.
        state: `begin` or `end` of what lasts; None of what happens at once.
        value, threshold: what was measured, and the bound that it passed.
        since: when what was measured began, seconds since the epoch.
        about: fields of the event that it is about: `repository`, `tag`, `digest`, `actor`,
            `address`, `raw`.
    """

    name: str
    moment: float
    key: tuple[str, ...]
    reason: str
    state: str | None = None
    value: float | None = None
    threshold: float | None = None
    since: float | None = None
    about: dict[str, Any] | None = None

    def event(self) -> Event:
        """Return the event of action `signal`."""
        about = {"raw": "", **(self.about or {})}
        span: dict[str, Any] = {}
        if self.since is not None:
            span = {"from": stamp(self.since), "to": stamp(self.moment)}
        event = new_event(
            stamp(self.moment),
            "signal",
            "regvault",
            about.pop("raw"),
            severity="info" if self.state == "end" else "warning",
            reason=self.reason,
            signal=self.name,
            state=self.state,
            value=self.value,
            threshold=self.threshold,
            **span,
            **about,
        )
        event["id"] = derived_id("signal", self.name, *self.key, self.state or "")
        return event


class Detector(Protocol):
    """Notices one kind of thing."""

    def take(self, event: Event, moment: float, received: float) -> list[Signal]:
        """Take the next event; return what is noticed.

        Args:
            event: of the spool.
            moment: when it happened, seconds since the epoch; never long after it came in.
            received: when it came in.
        """

    def tick(self, now: float) -> list[Signal]:
        """Return what ended because nothing more came; called when all that came was taken."""

    def save(self) -> Any:
        """Return what has to be known again, as JSON can have it."""

    def load(self, saved: Any) -> None:
        """Know again what was saved."""


def stamp(moment: float) -> str:
    """Return a time in seconds since the epoch as events have it, to the millisecond."""
    return time_text(max(0, round(moment * 1000)) * 1_000_000)
