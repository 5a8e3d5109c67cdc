r"""The log of distribution (2.8, 3.0 and 3.1), in JSON and as logrus writes text.

    {"auth.user.name":"alice","http.request.method":"GET","http.request.uri":"/v2/team/app/...",
     "http.response.duration":"3.811677ms","http.response.status":200,"msg":"response completed",..}
    time="2026-11-27T17:15:45.228220753Z" level=info msg="response completed" http.request.id=...

Seen on 2.8.2, and read in `registry/handlers/app.go` of 3.1.0: a request that was refused for want
of a right or a login has no `response completed`, but `error authorizing context: ...`, and before
that, where a password was wrong, `error authenticating user "bob": ...` (3.1: `user failed to
authenticate`). Only the former is a `login` here, so that a failure counts once.

A request that failed in several ways, such as a push whose layers are missing, has as many lines of
`response completed with error`, with one `request_id`. The access log, in the combined format, has
all requests again: read one of the two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.formats.common import (
    client,
    http_event,
    json_object,
    log_event,
    method_of,
    number,
    request_id_of,
    short,
    status_of,
    text_of,
    unescape,
    user_of,
)
from regvault.audit.formats.times import go_duration, iso_time
from regvault.oci.grammar import is_digest, is_repository, is_tag

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["NAME", "from_object", "parse"]

NAME = "distribution-log"

_COMPLETED: Final = ("response completed", "response completed with error")
_REFUSED: Final = ("error authorizing context", "authorization fail")
#: What follows may be a name.
_WORDS = re.compile("[a-z :]{1,100}", re.ASCII)
#: What the message of a refusal may end in: whether a credential came, and was wrong.
_ENDINGS: Final = (
    "authorization token required",
    "invalid authorization credential",
    "insufficient scope",
    "authentication failure",
    "invalid token",
)
_AUTHENTICATING: Final = "error authenticating user "

_PAIR = re.compile(
    r'([A-Za-z0-9_.-]{1,100})=(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"|([^ "]*+))(?: |\Z)',
    re.DOTALL,
)
_MOST_PAIRS: Final = 64
_PLAIN: Final = 4
"""Fields of lines that have no more than `level`, `msg`, `time`, and an `error`."""


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of a line of distribution's log, JSON or text, or None.

    Args:
        line: without its newline.
        fallback_time: when it was read.
    """
    if line[:1] == "{":
        obj = json_object(line)
        return None if obj is None else from_object(obj, line, fallback_time)
    if line[:6] != 'time="':
        return None
    obj = _pairs(line)
    return None if obj is None else from_object(obj, line, fallback_time)


def from_object(obj: dict[str, Any], raw: str, fallback_time: str) -> Event | None:
    """Return the event of the fields of a line, or None where distribution did not write them."""
    message = obj.get("msg")
    level = obj.get("level")
    if type(message) is not str or type(level) is not str:
        return None
    time = iso_time(obj.get("time")) or fallback_time
    if message in _COMPLETED:
        uri = obj.get("http.request.uri")
        if type(uri) is str:
            event = http_event(
                time,
                NAME,
                raw,
                method_of(obj.get("http.request.method")),
                uri,
                status_of(obj.get("http.response.status")),
                go_duration(obj.get("http.response.duration")),
                number(obj.get("http.response.written")),
                user_of(obj.get("auth.user.name")),
                client(obj.get("http.request.remoteaddr")),
                text_of(obj.get("http.request.useragent")),
                request_id_of(obj.get("http.request.id")),
            )
            if "instance.id" in obj:
                _add(event, "instance", request_id_of(obj["instance.id"]))
            if "vars.name" in obj and (event["repository"] is None or event["action"] == "other"):
                _variables(event, obj)
            if "err.code" in obj or "err.message" in obj:
                _reason(event, text_of(obj.get("err.code")) or text_of(obj.get("err.message")))
            return event
    if message.startswith(_REFUSED):
        return _refused(obj, raw, time, message)
    if "go.version" not in obj and len(obj) > _PLAIN:
        return None  # others log `level` and `msg` too: Traefik
    reason = "error authenticating a user" if message.startswith(_AUTHENTICATING) else None
    event = log_event(time, NAME, raw, severity=level, reason=reason)
    if "instance.id" in obj:
        _add(event, "instance", request_id_of(obj["instance.id"]))
    return event


def _variables(event: Event, obj: dict[str, Any]) -> None:
    """Fill what the URI did not tell with what the router made of it."""
    if event["repository"] is None and event["action"] != "login":
        name = obj.get("vars.name")
        if type(name) is str and is_repository(name):
            event["repository"] = name
    if event["digest"] is None and event["tag"] is None:
        reference = obj.get("vars.digest", obj.get("vars.reference"))
        if type(reference) is str:
            if is_digest(reference):
                event["digest"] = reference
            elif is_tag(reference):
                event["tag"] = reference


def _refused(obj: dict[str, Any], raw: str, time: str, message: str) -> Event:
    """Return the event of a request that lacked a login or a right: what it asked for is kept."""
    uri = obj.get("http.request.uri")
    event = http_event(
        time,
        NAME,
        raw,
        method_of(obj.get("http.request.method")),
        uri if type(uri) is str else "",
        401,
        None,
        None,
        None,
        client(obj.get("http.request.remoteaddr")),
        text_of(obj.get("http.request.useragent")),
        request_id_of(obj.get("http.request.id")),
    )
    event["action"] = "login"
    event["actor"] = user_of(obj.get("auth.user.name"))
    event.pop("kind", None)
    event.pop("from_repository", None)
    if "vars.name" in obj and event["repository"] is None:
        name = obj["vars.name"]
        event["repository"] = name if type(name) is str and is_repository(name) else None
    words = _WORDS.match(message)
    reason = words[0].strip(" :") if words else ""
    ending = next((each for each in _ENDINGS if message.endswith(each)), "")
    if ending and not reason.endswith(ending):
        reason = f"{reason}: {ending}"
    _reason(event, reason)
    return event


def _reason(event: Event, reason: str | None) -> None:
    _add(event, "reason", short(reason) if reason else None)


def _add(event: Event, name: str, value: str | None) -> None:
    """Add a field, in its place before what tells of persons; None: leave it out."""
    if value:
        last = [(each, event.pop(each)) for each in ("actor", "address", "useragent", "raw")]
        event[name] = value
        event.update(last)


def _pairs(line: str) -> dict[str, Any] | None:
    """Return the fields of a line of logrus, or None where the line is not all made of them."""
    fields: dict[str, Any] = {}
    at = 0
    for found in _PAIR.finditer(line):
        if found.start() != at or len(fields) >= _MOST_PAIRS:
            break
        at = found.end()
        name, quoted, bare = found.groups()
        fields.setdefault(name, bare if quoted is None else unescape(quoted))
    # Go writes no field but these first three in front of the others, and a client none of them.
    return fields if "level" in fields and "msg" in fields else None
