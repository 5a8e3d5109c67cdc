"""What was used since a plan was made, through whatever reaches it: it stays where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from regvault.errors import RefusedError
from regvault.ops.tier.contents import list_contents
from regvault.ops.tier.reach import read_reach
from regvault.policy.access_counts import DAY_US

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

    A layer is used when an image is that has it, so all links and manifests are read anew. What
    was written since is used too, and so is what a manifest that cannot be read may need.

    Args:
        accesses: what is known by now.
        source: the registry.
        store: its storage.
        since_us: until when the plan knew what happened, microseconds since the epoch.
        threads: that read manifests.
        progress: is told of repositories.

    Raises:
        RefusedError: it is not known of all of the time since then what happened.
    """
    coverage = accesses.coverage
    if coverage.start > since_us or any(gap.last > since_us for gap in coverage.gaps):
        raise RefusedError(
            "it is not known what was pulled in all of the time since the plan was made",
            hint="Make a new plan; or go by the plan alone: --unchecked",
        )
    # An event may come in late: of the last day before, the plan may not have known all.
    late_us = since_us - DAY_US
    digests = bytearray()
    tags: set[tuple[str, str]] = set()
    for some in accesses.targets():
        for target in some:
            if max(target.last, target.pushed) <= late_us:
                continue
            if target.digest.startswith("sha256:"):
                digests += bytes.fromhex(target.digest[7:])
            elif target.tag:
                tags.add((target.repository, target.tag))
    progress.phase("Looking at what was used since")
    contents = list_contents(store, progress)
    reach = read_reach(source, contents, asked=frozenset(tags), threads=threads, progress=progress)
    used = (reach.doubtful | (contents.modified > since_us)).astype(np.int64)
    found = contents.numbers(digests)
    used[found[found >= 0]] = 1
    for numbers in reach.named.values():
        used[numbers] = 1
    used = reach.spread(used)

    def is_used(move: Move) -> bool:
        number = int(contents.numbers(bytes.fromhex(move.digest.removeprefix("sha256:")))[0])
        return number < 0 or bool(used[number])

    return is_used
