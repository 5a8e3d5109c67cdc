"""Real registries serve blobs through links into a cold mount, whatever is moved or collected."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import mounts
import pytest
from images import RAW, layer
from served import ACCEPT, Reader
from servers import Registry, RegistryVersion

from regvault.assemble.cold import bind_cold_mount, open_cold_store
from regvault.config.places import RegistryPlace
from regvault.errors import (
    NotFoundError,
    RegvaultError,
    SourceUnavailableError,
    StoreFullError,
)
from regvault.model.location import Role, parse_location
from regvault.registry.layout import blob_key
from regvault.registry.pull import prove_pull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regvault_cli import Cli

    Run = Callable[..., str]

MOVES = 25


class Live:
    """A registry with two images that share a layer, and its cold mount."""

    def __init__(self, version: RegistryVersion, directory: Path, run: Run) -> None:
        self.root, self.cold = directory / "registry", directory / "hdd"
        self.directory, self.run = directory, run
        self.root.mkdir()
        self.registry = Registry(version, storage=self.root, state=directory / "state")
        self.place = RegistryPlace(parse_location(f"fs:{self.root}", Role.SOURCE))

    def push(self, name: str, *words: str) -> list[str]:
        """Push an image; return the digests of its blobs."""
        files = [word for each in words for word in ("-f", str(layer(self.directory, each, RAW)))]
        image = f"{self.registry.host}/{name}"
        self.run("crane", "append", "--oci-empty-base", *files, "-t", image)
        manifest = json.loads(self.run("crane", "manifest", image))
        return [blob["digest"] for blob in (manifest["config"], *manifest["layers"])]

    def fill(self) -> None:
        self.app = self.push("team/app:1", "base", "app")
        self.gone = self.push("team/gone:1", "base", "gone")
        self.tags = {
            name: self.run("crane", "digest", f"{self.registry.host}/{name}").strip()
            for name in ("team/app:1", "team/gone:1")
        }

    def bind(self, seen: Path | None = None) -> None:
        self.cold.mkdir(exist_ok=True)
        path = None if seen is None else str(seen)
        bind_cold_mount(self.place, "hdd", str(self.cold), path, same_disk=True)

    def move(self, store: Any, digests: list[str], where: str) -> None:
        for digest in digests:
            key = blob_key(digest)
            store.change_class(key, where, expected=store.placement(key))

    def path(self, digest: str) -> Path:
        return self.root / blob_key(digest)

    def cold_path(self, digest: str) -> Path:
        return self.cold / blob_key(digest).removeprefix("docker/registry/v2/")

    def served(self, *names: str) -> None:
        """Prove all bytes of these images, or of all, as a client gets them now."""
        tags = {name: self.tags[name] for name in names or self.tags}
        Reader(self.registry).everything(tags)

    def delete(self, name: str) -> None:
        repository, _, _ = name.partition(":")
        url = f"{self.registry.url}/v2/{repository}/manifests/{self.tags[name]}"
        request = urllib.request.Request(url, method="DELETE", headers={"Accept": ACCEPT})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202


@pytest.fixture(params=["2.8", "3"])
def live(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Iterator[Live]:
    live = Live(request.param, tmp_path, run)
    with live.registry:
        live.fill()
        yield live


@pytest.mark.timeout(300)
def test_every_pull_succeeds_while_all_blobs_are_moved_to_and_fro(live: Live) -> None:
    live.bind()
    blobs = sorted({*live.app, *live.gone})
    stop = threading.Event()
    failed: list[BaseException] = []
    pulls = {"http": 0, "crane": 0, "skopeo": 0}

    def until_told(name: str, pull: Callable[[], object]) -> None:
        while not stop.is_set():
            try:
                pull()
            except (AssertionError, OSError) as error:
                failed.append(error)
                return
            pulls[name] += 1

    def by_crane() -> None:
        live.run("crane", "pull", f"{live.registry.host}/team/app:1", live.directory / "app.tar")

    def by_skopeo() -> None:
        target = live.directory / "layout"
        shutil.rmtree(target, ignore_errors=True)
        source = f"docker://{live.registry.host}/team/gone:1"
        live.run("skopeo", "copy", "--src-tls-verify=false", source, f"oci:{target}:1")

    ways = {"http": live.served, "crane": by_crane, "skopeo": by_skopeo}
    threads = [threading.Thread(target=until_told, args=way) for way in ways.items()]
    for thread in threads:
        thread.start()
    store = open_cold_store(live.place)
    try:
        rounds = 0
        while (rounds < MOVES or min(pulls.values()) < 5) and not failed:
            for where in ("hdd", "hot"):
                live.move(store, blobs, where)
            store.reap()
            rounds += 1
        live.move(store, blobs, "hdd")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        store.close()
    print(live.registry.name, rounds, "rounds beside", pulls)
    assert not failed
    assert all(live.path(digest).is_symlink() for digest in blobs)
    live.served()


def test_what_garbage_collection_removes_is_reaped_and_nothing_else(live: Live) -> None:
    live.bind()
    store = open_cold_store(live.place)
    live.move(store, sorted({*live.app, *live.gone}), "hdd")
    live.delete("team/gone:1")
    assert store.reap(orphaned_for_s=0).removed == 0
    live.registry.stop()
    live.registry.garbage_collect()
    live.registry.start()
    only = [digest for digest in live.gone if digest not in live.app]
    assert only
    for digest in only:
        assert not os.path.lexists(live.path(digest).parent)
        assert live.cold_path(digest).exists()
    assert store.reap().waiting == len(only)
    assert store.reap(orphaned_for_s=0).removed == len(only)
    assert not any(live.cold_path(digest).exists() for digest in only)
    live.served("team/app:1")

    # Pushed again, it is hot; what lies in the mount is not copied by a push.
    again = live.push("team/gone:1", "base", "gone")
    assert sorted(again) == sorted(live.gone)
    assert all(live.path(digest).is_file() for digest in again)
    assert [d for d in again if live.path(d).is_symlink()] == [d for d in again if d in live.app]
    live.served()
    assert store.reap(orphaned_for_s=0).linked == len(live.app)
    store.close()


def test_a_garbage_collection_while_the_mount_is_away_deletes_nothing_that_is_needed(
    live: Live,
) -> None:
    live.bind()
    store = open_cold_store(live.place)
    live.move(store, sorted({*live.app, *live.gone}), "hdd")
    store.close()
    live.registry.stop()
    live.cold.rename(live.directory / "unmounted")
    live.cold.mkdir()
    live.registry.garbage_collect(delete_untagged=True)
    live.cold.rmdir()
    (live.directory / "unmounted").rename(live.cold)
    live.registry.start()
    live.served()


def test_a_push_over_a_link_to_nothing_makes_it_whole(live: Live) -> None:
    live.bind()
    store = open_cold_store(live.place)
    layers = live.app[1:]
    live.move(store, layers, "hdd")
    for digest in layers:
        live.cold_path(digest).unlink()
    live.registry.stop()
    live.registry.start()  # what it remembers of blobs is only in its memory
    # (crane looks no further where the same manifest is there.)
    live.push("team/app:2", "base", "app", "more")
    live.served()
    assert not any(live.path(digest).is_symlink() for digest in layers)
    assert store.reap(orphaned_for_s=0).removed == 0
    assert store.reap().linked == 0
    live.move(store, layers, "hdd")
    live.served()
    store.close()


def test_the_registry_sees_the_mount_elsewhere_and_a_pull_proves_it(live: Live) -> None:
    seen = live.directory / "as-the-registry-sees-it"
    live.bind(seen)
    store = open_cold_store(live.place)
    digest = live.app[-1]
    pull = lambda: prove_pull(live.registry.url, "team/app", digest)  # noqa: E731
    size = pull()
    live.move(store, [digest], "hdd")
    # The registry does not see it there: the proof fails, and it is taken back.
    with pytest.raises((NotFoundError, SourceUnavailableError)):
        pull()
    live.move(store, [digest], "hot")
    assert pull() == size
    seen.symlink_to(live.cold)
    live.move(store, sorted({*live.app, *live.gone}), "hdd")
    assert os.readlink(live.path(digest)).startswith(f"{seen}/")
    assert pull() == size
    live.served()
    store.close()


def test_a_mount_of_its_own_that_is_full_or_unmounted(live: Live, cli: Cli) -> None:
    with mounts.small(live.cold, "1536k"):
        bind_cold_mount(live.place, "hdd", str(live.cold))
        store = open_cold_store(live.place)
        one, other = live.app[-2:]
        live.move(store, [one], "hdd")
        with pytest.raises(StoreFullError):
            live.move(store, [other], "hdd")
        live.served()
        assert store.placement(blob_key(other)).storage_class == "hot"
        assert store.reap().linked == 1
        mounts.enlarge(live.cold, "64m")
        live.move(store, sorted({*live.app, *live.gone} - {one}), "hdd")
        live.served()
        vault = live.directory / "vault"
        cli("init", vault)
        cli("snapshot", f"fs:{live.root}", "--vault", vault)
        store.close()
    # It was in memory: now it is lost, and what is below the mount point is another directory.
    cli("scan", f"fs:{live.root}", expect=6)
    with pytest.raises(RegvaultError):
        prove_pull(live.registry.url, "team/app", one)
    cli("restore", "latest", "--vault", vault, "--to", f"fs:{live.root}")
    live.registry.stop()
    live.registry.start()
    live.served()
    cli("scan", f"fs:{live.root}", "--read-data")


PRICES = """
name = "cellar"
as_of = 2026-11-01
currency = "EUR"
hot = "hot"

