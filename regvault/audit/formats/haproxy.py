"""HAProxy's HTTP log, `option httplog`, and `option httpslog`, which ends in more (2.4 to 3.0).

    10.0.1.2:33317 [20/Nov/2026:03:00:00.655] http-in registry/r1 10/0/30/69/109 200 2750 - - ----
    1/1/1/1/0 0/0 {docker/27.3.1} {} "GET /v2/ HTTP/1.1"

The timers are TR/Tw/Tc/Tr/Ta in milliseconds (Tq/Tw/Tc/Tr/Tt before 1.7), the last of them how long
all took; `+` before it says that it was logged before the end. The time is that of the machine, and
has no zone. Captured headers have no names, so they say nothing of a client here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from regvault.audit.formats.common import client, number, request_event, status_of
from regvault.audit.formats.times import clf_time, milliseconds

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["NAME", "parse"]

NAME = "haproxy"

_LINE = re.compile(
    r"(\S{1,255}:\d{1,5}|unix:\d{1,10}) "
    r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3})\] \S{1,255} \S{1,512} "
    r"(?:-?\d{1,12}/){3,4}(?:-?\d{1,12}/)?\+?(-?\d{1,12}) (-?\d{1,3}) \+?(\d{1,19}) "
    r"\S{1,255} \S{1,255} \S{4} \d{1,12}/\d{1,12}/\d{1,12}/\d{1,12}/\+?\d{1,12} "
    r'\d{1,12}/\d{1,12} (?:\{([^}]*)\} )?(?:\{[^}]*\} )?"([^"]*)',
    re.ASCII,
)


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
