"""Webhooks of Harbor 2.x: the default payload; its CloudEvents have the same data.

Source of the fields: `src/pkg/notifier/model/event.go` and `src/pkg/notifier/formats` of Harbor
v2.15.
"""

from __future__ import annotations

from typing import Any

from regvault.audit.formats import fields
from regvault.model.event import Event, new_event

__all__ = ["SOURCE", "TYPES", "events_of", "parse"]

SOURCE = "harbor"

#: Of a type, in both payloads: the action.
TYPES = {
    "PUSH_ARTIFACT": "push",
    "PULL_ARTIFACT": "pull",
    "DELETE_ARTIFACT": "delete",
    "CREATE_TAG": "push",
    "DELETE_TAG": "delete",
    "QUOTA_EXCEED": "quota",
    "QUOTA_WARNING": "quota",
    "REPLICATION": "replicate",
    "SCANNING_FAILED": "scan",
    "SCANNING_COMPLETED": "scan",
    "SCANNING_STOPPED": "scan",
    "TAG_RETENTION": "retention",
    "harbor.artifact.pushed": "push",
    "harbor.artifact.pulled": "pull",
    "harbor.artifact.deleted": "delete",
    "harbor.tag.created": "push",
    "harbor.quota.exceeded": "quota",
    "harbor.quota.warned": "quota",
    "harbor.replication.status.changed": "replicate",
    "harbor.scan.failed": "scan",
    "harbor.scan.completed": "scan",
    "harbor.scan.stopped": "scan",
    "harbor.tag_retention.finished": "retention",
}
_METHODS = {"push": "PUT", "pull": "GET", "delete": "DELETE"}
_MOST = 10_000


def parse(document: dict[str, Any], raw: str, now: str) -> list[Event]:
    """Return the events of a default payload, one for each resource.

    It has no id of its own: the same payload is the same event. Raises NoEventError.
    """
    return events_of(
        document,
        raw,
        kind=str(document["type"]),
        time=fields.moment(document.get("occur_at"), now),
        data=document.get("event_data"),
        own=None,
        request_id=None,
    )


def events_of(
    document: dict[str, Any],
    raw: str,
    *,
    kind: str,
    time: str,
    data: Any,
    own: str | None,
    request_id: str | None,
) -> list[Event]:
    """Return the events of one payload.

    Args:
        document: the payload.
        raw: as it came.
        kind: its type, in `TYPES` or not.
        time: when it happened.
        data: what the payload calls its data.
        own: the id of the whole payload, if it has one.
        request_id: of the request to Harbor.
    """
    data = fields.mapping(data)
    place = fields.mapping(data.get("repository"))
    found = data.get("resources")
    resources = found[:_MOST] if isinstance(found, list) else []
    own = own or fields.derived_id(SOURCE, raw)
    action = TYPES.get(kind, "other")
    events = []
    for number, resource in enumerate(map(fields.mapping, resources or [{}])):
        event = new_event(
            time,
            action,
            SOURCE,
            raw,
            method=_METHODS.get(action),
            repository=fields.repository(place.get("repo_full_name")),
            # A pull by digest has the digest in the place of the tag.
            tag=fields.tag(resource.get("tag")),
            digest=fields.digest(resource.get("digest")),
            actor=fields.text(document.get("operator")),
            kind="manifest" if resource else None,
            request_id=request_id,
            registry=(fields.text(resource.get("resource_url")) or "").partition("/")[0] or None,
            reason=None if action in _METHODS else fields.text(kind, 100),
        )
        event["id"] = own if number == 0 else f"{own}-{number}"
        events.append(event)
    return events
