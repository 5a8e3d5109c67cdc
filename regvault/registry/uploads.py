"""Uploads that are not finished: what a push has sent so far, or what one that broke off left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import ObjectNotFoundError
from regvault.model.registry import Upload
from regvault.registry.layout import BASE, REPOSITORIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.store import Entry, HierarchicalStore

__all__ = ["flat_uploads", "tree_uploads"]

_UPLOADS = "_uploads"
#: What is written to while an upload lasts: its directory, its beginning, what was sent.
_LEAVES = ("", "startedat", "data")


def tree_uploads(store: HierarchicalStore, prefix: str = REPOSITORIES) -> Iterator[Upload]:
    """Yield the uploads of a registry on a file system, those of a first push among them."""
    try:
        rows = store.scandir(prefix)
    except ObjectNotFoundError:
        return
    base = prefix.rstrip("/")
    for name, is_directory in sorted(rows):
        if name == _UPLOADS and is_directory:
            yield from _of_repository(store, f"{base}/{_UPLOADS}")
        elif is_directory and not name.startswith("_"):
            yield from tree_uploads(store, f"{base}/{name}")


def _of_repository(store: HierarchicalStore, path: str) -> Iterator[Upload]:
    try:
        ids = sorted(name for name, is_directory in store.scandir(path) if is_directory)
    except ObjectNotFoundError:
        return
    newest = dict.fromkeys(ids, 0)
    for leaf in _LEAVES if ids else ():
        for name, size, modified_ns, _ in store.stat_children(path, leaf, ids):
            if size >= 0:
                newest[name] = max(newest[name], modified_ns)
    for name in ids:
        if newest[name]:  # else it was finished meanwhile
            yield Upload(_subject(f"{path}/{name}"), newest[name])


def flat_uploads(chunks: Iterable[list[Entry]]) -> Iterator[Upload]:
    """Yield the uploads that a LIST of `repositories/` shows, in the order of their keys."""
    upload = Upload("", 0)
    for chunk in chunks:
        for entry in chunk:
            head, found, rest = entry.key.partition(f"/{_UPLOADS}/")
            if not found:
                continue
            path = _subject(f"{head}/{_UPLOADS}/{rest.partition('/')[0]}")
            if path != upload.path:
                if upload.path:
                    yield upload
                upload = Upload(path, entry.modified_ns)
            else:
                upload = Upload(path, max(upload.modified_ns, entry.modified_ns))
    if upload.path:
        yield upload


def _subject(path: str) -> str:
    return path.removeprefix(f"{BASE}/")
