"""What a registry says of its own notifications: the debug server of CNCF distribution.

Seen on 3.1.2 and 2.8.2: `/debug/vars` (expvar) has the counters of each endpoint; `/metrics`, where
`http.debug.prometheus` is enabled, has when the process started, and on 3.x the same counters:
`registry_notifications_events_total{endpoint,type}`, `registry_notifications_pending_total`.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from regvault.errors import NotFoundError, SourceUnavailableError, UsageError

__all__ = ["Reading", "check_url", "parse_reading", "read_counters"]

_MOST_BYTES: Final = 8 << 20
_TIMEOUT_S: Final = 5.0
_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \S+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_EVENTS: Final = "registry_notifications_events_total"
_PENDING: Final = ("registry_notifications_pending_total", "registry_notifications_pending")


@dataclass(frozen=True)
class Reading:
    """The counters of one process, at one moment.

    Attributes:
        url: where they were read.
        at: when, seconds since the epoch.
        started: when the process did; None: it does not say.
        endpoint: the name of the endpoint that they are of.
        events: that it had for that endpoint since it started.
        successes: of those, that were answered 2xx.
        failures: answers that were none.
        pending: that wait in its memory.
        requests: requests that it answered, of all kinds; None: it does not say.
    """

    url: str
    at: float
    started: float | None
    endpoint: str
    events: int
    successes: int
    failures: int
    pending: int
    requests: int | None = None


def check_url(text: str) -> str:
    """Return the URL of a debug server. Raises UsageError."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"--registry-metrics: {text!r} is no URL",
            hint="It is the registry's http.debug.addr, such as http://127.0.0.1:5001.",
        )
    return text


def read_counters(url: str, endpoint: str | None = None) -> Reading:
    """Ask a registry.

    Args:
        url: of its debug server: its root, where both pages are asked for, or one of them.
        endpoint: of its notifications; None: the only one, or the one called `regvault`.

    Raises:
        NotFoundError: it does not count notifications to that endpoint.
        SourceUnavailableError: it does not answer.
    """
    pages = [url]
    if urlsplit(url).path in {"", "/"}:
        pages = [f"{url.rstrip('/')}{path}" for path in ("/metrics", "/debug/vars")]
    found: list[str] = []
    problem = ""
    for page in pages:
        try:
            found.append(_get(page))
        except urllib.error.HTTPError as error:
            problem = f"{page} answers {error.code}"
            error.close()
        except (OSError, ValueError) as error:
            raise SourceUnavailableError(
                f"cannot read the counters of the registry at {page}: {error}",
                hint="Is it running, with http.debug.addr set, and does this host reach it?",
            ) from None
    if not found:
        raise NotFoundError(
            f"{problem}: no counters of a registry", hint="Set http.debug.addr of the registry."
        )
    return parse_reading(url, found, time.time(), endpoint)


def _get(url: str) -> str:
    request = urllib.request.Request(url, headers={"User-Agent": "regvault"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        data: bytes = answer.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("it is too large")
    return data.decode("utf-8", "replace")


def parse_reading(url: str, pages: list[str], at: float, endpoint: str | None) -> Reading:
    """Return what the pages of a debug server say.

    Raises:
        NotFoundError: nothing of notifications.
    """
    started = requests = None
    counters: dict[str, dict[str, int]] = {}
    for page in pages:
        if page.lstrip().startswith("{"):
            counters |= _expvar(page)
            continue
        samples = _samples(page)
        started = next((v for n, _, v in samples if n == "process_start_time_seconds"), started)
        counted = [v for n, _, v in samples if n == "registry_http_requests_total"]
        requests = int(sum(counted)) if counted else requests
        for sample, labels, value in samples:
            if sample == _EVENTS:
                kind = labels.get("type", "")
            elif sample in _PENDING:
                kind = "Pending"
            else:
                continue
            counters.setdefault(labels.get("endpoint", ""), {}).setdefault(kind, int(value))
    name = _chosen(counters, endpoint)
    if name is None and endpoint is None and not counters and started is not None:
        # 3.x counts nothing before its first event.
        return Reading(url, at, started, "", 0, 0, 0, 0, requests)
    if name is None:
        raise NotFoundError(
            f"the registry at {url} counts no notifications of "
            f"{'one endpoint' if endpoint is None else endpoint}: {', '.join(counters) or 'none'}",
            hint="Call its endpoint `regvault`, or name it (--registry-endpoint).",
        )
    own = counters[name]
    events, successes = own.get("Events", 0), own.get("Successes", 0)
    pending = own.get("Pending", max(0, events - successes))
    failures = own.get("Failures", 0)
    return Reading(url, at, started, name, events, successes, failures, pending, requests)


def _chosen(counters: dict[str, dict[str, int]], endpoint: str | None) -> str | None:
    if endpoint is None:
        endpoint = next(iter(counters)) if len(counters) == 1 else "regvault"
    return endpoint if endpoint in counters else None


def _expvar(page: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        for each in json.loads(page)["registry"]["notifications"]["endpoints"] or ():
            numbers = {k: v for k, v in each["Metrics"].items() if isinstance(v, int)}
            found[str(each["name"])] = {k: v for k, v in numbers.items() if v >= 0}
    return found


def _samples(page: str) -> list[tuple[str, dict[str, str], float]]:
    found: list[tuple[str, dict[str, Any], float]] = []
    for line in page.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or line.startswith("#"):
            continue
        with contextlib.suppress(ValueError):
            value = float(match[3])
            if math.isfinite(value) and value >= 0:
                found.append((match[1], dict(_LABEL.findall(match[2] or "")), value))
    return found
