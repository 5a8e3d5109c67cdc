"""The quick depth: every object that is needed is there, with its size. Operations on lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.model.store import HierarchicalStore
from regvault.vault.presence import KeySizes, list_objects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.progress import Progress
    from regvault.ops.verify.report import Report
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["check_presence"]


def check_presence(
    vault: Vault, roots: list[Root], report: Report, progress: Progress, threads: int
) -> KeySizes:
    """Compare LIST with every snapshot's object list; return what LIST showed.

    A base that several snapshots share is walked once; a delta says what differs.
    """
    progress.phase("Listing the vault")
    seen = KeySizes()
    parallel = 1 if isinstance(vault.store, HierarchicalStore) else threads
    for entry in list_objects(vault.store, parallel):
        seen[entry.key] = entry.size
        report.present += 1
        progress.advance(1)
    progress.phase("Comparing snapshots", total_items=len(roots))
    bases: dict[str, dict[str, ObjectRef]] = {}
    for root in roots:
        _check_root(vault, root, seen, bases, report)
        progress.advance(1)
    return seen


def _check_root(
    vault: Vault,
    root: Root,
    seen: KeySizes,
    bases: dict[str, dict[str, ObjectRef]],
    report: Report,
) -> None:
    objects = vault.object_list(root)
    names = (str(root.name),)
    lost = False
    try:
        for chunk in objects.own_chunks():
            if seen.get(chunk.key) != chunk.size:
                lost = True
                report.add(chunk.key, "missing", "a chunk of an object list is not there", names)
        if vault.amendments or root.amendment:
            _report(_absent(objects, seen), seen, report, names)
            return
        digest = root.objects.base.top.digest
        if digest not in bases:
            bases[digest] = {ref.key: ref for ref in _absent(objects.base_refs(), seen)}
        delta = objects.delta()
    except VaultDamagedError as error:
        if error.key is not None or not lost:  # else it is what was named just now
            key = error.key or root.objects.base.top.key
            report.add(key, "damaged", error.message, names)
        return
    absent = [ref for key, ref in bases[digest].items() if key not in delta]
    absent += _absent((ref for ref in delta.values() if ref is not None), seen)
    _report(absent, seen, report, names)


def _absent(refs: Iterable[ObjectRef], seen: KeySizes) -> list[ObjectRef]:
    return [ref for ref in refs if seen.get(ref.key) != ref.size]


def _report(
    refs: list[ObjectRef], seen: KeySizes, report: Report, snapshots: tuple[str, ...]
) -> None:
    for ref in refs:
        size = seen.get(ref.key)
        if size is None:
            report.add(ref.key, "missing", "the object is not there", snapshots)
        else:
            report.add(ref.key, "size", f"it has {size} bytes, not {ref.size}", snapshots)
