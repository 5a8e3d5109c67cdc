"""What comes in over HTTP, told apart by its content, as the bodies that a spool takes.

Nothing that an authenticated sender sends is refused for what it says: what is no event becomes one
of action `unparsed`, with the reason. A registry would send it again for ever, and all that is
behind it would wait. So what is made of a body is bounded, in number and in bytes.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from regvault.audit.formats import cloudevents, distribution, falco, fields, harbor
from regvault.audit.spool.record import MAX_BYTES
from regvault.model.event import ALWAYS, OPTIONAL, PERSONAL, UNPARSED, Event, new_event

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["bodies_of", "body_of", "events_of", "unparsed"]

_MOST_OF_A_BATCH = 10_000
#: Bytes of the events of a body: so many times its own, and so many more.
_TIMES = 4
_AND_MORE = 4 << 20
#: Bytes of one event: a spool adds its number and time, and takes no more.
_MOST_OF_ONE = MAX_BYTES - 1024
_KEPT = 1 << 20


def bodies_of(body: bytes, headers: Mapping[str, str], now: str) -> list[bytes]:
    """Return the events that the body of a request holds, each as a spool takes it.

    Args:
        body: of the request.
        headers: of the request, names in lower case.
        now: the time, as events have it.
    """
    try:
        return _made(events_of(body, headers, now), _TIMES * len(body) + _AND_MORE)
    except Exception as error:  # noqa: BLE001 (nothing that is sent may be refused)
        return [body_of(unparsed(body, str(error), now))]


def _made(events: list[Event], most: int) -> list[bytes]:
    """Return events as a spool takes them.

    Args:
        events: of one body.
        most: bytes of all of them.

    Raises:
        NoEventError: there are more.
        TypeError: JSON cannot say one of them.
    """
    bodies = []
    total = 0
    for event in events:
        data = body_of(event)
        if len(data) > _MOST_OF_ONE:
            data = body_of(_cut(event, len(data)))
        total += len(data)
        if total > most:
            raise fields.NoEventError(f"its {len(events)} events have more than {most} bytes")
        bodies.append(data)
    return bodies


def _cut(event: Event, size: int) -> Event:
    """Return an event that is too large, of `size` bytes, with the beginning of its `raw`."""
    raw = event["raw"]
    reason = f"{size} bytes; of {len(raw)} characters of raw {_KEPT} are kept"
    if event.get("reason"):
        reason = f"{event['reason'][:500]} ({reason})"
    found = {**event, "raw": raw[:_KEPT], "reason": reason}
    return {name: found[name] for name in (*ALWAYS, *OPTIONAL, *PERSONAL) if name in found}


def body_of(event: Event) -> bytes:
    """Return the JSON of an event that has an id."""
    import orjson

    return orjson.dumps(event)


def events_of(body: bytes, headers: Mapping[str, str], now: str) -> list[Event]:
    """Return the events that the body of a request holds: at least one."""
    import orjson

    try:
        try:
            document = orjson.loads(body)
        except ValueError:
            found = _alerts(body, now)
            if not found:
                raise
            return found
        if "ce-specversion" in headers:
            document = cloudevents.from_headers(headers, document)
            raw = orjson.dumps(document).decode()
        else:
            raw = body.decode()
        found = _events(document, raw, now)
        if not found:
            raise fields.NoEventError("it holds no event")
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: JSON of too many levels
        return [unparsed(body, str(error), now)]
    return found


def _events(document: Any, raw: str, now: str) -> list[Event]:
    import orjson

    if isinstance(document, list):
        _check_count(len(document))
        if any(isinstance(item, list) for item in document):
            raise fields.NoEventError("a list in a list")
        events: list[Event] = []
        for item in document:
            events += _events(item, orjson.dumps(item).decode(), now)
            _check_count(len(events))
        return events
    if not isinstance(document, dict):
        raise fields.NoEventError("it is no JSON object")
    if "events" in document:
        items = document["events"] if isinstance(document["events"], list) else []
        _check_count(len(items))
        raws = [raw] if len(items) == 1 else [orjson.dumps(item).decode() for item in items]
        return distribution.parse(document, raws, now)
    if "specversion" in document:
        return cloudevents.parse(document, raw, now)
    if "event_data" in document and isinstance(document.get("type"), str):
        return harbor.parse(document, raw, now)
    alert = falco.from_object(document, raw, now)
    if alert is not None:
        return [_with_id(alert, document.get("uuid"))]
    raise fields.NoEventError("it is no event that is known")


def _check_count(count: int) -> None:
    if count > _MOST_OF_A_BATCH:
        raise fields.NoEventError(f"a batch of {count} events; {_MOST_OF_A_BATCH} are taken")


def _alerts(body: bytes, now: str) -> list[Event]:
    """Return the events of Falco's alerts, one a line, or none where not every line is one."""
    lines = [line for line in body.decode().splitlines() if line.strip()]
    found = [falco.parse(line, now) for line in lines[:_MOST_OF_A_BATCH]]
    alerts = [_with_id(event, None) for event in found if event is not None]
    return alerts if len(alerts) == len(lines) else []


def _with_id(alert: Event, own: Any) -> Event:
    alert["id"] = fields.own_id(own, falco.NAME) or fields.derived_id(falco.NAME, alert["raw"])
    return alert


def unparsed(body: bytes, reason: str, now: str, *, most: int = _KEPT) -> Event:
    """Return the event that says that something came which is none.

    Args:
        body: what came.
        reason: why it is none.
        now: the time, as events have it.
        most: bytes of it that are kept.
    """
    kept = body[:most]
    if len(kept) < len(body):
        reason = f"{reason} ({len(body)} bytes, of which {most} are kept)"
    event = new_event(now, UNPARSED, "unknown", "", reason=fields.text(reason, 500))
    event["id"] = fields.derived_id(UNPARSED, body)
    return with_raw(event, kept)


def with_raw(event: Event, data: bytes) -> Event:
    """Put a record as it came into its event, also if it is no UTF-8."""
    try:
        event["raw"] = data.decode()
    except UnicodeDecodeError:
        event["raw"] = data.decode("utf-8", "backslashreplace")
        event["raw_base64"] = base64.b64encode(data).decode()
    return event
