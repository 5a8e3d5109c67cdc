"""Tiny vaults, and who meets in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from actors import HERE, Party, Port
from shelves import Model, Shelf, shelf_of
from world import World, noise, tree

from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import claim
from regvault.ops.copy import CopyOptions, copy
from regvault.ops.forget import forget, plan_forget_named
from regvault.ops.prune import PruneResult, plan_prune, prune
from regvault.ops.restore import RestoreOptions, Restorer
from regvault.ops.snapshot import SnapshotOptions, snapshot
from regvault.registry.writer import DistributionTarget
from regvault.storage.memory import MemoryStore
from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog
from regvault.vault.root import RootName
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Live

    from regvault.model.store import ObjectStore

START_NS = 1_795_000_000_000_000_000
DAY_S = 86_400
#: Larger than RAW_BLOB_BYTES, as tests set it: a blob of its own.
RAW = 500


class Actor(NamedTuple):
    """Who acts.

    Attributes:
        verb: what.
        work: does it; returns what came of it.
    """

    verb: str
    work: Callable[[Live], Any]


class Scenario:
    """A vault, or two, with registries; and who is about to act.

    Attributes:
        name: of it.
        stores: one a vault.
        worlds: registry -> the world of its live registry and of the vault that it is native of.
        actors: who acts.
        held: (registry, sequence) -> what a snapshot holds that was taken before all begin.
    """

    def __init__(self, name: str, *registries: str, vaults: int = 1) -> None:
        self.name = name
        HERE.clock_ns, HERE.count = START_NS, 0
        self.stores = [Model(f"vault-{n}", clock_ns=START_NS) for n in range(vaults)]
        for store in self.stores:
            store.writes = {}
        self.worlds: dict[str, World] = {}
        self.actors: list[Actor] = []
        self.held: dict[tuple[str, int], dict[str, bytes]] = {}
        for store in self.stores:
            World(MemoryStore("none"), store)
        for registry in registries:
            self.add(registry)

    # -- before all begin -------------------------------------------------------------------------

    def add(self, registry: str, store: int = 0) -> World:
        made = World(MemoryStore(f"registry-{registry}"), self.stores[store], name=registry)
        self.worlds[registry] = made
        return made

    def later(self, days: float) -> None:
        HERE.clock_ns += int(days * DAY_S * 1e9)
        for store in self.stores:
            store.clock_ns = HERE.clock_ns

    def push(self, registry: str, *layers: object, repository: str = "app") -> None:
        """Let a registry hold this image and no other; its old blobs are gone too."""
        world = self.worlds[registry]
        for key in list(world.registry._objects):
            world.registry.delete(key)
        self.push_more(registry, *layers, repository=repository)

    def push_more(self, registry: str, *layers: object, repository: str = "app") -> None:
        some = tuple(noise(RAW, each) for each in layers)
        self.worlds[registry].push.image(repository, "latest", layers=some, config=b"{}")

    def take(self, registry: str) -> int:
        world = self.worlds[registry]
        root = world.snapshot(threads=1).root
        self.held[registry, root.name.sequence] = tree(world.registry)
        return root.name.sequence

    def drop(self, registry: str, sequence: int, *, store: int = 0) -> None:
        vault = Vault(self.stores[store])
        root = vault.read_slot(RootName(registry, sequence))
        assert root is not None
        forget(vault, plan_forget_named(vault, [root]), progress=NO_PROGRESS)

    def copy(self, source: int, target: int) -> None:
        vaults = Vault(self.stores[source]), [Vault(self.stores[target])]
        assert not copy(*vaults, CopyOptions(threads=1), progress=NO_PROGRESS).problems

    def prune(self, store: int) -> None:
        assert _prune(Vault(self.stores[store])).deleted[0] > 0

    # -- who acts ---------------------------------------------------------------------------------

    def vault(self, live: Live, store: int = 0) -> Vault:
        return Vault(Port(live, store, self.stores[store].location))

    def writer(self, registry: str) -> None:
        source = self.worlds[registry].source

        def work(live: Live) -> Any:
            options = SnapshotOptions(registry=registry, threads=1)
            return snapshot(
                self.vault(live), source(), options, progress=NO_PROGRESS, cache_base=None
            ).root

        self.actors.append(Actor("snapshot", work))

    def pruner(self) -> None:
        def work(live: Live) -> Any:
            return _prune(self.vault(live)).slot

        self.actors.append(Actor("prune", work))

    def forgetter(self, registry: str, sequence: int) -> None:
        def work(live: Live) -> Any:
            vault = self.vault(live)
            root = vault.read_slot(RootName(registry, sequence))
            assert root is not None
            plan = plan_forget_named(vault, [root])
            return forget(vault, plan, progress=NO_PROGRESS).forgotten

        self.actors.append(Actor("forget", work))

    def copier(self, source: int, target: int, *registries: str) -> None:
        def work(live: Live) -> Any:
            options = CopyOptions(registries=registries, threads=1)
            vaults = self.vault(live, source), [self.vault(live, target)]
            result = copy(*vaults, options, progress=NO_PROGRESS)
            return [problem.what for problem in result.problems]

        self.actors.append(Actor("copy", work))

    def reader(self, registry: str, sequence: int) -> None:
        name = RootName(registry, sequence)

        def work(live: Live) -> Any:
            vault = self.vault(live)
            root = vault.read_slot(name)
            if root is None:
                return "forgotten"
            began_ns = live.clock_ns
            with claim(vault, [root], NO_PROGRESS):
                code = self._restore(vault, root)
            # A claim that was not renewed for 24 hours is ended.
            assert code == 0 or live.clock_ns - began_ns >= DAY_S * 1e9, (
                f"a restore ended with {code}"
            )
            return code

        self.actors.append(Actor("restore", work))

    def _restore(self, vault: Vault, root: Any) -> Any:
        objects = vault.object_list(root)
        catalog = Catalog(vault.store, None)
        target = MemoryStore("target")
        catalog.prepare(root.counts.blobs)
        restorer = Restorer(
            vault,
            root,
            objects,
            BlobReader(vault.store, catalog, objects),
            DistributionTarget(target),
            [],
            RestoreOptions(threads=1),
            NO_PROGRESS,
        )
        try:
            result = restorer.execute(restorer.plan())
        finally:
            restorer.close()
            catalog.close()
        expected = self.expected(root.name)
        assert all(expected[key] == data for key, data in tree(target).items())
        links = {key for key in expected if "/repositories/" in key}
        assert result.exit_code() != 0 or links <= tree(target).keys()
        return result.exit_code()

    # -- what the explorer asks -------------------------------------------------------------------

    def parties(self) -> list[Party]:
        return [
            Party(number, chr(ord("A") + number), actor.work, HERE.clock_ns)
            for number, actor in enumerate(self.actors)
        ]

    def shelves(self) -> list[Shelf]:
        return [shelf_of(store) for store in self.stores]

    def numbers(self, *verbs: str) -> list[int]:
        return [number for number, actor in enumerate(self.actors) if actor.verb in verbs]

    def world(self, registry: str, store: ObjectStore) -> World:
        """The registry, with another store as its vault."""
        return World(self.worlds[registry].registry, store, name=registry)

    def native(self, store: int) -> list[str]:
        """The registries that have their snapshots taken into a vault."""
        return [name for name, world in self.worlds.items() if world.store is self.stores[store]]

    def expected(self, name: RootName) -> dict[str, bytes]:
        """What a snapshot must hold."""
        then = self.held.get((name.registry, name.sequence))
        return tree(self.worlds[name.registry].registry) if then is None else then


def _prune(vault: Vault) -> PruneResult:
    plan = plan_prune(vault, progress=NO_PROGRESS, threads=1)
    try:
        result = prune(vault, plan, progress=NO_PROGRESS, threads=1)
    finally:
        plan.close()
    assert result.exit_code() == 0, result.to_json()
    return result


# -- the scenarios -------------------------------------------------------------------------------


def _shared(*registries: str) -> Scenario:
    """Registries whose first snapshots share a blob; a second one each is to be taken."""
    made = Scenario(" and ".join(registries), *registries)
    for registry in registries:
        made.push(registry, "shared", repository=registry)
        made.take(registry)
    made.later(2)
    for registry in registries:
        made.push(registry, "shared", "new", repository=registry)
    return made


def _garbage(*registries: str) -> Scenario:
    """Each had a snapshot that was forgotten, and its registry has that blob again."""
    made = Scenario("garbage", *registries)
    for registry in registries:
        made.push(registry, "old", repository=registry)
        made.take(registry)
        made.push(registry, "other", repository=registry)
        made.take(registry)
        made.drop(registry, 1)
    made.later(10)
    for registry in registries:
        made.push(registry, "old", repository=registry)
    return made


def two_writers() -> Scenario:
    made = _shared("a", "b")
    made.writer("a")
    made.writer("b")
    return made


def two_writers_of_one() -> Scenario:
    made = _shared("a")
    made.writer("a")
    made.writer("a")
    return made


def reuse() -> Scenario:
    made = _garbage("a")
    made.writer("a")
    made.pruner()
    return made


def two_prunes() -> Scenario:
    made = _garbage("a")
    made.pruner()
    made.pruner()
    return made


def prunes_and_writers() -> Scenario:
    made = _garbage("a", "b")
    made.writer("a")
    made.writer("b")
    made.pruner()
    made.pruner()
    return made


def forget_prune_writer() -> Scenario:
    """What is forgotten meanwhile is needed by the snapshot that is being taken."""
    made = Scenario("forget", "a")
    made.push("a", "old")
    made.take("a")
    made.push("a", "other")
    made.take("a")
    made.later(10)
    made.push("a", "old")
    made.forgetter("a", 1)
    made.pruner()
    made.writer("a")
    return made


def reader_forget_prune() -> Scenario:
    made = Scenario("reader", "a")
    made.push("a", "old")
    made.take("a")
    made.push("a", "other")
    made.take("a")
    made.later(10)
    made.reader("a", 1)
    made.forgetter("a", 1)
    made.pruner()
    return made


def copy_into() -> Scenario:
    """A copy into a vault where another registry's writer and a prune are at work."""
    made = Scenario("copy", "b", vaults=2)
    made.add("c", 1)
    made.push("b", "old", repository="b")
    made.take("b")
    made.push("b", "other", repository="b")
    made.take("b")
    made.drop("b", 1)
    made.later(10)
    made.push("c", "old", repository="b")
    made.take("c")
    made.push("b", "old", repository="b")
    made.copier(1, 0, "c")
    made.pruner()
    made.writer("b")
    return made