[classes.hot]
gb_month = 0.05
put_per_1000 = 0.0

[classes.hdd]
gb_month = 0.005
put_per_1000 = 0.0
retrieval_gb = 0.05
"""


def test_what_is_planned_is_moved_and_what_is_pulled_again_comes_back(live: Live, cli: Cli) -> None:
    """As a user does it: a mount, a plan, the same command again after an access."""
    days = 86_400
    live.cold.mkdir()
    source = f"fs:{live.root}"
    shown = cli("tier", "mount", source, "hdd", live.cold, "--same-disk").document
    assert shown["mounts"][0]["problem"] is None
    for path in live.root.rglob("*"):
        os.utime(path, (time.time() - 200 * days,) * 2)
    prices = live.directory / "disks.toml"
    prices.write_text(PRICES)
    told = live.directory / "told.jsonl"

    def planned(pulls: list[tuple[float, str]]) -> Any:
        told.write_text(
            "".join(
                json.dumps({"time": time.time() - ago * days, "method": "GET", "uri": uri}) + "\n"
                for ago, uri in sorted(pulls, reverse=True)
            )
        )
        plan = live.directory / f"plan-{len(pulls)}.jsonl"
        words = ("--access", told, "--prices", prices, "--out", plan)
        cli("tier", "plan", source, *words)
        cli("tier", "apply", plan, "--yes", "--dry-run")
        return cli("tier", "apply", plan, "--yes", "--url", live.registry.url).document

    busy = [(n / 2 + 0.1, "/v2/team/app/manifests/1") for n in range(2, 190)]
    only = [digest for digest in live.gone[1:] if digest not in live.app]
    done = planned(busy)
    assert (done["moved"], done["stopped"]) == (len(only), None), done
    assert [d for d in {*live.app, *live.gone} if live.path(d).is_symlink()] == only
    live.served()
    shown = cli("tier", "mount", source).document
    assert shown["mounts"][0]["blobs"] == len(only)
    cli("tier", "unmount", source, "hdd", expect=5)

    # It came there forty days ago: what was pulled before says nothing of it there.
    for digest in only:
        os.utime(live.path(digest), (time.time() - 40 * days,) * 2, follow_symlinks=False)
    again = [(n / 2 + 0.1, f"/v2/team/gone/blobs/{only[0]}") for n in range(1, 60)]
    done = planned(busy + again)
    assert (done["moved"], done["stopped"]) == (len(only), None), done
    assert not any(live.path(digest).is_symlink() for digest in {*live.app, *live.gone})
    live.served()
    store = open_cold_store(live.place)
    store.reap(left_for_s=0)
    store.close()
    cli("tier", "unmount", source, "hdd")
    assert cli("tier", "mount", source).document == {"mounts": []}


def test_where_the_registry_sees_another_path_the_pull_fails_and_all_stays(
    live: Live, cli: Cli
) -> None:
    live.cold.mkdir()
    source = f"fs:{live.root}"
    cli("tier", "mount", source, "hdd", live.cold, "--same-disk", "--seen", "/nowhere/cold")
    for path in live.root.rglob("*"):
        os.utime(path, (time.time() - 200 * 86_400,) * 2)
    prices = live.directory / "disks.toml"
    prices.write_text(PRICES)
    told = live.directory / "told.jsonl"
    uri = "/v2/team/app/manifests/1"
    told.write_text(
        "".join(
            json.dumps({"time": time.time() - ago * 86_400, "method": "GET", "uri": uri}) + "\n"
            for ago in range(190, 0, -1)
        )
    )
    plan = live.directory / "plan.jsonl"
    cli("tier", "plan", source, "--access", told, "--prices", prices, "--out", plan)
    refused = cli("tier", "apply", plan, "--yes", expect=2).error
    assert "--url" in refused["hint"]
    done = cli("tier", "apply", plan, "--yes", "--url", live.registry.url, expect=3).document
    assert done["moved"] == 0
    assert not any(live.path(digest).is_symlink() for digest in {*live.app, *live.gone})
    live.served()
