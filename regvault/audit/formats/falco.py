"""Falco's alerts in JSON (`json_output: true`, 0.33 to 0.41), of a file or the body of a request.

falcosidekick (2.x) sends the same, with a `uuid`; as a CloudEvent that is its `data`.

    {"hostname":"node1","output":"...","output_fields":{"container.image.repository":"...",...},
     "priority":"Warning","rule":"...","source":"syscall","tags":[...],"time":"2026-11-20T..."}

An alert has the fields that its rule prints, so what image it is about is known where the rule says
so. Alerts of the audit log of Kubernetes have the names of its plugin, `ka.*`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from regvault.audit.formats.common import json_object, short, text_of, user_of
from regvault.audit.formats.times import iso_time
from regvault.model.event import new_event
from regvault.oci.grammar import is_digest, is_repository, is_tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.event import Event

__all__ = ["NAME", "from_object", "parse", "parse_body"]

NAME = "falco"

_REPOSITORY: Final = ("container.image.repository", "ka.req.pod.containers.image.repository")
_IMAGE: Final = ("container.image", "ka.req.pod.containers.image")
_KUBERNETES: Final = "k8s_audit"
_LONGEST: Final = 600
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:]{2,45}\])(?::\d{1,5})?", re.ASCII)


def parse(line: str, fallback_time: str) -> Event | None:
    """Return the event of one alert, or None where it is none.

    Args:
        line: of JSON, without its newline.
        fallback_time: when it was read.
    """
    obj = json_object(line)
    return None if obj is None else from_object(obj, line, fallback_time)


def parse_body(body: str, fallback_time: str) -> Iterator[Event]:
    """Give the events of what Falco sent: one object, on however many lines, or one a line."""
    whole = parse(body, fallback_time)
    if whole is not None:
        yield whole
        return
    for line in body.splitlines():
        event = parse(line, fallback_time)
        if event is not None:
            yield event


def from_object(obj: dict[str, Any], raw: str, fallback_time: str) -> Event | None:
    """Return the event of an alert, or None where the object is none."""
    rule, priority = obj.get("rule"), obj.get("priority")
    if type(rule) is not str or type(priority) is not str:
        return None
    fields = obj.get("output_fields")
    if type(fields) is not dict:
        if "output" not in obj:
            return None
        fields = {}
    registry, repository, tag, digest = _image(fields)
    actor = None
    if obj.get("source") == _KUBERNETES:
        actor = user_of(fields.get("ka.user.name")) or user_of(fields.get("user.name"))
    return new_event(
        iso_time(obj.get("time")) or fallback_time,
        "alert",
        NAME,
        raw,
        repository=repository,
        tag=tag,
        digest=digest,
        actor=actor,
        registry=registry,
        instance=text_of(obj.get("hostname")),
        severity=priority.lower()[:20] or None,
        reason=short(rule),
    )


def _image(fields: dict[str, Any]) -> tuple[str | None, str | None, str | None, str | None]:
    """Return registry, repository, tag and digest of the image that an alert is about."""
    registry, repository = _split(_first(fields, _REPOSITORY))
    tag, digest = fields.get("container.image.tag"), fields.get("container.image.digest")
    if repository is None:
        image = _first(fields, _IMAGE) or ""
        image, _, pinned = image.partition("@")
        name, colon, version = image.rpartition(":")
        if colon and "/" not in version:
            tag = tag or version
        else:
            name = image
        registry, repository = _split(name)
        digest = digest or pinned
    return (
        registry,
        repository,
        tag if type(tag) is str and is_tag(tag) else None,
        digest if type(digest) is str and is_digest(digest) else None,
    )


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first field that is a text, or the first of a list of texts."""
    for name in names:
        value = fields.get(name)
        if type(value) is list and value:
            value = value[0]
        if type(value) is str and 0 < len(value) <= _LONGEST:
            return value
    return None


def _split(name: str | None) -> tuple[str | None, str | None]:
    """Return the registry, or None, and the repository of a name such as `reg:5000/team/app`."""
    if not name:
        return None, None
    host, slash, rest = name.partition("/")
    if slash and _HOST.fullmatch(host) and ("." in host or ":" in host or host == "localhost"):
        return host, rest if is_repository(rest) else None
    return None, name if is_repository(name) else None
