"""A store that lies hurts no snapshot: about what is there, about bytes, and about time.

It lies while one verb is at work, and is honest afterwards. Then every committed snapshot restores
byte for byte, verify has nothing to say, and prunes that follow leave it so (invariants 3, 4, 5 and
7 of `docs/vault-format.md`). The verb itself succeeds, or says what is wrong (invariant 9).
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest
from figures import tried
from liar import Liar, key_of
from scene import CHANCE, CLOCK_NS, Scene, data_of
from world import tree

from regvault.errors import NotFoundError, RegvaultError, StoreAccessError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.forget import forget, plan_forget
from regvault.ops.pin import pin
from regvault.ops.prune import plan_prune, prune
from regvault.policy.retention import Retention
from regvault.storage.memory import MemoryStore
from regvault.storage.wrappers import Wrapper
from regvault.vault.keys import new_run_id, root_key
from regvault.vault.parties import fill_with_void
from regvault.vault.root import RootName
from regvault.vault.stub import stub_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regvault.ops.prune import PrunePlan

DAY_NS = 86_400_000_000_000
NEXT = 9
PINNED, DOOMED = 5, 7


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch):
    """Segments are merged early, and nobody waits for a prune."""
    monkeypatch.setattr("regvault.vault.catalog.MERGE_AT", 3)
    monkeypatch.setattr("regvault.ops.writing.PRUNE_WAIT_S", 0)


# -- the scene -----------------------------------------------------------------------------------


class Locked(Wrapper):
    """A store that does not delete."""

    def delete(self, key):
        raise StoreAccessError(f"locked: {key}", key=key)


class Remembering(MemoryStore):
    """A store that remembers what its keys held before."""

    def __init__(self, name):
        super().__init__(name, clock_ns=CLOCK_NS)
        self.versions: dict[str, list[bytes]] = {}

    def _store(self, key, data, sha256):
        self.versions.setdefault(key, []).append(data)
        return super()._store(key, data, sha256)


class History(Scene):
    """A vault with all that a vault may have.

    Slots 1, 2 and 4 hold stubs, 3, 5, 7 and 8 roots, 6 a void; 5 is pinned. What 1 and 2 needed
    is condemned, in two lists, and still there; what 4 needed alone nobody condemned yet. All of
    it is three days old. The registry has new images, and those of days 1 and 4 again.

    Attributes:
        older: what overwritten keys held before.
        slow: a prune that was planned now.
    """

    older: dict[str, list[bytes]]
    slow: PrunePlan

    def copy(self) -> History:
        made: Any = super().copy()
        made.__class__ = History
        made.older, made.slow = self.older, self.slow
        return made


@lru_cache
def history() -> History:
    CHANCE.begin("before")
    scene = History(store=Remembering("vault"))
    for number in range(1, NEXT):
        if number == 6:
            fill_with_void(scene.store, scene.vault().id, root_key("prod", 6), new_run_id())
            continue
        scene.remove("big")
        scene.day(number, images=1, large=2)
        scene.take()
        if number in {2, 3, 5}:
            scene.forget_named([{2: 1, 3: 2, 5: 4}[number]])
        if number in {2, 3}:
            scene.prune(Locked(scene.store))
    pin(scene.vault(), scene.root(PINNED), by=lambda: "someone")
    scene.day(NEXT, images=1, large=2)
    scene.day(1, images=1, large=2)
    scene.day(4, images=1, large=2)
    store = scene.store
    store.clock_ns = CLOCK_NS
    for key, item in store._objects.items():
        store._objects[key] = item._replace(modified_ns=item.modified_ns - 3 * DAY_NS)
    scene.older = {
        key: [data for data in store.versions[key] if data != item.data]
        for key, item in store._objects.items()
    }
    scene.slow = plan_prune(scene.vault(), progress=NO_PROGRESS, threads=1)
    assert scene.slow.leftovers.count
    assert scene.slow.candidates.count
    now = tree(scene.registry)
    for sequence in range(NEXT, NEXT + 4):
        scene.held[sequence] = now
    return scene


def needed(scene: Scene) -> set[str]:
    """Every key that a snapshot needs."""
    keys = set()
    for root in scene.roots():
        objects = scene.vault().object_list(root)
        keys |= {root.name.key} | {ref.key for ref in objects}
        keys |= {chunk.key for chunk in objects.own_chunks()}
    return keys


# -- the verbs, each against `scene.store` -------------------------------------------------------


def run_snapshot(scene):
    return scene.snapshot(threads=1).exit_code()


def run_forget(scene):
    vault = scene.vault()
    plan = plan_forget(vault, {"prod": Retention(last=1)}, timezone=UTC)
    forget(vault, plan, progress=NO_PROGRESS, by=lambda: "someone")
    return 0


def run_prune(scene):
    plan = plan_prune(scene.vault(), progress=NO_PROGRESS, threads=1)
    try:
        return prune(scene.vault(), plan, progress=NO_PROGRESS, threads=1).exit_code()
    finally:
        plan.close()


def run_verify(scene):
    return scene.verify().exit_code()


def run_restore(scene):
    """Restore two of them; whatever came is right, and after success it is all there."""
    worst, first = 0, None
    for sequence in (PINNED, 8):
        then, target = scene.held[sequence], MemoryStore("target")
        try:
            # As the selector `prod@5` finds it; `restore` here reads it again.
            root = scene.vault().read_slot(RootName("prod", sequence))
            if root is None or scene.vault().read_slot(root.name) is None:
                raise NotFoundError("forgotten")
            with claim(scene.vault(), [root], NO_PROGRESS):
                code = scene.restore(sequence, target, threads=1)[0].exit_code()
        except RegvaultError as error:
            first = first or error
            code = error.exit_code
        got = tree(target)
        assert all(then.get(key) == data for key, data in got.items()), "wrong bytes restored"
        if code == 0:
            links = {key for key in then if "/repositories/" in key}
            assert links <= got.keys(), "restored in part, and said it was all"
        worst = max(worst, code)
    if first is not None:
        raise first
    return worst


VERBS = {
    "snapshot": run_snapshot,
    "forget": run_forget,
    "prune": run_prune,
    "verify": run_verify,
    "restore": run_restore,
}
#: What a verb may end with where the store lies: damaged, refused, temporary, not found, held.
FITTING = {0, 4, 5, 6, 10, 11}


# -- a trial, and what must be true after it ------------------------------------------------------

VERDICTS: dict[int, str] = {}


def verdict(scene: History, *, but: frozenset[int] = frozenset()) -> str:
    """Say what is wrong with a vault whose store is honest again; "" where nothing is."""
    objects = sorted(scene.store._objects.items())
    # What a verification found is no part of what it leaves behind.
    state = [(k, item.data) for k, item in objects if not k.startswith("records/verifications/")]
    key = hash((but, *state))
    if key not in VERDICTS:
        VERDICTS[key] = _verdict(scene, but)
    return VERDICTS[key]


def _verdict(scene: History, but: frozenset[int]) -> str:
    where = "at once"
    try:
        lost = {3, PINNED, DOOMED, 8} - {root.name.sequence for root in scene.roots()} - but
        if lost:
            return f"forgotten: {sorted(lost)}"
        if len({root.registry_id for root in scene.roots()}) != 1:
            return "the registry has two permanent ids"
        scene.check_snapshots("")
        problems = [p for p in scene.verify().report.problems if p.what != "uncatalogued"]
        assert not problems, problems
        need = {key: scene.store.get(key) for key in needed(scene)}
        where = "after a prune that was planned before, and another one"
        prune(scene.vault(), scene.slow, progress=NO_PROGRESS, threads=1)
        run_prune(scene)
        objects = scene.store._objects
        gone = [key for key, data in need.items() if data_of(objects.get(key)) != data]
        assert not gone, gone
    except (AssertionError, RegvaultError) as error:
        return f"{where}: {type(error).__name__}: {str(error)[:120]}"
    return ""


class Tried:
    """What came of many trials.

    Attributes:
        codes: how often the verb ended with which.
        broken: (where, what is wrong).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.codes: Counter[int] = Counter()
        self.broken: list[tuple[object, str]] = []

    def __call__(self, where: object, *, fitting: Iterable[int] = FITTING, **lie: Any) -> int:
        """Run the verb against a store with one lie; judge it."""
        tried("lies of a store")
        scene = history().copy()
        store = scene.store
        CHANCE.begin("first")
        scene.store = Liar(store, **lie)
        code = -1
        try:
            code = VERBS[self.name](scene)
        except RegvaultError as error:
            code = error.exit_code
            wrong = "" if code in fitting else f"exit code {code}: {error!r}"
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody expects it
            wrong = f"{type(error).__name__}: {error}"
        else:
            wrong = "" if code in fitting else f"exit code {code}"
        self.codes[code] += 1
        scene.store = store
        CHANCE.begin("second")
        but = frozenset({DOOMED} if self.name == "forget" else ())
        wrong = "; ".join(filter(None, [wrong, verdict(scene, but=but)]))
        if wrong:
            self.broken.append((where, wrong))
        return code

    def expect(self, truth: bool, where: object, wrong: str) -> None:
        """Note what is wrong unless something is true."""
        if not truth:
            self.broken.append((where, wrong))

    def expect_known(self, known: Callable[[Any, str], bool]) -> None:
        """Take out what nothing can tell: "What a store can hide" in docs/vault-format.md.

        It must be there: a limit that is no more is to be taken out of that page.
        """
        rest = [each for each in self.broken if not known(*each)]
        assert len(rest) < len(self.broken)
        self.broken = rest

    def judge(self, at_least: int) -> None:
        """Assert that nothing was wrong, of so many trials at least."""
        what = "\n".join(f"{where}: {wrong}" for where, wrong in self.broken)
        total = sum(self.codes.values())
        assert not self.broken, f"{len(self.broken)} of {total} ({self.codes}):\n{what}"
        assert total >= at_least


