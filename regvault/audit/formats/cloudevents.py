"""CloudEvents 1.0 over HTTP, structured or binary: of Harbor, of zot, of falcosidekick, of anyone.

Sources: the CloudEvents specification 1.0.2 with its HTTP protocol binding; for zot
`pkg/extensions/events` of v2.1, whose prefix of types can be configured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.audit.formats import falco, fields, harbor
from regvault.model.event import Event, new_event

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SOURCE", "from_headers", "parse"]

SOURCE = "cloudevents"
_ZOT = "zot"

#: Ends of the types of zot, with the actions.
_ZOT_TYPES = {
    "image.updated": "push",
    "image.deleted": "delete",
    "image.lint_failed": "other",
    "repository.created": "other",
}
_METHODS = {"push": "PUT", "delete": "DELETE"}


def from_headers(headers: Mapping[str, str], data: Any) -> dict[str, Any]:
    """Return the structured form of an event in binary mode.

    Args:
        headers: of the request, names in lower case.
        data: its body.
    """
    found: dict[str, Any] = {
        # What is no UTF-8 is a surrogate here, which JSON cannot say.
        name.removeprefix("ce-"): value.encode("utf-8", "backslashreplace").decode()
        for name, value in headers.items()
        if name[:3] == "ce-"
    }
    return {**found, "data": data}


def parse(document: dict[str, Any], raw: str, now: str) -> list[Event]:
    """Return the events that a CloudEvent tells of.

    Raises:
        NoEventError: it has no type.
    """
    kind = fields.text(document.get("type"), 255)
    if kind is None:
        raise fields.NoEventError("a CloudEvent without a type")
    source = fields.text(document.get("source")) or ""
    own = fields.own_id(document.get("id"), SOURCE, source)
    time = fields.moment(document.get("time"), now)
    data = document.get("data")
    if kind in harbor.TYPES or kind.startswith("harbor."):
        return harbor.events_of(
            document,
            raw,
            kind=kind,
            time=time,
            data=data,
            own=own,
            request_id=fields.text(document.get("requestid")),
        )
    data = fields.mapping(data)
    if kind.startswith("falco."):
        alert = falco.from_object(data, raw, time)
        if alert is not None:
            alert["id"] = own or fields.derived_id(SOURCE, raw)
            return [alert]
    zot = next((action for end, action in _ZOT_TYPES.items() if kind.endswith(end)), None)
    action = zot or "other"
    reference = data.get("reference")
    event = new_event(
        time,
        action,
        SOURCE if zot is None else _ZOT,
        raw,
        method=_METHODS.get(action),
        repository=fields.repository(data.get("name") or data.get("repository")),
        tag=fields.tag(reference),
        digest=fields.digest(data.get("digest")) or fields.digest(reference),
        actor=fields.text(data.get("actor")),
        kind="manifest" if zot and kind.endswith(("image.updated", "image.deleted")) else None,
        media_type=fields.text(data.get("mediaType")),
        references=_references(data.get("manifest")),
        registry=source or None,
        reason=kind if action == "other" else None,
    )
    event["id"] = own or fields.derived_id(SOURCE, raw)
    return [event]


def _references(manifest: Any) -> list[str] | None:
    """Return what a manifest that is sent along, as text, refers to."""
    if not isinstance(manifest, str):
        return None
    import orjson

    try:
        document = fields.mapping(orjson.loads(manifest))
    except ValueError:
        return None
    items: list[Any] = [document.get("config")]
    for name in ("layers", "manifests"):
        value = document.get(name)
        items += value[:10_000] if isinstance(value, list) else []
    found = (fields.digest(fields.mapping(item).get("digest")) for item in items)
    return [digest for digest in found if digest is not None] or None
