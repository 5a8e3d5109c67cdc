"""What was used since a plan was made, through whatever reaches it: it stays where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regvault.ops.tier.contents import list_contents
from regvault.ops.tier.reach import read_reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.model.store import ObjectStore
    from regvault.ops.tier.accesses import Accesses
    from regvault.ops.tier.planned import Move

__all__ = ["used_since"]


def used_since(
    accesses: Accesses,
    source: RegistrySource,
    store: ObjectStore,
    since_us: int,
    *,
    threads: int,
    progress: Progress,
) -> Callable[[Move], bool]:
    """Return what tells whether something was pulled or pushed since a time.

    Of the repositories in which something was, manifests are read anew: a layer is used when an
    image is that has it.

    Args:
        accesses: what is known by now.
        source: the registry.
        store: its storage.
        since_us: microseconds since the epoch.
        threads: that read manifests.
        progress: is told of repositories.
    """
    digests = bytearray()
    tags: set[tuple[str, str]] = set()
    repositories: set[str] = set()
    for some in accesses.targets():
        for target in some:
            if max(target.last, target.pushed) <= since_us:
                continue
            repositories.add(target.repository)
            if target.digest.startswith("sha256:"):
                digests += bytes.fromhex(target.digest[7:])
            elif target.tag:
                tags.add((target.repository, target.tag))
    if not digests and not tags:
        return lambda _: False
    progress.phase("Looking at what was used since")
    contents = list_contents(store, progress)
    # Where it is not told in which repository it was, it may have been in any.
    known = None if "" in repositories else set(source.repositories()) & repositories
    reach = read_reach(
        source,
        contents,
        asked=frozenset(tags),
        threads=threads,
        progress=progress,
        repositories=None if known is None else sorted(known),
    )
    used = np.zeros(len(contents), dtype=np.int64)
    found = contents.numbers(digests)
    used[found[found >= 0]] = 1
    for numbers in reach.named.values():
        used[numbers] = 1
    used = reach.spread(used)

    def is_used(move: Move) -> bool:
        number = int(contents.numbers(bytes.fromhex(move.digest.removeprefix("sha256:")))[0])
        return number >= 0 and bool(used[number])

    return is_used
