"""What tags were, as snapshots know it, where events do not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import NotFoundError
from regvault.ops.find import find_tag
from regvault.policy.references import Reference

if TYPE_CHECKING:
    from regvault.ops.audit.access.view import AccessView
    from regvault.vault.vault import Vault

__all__ = ["named_by_snapshots"]


def named_by_snapshots(vault: Vault, view: AccessView) -> dict[str, list[tuple[str, str]]]:
    """Return which digests tags have named of which nothing but pulls is known.

    A pull of such a tag may have been of each of them.

    Args:
        vault: whose snapshots are asked.
        view: of its statistics.

    Returns:
        Digest -> repositories and tags.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for repository, tag in view.open_tags():
        try:
            ranges = find_tag(vault, Reference(repository, tag)).ranges
        except NotFoundError:
            continue
        for digest in {digest for _, digest in ranges if digest}:
            found.setdefault(digest, []).append((repository, tag))
    return found
