"""Access logs in JSON: Traefik's (2.0 to 3.3), and nginx's, whose fields are called as one likes.

nginx has no JSON format of its own: `log_format x escape=json '{"status": "$status", ...'` is
written by hand. The names looked for are those of its variables, and those that its users mostly
give. Numbers may be numbers or texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from regvault.audit.formats.common import (
    client,
    forwarded,
    http_event,
    json_object,
    method_of,
    number,
    request_event,
    request_id_of,
    status_of,
    text_of,
    user_of,
)
from regvault.audit.formats.haproxy import is_haproxy
from regvault.audit.formats.times import clf_time, iso_time, milliseconds, unix_time

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["NAME", "TRAEFIK", "from_nginx", "from_traefik", "parse", "parse_traefik"]

NAME = "nginx"
TRAEFIK = "traefik"

_ADDRESS: Final = ("remote_addr", "client_ip", "client", "remote_ip", "clientip", "remote_address")
_FORWARDED: Final = ("http_x_forwarded_for", "x_forwarded_for", "x-forwarded-for", "xff")
_METHOD: Final = ("request_method", "method", "http_method", "verb")
_URI: Final = ("request_uri", "uri", "path", "url", "request_path")
_SIZE: Final = ("body_bytes_sent", "bytes_sent", "bytes", "size")
_SECONDS: Final = ("request_time", "request_duration", "duration")
_AGENT: Final = ("http_user_agent", "user_agent", "useragent", "agent")
_USER: Final = ("remote_user", "user", "auth", "username")
_REQUEST_ID: Final = ("request_id", "http_x_request_id", "x_request_id", "x-request-id", "req_id")
#: `msec` first: it has milliseconds.
_TIME: Final = ("msec", "time_iso8601", "@timestamp", "timestamp", "time", "time_local", "ts")

_SHORT: Final = 40


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line of nginx in JSON, or None."""
    obj = json_object(line)
    return None if obj is None else from_nginx(obj, line, fallback_time)


def parse_traefik(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line of Traefik's access log in JSON, or None."""
    obj = json_object(line)
    return None if obj is None else from_traefik(obj, line, fallback_time)


def from_traefik(obj: dict[str, Any], raw: str, fallback_time: str) -> Event | None:
    """Return the event of what Traefik logged, or None where it did not.

    `ClientHost` is `X-Forwarded-For` where a request has that header, so it may be a list;
    `Duration` is in nanoseconds.
    """
    path = obj.get("RequestPath")
    if type(path) is not str or "RequestMethod" not in obj:
        return None
    started = iso_time(obj.get("StartUTC")) or iso_time(obj.get("StartLocal"))
    agent = obj.get("request_User-Agent")
    return http_event(
        started or iso_time(obj.get("time")) or fallback_time,
        TRAEFIK,
        raw,
        method_of(obj["RequestMethod"]),
        path,
        status_of(obj.get("DownstreamStatus", obj.get("OriginStatus"))),
        milliseconds(obj.get("Duration"), 1e-6),
        number(obj.get("DownstreamContentSize")),
        user_of(obj.get("ClientUsername")),
        forwarded(obj.get("ClientHost")) or client(obj.get("ClientAddr")),
        text_of(agent),
        request_id_of(obj.get("request_X-Request-Id")),
    )


def from_nginx(obj: dict[str, Any], raw: str, fallback_time: str) -> Event | None:
    """Return the event of an access log in JSON with the fields of nginx, or None."""
    status = obj.get("status")
    if status is None or is_haproxy(obj):
        return None
    request = obj.get("request")
    uri = _first(obj, _URI)
    method = _first(obj, _METHOD)
    if type(request) is not str and (type(uri) is not str or method is None):
        return None
    time = None
    for name in _TIME:
        if name in obj:
            time = _time(obj[name])
            if time is not None:
                break
    rest = (
        status_of(status),
        milliseconds(_first(obj, _SECONDS), 1000),
        number(_first(obj, _SIZE)),
        user_of(_first(obj, _USER)),
        forwarded(_first(obj, _FORWARDED)) or client(_first(obj, _ADDRESS)),
        text_of(_first(obj, _AGENT)),
        request_id_of(_first(obj, _REQUEST_ID)),
    )
    if type(request) is str and " " in request:
        return request_event(time or fallback_time, NAME, raw, request, *rest)
    if type(uri) is not str:
        return None
    return http_event(time or fallback_time, NAME, raw, method_of(method), uri, *rest)


def _first(obj: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first value that is there, and says something."""
    for name in names:
        value = obj.get(name)
        if value is not None and value not in ("", "-"):
            return value
    return None


def _time(value: object) -> str | None:
    if type(value) is str and len(value) <= _SHORT:
        return iso_time(value) or clf_time(value) or unix_time(value)
    return unix_time(value)
