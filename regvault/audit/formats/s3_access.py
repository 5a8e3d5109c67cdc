"""Downloads that a registry redirected to a bucket: S3 server access logs, and CloudTrail.

A registry answers a GET of a blob with a redirect to its object store, so the registry's log has
the redirect, and the bucket's has the download. A GET of a key that ends in
`docker/registry/v2/blobs/<algorithm>/<xx>/<hex>/data` is a `pull` of that blob here; anything else
is `log`. The bucket does not know of repositories.

A redirect is a presigned URL: its requester is the registry, so it is no actor. A GET with
credentials of its own has its requester for actor: the registry itself, or someone around it.

The fields are those of "Amazon S3 server access log format", and of "CloudTrail record contents"
(event version 1.11), read in November 2026.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from regvault.audit.formats.common import (
    client,
    json_object,
    log_event,
    number,
    request_id_of,
    short,
    status_of,
    text_of,
    unescape,
    user_of,
)
from regvault.audit.formats.times import clf_time, iso_time, milliseconds
from regvault.audit.formats.uri import blob_of_key
from regvault.model.event import new_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.event import Event

__all__ = ["CLOUDTRAIL", "NAME", "from_cloudtrail", "parse", "parse_cloudtrail", "records"]

NAME = "s3"
CLOUDTRAIL = "cloudtrail"

_LINE = re.compile(
    r"[0-9a-f]{64} (\S{1,255}) "
    r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] (\S{1,64}) (\S{1,512}) (\S{1,64}) "
    r'([A-Z0-9._]{1,128}) (\S+) (?:"[^"]*"|-) (\d{3}|-) (\S{1,128}) (\d{1,19}|-) (\d{1,19}|-) '
    r'(\d{1,15}|-) (?:\d{1,15}|-) (?:"[^"]*"|-) ("[^"]*"|-)',
    re.ASCII,
)
_PRESIGNED: Final = "QueryString"
_TAIL: Final = 4096
_KEY: Final = 4096

# What CloudTrail says instead of a status.
_ERRORS: Final = {"AccessDenied": 403, "NoSuchKey": 404, "NoSuchBucket": 404, "NotModified": 304}
_RECORDS = re.compile(
    r'\s*\{(?:\s*"[^"\\]{0,100}"\s*:\s*"[^"\\]{0,1000}"\s*,)*\s*"Records"\s*:\s*\['
)
_BETWEEN = re.compile(r"[\s,]*")


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line of an S3 server access log, or None.

    Args:
        line: without its newline.
        fallback_time: when it was read.
    """
    found = _LINE.match(line)
    if found is None:
        return None
    (
        _bucket,
        at,
        address,
        requester,
        identity,
        operation,
        key,
        status,
        error,
        sent,
        _size,
        took,
        agent,
    ) = found.groups()
    time = clf_time(at) or fallback_time
    digest = None
    if operation == "REST.GET.OBJECT" and len(key) <= _KEY:
        digest = blob_of_key(unquote_plus(unquote_plus(key)))
    if digest is None:
        return log_event(time, NAME, line, reason=operation)
    presigned = _PRESIGNED in line[found.end() : found.end() + _TAIL].split(" ")
    return new_event(
        time,
        "pull",
        NAME,
        line,
        method="GET",
        digest=digest,
        status=status_of(status),
        duration_ms=milliseconds(took, 1),
        actor=None if presigned else user_of(requester),
        address=client(address),
        useragent=text_of(unescape(agent.strip('"'))),
        kind="blob",
        size=number(sent),
        request_id=request_id_of(identity),
        reason=None if error == "-" else short(error),
    )


def parse_cloudtrail(line: str, fallback_time: str) -> Event | None:
    """Return the event of one record of CloudTrail, or None where the line is none."""
    obj = json_object(line)
    return None if obj is None else from_cloudtrail(obj, line, fallback_time)


def records(text: str, fallback_time: str) -> Iterator[Event]:
    """Give the pulls in a file of CloudTrail, `{"Records":[...]}`, one by one.

    The file is read record by record, so no more than one of them is held as objects. At the
    first thing that is no record it ends, with an event of `gap`. Records of anything else than a
    download are passed over.

    Args:
        text: of the file, decompressed.
        fallback_time: for records that have no time.
    """
    begun = _RECORDS.match(text)
    if begun is None:
        return
    decoder = json.JSONDecoder()
    at = begun.end()
    while True:
        between = _BETWEEN.match(text, at)
        at = between.end() if between is not None else at
        if text[at : at + 1] == "]":
            return
        try:
            if text[at : at + 1] != "{":
                raise ValueError("no record")
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            rest = text[at : at + _KEY]
            yield new_event(fallback_time, "gap", CLOUDTRAIL, rest, reason="the file breaks off")
            return
        raw = text[at:end]
        at = end
        event = parse_cloudtrail(raw, fallback_time)
        if event is not None and event["action"] == "pull":
            yield event


def from_cloudtrail(obj: dict[str, Any], raw: str, fallback_time: str) -> Event | None:
    """Return the event of a record of CloudTrail, or None where the object is none."""
    service, operation = obj.get("eventSource"), obj.get("eventName")
    if type(service) is not str or type(operation) is not str or "eventVersion" not in obj:
        return None
    time = iso_time(obj.get("eventTime")) or fallback_time
    key = _inside(obj, "requestParameters", "key")
    digest = None
    if service == "s3.amazonaws.com" and operation == "GetObject" and type(key) is str:
        digest = blob_of_key(key)
    if digest is None:
        return log_event(time, CLOUDTRAIL, raw, reason=operation)
    error = obj.get("errorCode")
    presigned = _inside(obj, "additionalEventData", "AuthenticationMethod") == _PRESIGNED
    agent = obj.get("userAgent")
    if type(agent) is str and agent[:1] == "[" and agent[-1:] == "]":
        agent = agent[1:-1]
    return new_event(
        time,
        "pull",
        CLOUDTRAIL,
        raw,
        method="GET",
        digest=digest,
        status=200 if error is None else _ERRORS.get(error) if type(error) is str else None,
        actor=None if presigned else user_of(_inside(obj, "userIdentity", "arn")),
        address=client(obj.get("sourceIPAddress")),
        useragent=text_of(agent),
        kind="blob",
        size=number(_inside(obj, "additionalEventData", "bytesTransferredOut")),
        request_id=request_id_of(obj.get("requestID")),
        reason=short(error) if type(error) is str else None,
    )


def _inside(obj: dict[str, Any], outer: str, inner: str) -> Any:
    value = obj.get(outer)
    return value.get(inner) if type(value) is dict else None
