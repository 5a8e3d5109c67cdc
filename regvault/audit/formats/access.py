r"""Access logs as text: the common and the combined log format, of Apache, nginx and others.

    10.0.0.1 - alice [20/Nov/2026:03:00:00 +0000] "GET /v2/ HTTP/1.1" 200 2 "-" "docker/27.3.1"

These are read too:

- what follows: nginx's `$request_time "$upstream_response_time"`, or named, `rt=0.123`; the format
  of ingress-nginx; Traefik's common log format, which ends in `12ms`; a request id that is named;
- distribution's own access log, which is combined (2.8.2 and 3.1.2);
- Harbor's proxy (2.15), whose format is combined without a user and without a time.

Apache 2.4 (mod_log_config) and nginx 1.26 (ngx_http_log_module) write a quote within quotes as
`\"` and `\x22`, so a client cannot end a field. A list of `X-Forwarded-For` counts only where a
field is called so: any client can send that header.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from regvault.audit.formats.common import (
    client,
    forwarded,
    http_event,
    number,
    request_event,
    request_id_of,
    status_of,
    text_of,
    unescape,
    user_of,
)
from regvault.audit.formats.times import clf_time, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.event import Event

__all__ = ["NAME", "parse", "parser"]

NAME = "combined"

_CLF_TIME = r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
# Possessive: what does not end it is read once, whatever follows.
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'

# Nearly every line. No part can match what the next one begins with: each is read once.
_USUAL = re.compile(
    rf"(\S{{1,255}}) \S{{1,64}} (\S{{1,256}}) \[({_CLF_TIME})\] "
    r'"([A-Z]{3,20}) ([^ "\\]+) HTTP/[0-9.]{1,4}" (\d{3}) (\d{1,19}|-)'
    r'(?: "[^"\\]*" "([^"\\]*)")?',
    re.ASCII,
)
# Anything else that is still such a line. A user's name may have spaces in it, so what is before it
# has to be an address and `-`, not the prefix of a wrapper.
_ANY = re.compile(
    r"(?:[\w.-]{1,253}:\d{1,5} )?([^\s,]{1,255}(?:, ?[^\s,]{1,255}){0,16}) - (.{0,256}?) "
    rf"\[({_CLF_TIME})\] {_QUOTED} (\d{{3}}|-) (\d{{1,19}}|-)(?: {_QUOTED} {_QUOTED})?",
    re.ASCII | re.DOTALL,
)
# Harbor, make/photon/prepare/templates/nginx: `timed_combined`.
_HARBOR = re.compile(
    rf"(\S{{1,255}}) - {_QUOTED} (\d{{3}}) (\d{{1,19}}) {_QUOTED} {_QUOTED}"
    r" (\d{1,12}\.\d{3}) ([0-9.,: -]{1,200}) [.p]\Z",
    re.ASCII | re.DOTALL,
)

# What follows, each for at most so many characters.
_TAIL: Final = 2000
_TIMES = re.compile(r' "?(\d{1,12}\.\d{3})"?(?: "?[0-9.,: -]{0,200}"?)?\Z', re.ASCII)
_SECONDS = re.compile(r' "?(\d{1,12}\.\d{3})"?(?= |\Z)', re.ASCII)
_NAMED_SECONDS = re.compile(
    r'[ |,;](?:rt|request_time|req_time|request_duration|duration)[=:]"?(\d{1,12}\.\d{1,9})s?"?'
    r"(?=[ |,;]|\Z)",
    re.ASCII,
)
_TRAEFIK = re.compile(r' (?:\d{1,19}|-) "[^"]*" "[^"]*" (\d{1,15})ms\Z', re.ASCII)
_INGRESS = re.compile(
    r" \d{1,19} (\d{1,12}\.\d{3}) \[[^\]]{0,255}\] .{0,1000} ([0-9a-f]{32})\Z", re.ASCII
)
_NAMED_ID = re.compile(
    r"[ |,;](?:request_id|req_id|reqid|rid|x_request_id|x-request-id)[=:]"
    r'"?([A-Za-z0-9][A-Za-z0-9._:/+-]{0,127})"?(?=[ |,;]|\Z)',
    re.ASCII | re.IGNORECASE,
)
_NAMED_CLIENT = re.compile(
    r"[ |,;](?:xff|x_forwarded_for|http_x_forwarded_for|x-forwarded-for)[=:]"
    r'"([0-9A-Fa-f:., ]{2,600})"',
    re.ASCII | re.IGNORECASE,
)


def parse(line: str, fallback_time: str, source: str = NAME) -> Event | None:
    """Return the event of a line of an access log, or None where it is none.

    Args:
        line: without its newline.
        fallback_time: when it was read; the format of Harbor's proxy has no time.
        source: what the event calls its source.
    """
    found = _USUAL.match(line)
    if found is None:
        return _unusual(line, fallback_time, source)
    address, user, at, method, uri, status, size, agent = found.groups()
    time = clf_time(at)
    if time is None:
        return None
    end = found.end()
    if end != len(line):
        if line[end] != " " or (agent is None and line[end + 1 : end + 2] == '"'):
            return _unusual(line, fallback_time, source)
        duration, request_id, forwarded_for = _tail(line[end : end + _TAIL])
    else:
        duration = request_id = forwarded_for = None
    return http_event(
        time,
        source,
        line,
        method,
        uri,
        int(status) if status >= "100" else None,
        duration,
        None if size == "-" else number(size),
        None if user == "-" else user_of(user),
        forwarded_for or client(address),
        text_of(agent),
        request_id,
    )


def parser(source: str) -> Callable[[str, str], Event | None]:
    """Return `parse` for events of that source."""
    return partial(parse, source=source)


def _unusual(line: str, fallback_time: str, source: str) -> Event | None:
    found = _ANY.match(line)
    if found is None:
        return _harbor(line, fallback_time, source)
    addresses, user, at, request, status, size, _referer, agent = found.groups()
    time = clf_time(at)
    if time is None:
        return None
    duration, request_id, forwarded_for = _tail(line[found.end() : found.end() + _TAIL])
    return request_event(
        time,
        source,
        line,
        unescape(request),
        status_of(status),
        duration,
        number(size),
        user_of(unescape(user)),
        # Traefik writes X-Forwarded-For in the first field, where a request has it.
        forwarded_for or forwarded(addresses),
        text_of(unescape(agent)) if agent else None,
        request_id,
    )


def _harbor(line: str, fallback_time: str, source: str) -> Event | None:
    found = _HARBOR.match(line)
    if found is None:
        return None
    address, request, status, size, _referer, agent, seconds, _upstream = found.groups()
    return request_event(
        fallback_time,
        source,
        line,
        unescape(request),
        status_of(status),
        milliseconds(seconds, 1000),
        number(size),
        None,
        client(address),
        text_of(unescape(agent)),
    )


def _tail(tail: str) -> tuple[float | None, str | None, str | None]:
    """Return milliseconds, a request id and the client of what follows the known fields."""
    found = _TIMES.match(tail)
    if found is not None:
        return round(float(found[1]) * 1000, 3), None, None
    ingress = _INGRESS.match(tail)
    if ingress is not None:
        return milliseconds(ingress[1], 1000), ingress[2], None
    traefik = _TRAEFIK.match(tail)
    if traefik is not None:
        return milliseconds(traefik[1], 1), None, None
    found = _SECONDS.match(tail)
    if "=" in tail or ":" in tail:
        seconds = _NAMED_SECONDS.search(tail) or found
        identity = _NAMED_ID.search(tail)
        addresses = _NAMED_CLIENT.search(tail)
    else:
        seconds, identity, addresses = found, None, None
    return (
        milliseconds(seconds[1], 1000) if seconds is not None else None,
        request_id_of(identity[1]) if identity is not None else None,
        forwarded(addresses[1]) if addresses is not None else None,
    )
