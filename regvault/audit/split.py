"""Events in two parts, as an archive keeps them: what tells of persons, and all else.

An event's JSON has its personal fields last, so it is cut in two and put together again without
being read. What a record of Kafka has besides, and cannot be told from the event, is kept with the
personal part: after a tab, a JSON object of `value`, `key` and `headers` in Base64, `timestamp`.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from regvault.audit.envelope import message_of, unwrap
from regvault.audit.formats.fields import NoEventError, derived_id
from regvault.audit.intake import unparsed
from regvault.model.event import ALWAYS, OPTIONAL, PERSONAL, Event, time_text
from regvault.model.stream import Message

__all__ = ["Parts", "event_of", "join", "message_from", "split"]

_CUT = b',"%b":' % PERSONAL[0].encode()
_DATA = b',"data":'
_KNOWN = {*ALWAYS, *OPTIONAL}
_PERSONAL = {*PERSONAL, "raw_base64"}


class Parts(NamedTuple):
    """One event to archive.

    Attributes:
        public: JSON of all that does not tell of persons.
        personal: JSON of what does, perhaps with a tab and what else the record had.
        event: what `public` says.
        persons: what the JSON of `personal` says.
    """

    public: bytes
    personal: bytes
    event: Event
    persons: Event


def split(message: Message, place: str) -> Parts:
    """Cut the event of a record in two.

    Args:
        message: the record; one that holds no event becomes one of action `unparsed`.
        place: of the record in its stream, which makes the id of one that holds no event.
    """
    try:
        parts = _as_we_send_it(message)
        if parts is not None:
            return parts
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    try:
        data = unwrap(message.value).data
        parts = _cut(data)
    except (ValueError, KeyError, TypeError):
        event = unparsed(message.value, "a record of the topic is no event", _now(message))
        parts = _cut(_numbered(event, place, message))
    rest = _rest(parts, message)
    if rest:
        import orjson

        parts = parts._replace(personal=parts.personal + b"\t" + orjson.dumps(rest))
    return parts


def _as_we_send_it(message: Message) -> Parts | None:
    """Return the parts of a record that is told by its event alone; most are."""
    at = message.value.find(_DATA)
    data = message.value[at + len(_DATA) : -1]
    return _cut_in_place(data) if message_of(data) == message else None


def _now(message: Message) -> str:
    return time_text(max(0, message.timestamp_ms) * 1_000_000)


def _numbered(event: Event, place: str, message: Message) -> bytes:
    import orjson

    event["id"] = derived_id("record", place)
    head = {"seq": 0, "spool": "", "received": _now(message)}
    return orjson.dumps({**head, **event})


def _cut(data: bytes) -> Parts:
    """Cut the JSON of an event. Raises ValueError, KeyError, TypeError."""
    import orjson

    parts = _cut_in_place(data)
    if parts is not None:
        return parts
    # By whoever: the same fields in another order, or others.
    whole = orjson.loads(data)
    persons = {name: whole.get(name) for name in PERSONAL}
    event = {name: whole[name] for name in ALWAYS}
    event |= {name: whole[name] for name in OPTIONAL if name in whole}
    _require(event, persons)
    return Parts(orjson.dumps(event), orjson.dumps(persons), event, persons)


def _cut_in_place(data: bytes) -> Parts | None:
    """Cut the JSON of an event without changing a byte; None where its fields lie otherwise."""
    import orjson

    at = data.find(_CUT)
    if at < 0:
        return None
    public, personal = data[:at] + b"}", b"{" + data[at + 1 :]
    event, persons = orjson.loads(public), orjson.loads(personal)
    if not (event.keys() <= _KNOWN and persons.keys() <= _PERSONAL):
        return None
    _require(event, persons)
    return Parts(public, personal, event, persons)


def _require(event: Event, persons: Event) -> None:
    texts = ("spool", "received", "id", "time", "action", "source")
    good = (
        all(isinstance(event[name], str) for name in texts)
        and isinstance(event["seq"], int)
        and isinstance(event["repository"], str | None)
        and isinstance(event["digest"], str | None)
        and isinstance(event["tag"], str | None)
        and isinstance(persons["raw"], str)
        and isinstance(persons["actor"], str | None)
        and isinstance(persons["address"], str | None)
        and event["received"][4:5] == "-"
        and event["received"][7:8] == "-"
    )
    if not good:
        raise NoEventError("its fields are not those of an event")


def _rest(parts: Parts, message: Message) -> dict[str, Any]:
    """Return what a record has that its event does not tell."""
    try:
        told = message_of(join(parts.public, parts.personal))
    except (ValueError, KeyError, TypeError):
        told = Message(None, b"", -1)
    rest: dict[str, Any] = {}
    if told.value != message.value:
        rest["value"] = base64.b64encode(message.value).decode()
    if told.key != message.key:
        rest["key"] = None if message.key is None else base64.b64encode(message.key).decode()
    if told.timestamp_ms != message.timestamp_ms:
        rest["timestamp"] = message.timestamp_ms
    if told.headers != message.headers:
        rest["headers"] = [
            [name, base64.b64encode(value).decode()] for name, value in message.headers
        ]
    return rest


def join(public: bytes, personal: bytes | None) -> bytes:
    """Put the JSON of an event together; without its personal part those fields are null."""
    if personal is None:
        personal = b'{"actor":null,"address":null,"useragent":null,"raw":"","erased":true}'
    return public[:-1] + b"," + personal.partition(b"\t")[0][1:]


def event_of(public: bytes, personal: bytes | None) -> Event:
    """Return the event of two parts. Raises ValueError."""
    import orjson

    found: Event = orjson.loads(join(public, personal))
    return found


def message_from(public: bytes, personal: bytes | None) -> Message:
    """Return the record that two parts are of, as it was. Raises ValueError."""
    import orjson

    message = message_of(join(public, personal))
    rest = b"" if personal is None else personal.partition(b"\t")[2]
    if not rest:
        return message
    kept = orjson.loads(rest)
    if "value" in kept:
        message = message._replace(value=base64.b64decode(kept["value"]))
    if "key" in kept:
        key = kept["key"]
        message = message._replace(key=None if key is None else base64.b64decode(key))
    if "timestamp" in kept:
        message = message._replace(timestamp_ms=kept["timestamp"])
    if "headers" in kept:
        headers = tuple((name, base64.b64decode(value)) for name, value in kept["headers"])
        message = message._replace(headers=headers)
    return message
