"""Names the images of the newest snapshots that damaged or lost objects belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import RegvaultError, VaultDamagedError
from regvault.ops.images import Images, parse_state
from regvault.ops.snapshot.session import parse_entry
from regvault.vault.blobs import BlobReader
from regvault.vault.keys import OBJECT_PREFIXES, digest_of_key
from regvault.vault.tree import ChunkRef

if TYPE_CHECKING:
    from regvault.ops.verify.report import Report
    from regvault.vault.catalog import Catalog
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["name_images", "name_snapshots"]

_KEPT = 1000


def name_images(vault: Vault, roots: list[Root], catalog: Catalog, report: Report) -> None:
    """Add to the report which images need what is damaged; best effort, the first 1,000."""
    digests: set[str] = set()
    try:
        for problem in report.problems:
            if problem.what == "uncatalogued":
                continue  # it is there and whole
            if problem.key.startswith("blobs/"):
                digests.add(digest_of_key(problem.key) or "")
            elif problem.key in report.wrong_members:
                digests |= report.wrong_members[problem.key]
            elif problem.key.startswith(("packs/", "meta/")):
                digests.update(place.digest for place in catalog.members(problem.key))
            elif ":" in problem.key:
                digests.add(problem.key)
    except RegvaultError:
        return
    newest = {root.name.registry: root for root in roots}
    for root in newest.values():
        try:
            _name(vault, root, catalog, digests, report)
        except VaultDamagedError:
            continue  # its trees are damaged, which is reported itself


def name_snapshots(vault: Vault, roots: list[Root], report: Report) -> None:
    """Say of each object with a problem which snapshots need it: the first 1,000 objects."""
    keys = [p.key for p in report.problems if p.key.startswith(OBJECT_PREFIXES)][:_KEPT]
    hurt: dict[str, list[str]] = {key: [] for key in keys}
    for root in roots:
        try:
            objects = vault.object_list(root)
            own = {chunk.key for chunk in objects.own_chunks()}
            for key, names in hurt.items():
                if key in own or objects.has(key):
                    names.append(str(root.name))
        except VaultDamagedError:
            continue  # its object list is what is damaged, which is reported itself
    report.problems = [
        problem._replace(snapshots=tuple(hurt[problem.key])) if hurt.get(problem.key) else problem
        for problem in report.problems
    ]


def _name(vault: Vault, root: Root, catalog: Catalog, digests: set[str], report: Report) -> None:
    objects = vault.object_list(root)
    reader = BlobReader(vault.store, catalog, objects)
    for line in vault.tree("repositories", root.repositories, objects).lines():
        entry = parse_entry(line)
        state = parse_state(vault.tree("state", ChunkRef(entry.state), objects).lines())
        hurt = digests.intersection(state.held())
        if not hurt:
            continue
        images = Images(state, reader.read)
        for tag, digest in state.tags.items():
            try:
                manifests = images.manifests_of(digest, referrers=False)
                needs = manifests | set(images.blobs_of(manifests))
            except RegvaultError:
                needs = hurt  # a manifest of it is what is damaged
            found = hurt & needs
            if found and len(report.images) < _KEPT:
                report.images.append((entry.name, f":{tag}", min(found)))
