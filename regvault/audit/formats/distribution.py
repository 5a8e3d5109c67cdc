"""Notifications of CNCF distribution 2.7 to 3.1: the envelope `{"events": [...]}`, v1 and v2.

Source of the fields: `notifications/event.go` of distribution v2.8.3 and v3.1.1. Gitea, GitLab and
others that embed it send the same.
"""

from __future__ import annotations

from typing import Any

from regvault.audit.formats import fields
from regvault.model.event import Event, new_event, split_address

__all__ = ["SOURCE", "parse"]

SOURCE = "distribution"

_ACTIONS = {"pull", "push", "mount", "delete"}
_BLOB = "application/octet-stream"
_MOST_REFERENCES = 10_000


def parse(document: dict[str, Any], raws: list[str], now: str) -> list[Event]:
    """Return the events of an envelope.

    Args:
        document: the envelope.
        raws: the JSON of each of its events, as it came.
        now: for events that have no time.

    Raises:
        NoEventError: one of them is none; nothing of the envelope is an event then.
    """
    found = document["events"]
    if not isinstance(found, list):
        raise fields.NoEventError("`events` is no list")
    return [_event(item, raw, now) for item, raw in zip(found, raws, strict=True)]


def _event(item: Any, raw: str, now: str) -> Event:
    if not isinstance(item, dict) or not isinstance(item.get("action"), str):
        raise fields.NoEventError("an event without an action")
    target = fields.mapping(item.get("target"))
    request = fields.mapping(item.get("request"))
    source = fields.mapping(item.get("source"))
    media_type = fields.text(target.get("mediaType"))
    digest = fields.digest(target.get("digest"))
    size = fields.number(target.get("size"))
    event = new_event(
        fields.moment(item.get("timestamp"), now),
        item["action"] if item["action"] in _ACTIONS else "other",
        SOURCE,
        raw,
        method=fields.text(request.get("method"), 32),
        repository=fields.repository(target.get("repository")),
        tag=fields.tag(target.get("tag")),
        digest=digest,
        actor=fields.text(fields.mapping(item.get("actor")).get("name")),
        address=split_address(fields.text(request.get("addr")) or ""),
        useragent=fields.text(request.get("useragent")),
        kind=_kind(item["action"], media_type, digest),
        media_type=media_type,
        size=fields.number(target.get("length")) if size is None else size,
        references=_references(target.get("references")),
        from_repository=fields.repository(target.get("fromRepository")),
        request_id=fields.text(request.get("id")),
        registry=fields.text(request.get("host")),
        instance=fields.text(source.get("instanceID")),
    )
    event["id"] = fields.own_id(item.get("id"), SOURCE) or fields.derived_id(SOURCE, raw)
    return event


def _kind(action: str, media_type: str | None, digest: str | None) -> str | None:
    """Return what the target is. A deletion of 3.x says neither type nor, of a tag, a digest."""
    if media_type == _BLOB or action == "mount":
        return "blob"
    if media_type:
        return "manifest"
    return "tag" if action == "delete" and digest is None else None


def _references(value: Any) -> list[str] | None:
    """Return the digests that a manifest refers to."""
    if not isinstance(value, list):
        return None
    items = (fields.digest(fields.mapping(item).get("digest")) for item in value)
    return [digest for digest in items if digest is not None][:_MOST_REFERENCES] or None
