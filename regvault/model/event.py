"""The audit event, schema 1 (`docs/events.md`): one flat JSON object, and the same as a CloudEvent.

An event is a `dict` whose keys stand in one order: what may be known to all first, then what tells
of persons (`PERSONAL`), last. So an archive cuts its JSON in two, and puts it together again, byte
for byte, without reading it. Fields that are unknown are None; those of `OPTIONAL` are left out.

The times of events are `2026-11-20T03:00:00.000000Z`: UTC, microseconds, so they sort as text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

__all__ = [
    "ACTIONS",
    "ALWAYS",
    "DATA_SCHEMA",
    "OPTIONAL",
    "PERSONAL",
    "SCHEMA",
    "UNPARSED",
    "Event",
    "new_event",
    "parse_time",
    "split_address",
    "time_text",
]

#: An event, whose keys are those of `ALWAYS`, `OPTIONAL` and `PERSONAL`.
Event = dict[str, Any]

#: The version of the schema. Fields are only ever added; a change of meaning is a new version.
SCHEMA: Final = 1

DATA_SCHEMA: Final = f"urn:regvault:audit-event:{SCHEMA}"
"""What the `dataschema` of a CloudEvent says."""

ACTIONS: Final = {
    "pull": "a manifest or a blob was read (GET), or asked for (HEAD): see `method`",
    "push": "a manifest or a blob was written",
    "mount": "a blob of another repository was linked",
    "delete": "a manifest, a tag, a blob or a repository was deleted",
    "upload": "one step of an upload that is not its end",
    "list": "the catalog, tags or referrers were listed",
    "login": "the API's base was asked for, or a token",
    "scan": "an image was scanned for vulnerabilities",
    "replicate": "an image was replicated",
    "quota": "a quota was exceeded, or nearly",
    "retention": "a rule of the registry deleted tags",
    "alert": "a rule of a detector matched (Falco)",
    "change": "users, projects, rights or settings were changed",
    "gap": "events are missing here; `reason` says which",
    "signal": "regvault noticed something; `signal` and `reason` say what",
    "log": "a line of a log about none of these",
    "unparsed": "someone who may send events sent something that is none; `reason` says why",
    "other": "an event of a kind that regvault does not know",
}
"""Every value of `action`, with its meaning."""

UNPARSED: Final = "unparsed"

ALWAYS: Final = (
    "seq",
    "spool",
    "received",
    "id",
    "time",
    "action",
    "method",
    "repository",
    "tag",
    "digest",
    "status",
    "duration_ms",
    "source",
)
"""Fields that every event has, first in it, in this order."""

OPTIONAL: Final = (
    "kind",
    "media_type",
    "size",
    "references",
    "from_repository",
    "request_id",
    "registry",
    "instance",
    "file",
    "severity",
    "reason",
    "signal",
    "state",
    "value",
    "threshold",
    "from",
    "to",
    "missing",
    "reconstructed",
    "joined",
)
"""Fields that an event has only where they are known, next, in this order."""

PERSONAL: Final = ("actor", "address", "useragent", "raw")
"""Fields that tell of persons: every event has them, last in it, in this order.

One more follows where a record was no UTF-8: `raw_base64`, its bytes; `raw` then has `\\xff` in the
place of what was none.
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_event(
    time: str,
    action: str,
    source: str,
    raw: str,
    *,
    method: str | None = None,
    repository: str | None = None,
    tag: str | None = None,
    digest: str | None = None,
    status: int | None = None,
    duration_ms: float | None = None,
    actor: str | None = None,
    address: str | None = None,
    useragent: str | None = None,
    **optional: str | float | list[str] | None,
) -> Event:
    """Return an event that has no id yet, and neither `seq` nor `received`: a spool adds those.

    Args:
        time: when it happened, by who saw it: see `time_text`.
        action: one of `ACTIONS`.
        source: the format that it came in, such as `distribution` or `nginx`.
        raw: the record as it came: a line of a log, or the JSON of a notification.
        method: of HTTP.
        repository: its name as the registry has it.
        tag: that was named.
        digest: of the manifest or the blob.
        status: of the answer in HTTP.
        duration_ms: how long the answer took, milliseconds.
        actor: who it was: a name that the registry checked, or None.
        address: of the client, without a port.
        useragent: as the client calls itself.
        **optional: fields of `OPTIONAL`; what is None is left out.
    """
    event: Event = {
        "id": "",
        "time": time,
        "action": action,
        "method": method,
        "repository": repository,
        "tag": tag,
        "digest": digest,
        "status": status,
        "duration_ms": duration_ms,
        "source": source,
    }
    if optional:
        for name in OPTIONAL:
            value = optional.get(name)
            if value is not None:
                event[name] = value
    event["actor"] = actor
    event["address"] = address
    event["useragent"] = useragent
    event["raw"] = raw
    return event


def time_text(ns: int) -> str:
    """Return a time in nanoseconds since the epoch as events have it.

    Raises:
        ValueError: it is before 1970, or after 9999.
    """
    if not 0 <= ns < 253_402_300_800 * 10**9:
        raise ValueError(f"no time that an event may have: {ns}")
    return _text(_EPOCH + timedelta(microseconds=ns // 1000))


def parse_time(text: str) -> str:
    """Return a time in ISO 8601 (RFC 3339) as events have it.

    Digits after microseconds are cut off. One without an offset is UTC.

    Raises:
        ValueError: it is no time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"no time that an event may have: {text}") from None
    return _text(moment)


def _text(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def split_address(text: str) -> str | None:
    """Return the address of a client without its port: `10.0.0.1:33012`, `[::1]:80`, `::1`."""
    text = text.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0] or None
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and ":" not in host:
        return host or None
    return text or None
