"""What a root says of where it was read from, what of it, and when. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regvault.model.registry import RegistrySource
    from regvault.vault.root import Root

__all__ = ["globs_that_fit", "is_from", "place_of", "place_text", "windows_that_fit"]

#: A root is small: its lists of globs and of windows have at most so many bytes each.
_MOST = 4096


def place_of(source: RegistrySource) -> dict[str, str]:
    """Return the `source` of a root."""
    place = {"kind": source.kind, "location": source.location}
    return {**place, "endpoint": source.endpoint} if source.endpoint else place


def place_text(source: Mapping[str, Any]) -> str:
    """Return the `source` of a root for people."""
    endpoint = source.get("endpoint")
    return f"{source.get('location')}" + (f" at {endpoint}" if endpoint else "")


def is_from(root: Root, source: RegistrySource) -> bool:
    """Return whether a snapshot was read from the place that `source` reads."""
    before = root.source
    return before.get("location") == source.location and (
        not before.get("endpoint") or before["endpoint"] == source.endpoint
    )


def globs_that_fit(globs: Iterable[str]) -> list[str]:
    """Return what was read, as much of it as fits; `...` says that there was more."""
    kept: list[str] = []
    size = 0
    for glob in globs:
        size += len(glob.encode()) + 8
        if size > _MOST:
            return [*kept, "..."]
        kept.append(glob)
    return kept


def windows_that_fit(windows: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the read windows of repositories that did not hold still, as many as fit."""
    kept: dict[str, list[str]] = {}
    size = 0
    for name, window in windows.items():
        size += len(name) + 64
        if size > _MOST:
            break
        kept[name] = window
    return kept
