"""Segments of a sealed vault at a target: copied as they are, without a key, so that none is lost.

What the source merged lacks the lines of what it has condemned. A target that keeps snapshots for
longer needs them: there a merged segment takes nobody's place. Its frames are stored under another
name, with a table that supersedes only the original; no frame is opened for that.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from regvault.errors import DigestMismatchError, ObjectNotFoundError, VaultDamagedError
from regvault.vault.catalog import Catalog
from regvault.vault.keys import CATALOG, parse_segment_key
from regvault.vault.segment import Segment, rewrite_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import ObjectStore
    from regvault.vault.vault import Vault

__all__ = ["merge_opened", "take_segments"]


def take_segments(vault: Vault, source: ObjectStore, run: str, *, keeps_longer: bool) -> None:
    """Copy the segments of a sealed vault that are not at a target yet.

    Args:
        vault: the target.
        source: the source's store.
        run: this run's id.
        keeps_longer: the target has snapshots that the source has forgotten.
    """
    store = vault.store
    there = {entry.key for entry in store.list(CATALOG)}
    absent = [entry for entry in source.list(CATALOG) if entry.key not in there]
    known = _superseded(store, there) if absent else set()
    for entry in absent:
        name = parse_segment_key(entry.key)
        if name is None or entry.key in known:
            continue
        # One that is gone was merged; a damaged one is of no use here either.
        with contextlib.suppress(ObjectNotFoundError, DigestMismatchError, VaultDamagedError):
            if name.level > 0 and keeps_longer:
                rewrite_table(source, name, store, run=run, supersedes=[entry.key])
                continue
            with source.open(entry.key) as reader:
                store.put_stream(entry.key, reader, size=entry.size, sha256=name.sha256)


def _superseded(store: ObjectStore, keys: Iterable[str]) -> set[str]:
    """Return all that segments of a vault say they supersede, there or not."""
    found: set[str] = set()
    for key in keys:
        name = parse_segment_key(key)
        if name is not None and name.level > 0:
            with contextlib.suppress(ObjectNotFoundError, VaultDamagedError):
                found.update(Segment(store, name).table().supersedes)
    return found


def merge_opened(vault: Vault, run: str, condemned: set[str]) -> None:
    """Merge the segments of a sealed target, where an identity opens them.

    Args:
        vault: the target.
        run: this run's id.
        condemned: keys of objects that are condemned there.
    """
    if not vault.seal.opens_names:
        return
    catalog = Catalog(vault.store, None, vault.seal, condemned)
    try:
        catalog.merge(run, condemned, vault.first_names)
    finally:
        catalog.close()