def copy_from() -> Scenario:
    """A copy of a vault that is written, forgotten and pruned meanwhile."""
    made = Scenario("copied", "a", vaults=2)
    made.push("a", "old")
    made.take("a")
    made.push("a", "other")
    made.take("a")
    made.later(10)
    made.push("a", "old")
    made.copier(0, 1, "a")
    made.forgetter("a", 1)
    made.pruner()
    return made


def reader_of_copy() -> Scenario:
    """A copied snapshot that has objects under other names is read, forgotten and pruned."""
    made = Scenario("reader of a copy", vaults=2)
    made.add("c", 1)
    for layers in ("old", "other"):
        made.push("c", layers)
        made.take("c")
    made.copy(1, 0)
    made.drop("c", 1, store=0)
    made.later(10)
    made.prune(0)
    for layers in ("old", "another"):
        made.push("c", layers)
        made.take("c")
    made.copy(1, 0)
    made.later(10)
    made.reader("c", 3)
    made.forgetter("c", 3)
    made.pruner()
    return made


SCENARIOS: dict[str, Callable[[], Scenario]] = {
    "two-writers": two_writers,
    "two-writers-of-one-registry": two_writers_of_one,
    "reuse": reuse,
    "two-prunes": two_prunes,
    "two-writers-two-prunes": prunes_and_writers,
    "forget-prune-writer": forget_prune_writer,
    "reader-forget-prune": reader_forget_prune,
    "copy-into-prune-writer": copy_into,
    "copy-from-forget-prune": copy_from,
    "reader-of-copy-forget-prune": reader_of_copy,
}
