"""After a sync that failed, what it was for is never counted as durable.

Linux reports a write that failed once; the pages can still be read, the next sync succeeds, and the
bytes are not on the disk (invariants 1 and 2). So at every sync of every verb, once and for ever:
it fails, the same command is run again and succeeds, and the power is cut.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from disk import Disk
from figures import tried
from ondisk import Template, memory_of, opened
from scene import CHANCE, Dying, contents
from test_errors import exit_code
from test_syscalls import ended
from verbs import VERBS, check_and_converge, first_day

from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from disk import Moment
    from scene import Scene

EVERY = int(os.environ.get("EVERY", "1"))
ONCE, FOR_EVER = 1, 1_000_000


def cuts(moment: Moment) -> Iterator[dict[str, bytes]]:
    """Yield what a disk may show after the power was cut: nothing is lost that can be, or all."""
    yield moment.after(())
    yield moment.after(range(len(moment.pending)))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("times", [ONCE, FOR_EVER], ids=["once", "for ever"])
@pytest.mark.parametrize("name", VERBS)
def test_a_vault_after_a_sync_failed_and_the_power_was_cut(name, times, tmp_path):
    verb = VERBS[name]
    before = verb.before(False)
    template = Template(tmp_path / "template", before.store)
    clock = before.store.clock_ns

    def run(at: int) -> tuple[Disk, Scene, int]:
        """Run the verb while a sync fails, cut the power, and run it again without a cut."""
        template.copy(tmp_path / "vault")
        scene = before.copy()
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(tmp_path / "vault", patch, lambda n: 0 < at <= n < at + times)
            CHANCE.begin("first")
            with Dying():
                store = opened(tmp_path / "vault", patch)
                code = exit_code(verb, scene, store)
                store.close()
            if at:
                check_cut(disk.moments[-1], scene, "between")
                disk.fails = lambda _number: False
                CHANCE.begin("again")
                store = opened(tmp_path / "vault", patch)
                verb.run(scene, store)
                store.close()
        return disk, scene, code

    def check_cut(moment: Moment, scene: Scene, when: str) -> None:
        for files in cuts(moment):
            cut = before.copy()
            cut.held = dict(scene.held)
            cut.store = memory_of("vault", files, clock_ns=clock)
            if cut.seen.new(name, when, hash(tuple(sorted(files.items())))):
                check_and_converge(verb, cut, (name, when, moment.what))

    disk, _, code = run(0)
    assert code == 0
    total = disk.syncs
    assert total > 5
    failed = 0
    for at in range(1, total + 1, EVERY):
        tried("syncs that failed")
        disk, scene, code = run(at)
        assert code in {0, 1}, at
        failed += code != 0
        check_cut(disk.moments[-1], scene, "again")
        shutil.rmtree(tmp_path / "vault")
        # The second run was no worse than its word: nothing of what it promised was lost.
        done = scene.copy()
        (_, files) = cuts(disk.moments[-1])
        done.store = memory_of("vault", files, clock_ns=clock)
        if done.seen.new(name, "done", hash(tuple(sorted(files.items())))):
            verb.again(done, (name, at, times))
    assert failed > total // 3, "an error that nobody notices is swallowed"


@pytest.mark.timeout(1200)
def test_a_prune_deletes_nothing_that_a_root_needs_which_is_not_surely_forgotten(tmp_path):
    """A stub whose sync failed is seen by a prune; the power is cut at any moment of it."""
    verb = VERBS["forget"]
    before = verb.before(False)
    template = Template(tmp_path / "template", before.store)

    def run(at: int) -> tuple[Disk, int, int, int]:
        template.copy(tmp_path / "vault")
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(tmp_path / "vault", patch, lambda n: n == at)
            CHANCE.begin("first")
            store = opened(tmp_path / "vault", patch)
            with Dying():
                code = exit_code(verb, before.copy(), store)
                begin = len(disk.moments)
                pruned = before.copy().prune(store).deleted[0] if at else 0
            store.close()
        return disk, begin, code, pruned

    disk, _, code, _ = run(0)
    assert code == 0
    failed = 0
    for at in range(1, disk.syncs + 1):
        tried("syncs that failed")
        disk, begin, code, pruned = run(at)
        failed += code != 0 and pruned > 0
        for number, moment in enumerate(disk.moments[begin:]):
            for files in cuts(moment):
                cut = before.copy()
                cut.store = memory_of("vault", files, clock_ns=before.store.clock_ns)
                where = (at, number, moment.what)
                if cut.seen.new("pruned", contents(cut.store)):
                    cut.check(where)
                    assert cut.prune().exit_code() == 0, where  # 4: something needed is condemned
                    cut.check(where)
        shutil.rmtree(tmp_path / "vault")
    assert failed


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("times", [ONCE, FOR_EVER], ids=["once", "for ever"])
def test_a_restored_registry_after_a_sync_failed_and_the_power_was_cut(times, tmp_path):
    scene = first_day(False).copy()
    CHANCE.begin("first")
    sequence = scene.take().root.name.sequence
    whole = scene.restored(sequence)
    template = Template(tmp_path / "template", MemoryStore("empty"))
    root = tmp_path / "target"

    def restored(at: int) -> tuple[Disk, int]:
        template.copy(root)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(root, patch, lambda n: 0 < at <= n < at + times)
            code = 0
            for again in range(2 if at else 1):
                if again:
                    disk.fails = lambda _number: False
                target = LocalStore(str(root))
                found = ended(lambda target=target: scene.restore(sequence, target, threads=1))
                target.close()
                assert not again or found == 0
                code = code or found
        return disk, code

    disk, code = restored(0)
    assert code == 0
    total = disk.syncs
    assert total > 2
    for at in range(1, total + 1):
        tried("syncs that failed")
        disk, code = restored(at)
        assert code == 1, at
        assert not (root / "regvault-unsynced").exists()
        for files in cuts(disk.moments[-1]):
            files.pop("regvault-unsynced", None)  # that it is gone may be lost: no harm
            assert files == whole, at
