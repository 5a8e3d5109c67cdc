"""What the log formats share: JSON, the values that a log may have, and the event of a request.

A value of a log is a client's: each is checked, and is None where it is none. `raw` always keeps
the line whole, so nothing is lost by that.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.formats.uri import read
from regvault.model.event import split_address
from regvault.oci.grammar import MAX_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.event import Event

__all__ = [
    "MAX_TEXT",
    "client",
    "forwarded",
    "http_event",
    "json_object",
    "log_event",
    "method_of",
    "number",
    "request_event",
    "request_id_of",
    "short",
    "status_of",
    "text_of",
    "unescape",
    "user_of",
]

MAX_TEXT: Final = 1024
"""Characters of a user agent, or of another text of a client, that an event keeps beside `raw`."""

_REASON: Final = 200
_LONGEST_ADDRESS: Final = 255
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}|(?=[A-Za-z0-9])[A-Za-z0-9._-]{1,253}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}", re.ASCII)
_METHOD = re.compile(r"[A-Z]{1,20}", re.ASCII)
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}


@cache
def _loads() -> Callable[[str], Any]:
    import orjson

    return orjson.loads


def json_object(line: str) -> dict[str, Any] | None:
    """Return the JSON object that a line is, or None where it is none."""
    try:
        value = _loads()(line)
    except ValueError:
        return None
    return value if type(value) is dict else None


def text_of(value: object) -> str | None:
    """Return a text of a client, cut at `MAX_TEXT`; None of what is none, is empty or is `-`."""
    if type(value) is not str or not value or value == "-":
        return None
    return value if len(value) <= MAX_TEXT else value[:MAX_TEXT]


def user_of(value: object) -> str | None:
    """Return a user's name; None where it is `-`, `""` or none."""
    text = text_of(value)
    return None if text == '""' else text


def short(text: str) -> str | None:
    """Return a message on one line, cut at 200 characters, or None where it says nothing."""
    return _CONTROL.sub(" ", text[: _REASON + 1]).strip()[:_REASON].rstrip() or None


def number(value: object) -> int | None:
    """Return a count or a size below 2**63, a number or its decimal digits."""
    if type(value) is str:
        if not (len(value) <= 19 and value.isascii() and value.isdigit()):
            return None
        value = int(value)
    if type(value) is not int:
        return None
    return value if 0 <= value <= MAX_NUMBER else None


def status_of(value: object) -> int | None:
    """Return the status of an answer, three digits; nginx has some of its own, such as 499."""
    if type(value) is str:
        if not (len(value) == 3 and value.isascii() and value.isdigit()):
            return None
        value = int(value)
    if type(value) is not int:
        return None
    return value if 100 <= value <= 999 else None


def method_of(value: object) -> str | None:
    """Return a method of HTTP, in capitals."""
    if type(value) is str and (
        value in _METHODS or (len(value) <= 20 and _METHOD.fullmatch(value) is not None)
    ):
        return value
    return None


def request_id_of(value: object) -> str | None:
    """Return the id that a proxy or a registry gave a request, at most 128 characters."""
    if type(value) is str and len(value) <= 128 and _ID.fullmatch(value):
        return value
    return None


def client(value: object) -> str | None:
    """Return the address of a client without its port; a name too, where a log has names."""
    if type(value) is not str or not value or len(value) > _LONGEST_ADDRESS:
        return None
    return _client(value)


@lru_cache(maxsize=16384)
def _client(text: str) -> str | None:
    address = split_address(text)
    if address is None or _ADDRESS.fullmatch(address) is None:
        return None
    return address


def forwarded(value: object) -> str | None:
    """Return the first address of a list that is known to be `X-Forwarded-For`."""
    if type(value) is not str:
        return None
    return client(value[: _LONGEST_ADDRESS + 1].partition(",")[0].strip())


def unescape(text: str) -> str:
    r"""Return a text of a quoted field as it was: `\x22` of nginx, `\"` of Apache and of Go."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(_unescaped, text[: 4 * MAX_TEXT])


def _unescaped(found: re.Match[str]) -> str:
    short_code, long_code, other = found.groups()
    if other is not None:
        return _ESCAPED.get(other, other)
    code = int(short_code or long_code, 16)
    return "\N{REPLACEMENT CHARACTER}" if 0xD800 <= code < 0xE000 else chr(code)


def http_event(
    time: str,
    source: str,
    raw: str,
    method: str | None,
    uri: str,
    status: int | None,
    duration_ms: float | None = None,
    size: int | None = None,
    actor: str | None = None,
    address: str | None = None,
    useragent: str | None = None,
    request_id: str | None = None,
) -> Event:
    """Return the event of one request over HTTP, its keys in the order of `new_event`.

    It makes the dict itself: `new_event` costs more than all else of a line.

    - `action` is `log` where the request is none of a registry.
    - `size` is the bytes of the answer, and is kept of a pull that was answered (2xx) alone: then
      they are of the manifest or the blob, or of a range of it.
    - `actor` is who tried, where the answer is 401: nobody checked that name.
    """
    call = read(method, uri, status) if method is not None else None
    if call is None:
        action = "log"
        kind = repository = tag = digest = origin = None
    else:
        action, kind, repository, tag, digest, origin = call
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
    if kind is not None:
        event["kind"] = kind
    if size and action == "pull" and status is not None and 200 <= status < 300:
        event["size"] = size
    if origin is not None:
        event["from_repository"] = origin
    if request_id is not None:
        event["request_id"] = request_id
    event["actor"] = actor
    event["address"] = address
    event["useragent"] = useragent
    event["raw"] = raw
    return event


def request_event(time: str, source: str, raw: str, request: str, *rest: Any) -> Event:
    """Return the event of a request line, `GET /v2/ HTTP/1.1`, that may be none at all.

    Args:
        time: as `http_event` has it, as all the others.
        source: the format.
        raw: the line.
        request: the request line as the client sent it.
        *rest: what follows `uri` in `http_event`.
    """
    parts = request.split(" ", 3)
    if len(parts) in (2, 3):
        return http_event(time, source, raw, method_of(parts[0]), parts[1], *rest)
    return http_event(time, source, raw, None, "", *rest)


def log_event(
    time: str, source: str, raw: str, *, severity: str | None = None, reason: str | None = None
) -> Event:
    """Return the event of a line that is about nothing that regvault knows.

    Args:
        time: of the line.
        source: the format.
        raw: the line.
        severity: as the format calls it; small letters come out.
        reason: in words of ours. Never the line's own: whom it names, `raw` alone may tell.
    """
    event: Event = {
        "id": "",
        "time": time,
        "action": "log",
        "method": None,
        "repository": None,
        "tag": None,
        "digest": None,
        "status": None,
        "duration_ms": None,
        "source": source,
    }
    if severity:
        event["severity"] = severity.lower()[:20]
    if reason:
        event["reason"] = reason
    event["actor"] = event["address"] = event["useragent"] = None
    event["raw"] = raw
    return event
