"""Where `find` looks: chains of roots, the catalog, what a short digest stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import NotFoundError, ObjectNotFoundError, UsageError
from regvault.oci.grammar import is_digest
from regvault.ops.opened import Opened
from regvault.ops.selector import read_slots, registry_named, registry_names
from regvault.vault.keys import blob_key
from regvault.vault.segment import Location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.vault.catalog import Catalog
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["chains", "expand", "places"]


def chains(
    vault: Vault, registry: str | None, damaged: list[str]
) -> Iterator[tuple[str, Iterator[Root]]]:
    """Yield each registry with its roots, the oldest first."""
    names = registry_names(vault)
    if registry is not None:
        registry = registry_named(vault, registry, names)

    def chain(name: str) -> Iterator[Root]:
        for slot in read_slots(vault, name, vault.slots(name)):
            if slot.root is not None:
                yield slot.root
            elif slot.error is not None:
                damaged.append(str(slot.name))

    for name in names:
        if registry in (None, name):
            yield name, chain(name)


def places(vault: Vault, catalog: Catalog, digest: str) -> Iterator[tuple[Location, bool]]:
    """Yield where a blob lies, and whether that object is there."""
    found = catalog.find(digest)
    plain = blob_key(digest)
    if not vault.seal.sealed and all(place.key != plain for place in found):
        # A raw blob is its own catalog line, also when every segment is gone.
        try:
            size = vault.store.head(plain).size
            found.append(Location(digest, plain, 0, size, size, "-"))
        except ObjectNotFoundError:
            pass
    for place in found:
        try:
            there = vault.store.head(place.key).size >= place.offset + place.length
        except ObjectNotFoundError:
            there = False
        yield place, there


def expand(vault: Vault, catalog: Catalog, prefix: str) -> str:
    """Return the digest that begins so, of all that the catalog has, or that damage names."""
    if vault.seal.sealed:
        raise UsageError(
            f"a sealed vault cannot say which digests begin with {prefix}",
            hint="Give the whole digest: its catalog knows an HMAC of it.",
        )
    found: set[str] = set()
    start = prefix.encode()
    for segment in catalog.segments():
        if not segment.name.may_hold(prefix):
            continue
        for line in segment.read():
            if line.startswith(start):
                found.add(line.partition(b" ")[0].decode("ascii", "replace"))
            elif line > start:
                break
    if not found:
        found = _damaged_subjects(vault, catalog, prefix)
    whole = sorted(digest for digest in found if is_digest(digest))
    if not whole:
        raise NotFoundError(
            f"the vault has no digest that begins with {prefix}",
            hint="Where the catalog is lost, give the whole digest.",
        )
    if len(whole) > 1:
        raise UsageError(
            f"{len(whole)} digests begin with {prefix}: {', '.join(whole[:5])}",
            hint="Give more digits.",
        )
    return whole[0]


def _damaged_subjects(vault: Vault, catalog: Catalog, prefix: str) -> set[str]:
    """Return the digests that begin so of all that was ever damaged at a source."""
    found: set[str] = set()
    seen: set[str] = set()
    for _, roots in chains(vault, None, []):
        for root in roots:
            if root.damage is not None and root.damage.top.digest not in seen:
                seen.add(root.damage.top.digest)
                lines = Opened(vault, root, catalog=catalog).damage()
                found |= {line.subject for line in lines if line.subject.startswith(prefix)}
    return found
