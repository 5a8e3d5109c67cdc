"""Finds a place for blobs that snapshots need and no object has, so that lists name them again.

No root is rewritten, and no list gets longer: an object that the list names gives way to one that
holds these blobs too, and an amendment says so.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import CredentialError, VaultDamagedError
from regvault.model.state import checked_line
from regvault.ops.snapshot.session import parse_entry
from regvault.vault.keys import blob_key
from regvault.vault.recover import PREFIXES
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectList, ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Carriers", "find_carriers"]

#: Blobs of this size are objects of their own, unless they are manifests.
_RAW_BYTES = 1 << 20


#: So much of them comes into one object, which stays below what readers take.
_ROOM_BYTES = 8 << 20


class Carriers(NamedTuple):
    """Which objects are to hold what no object does.

    Attributes:
        added: key -> digest -> size of the blobs that come into the object that takes its place.
        refs: key -> the object, as a list names it.
        left: digests for which there is no such object: they are too large to lie beside others.
    """

    added: dict[str, dict[str, int]]
    refs: dict[str, ObjectRef]
    left: set[str]


class _Blob(NamedTuple):
    digest: str
    size: int
    raw: bool


def find_carriers(
    vault: Vault,
    roots: Iterable[Root],
    catalog: Catalog,
    wanted: Container[str],
    rewritten: Container[str],
    damaged: Container[str],
) -> Carriers:
    """Choose, for each snapshot, the objects that are to hold what the snapshot lacks.

    Args:
        vault: where.
        roots: of all snapshots.
        catalog: where blobs lie.
        wanted: digests of the blobs that some snapshot lacks, and that some place has.
        rewritten: keys of damaged objects that are made anew anyway: these are taken first.
        damaged: keys of objects that cannot be moved as they are.
    """
    found = Carriers({}, {}, set())
    states: dict[str, set[_Blob]] = {}
    for root in roots:
        with suppress(VaultDamagedError, CredentialError):
            objects = vault.object_list(root)
            blobs = sorted(_needs(vault, root, objects, wanted, states))
            lacking = [blob for blob in blobs if not _holds(catalog, objects, blob.digest)]
            found.left.update(blob.digest for blob in lacking if blob.raw)
            small = [blob for blob in lacking if not blob.raw]
            if small:
                refs = _candidates(vault, catalog, objects, found, rewritten, damaged)
                _spread(small, list(refs), found)
    return found


def _spread(blobs: Iterable[_Blob], refs: list[ObjectRef], found: Carriers) -> None:
    """Give each blob a place in one of some objects, the best of these first."""
    for digest, size, _ in blobs:
        taken = [found.added.get(ref.key, {}) for ref in refs]
        if any(digest in each for each in taken):
            continue
        for ref, each in zip(refs, taken, strict=True):
            room = max(_ROOM_BYTES, ref.size if ref.key.startswith("packs/") else 0)
            if not each or sum(each.values()) + size <= room:
                found.refs[ref.key] = ref
                found.added.setdefault(ref.key, {})[digest] = size
                break
        else:
            found.left.add(digest)


def _needs(
    vault: Vault,
    root: Root,
    objects: ObjectList,
    wanted: Container[str],
    states: dict[str, set[_Blob]],
) -> set[_Blob]:
    """Return what a snapshot needs of some blobs. `states`: what was read before."""
    found: set[_Blob] = set()
    for line in vault.tree("repositories", root.repositories, objects).lines():
        state = parse_entry(line).state
        if state not in states:
            parsed = map(checked_line, vault.tree("state", ChunkRef(state), objects).lines())
            states[state] = {
                _Blob(each.name, each.size, each.what != "rev" and each.size >= _RAW_BYTES)
                for each in parsed
                if each.size is not None and each.name in wanted
            }
        found |= states[state]
    return found


def _holds(catalog: Catalog, objects: ObjectList, digest: str) -> bool:
    """Return whether an object of a list holds a blob, as far as lines tell."""
    name = catalog.seal.name(digest)
    listed = any(objects.has(place.key) for place in catalog.find(digest))
    return listed or bool(objects.variants(blob_key(name)))


def _candidates(
    vault: Vault,
    catalog: Catalog,
    objects: ObjectList,
    found: Carriers,
    rewritten: Container[str],
    damaged: Container[str],
) -> Iterator[ObjectRef]:
    """Yield objects of a list that others may come into, those that cost least first."""
    for key, new in vault.amendments.items():
        line = objects.line(key) if new is None and key.startswith(PREFIXES) else None
        if line is not None:
            yield line  # nothing took its place: nothing has to be moved
    # Meta objects are made anew by those alone who can open contents.
    last = "packs/" if catalog.seal.opens_contents else "meta/"
    ranked = [
        (rank, prefix == last, ref)
        for prefix in PREFIXES
        for ref in objects.with_prefix(prefix)
        for rank in (0 if ref.key in rewritten else 1 if ref.key in found.added else 2,)
        if not rank or ref.key not in damaged
    ]
    ranked.sort(key=lambda each: (each[0], each[1], each[2].size, each[2].key))
    yield from (ref for _, _, ref in ranked)
