"""Whatever a server of S3 does at any request, once or for ever, loses nothing.

Invariants 1, 2 and 9. Through the real S3Store and botocore, over a socket: answers of 500 and 503,
with the request done or not; 200 with an error in its body; silence before and after the commit;
resets before, amid and after a request; bodies cut off. (A PUT on a condition that arrived, whose
answer was lost, is answered with 412 when botocore repeats it.)

Where a fault passes, all requests of a verb have it once, each before its repetition. Thinned in
two respects: of what lasts, the first request that fails is every 36th; and every 16th request
alone meets silence, which takes time. WHOLE=1 tries all.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from s3_server import Fault, Request, S3Server, error, no_fault
from scene import CHANCE, Dying, clone, contents
from test_syscalls import a_registry, ended
from verbs import VERBS, check_and_converge
from world import tree

from regvault.errors import ObjectNotFoundError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.copy import CopyOptions, copy
from regvault.storage import s3_client, s3_put, s3_read, s3_upload
from regvault.storage.memory import MemoryStore
from regvault.storage.s3 import S3Store
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scene import Scene

EVERY = int(os.environ.get("EVERY", "1"))
WHOLE = bool(os.environ.get("WHOLE"))
CREDENTIALS = ("test", "test", None)
#: Seconds until a client takes a silent server for lost; and how often it tries.
PATIENCE_S = 0.3
ATTEMPTS = 4

WRITES = frozenset(
    {"PutObject", "DeleteObject", "CopyObject", "UploadPart", "CreateMultipartUpload", "Complete"}
)
READS = frozenset({"GetObject", "HeadObject", "ListObjectsV2"})
HAS_BODY = frozenset({"GetObject", "ListObjectsV2"})
ALL = WRITES | READS


class Kind(NamedTuple):
    fault: Fault
    operations: frozenset[str]


KINDS = {
    "500": Kind(Fault(done=False, answer=error(500, "InternalError")), ALL),
    "500 after": Kind(Fault(done=True, answer=error(500, "InternalError")), WRITES),
    "503": Kind(Fault(done=False, answer=error(503, "SlowDown")), ALL),
    "200 with an error": Kind(
        Fault(done=False, answer=error(200, "InternalError")), frozenset({"Complete", "CopyObject"})
    ),
    "200 with an error after": Kind(
        Fault(done=True, answer=error(200, "InternalError")), frozenset({"Complete", "CopyObject"})
    ),
    "silence": Kind(Fault(done=False, how="stall"), ALL),
    "silence after": Kind(Fault(done=True, how="stall"), WRITES),
    "reset": Kind(Fault(done=False, how="reset"), ALL),
    "reset after": Kind(Fault(done=True, how="reset"), WRITES),
    "reset amid a request": Kind(
        Fault(done=False, early=True), frozenset({"PutObject", "UploadPart", "Complete"})
    ),
    "reset amid an answer": Kind(Fault(done=True, how="tear"), HAS_BODY),
    "answer cut off": Kind(Fault(done=True, how="cut"), HAS_BODY),
}
#: What lasts is told apart by what the server has done: nothing, or all of it.
LASTING = ("503", "reset after", "200 with an error after")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as served:
        yield served


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Nobody waits between two attempts; blobs of 400 bytes and more go up in parts."""
    import botocore.endpoint

    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    idle = SimpleNamespace(sleep=lambda _s: None)
    for module in (botocore.endpoint, s3_put, s3_read, s3_upload):
        monkeypatch.setattr(module, "time", idle)
    monkeypatch.setattr(s3_client, "_ATTEMPTS", ATTEMPTS)
    if KINDS[request.node.callspec.params["kind"]].fault.how == "stall":
        monkeypatch.setattr(s3_client, "_READ_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(s3_upload, "SINGLE_PUT_LIMIT", 400)
    monkeypatch.setattr(s3_upload, "_MIN_PART", 300)
    monkeypatch.setattr(s3_upload, "MIB", 1)
    monkeypatch.setattr("regvault.ops.copy.feed.RAW_BLOB_BYTES", 400)


class Stores:
    """Stores of one server; all share their connections, which take a tenth of a second to make."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self._first = self._make("vault")

    def _make(self, bucket: str) -> S3Store:
        return S3Store(bucket, endpoint_url=self.server.url, credentials=CREDENTIALS)

    def open(self, bucket: str) -> S3Store:
        store = self._make(bucket)
        store.connection = self._first.connection
        return store


def run(stores: Stores, name: str, fault: Callable[[Request], Fault | None]) -> tuple[Scene, int]:
    """Run a verb on a fresh copy of its vault; return the scene afterwards, and the exit code."""
    verb = VERBS[name]
    scene = verb.before(False).copy()
    origin = MemoryStore("none") if scene.origin is None else scene.origin
    stores.server.begin(fault, vault=scene.store, origin=origin)
    CHANCE.begin("first")
    store = stores.open("vault")
    store.now_ns = scene.store.now_ns
    with Dying():
        if name == "copy":
            origin, options = stores.open("origin"), CopyOptions(threads=1)
            code = ended(lambda: copy(Vault(origin), [Vault(store)], options, progress=NO_PROGRESS))
        else:
            code = ended(lambda: verb.run(scene, store))
    # From now on nobody disturbs; what is still under way is of a connection that is gone.
    scene.store = clone(scene.store)
    return scene, code


class EachOnce:
    """Every request has the fault, but its repetition: by botocore, or by whoever asked.

    Attributes:
        seen: requests that are no repetition.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._owed: set[tuple[str, ...]] = set()  # to be answered when they are repeated
        self._step = 16 if kind.fault.how == "stall" and not WHOLE else 1
        self.seen = 0

    def __call__(self, request: Request) -> Fault | None:
        if request.operation not in self._kind.operations:
            return None
        if request.identity in self._owed:
            self._owed.remove(request.identity)
            return None
        self.seen += 1
        if self.seen % self._step:
            return None
        self._owed.add(request.identity)
        return self._kind.fault


def lasting(kind: Kind, at: int) -> Callable[[Request], Fault | None]:
    """The requests of a kind have the fault from the n-th on."""
    seen = [0]

    def fault(request: Request) -> Fault | None:
        concerned = request.operation in kind.operations
        seen[0] += concerned
        return kind.fault if concerned and seen[0] >= at else None

    return fault


def counted(server: S3Server, kind: Kind) -> int:
    return sum(operation in kind.operations for operation in server.log)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", VERBS)
def test_what_passes_stops_no_verb(server, name, kind):
    stores = Stores(server)
    plain, code = run(stores, name, no_fault)
    assert code == 0
    total = counted(server, KINDS[kind])
    fault = EachOnce(KINDS[kind])
    scene, code = run(stores, name, fault)
    assert code == 0
    assert fault.seen >= total
    assert total or name in {"forget", "prune"}
    VERBS[name].again(scene, (name, kind))
    assert plain.roots()[-1].counts == scene.roots()[-1].counts or name == "first snapshot"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("name", VERBS)
def test_what_lasts_ends_a_verb_and_loses_nothing(server, name, kind):
    stores = Stores(server)
    scene, code = run(stores, name, no_fault)
    assert code == 0
    total = counted(server, KINDS[kind])
    failed = 0
    for at in range(1, total + 1, EVERY if WHOLE else 36 * EVERY):
        where = (name, kind, at)
        scene, code = run(stores, name, lasting(KINDS[kind], at))
        assert code in {0, 6}, where
        failed += code != 0
        if scene.seen.new(name, "s3", contents(scene.store)):
            check_and_converge(VERBS[name], scene, where)
    # What was done in spite of its answer is found out by reading it back.
    assert failed or KINDS[kind].fault.done


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_from_and_to_s3(server, kind):
    stores = Stores(server)
    before = a_registry()
    sequence = before.take().root.name.sequence
    whole = before.restored(sequence)

    def restored(fault: Callable[[Request], Fault | None], target: MemoryStore) -> int:
        server.begin(fault, vault=before.store, target=target)
        to, vault = stores.open("target"), stores.open("vault")
        return ended(lambda: before.restore(sequence, to, store=vault, threads=1))

    target = MemoryStore("target")
    assert restored(EachOnce(KINDS[kind]), target) == 0
    assert tree(target) == whole
    total = counted(server, KINDS[kind])
    for at in range(1, total // 2, EVERY if WHOLE else 36 * EVERY) if kind in LASTING else ():
        target = MemoryStore("target")
        code = restored(lasting(KINDS[kind], at), target)
        target = clone(target)
        assert code in {0, 6}, at
        assert all(whole[key] == data for key, data in tree(target).items()), at
        assert restored(no_fault, target) == 0
        assert tree(target) == whole, at


#: What may become of a request that only reads.
READING = [kind for kind in KINDS if KINDS[kind].operations & READS]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", READING)
def test_a_snapshot_of_a_registry_on_s3(server, kind):
    """What could not be read is no damage, and is not taken for gone (invariant 9)."""
    stores = Stores(server)
    before = a_registry()
    now = tree(before.registry)

    def taken(fault: Callable[[Request], Fault | None]) -> tuple[Scene, int]:
        scene = before.copy()
        server.begin(fault, vault=MemoryStore("none"), registry=clone(before.registry))
        scene.registry = stores.open("registry")
        CHANCE.begin("second")
        code = ended(lambda: scene.snapshot(threads=1))
        scene.registry = before.registry
        return scene, code

    scene, code = taken(EachOnce(KINDS[kind]))
    wanted = scene.restored()
    assert code == 0
    assert scene.root().complete
    assert scene.root().damage is None
    assert all(now[key] == data for key, data in wanted.items())
    total = counted(server, KINDS[kind])
    incomplete = 0
    steps = range(1, total + 1, EVERY if WHOLE else 12 * EVERY) if kind == "503" else ()
    for at in steps:
        scene, code = taken(lasting(KINDS[kind], at))
        root = scene.root()
        whole = root.name.sequence == 2 and root.complete
        assert (code == 0) == whole, at
        assert code in {0, 6}, at
        assert root.damage is None, at
        incomplete += not whole
        scene.check_snapshot(1, at)
        scene.snapshot(threads=1)
        assert scene.root().complete, at
        assert scene.restored() == wanted, at
    assert incomplete or not steps


@pytest.mark.parametrize("kind", ["reset amid an answer"])
def test_an_answer_that_says_no_and_breaks_off_is_asked_for_again(server, kind):
    """botocore reads the answer of an error to a download where it repeats nothing."""
    stores = Stores(server)
    fault = EachOnce(KINDS[kind])
    server.begin(fault, vault=MemoryStore("empty"))
    with pytest.raises(ObjectNotFoundError):
        stores.open("vault").get("missing")
    assert fault.seen == 1
    assert server.log.count("GetObject") == 2
