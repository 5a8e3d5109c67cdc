"""Give a registry a cold mount, and take it away again."""

from __future__ import annotations

import os
import secrets
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from regvault.errors import ObjectNotFoundError, RefusedError, StoreMissingError, UsageError
from regvault.storage.cold_binding import (
    BINDING,
    Bound,
    bindings_of,
    bound_to,
    check_cold_name,
    is_plain_path,
    write_binding,
    write_bindings,
)
from regvault.storage.cold_journal import Journal
from regvault.storage.cold_root import ColdRoot
from regvault.storage.cold_turn import Turn
from regvault.storage.keys import RESERVED
from regvault.storage.local_errors import translated
from regvault.storage.local_tree import TEMPORARY_SUFFIX, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bind", "unbind"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: What an empty file system has at its root.
_NOTHING: Final = frozenset({"lost+found"})


@contextmanager
def _registry(root: str) -> Iterator[Tree]:
    """Open a registry's root directory, while nobody moves blobs."""
    tree = Tree(
        root,
        f"file://{root}",
        create=False,
        follow=False,
        dir_mode=None,
        root_mode=None,
        owner=None,
    )
    try:
        with Turn(tree, lambda: None).taken():
            yield tree
    finally:
        tree.close()


def bind(
    root: str, name: str, path: str, seen: str | None = None, *, same_disk: bool = False
) -> Bound:
    """Give a registry a cold mount. Where a run was killed amid this, the same again completes it.

    Args:
        root: the registry's root directory.
        name: of the mount, and of the storage class.
        path: the directory on this host, empty.
        seen: where the registry sees it; None: at the same path.
        same_disk: it may be on the registry's own file system.

    Raises:
        UsageError: a name or a path that cannot be.
        RefusedError: the directory is not empty, belongs to another registry, overlaps with this
            one, or is on its file system; or there is a mount of this name.
        StoreMissingError: there is no such directory.
        StoreError: it cannot be written, or the registry's file system has no symbolic links.
    """
    root = os.path.abspath(root)
    bound = Bound(check_cold_name(name), path, path if seen is None else seen, "")
    for each in (bound.path, bound.seen):
        if not is_plain_path(each):
            raise UsageError(
                f"{each!r} is no plain absolute path", hint="One is written /mnt/hdd/registry."
            )
    if not os.path.isdir(path):
        raise StoreMissingError(f"{path} is not a directory", hint="Mount it, or make it.")
    _refuse_overlap(root, path)
    with _registry(root) as tree:
        have = bindings_of(root)
        found = next((each for each in have if name == each.name), None)
        if found is not None and (found.path, found.seen) != (bound.path, bound.seen):
            raise RefusedError(
                f"this registry has a cold mount {name} already: {found.path}, seen at {found.seen}"
            )
        bound = found or bound._replace(id=secrets.token_hex(16))
        if any(
            bound.path == each.path or bound.seen == each.seen for each in have if each != found
        ):
            raise RefusedError("another cold mount of this registry has the same path")
        whose = _whose(bound.path)
        if whose == (bound.name, bound.id):
            return bound
        if whose is not None:
            raise RefusedError(
                f"{path} is a cold mount already, of another registry, or of one that was there",
                hint=f"See {path}/{BINDING}. A cold mount belongs to one registry.",
            )
        _refuse_content(bound.path)
        if not same_disk and os.stat(root).st_dev == os.stat(path).st_dev:
            raise RefusedError(
                f"{path} is on the file system of the registry: nothing would become cheaper",
                hint="Is it mounted? If this is meant so: --same-disk",
            )
        _try_link(tree)
        if found is None:
            write_bindings(root, (*have, bound))
        write_binding(path, bound)
    return bound


def _refuse_overlap(root: str, path: str) -> None:
    one, other = os.path.realpath(root), os.path.realpath(path)
    if os.path.commonpath([one, other]) in (one, other):
        raise RefusedError(
            f"{path} and the registry {root} overlap", hint="A cold mount lies beside the registry."
        )


def _whose(path: str) -> tuple[str, str] | None:
    with translated("look into", f"file://{path}"):
        directory = os.open(path, _DIRECTORY)
    try:
        return bound_to(directory, f"file://{path}")
    finally:
        os.close(directory)


def _refuse_content(path: str) -> None:
    with translated("look into", f"file://{path}"):
        names = [n for n in os.listdir(path) if n not in _NOTHING and not n.startswith(RESERVED)]
    if names:
        raise RefusedError(
            f"{path} is not empty: it holds {', '.join(sorted(names)[:3])}",
            hint="A cold mount needs a directory of its own.",
        )


def _try_link(tree: Tree) -> None:
    name = f"{RESERVED}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    with translated("make a symbolic link in", tree.location, write=True):
        os.symlink("a/link", name, dir_fd=tree.fd)
        os.unlink(name, dir_fd=tree.fd)


def unbind(root: str, name: str, *, path: str | None = None, lost: bool = False) -> Bound:
    """Take a cold mount away from a registry, once nothing lies there.

    Args:
        root: the registry's root directory.
        name: of the mount.
        path: where it is on this host, if not where it was bound.
        lost: it is gone for ever: it is not looked at, and links into it are links to nothing.

    Raises:
        ObjectNotFoundError: the registry has no such mount.
        RefusedError: blobs lie there.
        StoreUnavailableError: it is away.
        StoreError: something cannot be read or written.
    """
    root = os.path.abspath(root)
    with _registry(root) as tree:
        have = bindings_of(root, {} if path is None else {name: path})
        bound = next((each for each in have if each.name == name), None)
        if bound is None:
            raise ObjectNotFoundError(f"{tree.location} has no cold mount {name!r}")
        journal = Journal(tree, name)
        if not lost:
            _refuse_used(journal, bound, tree.location)
        kept = tuple(each for each in bindings_of(root) if each.name != name)
        write_bindings(root, kept)
        journal.remove()
        if not lost:
            with translated("write", f"file://{bound.path}", write=True):
                os.unlink(os.path.join(bound.path, BINDING))
                for directory, _, _ in os.walk(os.path.join(bound.path, "blobs"), topdown=False):
                    os.rmdir(directory)
    return bound


def _refuse_used(journal: Journal, bound: Bound, location: str) -> None:
    with closing(ColdRoot(bound, location)) as cold:
        cold.tree()
        with closing(journal.fold()) as folded:
            count = folded.count()
    blobs = os.path.join(bound.path, "blobs")
    if not count:
        count = sum(len(names) for _, _, names in os.walk(blobs))
    if count:
        raise RefusedError(
            f"{bound.path} holds {count} blobs of {location}",
            hint="Move them back first: regvault tier plan --all-hot, then tier apply. What was "
            "left there goes ten minutes after, and what the registry has collected a day after.",
        )
