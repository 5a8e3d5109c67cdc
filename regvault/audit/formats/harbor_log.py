"""Harbor's own lines: the log of its core, and the audit log that it forwards (2.7 to 2.15).

    2026-11-20T03:00:00Z [ERROR] [/server/middleware/security/basic_auth.go:72][client IP="10.0.0.9"
    user agent="docker/27.3.1"]: failed to authenticate user:bob, error:...
    2026-11-20T03:00:00Z [INFO] [/pkg/auditext/manager.go:84][operator="alice"
    resourceType="artifact" time="2026-11-20 03:00:00.123 +0000 UTC"]: action:pull, resource:...

Each is one line; forwarded ones come by syslog over TCP, tagged `audit`. Read in `src/lib/log`,
`src/pkg/audit`, `src/pkg/auditext` and `src/controller/event` of Harbor 2.15: a forwarded line does
not say whether it succeeded, nor from where it came. From 2.13 on, it has `operation_description`.

Fields are quoted without any escape, and the operator of a failed login is what a client sent: a
line that could be read in two ways is a `log` line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from regvault.audit.formats.common import (
    forwarded,
    log_event,
    request_id_of,
    short,
    text_of,
    user_of,
)
from regvault.audit.formats.times import iso_time
from regvault.audit.formats.uri import read
from regvault.model.event import new_event
from regvault.oci.grammar import is_digest, is_repository, is_tag

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["NAME", "parse"]

NAME = "harbor-log"

_LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)) \[(DEBUG|INFO|WARNING|ERROR|FATAL)\] "
    r"(?:\[([\w./-]{1,255}):\d{1,6}\])?",
    re.ASCII,
)
_AUDIT = re.compile(
    r'\[operator="(.{0,1000})" resourceType="([\w-]{1,64})" time="([^"]{1,100})"\]: '
    r"action:([\w-]{1,64}), resource:(.*)\Z",
    re.ASCII | re.DOTALL,
)
_GO_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,9})?) ([+-]\d\d)(\d\d) ", re.ASCII
)
_FIELD = re.compile(r'(client IP|user agent|requestID)="([^"]{0,1000})"')
_FAILED = re.compile(r": failed to authenticate user:(.{1,255}), error:", re.DOTALL)
_UI_FAILED: Final = ": Error occurred in UserLogin: "
_ROBOT_FAILED: Final = ": failed to authenticate "
_LOCKED: Final = ": Login failed, locking "
_SERVICE: Final = "/core/service/token/"
_ASKED: Final = ": URL for token request: "
_UNEXPECTED: Final = ": Unexpected error when creating the token"
_UNKNOWN_SERVICE: Final = ": Unable to handle service: "

# What the parts of an image are called in the audit log, and what its operations are here.
_IMAGE: Final = frozenset({"artifact", "tag", "repository"})
_ACTION: Final = {"create": "push", "push": "push", "pull": "pull", "delete": "delete"}

_HEAD: Final = 4096


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line of Harbor, without a prefix of syslog, or None.

    Args:
        line: without its newline.
        fallback_time: when it was read.
    """
    found = _LINE.match(line)
    if found is None:
        return None
    at, level, where = found.groups()
    time = iso_time(at) or fallback_time
    if line.startswith('[operator="', found.end()):
        event = _audited(line, line[found.end() :], time)
        return event or log_event(time, NAME, line, severity=level)
    # A message begins where its fields end; a client's texts are before that, or in it.
    head = line[found.end() : found.end() + _HEAD]
    if where is not None and _SERVICE in where:
        event = _token(line, head, time)
    else:
        event = _failure(line, head, time)
    if event is not None:
        return event
    reason = None
    if _LOCKED in head or _ROBOT_FAILED in head:
        reason = "a login failed"  # and a line on the same failure says it of whom: see `_failure`
    return log_event(time, NAME, line, severity=level, reason=reason)


def _audited(line: str, text: str, time: str) -> Event | None:
    """Return the event of a line of the audit log, or None where it can be read in two ways."""
    found = _AUDIT.match(text)
    if found is None or text.count("]: action:") != 1 or text.count('" resourceType="') != 1:
        return None
    operator, kind, at, operation, resource = found.groups()
    resource, described, description = resource.partition(", operation_description:")
    time = _go_time(at) or time
    actor = None if operator in {"anonymous", "unknown"} else user_of(operator)
    if kind == "user" and operation in {"login", "logout"}:
        action = "login" if operation == "login" else "other"
        return new_event(time, action, NAME, line, actor=actor, reason=operation)
    action = _ACTION.get(operation, "change") if kind in _IMAGE else "change"
    if action == "change":
        reason = f"{operation} {kind}"
        if kind == "project" and is_repository(resource):
            reason += f" {resource}"
        return new_event(time, "change", NAME, line, actor=actor, reason=reason)
    repository, tag, digest = _image(resource)
    if described and digest is None and "@" in description:
        # A push or a pull by a tag: the description has the digest. `push artifact: NAME@DIGEST`
        name, _, text = description.rpartition(" ")[2].rpartition("@")
        digest = text if name == repository and is_digest(text) else None
    return new_event(
        time,
        action,
        NAME,
        line,
        repository=repository,
        tag=tag,
        digest=digest,
        actor=actor,
        kind=None if kind == "repository" else "manifest",
    )


def _image(resource: str) -> tuple[str | None, str | None, str | None]:
    """Return repository, tag and digest: `NAME:TAG`, `NAME@DIGEST`, before 2.13 `NAME:DIGEST`."""
    if len(resource) > 1000:
        return None, None, None
    name, at, digest = resource.partition("@")
    if not at:
        name, colon, digest = resource.partition(":")
        if colon and not is_digest(digest):
            if is_repository(name):
                return name, digest if is_tag(digest) else None, None
            return None, None, None
    if not is_repository(name):
        return None, None, None
    return name, None, digest if is_digest(digest) else None


def _go_time(text: str) -> str | None:
    """Return a time as Go prints it: `2026-11-20 03:00:00.123 +0000 UTC m=+5.1`."""
    found = _GO_TIME.match(text)
    if found is None:
        return None
    day, clock, hours, minutes = found.groups()
    return iso_time(f"{day}T{clock}{hours}:{minutes}")


def _failure(line: str, head: str, time: str) -> Event | None:
    """Return the event of a failed login.

    A robot's failure has two lines, as a lock has: that of basic authentication follows, and is the
    one taken.
    """
    found = _FAILED.search(head)
    if found is None and _UI_FAILED not in head:
        return None
    fields = dict(_FIELD.findall(head[: found.start() if found else 0]))
    return new_event(
        time,
        "login",
        NAME,
        line,
        status=401,
        actor=user_of(found[1]) if found is not None else None,
        # `TRUE_CLIENT_IP_HEADER`, X-Forwarded-For where nothing else was set.
        address=forwarded(fields.get("client IP")),
        useragent=text_of(fields.get("user agent")),
        request_id=request_id_of(fields.get("requestID")),
        reason="authentication failed",
    )


def _token(line: str, head: str, time: str) -> Event | None:
    """Return the event of a line of the token service."""
    asked = head.partition(_ASKED)[2]
    if asked:
        call = read("GET", asked, None)
        repository = call.repository if call is not None else None
        return new_event(time, "login", "token", line, method="GET", repository=repository)
    if _UNKNOWN_SERVICE in head:
        return new_event(time, "login", "token", line, status=400, reason="unknown service")
    if _UNEXPECTED in head:
        message = short(head[head.index(_UNEXPECTED) + 2 :])
        return new_event(time, "login", "token", line, status=500, reason=message)
    return None
