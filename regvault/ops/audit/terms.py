"""What events are found by."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from regvault.vault.audit.segment import term_of

if TYPE_CHECKING:
    from regvault.model.event import Event

__all__ = ["personal_terms_of", "term", "terms_of"]

term = lru_cache(20_000)(term_of)
"""`term_of`, remembered: of many events the fields are the same."""


def terms_of(event: Event) -> list[str]:
    """Return the terms of what an event does not tell of persons."""
    found = []
    repository = event["repository"]
    if repository is not None:
        found.append(term("repository", repository))
        if event["tag"] is not None:
            found.append(term("tag", f"{repository}:{event['tag']}"))
    if event["digest"] is not None:
        found.append(term("digest", event["digest"]))
    references = event.get("references")
    if isinstance(references, list):
        found += [term("digest", name) for name in references if isinstance(name, str)]
    if event["action"] in {"delete", "gap", "signal", "unparsed", "alert"}:
        found.append(term("action", event["action"]))
    return found


def personal_terms_of(persons: Event) -> list[tuple[str, str]]:
    """Return what is known of persons: field and value."""
    return [(name, persons[name]) for name in ("actor", "address") if persons[name] is not None]
