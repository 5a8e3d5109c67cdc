"""Reads that bring less than was asked for, and writes that take less, change nothing at all.

Neither is an error: a signal or a network file system may do it at any call. Here
every call does.
"""

from __future__ import annotations

import pytest
from kernel import Kernel
from ondisk import Template, opened
from scene import CHANCE, Dying, contents
from test_syscalls import a_registry
from verbs import VERBS, first_day

from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore

#: size -> how much of it is done at once.
SHORT = {
    "one byte": lambda _size: 1,
    "half": lambda size: size // 2,
    "all but one byte": lambda size: size - 1,
}
every_size = pytest.mark.parametrize("most", SHORT.values(), ids=SHORT)


@every_size
@pytest.mark.parametrize("name", VERBS)
def test_a_vault_is_the_same(name, most, tmp_path):
    verb = VERBS[name]
    before = verb.before(False)
    template = Template(tmp_path / "template", before.store)
    root = tmp_path / "vault"

    def files(**words):
        template.copy(root)
        CHANCE.begin("first")
        with pytest.MonkeyPatch.context() as patch, Kernel(root, **words) as kernel, Dying():
            store = opened(root, patch)
            verb.run(before.copy(), store)
            store.close()
        found = template.files(root)
        # Receipts of copies say how long it took.
        found = {key: data for key, data in found.items() if not key.startswith("records/copies/")}
        return found, kernel.counts

    wanted, counts = files()
    found, more = files(most=most)
    assert found == wanted
    assert more["write"] > counts["write"]
    assert more["pread"] > counts["pread"]


@every_size
def test_a_registry_is_read_the_same(most, tmp_path):
    before = a_registry()
    template = Template(tmp_path / "template", before.registry)
    root = tmp_path / "registry"
    template.copy(root)

    def taken(**words):
        scene = before.copy()
        CHANCE.begin("second")
        with Kernel(root, **words) as kernel:
            scene.registry = LocalStore(str(root), follow_symlinks=True, writable=False)
            result = scene.snapshot(threads=1)
        scene.registry.close()
        assert result.findings == []
        return contents(scene.store), kernel.counts

    wanted, counts = taken()
    found, more = taken(most=most)
    assert found == wanted
    assert more["read"] > counts["read"]


@every_size
def test_a_restored_registry_is_the_same(most, tmp_path):
    scene = first_day(False).copy()
    CHANCE.begin("first")
    sequence = scene.take().root.name.sequence
    whole = scene.restored(sequence)
    template = Template(tmp_path / "template", MemoryStore("empty"))
    root = tmp_path / "target"
    template.copy(root)
    for _ in range(2):  # the second one compares with what is there
        with Kernel(root, most=most):
            target = LocalStore(str(root))
            result, _ = scene.restore(sequence, target, threads=1)
            target.close()
        assert template.files(root) == whole
    assert (result.blobs_written, result.blobs_replaced, result.links_written) == (0, 0, 0)
