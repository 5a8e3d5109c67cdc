"""CloudFront's standard logs: fields between tabs, named by a line that begins with `#Fields:`.

    #Version: 1.0
    #Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status ...
    2026-11-20<TAB>03:00:00<TAB>FRA2-C1<TAB>2390282<TAB>192.0.2.24<TAB>GET<TAB>...

The order of the fields is a file's own; a line before any header is read in that of version 1.0.
Times are UTC; `time-taken` is in seconds. CloudFront's `cs-uri-stem`, `cs-uri-query` and
`cs(User-Agent)` are percent-encoded once more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from regvault.audit.formats.common import (
    client,
    http_event,
    method_of,
    number,
    request_id_of,
    status_of,
    text_of,
)
from regvault.audit.formats.times import iso_time, milliseconds

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["NAME", "CloudFront", "parse"]

NAME = "cloudfront"

_HEADER: Final = "#Fields:"
_STANDARD: Final = (
    "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer)"
    " cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header"
    " cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher"
    " x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port"
    " time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start"
    " sc-range-end"
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_CLOCK = re.compile(r"\d\d:\d\d:\d\d", re.ASCII)
_MOST: Final = 128
_LONGEST: Final = 1 << 16


def _positions(names: list[str]) -> dict[str, int]:
    return {name: at for at, name in enumerate(names[:_MOST])}


class CloudFront:
    """The lines of one file: it remembers the order of its fields."""

    def __init__(self) -> None:
        self._at = _positions(_STANDARD.split(" "))

    def header(self, line: str) -> bool:
        """Return whether a line is part of the header of a file, and remember its fields."""
        if line.startswith(_HEADER):
            self._at = _positions(line[len(_HEADER) : _LONGEST].split())
            return True
        return line.startswith("#Version:")

    def parse(self, line: str, fallback_time: str) -> Event | None:
        """Return the event of a line, or None where it is none.

        Args:
            line: without its newline.
            fallback_time: when it was read.
        """
        if "\t" not in line[:_LONGEST]:
            return None
        values = line.split("\t", _MOST)
        at = self._at

        def value(name: str) -> str:
            place = at.get(name, _MOST)
            return values[place] if place < len(values) else "-"

        day, clock = value("date"), value("time")
        method, stem = value("cs-method"), value("cs-uri-stem")
        if not (_DAY.fullmatch(day) and _CLOCK.fullmatch(clock) and stem.startswith("/")):
            return None
        query = value("cs-uri-query")
        agent = value("cs(User-Agent)")
        return http_event(
            iso_time(f"{day}T{clock}Z") or fallback_time,
            NAME,
            line,
            method_of(method),
            unquote(stem) if query in {"-", ""} else f"{unquote(stem)}?{unquote(query)}",
            status_of(value("sc-status")),
            milliseconds(value("time-taken"), 1000),
            number(value("sc-bytes")),
            None,
            client(value("c-ip")),
            text_of(unquote(unquote(agent[:4096]))),
            request_id_of(value("x-edge-request-id")),
        )


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line whose fields are in the standard order, or None."""
    return _STANDARD_ORDER.parse(line, fallback_time)


_STANDARD_ORDER: Final = CloudFront()
