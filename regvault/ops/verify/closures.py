"""The walk through the snapshots: is all there that each of them needs?"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.model.state import checked_line
from regvault.ops.opened import states_ahead
from regvault.ops.snapshot.session import parse_damage, parse_entry
from regvault.ops.verify.metadata import DERIVED
from regvault.vault.blobs import is_raw
from regvault.vault.keys import blob_key, name_of_key
from regvault.vault.sealing import SealedToOthersError
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.ops.snapshot.session import RepositoryEntry
    from regvault.ops.verify.metadata import Manifests
    from regvault.ops.verify.report import Report
    from regvault.vault.catalog import Catalog
    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["check_closures"]

#: Blobs, and objects, of which a walk remembers that a snapshot's list has them.
_REMEMBERED = 50_000


def check_closures(
    vault: Vault,
    roots: list[Root],
    catalog: Catalog,
    manifests: Manifests,
    report: Report,
    progress: Progress,
) -> None:
    """Walk each snapshot: trees, states, and that each blob lies in an object of its list.

    A state that the snapshot before has as well is not walked again, unless objects left the list
    in between. Without an identity that opens names, a sealed vault's are not walked.
    """
    if not vault.seal.opens_names:
        return
    progress.phase("Walking snapshots", total_items=len(roots))
    catalog.prepare(1 << 30)
    before: tuple[Root, set[str]] | None = None
    for root in roots:
        if before is not None and before[0].name.registry != root.name.registry:
            before = None
        if not root.opened:
            before = None
            continue
        try:
            states = _walk(vault, root, before, catalog, manifests, report)
        except SealedToOthersError:
            report.add_unopened()
            before = None
        except VaultDamagedError as error:
            report.add(root.name.key, "closure", error.message, (str(root.name),))
            before = None
        else:
            before = root, states
        progress.advance(1)


def _walk(
    vault: Vault,
    root: Root,
    before: tuple[Root, set[str]] | None,
    catalog: Catalog,
    manifests: Manifests,
    report: Report,
) -> set[str]:
    objects = vault.object_list(root)
    known: set[str] = set()
    if before is not None and not _shrank(vault.object_list(before[0]), objects):
        known = before[1]
    if root.damage is not None:
        for line in vault.tree("damage", root.damage, objects).lines():
            parse_damage(line)
    states: set[str] = set()

    def unknown() -> Iterator[RepositoryEntry]:
        for line in vault.tree("repositories", root.repositories, objects).lines():
            entry = parse_entry(line)
            states.add(entry.state)
            if entry.state not in known:
                yield entry

    purged = vault.purged(root)
    holds = _remembering(catalog, objects, purged, root, report)
    for entry in states_ahead(unknown(), objects, vault):
        lines = vault.tree("state", ChunkRef(entry.state), objects).lines()
        _walk_state(lines, root, entry.name, holds, vault.seal.name, purged, manifests, report)
    return states


def _remembering(
    catalog: Catalog, objects: ObjectList, purged: Container[str], root: Root, report: Report
) -> Callable[[str], bool]:
    """Return a function that tells whether an object of the list holds a blob.

    It remembers some of what it told: repositories share blobs, and blobs share packs. Where the
    catalog knows none, the objects are asked themselves, once: what segments leave out is not lost
    (invariant 11).
    """

    @lru_cache(maxsize=_REMEMBERED)
    def listed(key: str) -> bool:
        return objects.holds(key)

    def told(digest: str) -> str | None:
        """Return the object that holds it, as far as lines tell."""
        name = catalog.seal.name(digest)
        for place in catalog.find(digest):
            if listed(place.key) and (not is_raw(place) or name_of_key(place.key) == name):
                return place.key
        return next((ref.key for ref in objects.variants(blob_key(name))), None)

    @lru_cache(maxsize=1)
    def look_into_objects() -> None:
        catalog.recover(objects, doubted=True)

    @lru_cache(maxsize=_REMEMBERED)
    def holds(digest: str) -> bool:
        if told(digest) is not None:
            return True
        if catalog.seal.name(digest) in purged:
            return False
        look_into_objects()
        key = told(digest)
        if key is not None:
            detail = f"no segment tells that {digest} lies in it; {DERIVED}"
            report.add(key, "uncatalogued", detail, (str(root.name),))
        return key is not None

    return holds


def _shrank(before: ObjectList, now: ObjectList) -> bool:
    """Return whether an object of one list is not in the next; True where that is not cheap."""
    if before.ref.base.top.digest != now.ref.base.top.digest:
        return True
    old, new = before.delta(), now.delta()
    return any(ref is None and old.get(key, 1) is not None for key, ref in new.items()) or any(
        ref is not None and key not in new for key, ref in old.items()
    )


def _walk_state(
    lines: Iterable[bytes],
    root: Root,
    repository: str,
    holds: Callable[[str], bool],
    named: Callable[[str], str],
    purged: Container[str],
    manifests: Manifests,
    report: Report,
) -> None:
    held: set[str] = set()
    absent: set[str] = set()
    revisions: list[str] = []
    for raw in lines:
        what, name, _, size = checked_line(raw)
        if what not in ("rev", "layer", "blob"):
            continue
        if size is None:
            absent.add(name)
            continue
        held.add(name)
        if what == "rev":
            revisions.append(name)
    names = (str(root.name),)
    for digest in held:
        if not holds(digest) and named(digest) not in purged:
            report.add(digest, "closure", f"{repository} needs it; no object has it", names)
    for digest in revisions:
        for needed, may_be_absent in manifests.needs(digest):
            if needed not in held and needed not in absent and not may_be_absent:
                detail = (
                    f"{repository}@{digest} needs it, and the snapshot does not say where it is"
                )
                report.add(needed, "closure", detail, names)
