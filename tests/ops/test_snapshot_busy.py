"""A registry that changes while it is read: every tag of every snapshot is whole."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import (
    World,
    blob_key,
    current_key,
    history_key,
    kinds,
    layer_key,
    noise,
    revision_key,
    tree,
)

from regvault.storage.delegate import Wrapper


class Busy(Wrapper):
    """A store behind which others are at work: before some requests, something happens."""

    def __init__(self, inner, happen) -> None:
        super().__init__(inner)
        self.happen = happen
        self.busy = False

    def _run(self, verb, key, call):
        if not self.busy:
            self.busy = True
            try:
                self.happen(verb, key)
            finally:
                self.busy = False
        return call()


def closures_complete(got: dict[str, bytes]) -> None:
    """Every tag, and every revision, of a restored registry can be pulled."""
    for key, data in got.items():
        if "/current/link" not in key and "/revisions/" not in key:
            continue
        name = key.partition("/repositories/")[2].partition("/_manifests")[0]
        assert revision_key(name, data.decode()) in got, key
        whole(got, name, data.decode())


def whole(got: dict[str, bytes], name: str, digest: str) -> None:
    body = json.loads(got[blob_key(digest)])
    for child in body.get("manifests", ()):
        assert revision_key(name, child["digest"]) in got
        whole(got, name, child["digest"])
    for blob in [body["config"], *body["layers"]] if "layers" in body else []:
        assert blob_key(blob["digest"]) in got
        assert layer_key(name, blob["digest"]) in got


class Clients:
    """Push, move and delete tags, delete manifests and collect garbage, as a registry does."""

    def __init__(self, world: World, seed: int, rate: float) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.rate = rate
        self.number = 0

    def __call__(self, verb: str, key: str) -> None:
        del verb, key
        if self.random.random() < self.rate:
            self.act()

    def act(self) -> None:
        self.number += 1
        what = self.random.choice(["push", "push", "move", "index", "untag", "delete", "collect"])
        getattr(self, what)()

    def tags(self) -> dict[str, str]:
        head = current_key("app", "\0").split("\0")[0]
        found = tree(self.world.registry, head)
        return {
            k[len(head) :].split("/")[0]: v.decode()
            for k, v in found.items()
            if k.endswith("current/link")
        }

    def push(self) -> None:
        self.world.push.image("app", f"t{self.number}", layers=(noise(200, self.number),))

    def move(self) -> None:
        self.world.push.image("app", "latest", layers=(noise(200, self.number),))

    def index(self) -> None:
        children = tuple(
            self.world.push.image("app", layers=(noise(100, self.number, n),)) for n in range(2)
        )
        self.world.push.index("app", f"i{self.number}", children=children)

    def untag(self) -> None:
        tags = [t for t in self.tags() if t != "keep"]
        if tags:
            self._remove(f"/_manifests/tags/{self.random.choice(tags)}/")

    def delete(self) -> None:
        """Delete a manifest: its revision link, then the tags that point there."""
        keep = self.tags().get("keep")
        digests = sorted(set(self.tags().values()) - {keep})
        if digests:
            digest = self.random.choice(digests)
            self.world.registry.delete(revision_key("app", digest))
            for tag, points in self.tags().items():
                if points == digest:
                    self._remove(f"/_manifests/tags/{tag}/")

    def collect(self) -> None:
        """Sweep blobs that no revision reaches."""
        here = tree(self.world.registry)
        marked: set[str] = set()
        for key, data in here.items():
            if "/revisions/" in key:
                self._mark(here, data.decode(), marked)
        for key in here:
            if key.endswith("/data") and f"sha256:{key.split('/')[-2]}" not in marked:
                self.world.registry.delete(key)

    def _mark(self, here, digest, marked) -> None:
        marked.add(digest)
        data = here.get(blob_key(digest))
        body = json.loads(data) if data else {}
        for child in body.get("manifests", ()):
            self._mark(here, child["digest"], marked)
        if "layers" in body:
            marked.update(b["digest"] for b in [body["config"], *body["layers"]])

    def _remove(self, part: str) -> None:
        for entry in list(self.world.registry.list()):
            if part in entry.key:
                self.world.registry.delete(entry.key)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6), st.sampled_from([0.02, 0.05, 0.1, 0.3]))
def test_every_tag_has_its_whole_closure_whatever_happens_meanwhile(seed, rate):
    """Invariant 12: the unit of consistency is a tag and its closure."""
    world = World()
    keep = world.push.image("app", "keep", layers=(noise(300, "keep"),))
    clients = Clients(world, seed, rate)
    for _ in range(4):
        clients.push()
    for _ in range(3):
        busy = Busy(world.registry, clients)
        result = world.snapshot(source=world.source(busy), threads=1)
        # What is not whole is said, and everything else is.
        restored, target = world.restore()
        got = tree(target)
        named = {f.image for _, f in result.findings}
        named |= {p.subject for p in restored.plan.problems}
        for key, data in got.items():
            tag = key.split("/")[-3]
            if key.endswith("/current/link") and f":{tag}" not in named:
                whole(got, "app", data.decode())
        assert got[current_key("app", "keep")] == keep.digest.encode()
        whole(got, "app", keep.digest)
    # Once it is quiet, the next snapshot is what is there.
    world.snapshot()
    assert world.restore()[0].plan.problem_count == 0
    closures_complete(tree(world.restore()[1]))
    world.verified()


def test_a_push_between_tags_and_revisions_is_read_again(world):
    """Facts, write order: read in reverse, and again where a tag dangles."""
    world.push.image("app", "1", layers=(noise(100, 1),))
    done = []

    def happen(verb, key):
        if verb == "get" and key.endswith("/data") and not done:
            done.append(1)
            world.push.image("app", "2", layers=(noise(100, 2),))

    result = world.snapshot(source=world.source(Busy(world.registry, happen)))
    assert done
    assert result.exit_code() == 0
    closures_complete(world.restored())
    world.snapshot()
    assert world.restored() == tree(world.registry)


def test_a_deletion_while_it_is_read_is_no_damage(world):
    """Facts, garbage collection: a blob that disappears meanwhile is normal."""
    world.push.image("app", "1", layers=(noise(100, 1),))
    gone = world.push.image("app", "2", layers=(noise(100, 2),))
    done = []

    def happen(verb, key):
        if verb in ("get", "open", "head") and key == blob_key(gone.blobs[1]) and not done:
            done.append(1)
            clients = Clients(world, 0, 0)
            world.registry.delete(revision_key("app", gone.digest))
            world.registry.delete(current_key("app", "2"))
            world.registry.delete(history_key("app", "2", gone.digest))
            for digest in gone.blobs:
                world.registry.delete(layer_key("app", digest))
            clients.collect()

    result = world.snapshot(source=world.source(Busy(world.registry, happen)))
    assert done
    assert result.exit_code() == 0, kinds(result)
    assert result.root.complete
    assert world.restored() == tree(world.registry)
    world.verified()


def test_a_deletion_in_each_of_the_reads_is_no_damage(world):
    """Invariant 12: what was deleted since the last of them is left out, and all else is whole."""
    keep = world.push.image("app", "keep", layers=(noise(100, "keep"),))
    images = [world.push.image("app", "0", layers=(noise(100, 0),))]

    def happen(verb, key):
        gone, name = images[-1], str(len(images) - 1)
        if verb not in ("get", "open", "head") or key != blob_key(gone.blobs[1]):
            return
        for link in (current_key("app", name), history_key("app", name, gone.digest)):
            world.registry.delete(link)
        world.registry.delete(revision_key("app", gone.digest))
        for digest in gone.blobs:
            world.registry.delete(layer_key("app", digest))
        Clients(world, 0, 0).collect()
        images.append(world.push.image("app", str(len(images)), layers=(noise(100, len(images)),)))

    result = world.snapshot(source=world.source(Busy(world.registry, happen)))
    assert len(images) > 3
    assert result.exit_code() == 0, kinds(result)
    got = world.restored()
    assert got[current_key("app", "keep")] == keep.digest.encode()
    closures_complete(got)


def test_an_empty_link_that_is_being_written_is_no_damage(world):
    """Facts, atomicity: 2.8 and 3.0 truncate, then write: zero bytes without any crash."""
    image = world.push.image("app", "1", layers=(noise(100, 1),))
    world.push.write(current_key("app", "1"), b"")
    sleeps = []
    source = world.source()

    def sleep(_seconds):
        sleeps.append(1)
        world.push.write(current_key("app", "1"), image.digest.encode())

    from regvault.ops.snapshot import capture

    real = capture.Capturer.__init__

    def patched(self, *args, **more):
        real(self, *args, **{**more, "sleep": sleep})

    capture.Capturer.__init__ = patched
    try:
        result = world.snapshot(source=source)
    finally:
        capture.Capturer.__init__ = real
    assert sleeps
    assert result.exit_code() == 0, kinds(result)
    assert world.restored() == tree(world.registry)


def test_a_repository_that_never_holds_still_gets_its_read_window(world):
    """Invariant 12: read again at most three times, then the window is recorded."""
    world.push.image("app", "keep", layers=(noise(100, 1),))
    broken = world.push.image("app", "broken", layers=(noise(100, 2),))
    world.registry.delete(blob_key(broken.blobs[1]))
    count = []

    def happen(verb, key):
        if verb == "list" and "/app/" in key:
            count.append(1)
            world.push.image("app", f"n{len(count)}", layers=(noise(50, len(count)),))

    result = world.snapshot(source=world.source(Busy(world.registry, happen)))
    assert result.exit_code() == 3
    assert 0 < len(count) <= 4
    windows = result.root.scope["windows"]
    assert set(windows) == {"app"}
    started, finished = windows["app"]
    assert started <= finished
    # It is read again next time, since its fingerprint proves nothing.
    assert world.snapshot().read == 1


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_nothing_about_what_is_stored(sample, threads):
    """Invariant 2: the same registry gives the same states and counts, however it is read."""
    one = sample.snapshot(threads=threads).root
    other = World(sample.registry)
    two = other.snapshot(threads=3).root
    assert one.counts == two.counts
    assert one.repositories == two.repositories
