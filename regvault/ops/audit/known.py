"""How far chains were at some time, as snapshots and verifications say: a cut tail shows by it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, UnknownFormatError, VaultDamagedError
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.vault.vault import Vault

__all__ = ["RECORDS", "heads_of", "known_heads"]

RECORDS = "audits"
"""The kind of the records in which a verification says how far chains were."""


def known_heads(vault: Vault) -> dict[str, int]:
    """Return how many links each chain has at least, by the newest who say it: id -> number."""
    found: dict[str, int] = {}
    for registry in vault.registries():
        root = next(vault.roots(registry, damaged=lambda _: None), None)
        if root is not None:
            _add(found, root.audit)
    newest = max((entry.key for entry in vault.store.list(f"records/{RECORDS}/")), default=None)
    if newest is not None:
        with contextlib.suppress(VaultDamagedError, ObjectNotFoundError, UnknownFormatError):
            data = fetch_document(vault.store, newest)
            body = read_document(data, newest, types=(RECORDS,), vault=vault.id).body
            _add(found, body.get("heads"))
    return found


def heads_of(value: Any) -> Iterator[tuple[str, int, str]]:
    """Yield what a root or a record says of chains: id, number and SHA-256 of its newest link."""
    for chain, head in value.items() if isinstance(value, dict) else ():
        if isinstance(head, dict) and isinstance(head.get("sequence"), int):
            yield chain, head["sequence"], str(head.get("sha256"))


def _add(found: dict[str, int], heads: Any) -> None:
    for chain, number, _ in heads_of(heads):
        found[chain] = max(found.get(chain, 0), number)
