"""Token services: docker_auth (1.5 to 1.14) with its lines of glog, and Harbor's (2.0 to 2.15).

    W1120 03:00:00.123456       1 server.go:493] Auth failed: {bob:***@10.0.0.9:4711 [...]}
    I1120 03:00:00.123456       1 server.go:424] New token for {alice:***@10.0.0.9:4711
    [{repository team/app [pull]}]} map[]: {"iss":...}

glog has no year, and the local time of its machine, taken for UTC. docker_auth writes two lines for
one failure; that with the address is the event. Harbor's are lines of its core.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from regvault.audit.formats import harbor_log
from regvault.audit.formats.common import client, log_event, user_of
from regvault.audit.formats.times import yearless_time
from regvault.model.event import new_event
from regvault.oci.grammar import is_repository

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["NAME", "parse"]

NAME = "token"

_GLOG = re.compile(
    r"([IWEF])(\d{4} \d\d:\d\d:\d\d\.\d{6}) +\d{1,10} ([\w.-]{1,100}):\d{1,6}\] ", re.ASCII
)
_SEVERITY: Final = {"I": "info", "W": "warning", "E": "error", "F": "fatal"}

# `{USER:***@ADDRESS [SCOPES]}`; scopes are structs as Go prints them, with a class or without.
_REQUEST = re.compile(
    r"\{(.{0,255}?):(?:\*\*\*)?@(\[?[0-9A-Fa-f:.]{2,45}\]?(?::\d{1,5})?) "
    r"\[((?:\{[^{}]{0,600}\} ?){0,32})\]\}",
    re.ASCII | re.DOTALL,
)
_REPOSITORY = re.compile(r"\{repository (?:\S{0,64} )?(\S{1,255}) \[[a-z,* ]{0,100}\]\}")

_TOKEN: Final = "New token for "  # noqa: S105 -- no token, a message
_FAILED: Final = "Auth failed: "
_BAD: Final = "Bad request: "
_HEAD: Final = 16384


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line of a token service, without a prefix of syslog, or None.

    Args:
        line: without its newline.
        fallback_time: when it was read; glog's lines have no year.
    """
    found = _GLOG.match(line)
    if found is None:
        if "/core/service/token/" in line[:255]:
            return harbor_log.parse(line, fallback_time)
        return None
    level, at, _where = found.groups()
    time = yearless_time(at, fallback_time) or fallback_time
    message = line[found.end() : found.end() + _HEAD]
    if message.startswith(_TOKEN):
        return _request(line, message[len(_TOKEN) :], time, 200, None)
    if message.startswith(_FAILED):
        return _request(line, message[len(_FAILED) :], time, 401, "authentication failed")
    if message.startswith(_BAD):
        return new_event(time, "login", NAME, line, status=400, reason="bad request")
    if message.startswith("{"):
        return _about_request(line, message, time, _SEVERITY[level])
    reason = None
    if message.startswith("Failed authentication with "):
        reason = "authentication failed"  # of whom, the next line has too
    return log_event(time, NAME, line, severity=_SEVERITY[level], reason=reason)


def _request(line: str, text: str, time: str, status: int, reason: str | None) -> Event:
    """Return the event of a request that was answered, with what can be told of it."""
    found = _REQUEST.match(text)
    actor = address = repository = None
    if found is not None:
        actor, address = user_of(found[1]), client(found[2])
        for name in _REPOSITORY.findall(found[3]):
            if is_repository(name):
                repository = name
                break
    return new_event(
        time,
        "login",
        NAME,
        line,
        status=status,
        repository=repository,
        actor=actor,
        address=address,
        reason=reason,
    )


def _about_request(line: str, message: str, time: str, severity: str) -> Event:
    """Return the event of a line that begins with a request: an error, or that no rule matched."""
    found = _REQUEST.match(message)
    if found is not None and message.startswith(": authn #", found.end()):
        return _request(line, message, time, 500, "the authenticator failed")
    reason = None
    for what in ("did not match any authn rule", "did not match any authz rule"):
        if message.endswith(what):
            reason = what
    return log_event(time, NAME, line, severity=severity, reason=reason)
