"""Which answers are failures to authenticate, and not the question that every client is asked.

A client that knows nothing asks first without a credential, is told by a 401 how to authenticate,
and comes again. Most 401 are of that kind: they are no failures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from regvault.audit.signals.memory import as_saved

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["Failures", "is_question"]

#: What distribution says of requests that came without a credential, or with one for less.
_QUESTIONS: Final = (
    "authorization token required",
    "invalid authorization credential",
    "insufficient scope",
)
_PATIENCE_S: Final = 30.0
_MOST: Final = 10_000


def is_question(event: Event) -> bool:
    """Return whether a 401 is sure, by itself, to be no failure: nobody had shown a credential.

    Args:
        event: a record of a log. Its month was not erased: then nobody knows who it was.
    """
    source = event["source"]
    if event["status"] != 401 or source == "token":
        return False
    if source == "distribution-log":
        return (event.get("reason") or "").endswith(_QUESTIONS)
    # `GET /v2/`: how clients, and probes, ask whether one has to log in. What has no method is no
    # request, but somebody's word on a login that failed.
    asks = event["action"] == "login" and event["repository"] is None
    return asks and event["actor"] is None and event["method"] is not None


class Failures:
    """Tells failures from questions.

    Logs of proxies have the name that was tried, or nothing. Where there is none, a client that
    asked for an image and was refused is given half a minute: if it succeeds in nothing, and is
    refused again, that was a failure. Which addresses those are is all that is kept.
    """

    def __init__(self) -> None:
        self._refused: dict[tuple[str, str], float] = {}

    def save(self) -> list[list[object]]:
        """Return what has to be known again: who was refused within the last half a minute."""
        newest = max(self._refused.values(), default=0.0)
        return [[*k, at] for k, at in self._refused.items() if newest - at <= _PATIENCE_S]

    def load(self, saved: Any) -> None:
        """Take what `save` returned."""
        known = as_saved(saved, list[tuple[str, str, float]])
        self._refused = {(source, address): at for source, address, at in known}

    def failed(self, event: Event, moment: float) -> int:
        """Return how many failures are known by this event: 0 or 1."""
        status, source = event["status"], event["source"]
        if status != 401:
            if status < 400 and event["address"] is not None:
                self._refused.pop((source, event["address"]), None)
            return 0
        if is_question(event):
            return 0
        if source in {"distribution-log", "token"} or event["method"] is None:
            return 1
        if event["actor"] is not None:
            return 1
        return self._again(source, event["address"] or "", moment)

    def _again(self, source: str, address: str, moment: float) -> int:
        """Return 1 where this client was refused before, and did nothing else since."""
        key = source, address
        before = self._refused.pop(key, None)
        self._refused[key] = moment
        if len(self._refused) > _MOST:
            del self._refused[next(iter(self._refused))]
        return int(before is not None and moment - before <= _PATIENCE_S)
