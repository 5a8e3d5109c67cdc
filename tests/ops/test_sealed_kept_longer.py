"""A sealed copy that keeps snapshots longer than its source."""

from __future__ import annotations

import pytest
from sealed_world import AS_ALICE, AS_HOST, AS_NOBODY, fresh, opened, verified
from world import World, noise

from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.prune import plan_prune, prune
from regvault.storage.memory import MemoryStore
from regvault.vault.create import Sealing, create_vault
from regvault.vault.keys import new_run_id
from regvault.vault.stub import forget_root


def take(made: World, days: range) -> None:
    for day in days:
        made.push.image(f"day-{day}", "1", layers=(noise(3000, "own", day),))
        if day:
            made.remove(f"day-{day - 1}")
        made.snapshot()


@pytest.mark.parametrize("keys", [AS_HOST, AS_NOBODY], ids=["as-host", "as-nobody"])
def test_what_the_source_forgot_is_found_in_the_copy_all_the_same(keys):
    """Segments are copied as they are: what the source merged tells only what it needs itself."""
    made = fresh()
    store = MemoryStore("copy")
    create_vault(store, AS_NOBODY, sealing=Sealing(copy_of=opened(made, AS_NOBODY)))
    other = World(store=store, name="production")
    take(made, range(6))

    def copied(keys):
        vaults = [opened(other, keys)]
        options = CopyOptions(threads=1)
        assert not copy(opened(made, keys), vaults, options, progress=NO_PROGRESS).exit_code()

    copied(AS_NOBODY)
    for sequence in range(1, 6):
        forget_root(made.store, made.vault().id, made.root(sequence), new_run_id())
    plan = plan_prune(made.vault(), progress=NO_PROGRESS, threads=1, grace_s=-1)
    assert prune(made.vault(), plan, progress=NO_PROGRESS, threads=1, grace_s=-1).deleted[0]
    take(made, range(6, 10))
    copied(keys)
    for reader in (AS_HOST, AS_ALICE):
        assert not verified(other, reader).report.problems
    other.trust = AS_ALICE
    assert other.restored(2)
    copied(AS_NOBODY)  # what was taken once is not taken again
    assert len(other.keys("catalog/")) <= 12
