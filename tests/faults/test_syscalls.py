"""A system call that fails, at any place, once or for ever, loses nothing and is not overlooked.

On real directories: no room, over quota, a disk that does not answer, an answer of a network file
system that is lost after all was done. After it every committed snapshot restores, and the same
command again converges (invariants 1, 2 and 9).

Thinned in three respects: ENOSPC and EDQUOT, which are told apart nowhere, share the places that
need room, the one fails once and the other for ever; of calls that fail for ever every twelfth is
the first one; and of looks every eighth fails once. WHOLE=1 tries all.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest
from figures import tried
from kernel import CHANGES, LOOKS, NAMES, TAKES_ROOM, Fault, Kernel
from ondisk import Template, memory_of, opened
from scene import CHANCE, Dying, Scene, contents
from test_errors import exit_code
from verbs import VERBS, check_and_converge
from world import noise, tree

from regvault.errors import RegvaultError
from regvault.storage.local import LocalStore
from regvault.storage.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from verbs import Verb

EVERY = int(os.environ.get("EVERY", "1"))
WHOLE = bool(os.environ.get("WHOLE"))
ONCE, FOR_EVER = 1, 1_000_000


class Kind(NamedTuple):
    """An error, the calls that may answer with it, and the exit code that is right for it."""

    code: int
    calls: frozenset[str]
    exit_code: int
    done: bool = False


KINDS = {
    "ENOSPC": Kind(errno.ENOSPC, TAKES_ROOM, 6),
    "EDQUOT": Kind(errno.EDQUOT, TAKES_ROOM, 6),
    "EIO": Kind(errno.EIO, CHANGES, 1),
    "EIO of a look": Kind(errno.EIO, LOOKS, 1),
    "answer lost": Kind(errno.EIO, NAMES, 1, done=True),
}
#: (kind, how often) of the errors that are tried.
CASES = [
    pytest.param(kind, times, id=f"{kind}-{'once' if times == ONCE else 'for ever'}")
    for kind in KINDS
    for times in (ONCE, FOR_EVER)
    if WHOLE or (kind, times) not in {("ENOSPC", FOR_EVER), ("EDQUOT", ONCE)}
]


def faults(kind: str, times: int, total: int) -> Iterator[Fault]:
    """Yield one fault for each call that it may strike."""
    assert total > 10
    code, calls, _, done = KINDS[kind]
    step = 1 if WHOLE else 12 if times > ONCE else 8 if calls is LOOKS else 1
    for at in range(1, total + 1, step * EVERY):
        tried("errors of calls of the kernel")
        yield Fault(code, calls, at, times, done)


class Trials:
    """Runs a verb on a fresh copy of its vault, as often as it is asked to."""

    def __init__(self, name: str, tmp_path: Path) -> None:
        self.verb: Verb = VERBS[name]
        self.before = self.verb.before(False)
        self.template = Template(tmp_path / "template", self.before.store)
        self._root = tmp_path / "vault"

    def run(self, fault: Fault | None) -> tuple[Kernel, Scene, int]:
        """Return what the kernel saw, the scene afterwards, and the exit code."""
        self.template.copy(self._root)
        scene = self.before.copy()
        CHANCE.begin("first")
        with pytest.MonkeyPatch.context() as patch:
            store = opened(self._root, patch)
            with Kernel(self._root, fault) as kernel, Dying():
                code = exit_code(self.verb, scene, store)
            store.close()
        files = self.template.files(self._root)
        scene.store = memory_of("vault", files, clock_ns=self.before.store.clock_ns)
        return kernel, scene, code


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kind", "times"), CASES)
@pytest.mark.parametrize("name", VERBS)
def test_an_error_of_any_call_of_a_verb(name, kind, times, tmp_path):
    trials = Trials(name, tmp_path)
    kernel, scene, code = trials.run(None)
    assert code == 0
    trials.verb.again(scene, "undisturbed")
    failed = 0
    for fault in faults(kind, times, kernel.total(KINDS[kind].calls)):
        where = (name, kind, fault)
        kernel, scene, code = trials.run(fault)
        assert kernel.struck, where
        assert code in {0, KINDS[kind].exit_code}, where
        failed += code != 0
        if scene.seen.new(name, contents(scene.store)):
            check_and_converge(trials.verb, scene, where)
    assert failed, "an error that nobody notices is swallowed"


def ended(run: Callable[[], object]) -> int:
    try:
        run()
    except RegvaultError as error:
        print(error)  # for whoever looks at a test that failed
        return error.exit_code
    return 0


def a_registry() -> Scene:
    """A registry with a snapshot, and with what came since; of names below names."""
    scene = Scene()
    raw = noise(500, "raw")
    for name in ("solo", "team/app", "team/app/cache"):
        scene.push.image(name, "1", layers=(raw, noise(100, name)))
    CHANCE.begin("first")
    scene.take()
    scene.push.image("team/app", "2", "latest", layers=(raw, noise(100, "new")))
    scene.push.image("team/new", "1", layers=(noise(600, "new"),))
    return scene


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("kind", "times"), CASES)
def test_an_error_of_any_call_in_the_target_of_a_restore(kind, times, tmp_path):
    scene = a_registry()
    sequence = scene.take().root.name.sequence
    whole = scene.restored(sequence)
    template = Template(tmp_path / "template", MemoryStore("empty"))
    root = tmp_path / "target"

    def restored(fault: Fault | None) -> tuple[Kernel, dict[str, bytes], int]:
        template.copy(root)
        target = LocalStore(str(root))
        with Kernel(root, fault) as kernel:
            code = ended(lambda: scene.restore(sequence, target, threads=1))
        target.close()
        return kernel, template.files(root), code

    kernel, files, code = restored(None)
    assert (files, code) == (whole, 0)
    failed = 0
    for fault in faults(kind, times, kernel.total(KINDS[kind].calls)):
        kernel, files, code = restored(fault)
        assert kernel.struck, fault
        assert code in {0, KINDS[kind].exit_code}, fault
        assert code or files == whole, fault
        failed += code != 0
        # A tag is there only with all that it reaches.
        if scene.seen.new("target", hash(tuple(sorted(files.items())))):
            tags = [key for key in files if key.endswith("/current/link")]
            assert not tags or files.keys() >= {k for k in whole if not k.endswith("/current/link")}
            target = LocalStore(str(root))
            scene.restore(sequence, target, threads=1)
            target.close()
            assert template.files(root) == whole, fault
    assert failed, "an error that nobody notices is swallowed"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("times", [ONCE, FOR_EVER], ids=["once", "for ever"])
def test_an_error_of_any_look_at_a_registry(times, tmp_path):
    """What could not be read is no damage, and is not taken for gone (invariant 9)."""
    before = a_registry()
    now = tree(before.registry)
    template = Template(tmp_path / "template", before.registry)
    root = tmp_path / "registry"

    def taken(fault: Fault | None) -> tuple[Kernel, Scene, int]:
        template.copy(root)
        scene = before.copy()
        scene.registry = LocalStore(str(root), follow_symlinks=True, writable=False)
        CHANCE.begin("second")
        with Kernel(root, fault) as kernel:
            code = ended(lambda: scene.snapshot(threads=1))
        return kernel, scene, code

    kernel, scene, code = taken(None)
    assert code == 0
    assert scene.root().complete
    wanted = scene.restored()
    assert all(now[key] == data for key, data in wanted.items())
    assert len([key for key in wanted if key.endswith("/current/link")]) == 6
    incomplete = 0
    for fault in faults("EIO of a look", times, kernel.total(LOOKS)):
        kernel, scene, code = taken(fault)
        assert kernel.struck, fault
        assert code in {0, 1}, fault
        root_now = scene.root()
        whole = root_now.name.sequence == 2 and root_now.complete
        assert code == 0 or not whole, fault
        incomplete += not whole
        if scene.seen.new("looked", whole, contents(scene.store)):
            assert not whole or scene.restored() == wanted, fault
            scene.check_snapshot(1, fault)
            # The disk answers again: all is there, and nothing of it is called damaged.
            scene.snapshot(threads=1)
            assert scene.root().complete, fault
            assert scene.root().damage is None, fault
            assert scene.restored() == wanted, fault
        scene.registry.close()
    assert incomplete, "an error that nobody notices is swallowed"
