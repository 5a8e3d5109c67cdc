"""HAProxy's HTTP log, `option httplog`, and `option httpslog`, which ends in more (2.4 to 3.0).

    10.0.1.2:33317 [20/Nov/2026:03:00:00.655] http-in registry/r1 10/0/30/69/109 200 2750 - - ----
    1/1/1/1/0 0/0 {docker/27.3.1} {} "GET /v2/ HTTP/1.1"

The timers are TR/Tw/Tc/Tr/Ta in milliseconds (Tq/Tw/Tc/Tr/Tt before 1.7), the last of them how long
all took; `+` before it says that it was logged before the end. The time is when the request began,
in that of the machine, and has no zone. Captured headers have no names, so they say nothing of a
client here.

JSON is written by hand, `log-format '{"frontend":"%f",...'` (docs/audit.md has one that is read
whole): the names looked for are those of the fields in HAProxy's manual, and those that are mostly
given. `time_ms`, of `date(0,ms)`, is when the line was written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.formats.common import (
    client,
    forwarded,
    http_event,
    method_of,
    number,
    request_event,
    request_id_of,
    status_of,
    text_of,
)
from regvault.audit.formats.times import clf_time, iso_time, milliseconds, unix_time

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["NAME", "from_object", "is_haproxy", "parse"]

NAME = "haproxy"

_LINE = re.compile(
    r"(\S{1,255}:\d{1,5}|unix:\d{1,10}) "
    r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3})\] \S{1,255} \S{1,512} "
    r"(?:-?\d{1,12}/){3,4}(?:-?\d{1,12}/)?\+?(-?\d{1,12}) (-?\d{1,3}) \+?(\d{1,19}) "
    r"\S{1,255} \S{1,255} \S{4} \d{1,12}/\d{1,12}/\d{1,12}/\d{1,12}/\+?\d{1,12} "
    r'\d{1,12}/\d{1,12} (?:\{([^}]*)\} )?(?:\{[^}]*\} )?"([^"]*)',
    re.ASCII,
)

_LONGEST_TIME: Final = 40
_FRONTEND: Final = ("frontend", "frontend_name", "frontend_name_transport")
_BACKEND: Final = ("backend", "backend_name")
_ADDRESS: Final = ("client_ip", "src", "client", "remote_addr", "ip")
_FORWARDED: Final = ("x_forwarded_for", "x-forwarded-for", "xff")
_METHOD: Final = ("method", "http_method", "request_method")
_URI: Final = ("uri", "request_uri", "http_request_uri", "path", "url")
_REQUEST: Final = ("request", "http_request")
_STATUS: Final = ("status", "status_code", "http_status")
_SIZE: Final = ("bytes", "bytes_read", "bytes_sent")
_TOOK: Final = ("duration_ms", "time_active", "active_time", "Ta", "time_total", "total_time", "Tt")
_AGENT: Final = ("user_agent", "user-agent", "useragent")
_REQUEST_ID: Final = ("request_id", "x_request_id", "unique_id", "unique-id")
_TIME: Final = ("time", "date_time", "timestamp", "date", "request_date", "accept_date", "Ts")


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line of HAProxy, without a prefix of syslog, or None."""
    found = _LINE.match(line)
    if found is None:
        return None
    address, at, took, status, size, _captured, request = found.groups()
    return request_event(
        clf_time(at) or fallback_time,
        NAME,
        line,
        request,
        status_of(status),
        milliseconds(took, 1),
        number(size),
        None,
        None if address.startswith("unix:") else client(address),
    )


def from_object(obj: dict[str, Any], raw: str, fallback_time: str) -> Event | None:
    """Return the event of a line in JSON, or None where it names no frontend and backend."""
    if not is_haproxy(obj):
        return None
    status = _first(obj, _STATUS)
    request, uri = _first(obj, _REQUEST), _first(obj, _URI)
    if status is None or (type(request) is not str and type(uri) is not str):
        return None
    took = milliseconds(_first(obj, _TOOK), 1)
    rest = (
        status_of(status),
        took,
        number(_first(obj, _SIZE)),
        None,
        forwarded(_first(obj, _FORWARDED)) or client(_first(obj, _ADDRESS)),
        text_of(_first(obj, _AGENT)),
        request_id_of(_first(obj, _REQUEST_ID)),
    )
    time = _began(obj, took) or fallback_time
    if type(uri) is str:
        return http_event(time, NAME, raw, method_of(_first(obj, _METHOD)), uri, *rest)
    return request_event(time, NAME, raw, str(request), *rest)


def is_haproxy(obj: dict[str, Any]) -> bool:
    """Return whether an access log in JSON is one of HAProxy: it names a frontend and a backend."""
    return _first(obj, _FRONTEND) is not None and _first(obj, _BACKEND) is not None


def _began(obj: dict[str, Any], took: float | None) -> str | None:
    """Return when a request began."""
    ended = milliseconds(obj.get("time_ms"), 1)
    if ended is not None:
        return unix_time(max(ended - (took or 0), 0) / 1000)
    for name in _TIME:
        value = obj.get(name)
        time = unix_time(value)
        if time is None and type(value) is str and len(value) <= _LONGEST_TIME:
            time = clf_time(value) or iso_time(value)
        if time is not None:
            return time
    return None


def _first(obj: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first value that is there, and says something."""
    for name in names:
        value = obj.get(name)
        if value not in (None, "", "-"):
            return value
    return None
