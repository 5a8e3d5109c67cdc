"""Events as they are in Kafka: CloudEvents in structured mode, whose `data` is the flat event.

Source: the CloudEvents specification 1.0.2, its JSON format and its Kafka protocol binding; the
extensions `partitionkey` and `sequence`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.model.event import ALWAYS, DATA_SCHEMA, OPTIONAL, PERSONAL
from regvault.model.stream import Message

if TYPE_CHECKING:
    from regvault.audit.told import Told

__all__ = [
    "CONTENT_TYPE",
    "Unwrapped",
    "beginning",
    "is_plain_record",
    "message_of",
    "shortened",
    "unwrap",
]

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"

_HEADERS = (("content-type", CONTENT_TYPE.encode()),)
_DATA = b',"data":'
#: Characters of a text in an event that is shortened.
_LONGEST = 4096
#: Of texts that JSON writes as they are.
_CHARACTERS = "[A-Za-z0-9 ._:/@+~-]*"
_PLAIN = b'"(%b)"' % _CHARACTERS.encode()
_BEGINNING = re.compile(
    rb'{"seq":(\d+),"spool":"([0-9a-f]*)","received":"([0-9TZ:.-]{27})","id":'
    + _PLAIN
    + rb',"time":"([0-9TZ:.-]{27})","action":"([a-z]+)","method":(?:null|"[A-Z]*"),"repository":'
    + rb"(?:null|"
    + _PLAIN
    + rb"),"
)
_SCHEMA = b'","datacontenttype":"application/json","dataschema":"%b","sequence":"' % (
    DATA_SCHEMA.encode()
)
_SCHEMA_TEXT = _SCHEMA.decode()
_is_plain = re.compile(_CHARACTERS).fullmatch


def message_of(data: bytes) -> Message:
    """Return the record of an event.

    Args:
        data: the JSON of the event, with its number, as a spool has it.
    """
    # Most are told by how they begin, and need not be read.
    found = _BEGINNING.match(data)
    if found is None:
        import orjson

        event = orjson.loads(data)
        return Message(key_of(event), wrap(data, event), timestamp_ms(event["received"]), _HEADERS)
    seq, spool, received, own, time, action, repository = found.groups()
    value = b"".join(
        (
            b'{"specversion":"1.0","id":"',
            own,
            b'","source":"/regvault/spools/',
            spool,
            b'","type":"regvault.audit.',
            action,
            b'","time":"',
            time,
            _SCHEMA,
            seq,
            b'","subject":"%b","partitionkey":"%b"' % (repository, repository)
            if repository is not None
            else b'"',
            _DATA,
            data,
            b"}",
        )
    )
    return Message(repository, value, timestamp_ms(received.decode()), _HEADERS)


def beginning(event: Told) -> bytes | None:
    """Return how the value of an event's record begins, into its data; None where JSON escapes it.

    Args:
        event: what its data says.
    """
    spool, own, time, action = event.spool, event.id, event.time, event.action
    repository = event.repository
    if not _is_plain(f"{spool}{own}{time}{action}{event.received}{repository}"):
        return None
    subject = (
        "" if repository is None else f',"subject":"{repository}","partitionkey":"{repository}"'
    )
    return (
        f'{{"specversion":"1.0","id":"{own}","source":"/regvault/spools/{spool}"'
        f',"type":"regvault.audit.{action}","time":"{time}{_SCHEMA_TEXT}{event.seq}"{subject}'
        f',"data":{{"seq":{event.seq},"spool":"{spool}","received":"{event.received}"'
        f',"id":"{own}","time":"{time}","action":"{action}",'
    ).encode()


def is_plain_record(message: Message, event: Told) -> bool:
    """Return whether a record's key, time and headers are those that `message_of` makes.

    Args:
        message: the record.
        event: what its data says.
    """
    key = None if event.repository is None else event.repository.encode()
    return (
        message.key == key
        and message.headers == _HEADERS
        and message.timestamp_ms == timestamp_ms(event.received)
    )


def key_of(event: dict[str, Any]) -> bytes | None:
    """Return the key of an event: its repository, so that events of one stay in order."""
    repository = event["repository"]
    return None if repository is None else repository.encode()


def wrap(data: bytes, event: dict[str, Any]) -> bytes:
    """Return the CloudEvent of an event.

    Args:
        data: the JSON of the event.
        event: the same.
    """
    import orjson

    head: dict[str, Any] = {
        "specversion": "1.0",
        "id": event["id"],
        "source": f"/regvault/spools/{event['spool']}",
        "type": f"regvault.audit.{event['action']}",
        "time": event["time"],
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
        "sequence": str(event["seq"]),
    }
    if event["repository"] is not None:
        head["subject"] = head["partitionkey"] = event["repository"]
    return orjson.dumps(head)[:-1] + _DATA + data + b"}"


def shortened(data: bytes, reason: str) -> Message:
    """Return the record of an event without what makes it large: `raw`, lists, ends of long texts.

    Args:
        data: the JSON of the event, as a spool has it.
        reason: why; it is in the event, with how much is left out.
    """
    import orjson

    event: dict[str, Any] = orjson.loads(data)
    text = f"{reason[:200]}; {len(event['raw'])} characters of raw are left out"
    small = {
        name: value[:_LONGEST] if isinstance(value, str) else value
        for name, value in {**event, "reason": text, "raw": ""}.items()
        if name not in {"raw_base64", "references", "joined"}
    }
    small = {name: small[name] for name in (*ALWAYS, *OPTIONAL, *PERSONAL) if name in small}
    made = orjson.dumps(small)
    stamp = timestamp_ms(event["received"])
    return Message(key_of(small), wrap(made, small), stamp, _HEADERS)


class Unwrapped(NamedTuple):
    """What the value of a record holds.

    Attributes:
        data: the JSON of the flat event, as the spool had it.
        exact: `wrap` of it gives the value again, byte for byte.
    """

    data: bytes
    exact: bool


def unwrap(value: bytes) -> Unwrapped:
    """Return the event in the value of a record, from whoever sent it.

    Raises:
        ValueError: it is no CloudEvent of an event of this schema.
    """
    import orjson

    at = value.find(_DATA)
    data = value[at + len(_DATA) : -1]
    try:
        event = orjson.loads(data)
        if wrap(data, event) == value:
            return Unwrapped(data, exact=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    document = orjson.loads(value)
    if not isinstance(document, dict) or document.get("dataschema") != DATA_SCHEMA:
        raise ValueError("it is no event of this schema")
    event = document.get("data")
    if not isinstance(event, dict):
        raise ValueError("it has no event")  # noqa: TRY004 (whatever came over the wire)
    return Unwrapped(orjson.dumps(event), exact=False)


def timestamp_ms(text: str) -> int:
    """Return the milliseconds since the epoch of a time as events have it.

    Archives rely on this way of rounding: it makes the records of their events again.
    """
    return int((_second_us(text[:19]) + int(text[20:26])) / 1e6 * 1000)


@lru_cache(1000)
def _second_us(text: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000
