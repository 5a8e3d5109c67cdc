"""Writes lines of the catalog anew: it is derived, and each object tells what lies in it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from regvault.errors import (
    CredentialError,
    ObjectArchivedError,
    ObjectNotFoundError,
    VaultDamagedError,
)
from regvault.vault import recover
from regvault.vault.age import HEADER_BYTES
from regvault.vault.catalog import current_catalog
from regvault.vault.keys import digest_of_key, is_keyed, name_of_key, new_run_id, parse_segment_key
from regvault.vault.segment import Location, Segment, sealed_proof, write_segment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["rebuild_catalog"]

#: Why an object may not tell what lies in it: an archived one does once it is thawed.
_UNREADABLE = (VaultDamagedError, ObjectNotFoundError, CredentialError, ObjectArchivedError)


def rebuild_catalog(
    vault: Vault, roots: Iterable[Root], bad: Collection[str], untold: Collection[str] = ()
) -> str | None:
    """Write a segment in the place of bad ones, with all that no good one tells.

    Objects whose lines only bad segments have are read again. The new segment names the bad ones as
    superseded, so that readers pass over them and a prune deletes them.

    Args:
        vault: where.
        roots: of all snapshots.
        bad: keys of segments that are damaged, or that say what is not so.
        untold: keys of objects of which good ones tell too little.

    Returns:
        its key; None where there was nothing to write.
    """
    store = vault.store
    catalog = current_catalog(vault)
    lines: set[bytes] = set()
    try:
        told: set[str] = set()
        for segment in catalog.segments():
            if segment.name.key not in bad:
                with suppress(VaultDamagedError, ObjectNotFoundError):
                    told.update(line.split(b" ", 2)[1].decode() for line in segment.read())
    finally:
        catalog.close()
    told -= set(untold)
    done: set[str] = set()
    for root in roots:
        with suppress(VaultDamagedError):
            for ref in vault.object_list(root):
                if ref.key not in told and ref.key not in done:
                    done.add(ref.key)
                    with suppress(*_UNREADABLE):
                        lines.update(place.line() for place in _places(vault, ref))
    lines.update(_some_line(vault, bad) if bad and not lines else ())
    levels = [name.level for name in map(parse_segment_key, bad) if name is not None]
    level = max(levels) + 1 if levels else 0
    store.barrier()
    return write_segment(
        store,
        sorted(lines),
        level=level,
        run=new_run_id(),
        supersedes=sorted(bad),
        seal=vault.seal,
    )


def _places(vault: Vault, ref: ObjectRef) -> Iterator[Location]:
    if ref.key.startswith(recover.PREFIXES):
        yield from recover.members_of(vault.store, ref, vault.seal)
    elif is_keyed(ref.key):
        head = vault.store.get(ref.key, length=HEADER_BYTES)
        name, size = name_of_key(ref.key), vault.seal.raw_size(head, ref.size)
        if name is not None and size is not None:
            yield Location(name, ref.key, 0, ref.size, size, sealed_proof(ref.sha256))
    elif ref.key.startswith("blobs/"):
        digest = digest_of_key(ref.key)
        if digest is not None:
            yield Location(digest, ref.key, 0, ref.size, ref.size, "regvault")


def _some_line(vault: Vault, bad: Collection[str]) -> Iterator[bytes]:
    """Yield a line that another segment has: one without any cannot supersede the bad ones."""
    for entry in vault.store.list("catalog/"):
        name = parse_segment_key(entry.key)
        if name is None or entry.key in bad:
            continue
        with suppress(VaultDamagedError, ObjectNotFoundError):
            for line in Segment(vault.store, name, vault.seal).read():
                yield line
                return
