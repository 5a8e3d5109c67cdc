"""What events are found by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.ops.audit.select import BARE, MOVED

if TYPE_CHECKING:
    from regvault.audit.told import Persons, Told

__all__ = ["personal_terms_of", "terms_of"]

_MOVING = {"push", "delete"}
_ACTIONS = {"delete", "gap", "signal", "unparsed", "alert"}


def terms_of(event: Told) -> list[tuple[str, str]]:
    """Return what an event is found by that does not tell of persons: (kind, value)."""
    found = []
    repository = event.repository
    if repository is not None:
        found.append(("repository", repository))
        if event.tag is not None:
            name = f"{repository}:{event.tag}"
            found.append(("tag", name))
            if event.digest is None:
                found.append((BARE, name))
            if event.action in _MOVING:
                found.append((MOVED, name))
    if event.digest is not None:
        found.append(("digest", event.digest))
    if event.references is not None:
        found += [("digest", name) for name in event.references]
    if event.action in _ACTIONS:
        found.append(("action", event.action))
    return found


def personal_terms_of(persons: Persons) -> list[tuple[str, str]]:
    """Return what is known of persons: (field, value)."""
    found = []
    if persons.actor is not None:
        found.append(("actor", persons.actor))
    if persons.address is not None:
        found.append(("address", persons.address))
    return found