@lru_cache
def honest(name: str) -> Liar:
    """What a verb asks of a store that does not lie; and that all is well then."""
    scene = history().copy()
    CHANCE.begin("first")
    store = scene.store
    scene.store = liar = Liar(store)
    code = VERBS[name](scene)
    assert code == 0
    scene.store = store
    assert verdict(scene, but=frozenset({DOOMED} if name == "forget" else ())) == ""
    return liar


# -- LIST ----------------------------------------------------------------------------------------


def twice(items: list[Any]) -> list[Any]:
    return [item for item in items for _ in range(2)]


def again(items: list[Any]) -> list[Any]:
    return items + items


def backwards(items: list[Any]) -> list[Any]:
    return items[::-1]


def turned(items: list[Any]) -> list[Any]:
    return items[len(items) // 2 :] + items[: len(items) // 2]


SHAPES: dict[str, Callable[[list[Any]], list[Any]]] = {
    "twice": twice,
    "again": again,
    "backwards": backwards,
    "turned": turned,
}


def prefixes_of(keys: Iterable[str]) -> set[str]:
    """Every prefix that ends with a slash, of all keys."""
    return {key[: at + 1] for key in keys for at, char in enumerate(key) if char == "/"}


def without(hidden: str) -> Callable[[int, str, list[Any]], list[Any]]:
    """Hide a key, or all keys below a prefix."""

    def lie(number: int, prefix: str, items: list[Any]) -> list[Any]:
        keys = [(key_of(prefix, item), item) for item in items]
        if hidden.endswith("/"):
            return [item for key, item in keys if not key.startswith(hidden)]
        return [item for key, item in keys if key != hidden]

    return lie


@pytest.mark.parametrize("name", VERBS)
def test_every_list_leaves_out_a_key(name):
    """Invariant 4: nothing is deleted because a LIST did not show that it is needed."""
    tried, need = Tried(name), needed(history())
    keys = {key for _, keys in honest(name).lists for key in keys}
    for key in sorted(keys):
        code = tried(key, listing=without(key))
        if name == "verify" and key in need and not key.startswith("snapshots/"):
            tried.expect(code == 4, key, "verify does not say that it is missing")
    if name == "forget":
        tried.expect_known(unpinned)
    tried.judge(at_least=5)


def unpinned(where: str, wrong: str) -> bool:
    """Nothing refers to a pin, so one that is hidden keeps nothing."""
    return where.startswith("records/") and wrong == f"forgotten: [{PINNED}]"


def broken_chain(where: Any, wrong: str) -> bool:
    """The newest root was not to be had: the new one follows another, as verify says for ever."""
    return where[0] in {8, root_key("prod", 8)} and "what='chain'" in wrong


@pytest.mark.parametrize("name", VERBS)
def test_every_list_leaves_out_a_prefix(name):
    """Invariant 4."""
    tried = Tried(name)
    for prefix in sorted(prefixes_of(history().keys())):
        tried(prefix, listing=without(prefix))
    if name == "forget":
        tried.expect_known(unpinned)
    tried.judge(at_least=5)


@pytest.mark.parametrize("name", VERBS)
def test_every_list_stops_early(name):
    """Invariant 4; a continuation token that is lost."""
    tried = Tried(name)
    for count in range(max(len(keys) for _, keys in honest(name).lists)):
        tried(count, listing=lambda _n, _p, items, count=count: items[:count])
    tried.judge(at_least=2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", VERBS)
def test_every_list_has_another_shape(name, shape):
    tried = Tried(name)
    tried(shape, listing=lambda _n, _p, items: SHAPES[shape](items))
    tried.judge(at_least=1)


def one_list(at: int, change: Callable[[str, list[Any]], list[Any]]) -> Any:
    """Lie in one LIST only."""
    return lambda number, prefix, items: change(prefix, items) if number == at else items


def lies_of_one_list(name: str) -> Iterator[tuple[object, Any]]:
    told = Counter(key for _, keys in honest(name).lists for key in keys)
    for at, (prefix, keys) in enumerate(honest(name).lists):
        for key in keys:
            if told[key] == 1:
                continue  # then it is the same as to leave it out of every LIST
            lie = without(key)
            yield (at, "but", key), one_list(at, lambda p, items, lie=lie: lie(0, p, items))
        for count in range(max(0, len(keys) - 1)):  # all but the last: it is left out above
            yield (at, prefix, count), one_list(at, lambda _, items, count=count: items[:count])
        for shape, change in SHAPES.items():
            if keys:
                yield (at, prefix, shape), one_list(at, lambda _, items, c=change: c(items))


@pytest.mark.parametrize("name", VERBS)
def test_one_list_lies(name):
    """Two LISTs of one run may differ: invariants 3 and 4 hold for each of them."""
    tried = Tried(name)
    for where, lie in lies_of_one_list(name):
        tried(where, listing=lie)
    tried.judge(at_least=5)


# -- GET -----------------------------------------------------------------------------------------

DOCUMENTS = ("vault.json", "snapshots/", "leases/", "locks/", "records/", "condemned/")


def wrong_bytes(key: str) -> Iterator[tuple[str, bytes]]:
    """What a GET of `key` may be answered with instead."""
    scene = history()
    store = scene.store
    data = store.get(key)
    keys = scene.keys()
    kind = key.partition("/")[0]
    same = [each for each in keys if each.partition("/")[0] == kind]
    yield "a neighbour's", store.get(same[(same.index(key) + 1) % len(same)])
    yield "all but a byte", data[:-1]
    if key.startswith(DOCUMENTS):
        other = [each for each in keys if each.partition("/")[0] != kind]
        after = sum(each < key for each in other) % len(other)
        yield "another kind's", store.get(other[after])
        yield "nothing", b""
    for number, version in enumerate(scene.older[key]):
        yield f"version {number}", version


def instead(wrong: str, data: bytes, times: str = "always") -> Any:
    """Answer each GET of a key, the first, or all but the first, with other bytes."""
    count = 0

    def lie(number: int, key: str, truth: bytes) -> bytes:
        nonlocal count
        if key != wrong:
            return truth
        count += 1
        right = {"always": False, "first": count > 1, "later": count == 1}[times]
        return truth if right else data

    return lie


@pytest.mark.parametrize("name", VERBS)
def test_get_returns_wrong_bytes(name):
    """Invariant 7: what is read is proven before it is used.

    Documents that are read twice lie also in one of the two; the others are proven each time.
    """
    tried, need = Tried(name), needed(history())
    gets = Counter(honest(name).gets)
    for key in sorted(gets.keys() & set(history().keys())):
        twice = gets[key] > 1 and key.startswith(DOCUMENTS)
        for what, data in wrong_bytes(key):
            if data == history().store.get(key):
                continue
            for times in ("always", "first", "later") if twice else ("always",):
                code = tried((key, what, times), reading=instead(key, data, times))
                if name == "verify" and key in need and times == "always":
                    tried.expect(code != 0, (key, what, times), "verify does not say so")
    if name == "snapshot":
        tried.expect_known(broken_chain)
    tried.judge(at_least=20)


@pytest.mark.parametrize("sequence", [3, PINNED, DOOMED, 8])
@pytest.mark.parametrize("name", VERBS)
def test_get_returns_a_stub_instead_of_a_root(name, sequence):
    """Someone forgot a snapshot, and put its root back from a copy; GET shows the stub again."""
    tried = Tried(name)
    scene = history()
    root = scene.root(sequence)
    stub = stub_document(scene.vault().id, root, "0" * 24)
    for times in ("always", "first", "later"):
        tried((sequence, times), reading=instead(root.name.key, stub, times))
    if (name, sequence) == ("snapshot", 8):
        tried.expect_known(broken_chain)
    tried.judge(at_least=3)


# -- time ----------------------------------------------------------------------------------------

MINUTES = 300_000_000_000
HOURS_25 = 25 * 3_600_000_000_000
YEARS = 3650 * DAY_NS
SKEWS = [MINUTES + 10**9, -MINUTES - 10**9, HOURS_25, -HOURS_25]
AGES = [*SKEWS, YEARS, -YEARS]


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("name", VERBS)
def test_the_clock_is_wrong(name, skew):
    """Invariant 5: verbs that destroy refuse; the others need no clock."""
    tried = Tried(name)
    fitting = {5} if name in {"forget", "prune"} else {0}
    tried(skew, fitting=fitting, clock=lambda _, now_ns: now_ns + skew)
    tried.judge(at_least=1)


@pytest.mark.parametrize("skew", [MINUTES - 10**9, 10**9 - MINUTES])
@pytest.mark.parametrize("name", VERBS)
def test_the_clock_is_right_enough(name, skew):
    """Invariant 5: up to 5 minutes are nothing."""
    tried = Tried(name)
    tried(skew, fitting={0}, clock=lambda _, now_ns: now_ns + skew)
    tried.judge(at_least=1)


@pytest.mark.parametrize("name", ["snapshot", "forget", "prune"])
def test_the_clock_jumps(name):
    """From any look on it is wrong, or at any one look."""
    tried = Tried(name)
    for skew in SKEWS:
        for at in range(honest(name).looks):
            tried(
                (skew, "from", at),
                clock=lambda look, now_ns, at=at, skew=skew: now_ns + skew * (look >= at),
            )
            tried(
                (skew, "at", at),
                clock=lambda look, now_ns, at=at, skew=skew: now_ns + skew * (look == at),
            )
    tried.judge(at_least=8)


@pytest.mark.parametrize("step", [10**9, 60 * 10**9, 3600 * 10**9])
@pytest.mark.parametrize("name", VERBS)
def test_the_clock_goes_backwards(name, step):
    tried = Tried(name)
    tried(step, clock=lambda look, now_ns: now_ns - step * look)
    tried.judge(at_least=1)


def aged(prefix: str, skew: int) -> Any:
    """Let LIST and HEAD say another time of all below a prefix."""

    def entry(truth):
        if not truth.key.startswith(prefix):
            return truth
        return truth._replace(modified_ns=truth.modified_ns + skew)

    return entry


@pytest.mark.parametrize("name", VERBS)
def test_objects_have_wrong_times(name):
    """No time that a store tells makes something needless that a snapshot needs."""
    tried = Tried(name)
    prefixes = {""}
    if name not in {"verify", "restore"}:  # these look at no times
        prefixes |= {key.partition("/")[0] for key in history().keys("")}
        prefixes |= set(history().keys("snapshots/"))
    for prefix in sorted(prefixes):
        for skew in AGES:
            tried((prefix, skew), entry=aged(prefix, skew))
    tried.judge(at_least=6)


# -- two at once ---------------------------------------------------------------------------------


def code_of(run: Callable[[Any], int], scene: Any) -> int:
    try:
        return run(scene)
    except RegvaultError as error:
        return error.exit_code


def meanwhile(
    outer: str, inner: str, at: int, lie: dict[str, Any]
) -> tuple[int, int, str, int, str]:
    """Run `outer`; before its n-th write run all of `inner`, which the store lies to.

    Returns:
        the two exit codes (-1: it did not come to it), what is wrong afterwards, how many writes
        there were, and the key of the n-th.
    """
    tried("two verbs at once, one within the other")
    scene = history().copy()
    store = scene.store
    other = scene.copy()
    other.store, other.registry = store, scene.registry
    codes = {"inner": -1}
    count = 0
    which = ""

    def before_put(key: str) -> None:
        nonlocal count, which
        count += 1
        if count == at:
            which = key
            other.store = Liar(store, **lie)
            codes["inner"] = code_of(VERBS[inner], other)

    CHANCE.begin("first")
    scene.store = Liar(store, before_put=before_put)
    code = code_of(VERBS[outer], scene)
    scene.store = store
    CHANCE.begin("second")
    return code, codes["inner"], verdict(scene), count, which


def judge_all(
    outer: str, inner: str, lies: dict[str, dict[str, Any]], *, but: str = ""
) -> Counter[tuple[int, int]]:
    """Try all lies at all writes; return how often which exit codes came.

    `but`: a key; what comes just before its write is known to do harm, and must do it still.
    """
    harm = 0
    ends: Counter[tuple[int, int]] = Counter()
    broken = []
    for what, lie in lies.items():
        at = count = 1
        while at <= count:
            code, within, wrong, count, key = meanwhile(outer, inner, at, lie)
            ends[code, within] += 1
            fits = {code, within} <= {*FITTING, -1}
            if wrong and fits and key == but:
                harm += 1
            elif wrong or not fits:
                broken.append(f"{what}, at write {at}, exit codes {code}, {within}: {wrong}")
            at += 1
    text = "\n".join(broken)
    assert not broken, f"{len(broken)} of {sum(ends.values())} ({ends}):\n{text}"
    assert bool(harm) == bool(but)
    return ends


def test_a_prune_beside_a_snapshot():
    """A pruner, step 2: while a writer lives, nothing is condemned."""
    ends = judge_all("snapshot", "prune", {"no lie": {}})
    # Before the lease is written, and after it was given back, there is no writer.
    assert ends[0, 11] > 10


def test_a_prune_that_does_not_see_a_lease():
    """Invariant 4: that LIST shows no writer does not mean that there is none."""
    lies = {
        "no leases": {"listing": without("leases/")},
        **{f"leases {skew}": {"entry": aged("leases/", skew)} for skew in SKEWS},
    }
    # A whole prune between the last look at the condemned lists and the root does harm.
    judge_all("snapshot", "prune", lies, but=root_key("prod", 9))


def test_a_snapshot_that_does_not_see_the_lock():
    """A writer, step 3: GET shows a state of the lock from before."""
    scene = history()
    key = "locks/prune.json"
    versions = [*scene.older[key], scene.store.get(key)]
    released = [data for data in versions if b'"state":"released"' in data]
    assert released
    lies = {f"version {n}": {"reading": instead(key, data)} for n, data in enumerate(released)}
    judge_all("prune", "snapshot", lies)


def held_versions() -> list[bytes]:
    """What the lock held while a prune decided."""
    return [data for data in history().older["locks/prune.json"] if b'"state":"held"' in data]


@pytest.mark.parametrize("name", ["snapshot", "prune"])
def test_a_lock_of_the_dead_is_ended_once(name, monkeypatch):
    """GET shows the lock as a pruner held it that died since; nobody tries to end it for ever."""
    monkeypatch.setattr("regvault.vault.prune_lock.seen_dead", lambda _: True)
    tried = Tried(name)
    for number, data in enumerate(held_versions()):
        tried(number, reading=instead("locks/prune.json", data))
    tried.judge(at_least=2)


def test_a_source_that_shrank_is_held():
    """Invariant 5: whatever LIST shows of the chain, and be it nothing."""
    lies = {prefix: without(prefix) for prefix in ("snapshots/", "snapshots/prod/")}
    for at, (prefix, keys) in enumerate(honest("snapshot").lists):
        if prefix.startswith("snapshots/"):
            for count in range(len(keys) + 1):
                lies[f"LIST {at} stops after {count}"] = one_list(
                    at, lambda _, items, count=count: items[:count]
                )
    broken = []
    for what, lie in lies.items():
        scene = history().copy()
        scene.remove("big")
        scene.remove("team/app-0")
        store = scene.store
        CHANCE.begin("first")
        scene.store = Liar(store, listing=lie)
        code = code_of(run_snapshot, scene)
        scene.store = store
        newest = scene.root()
        if code not in FITTING | {3} or (newest.name.sequence > 8 and newest.held is None):
            broken.append(f"{what}: exit code {code}, {newest.name} is not held")
    assert not broken, "\n".join(broken)
    assert len(lies) > 10
