"""Events in two parts, as an archive keeps them: what tells of persons, and all else.

An event's JSON has its personal fields last, so it is cut in two and put together again without
being read. What a record of Kafka has besides, and cannot be told from the event, is kept with the
personal part: after a tab, a JSON object of `value`, `key` and `headers` in Base64, `timestamp`.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from msgspec import MsgspecError

from regvault.audit.envelope import beginning, is_plain_record, message_of, unwrap
from regvault.audit.formats.fields import NoEventError, derived_id
from regvault.audit.intake import unparsed
from regvault.audit.told import Persons, Told, has_times, persons_of, told_of
from regvault.model.event import ALWAYS, OPTIONAL, PERSONAL, Event, time_text
from regvault.model.stream import Message

__all__ = ["Parts", "event_of", "join", "message_from", "split", "split_ours"]

_CUT = b',"%b":' % PERSONAL[0].encode()
_DATA = b',"data":'
_LAST_MS = 253_402_300_799_999  # of the year 9999


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
    event: Told
    persons: Persons


def split(message: Message, place: str) -> Parts:
    """Cut the event of a record in two.

    Args:
        message: the record; one that holds no event becomes one of action `unparsed`.
        place: of the record in its stream, which makes the id of one that holds no event.
    """
    return split_ours(message) or _split_any(message, place)


def split_ours(message: Message) -> Parts | None:
    """Cut the event of a record that is told by its event alone; most are. None: it is not.

    `message_of` gives such a record again, byte for byte.
    """
    value = message.value
    at = value.find(_DATA)
    cut = value.find(_CUT, at)
    if at < 0 or cut < 0:
        return None
    public, personal = value[at + len(_DATA) : cut] + b"}", b"{" + value[cut + 1 : -1]
    try:
        event, persons = told_of(public), persons_of(personal)
        start = beginning(event)
        if (
            start is not None
            and value.startswith(start)
            and value.endswith(b"}")
            and has_times(event)
            and is_plain_record(message, event)
        ):
            return Parts(public, personal, event, persons)
    except (ValueError, MsgspecError):
        pass
    return None


def _split_any(message: Message, place: str) -> Parts:
    try:
        parts = _cut(unwrap(message.value).data)
    except (ValueError, KeyError, TypeError):
        event = unparsed(message.value, "a record of the topic is no event", _now(message))
        parts = _cut(_numbered(event, place, message))
    rest = _rest(parts, message)
    if rest:
        import orjson

        parts = parts._replace(personal=parts.personal + b"\t" + orjson.dumps(rest))
    return parts


def _now(message: Message) -> str:
    return time_text(min(max(0, message.timestamp_ms), _LAST_MS) * 1_000_000)


def _numbered(event: Event, place: str, message: Message) -> bytes:
    import orjson

    event["id"] = derived_id("record", place)
    head = {"seq": 0, "spool": "", "received": _now(message)}
    return orjson.dumps({**head, **event})


def _cut(data: bytes) -> Parts:
    """Cut the JSON of an event. Raises ValueError, KeyError, TypeError."""
    import orjson

    at = data.find(_CUT)
    public, personal = data[:at] + b"}", b"{" + data[at + 1 :]
    try:
        return _checked(public, personal)
    except NoEventError:
        pass
    # By whoever: the same fields in another order, or others.
    whole = orjson.loads(data)
    event = {name: whole[name] for name in ALWAYS}
    event |= {name: whole[name] for name in OPTIONAL if name in whole}
    persons = {name: whole.get(name) for name in PERSONAL}
    return _checked(orjson.dumps(event), orjson.dumps(persons))


def _checked(public: bytes, personal: bytes) -> Parts:
    """Return the parts of an event, without a byte changed. Raises NoEventError."""
    try:
        event, persons = told_of(public), persons_of(personal)
    except (ValueError, MsgspecError) as error:
        raise NoEventError("its fields are not those of an event") from error
    if not has_times(event):
        raise NoEventError("its times are none")
    return Parts(public, personal, event, persons)


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
