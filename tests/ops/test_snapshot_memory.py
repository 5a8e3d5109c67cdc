"""Memory does not grow with the registry."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import resource, sys
sys.path.insert(0, {here!r})
from world import World
from test_snapshot_unchanged import many
from regvault.storage.local import LocalStore
registry, store = (LocalStore(where, create=True) for where in ({registry!r}, {store!r}))
made = World(registry, store, cache={cache!r})
many(made, {count})
# What is kept in memory is bounded by constants; small ones let a leak of something else show.
import regvault.ops.snapshot.storer as storer, regvault.ops.snapshot.plan as plan
import regvault.vault.presence as presence, regvault.vault.vault as vault
storer.CHECKPOINT_LINES, storer._REMEMBERED, plan._SURVEYS_KEPT = 200, 100, 20
import regvault.vault.pack as pack, regvault.vault.segment as segment, regvault.vault.tree as tree
pack.PackWriter.__init__.__kwdefaults__["limit"] = 1 << 15
pack.MetaWriter.__init__.__kwdefaults__["limit"] = 1 << 14
pack.FRAME_BYTES, segment._FRAME_BYTES, tree._MASK = 1 << 13, 1 << 13, 63
presence.KeySizes.__init__.__defaults__, vault._NODES_KEPT = (100,), 8
import tracemalloc
tracemalloc.start()
result = made.snapshot(threads=4)
assert result.root.counts.repositories == {count}
first = tracemalloc.get_traced_memory()[1]
tracemalloc.reset_peak()
before = tracemalloc.get_traced_memory()[0]
made.snapshot(threads=4)
second = tracemalloc.get_traced_memory()[1]
tracemalloc.reset_peak()
assert made.verify().exit_code() == 0
print(first, second, tracemalloc.get_traced_memory()[1])
"""


def peaks(tmp_path, count: int) -> list[int]:
    """Peak bytes of Python's memory: first snapshot, second, verify."""
    script = SCRIPT.format(
        here=os.path.dirname(__file__),
        registry=str(tmp_path / f"registry-{count}"),
        store=str(tmp_path / f"store-{count}"),
        cache=str(tmp_path / f"cache-{count}"),
        count=count,
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_four_times_as_many_repositories_take_no_more_memory(tmp_path):
    """Design, scale: sets live in SQLite or in sorted files, never in dictionaries of all."""
    # What threads hold at the same moment differs from run to run, by some buffers of megabytes:
    # as many are tried as it takes until both were seen with the same.
    tries: list[tuple[list[int], list[int]]] = []
    while len(tries) < 4:
        place = tmp_path / str(len(tries))
        place.mkdir()
        tries.append((peaks(place, 100), peaks(place, 400)))
        few = [max(each) for each in zip(*(small for small, _ in tries), strict=True)]
        many = [min(each) for each in zip(*(large for _, large in tries), strict=True)]
        # 300 more repositories, 1,500 more links, 600 more blobs.
        if all(large - small < 600_000 for small, large in zip(few, many, strict=True)):
            return
    raise AssertionError(tries)
