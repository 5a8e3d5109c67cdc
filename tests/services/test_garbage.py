"""`tier gc` with the registries' own collection: nothing is lost, or it is told and comes back."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from images import fill, layer
from served import Reader
from servers import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regvault_cli import Cli
    from servers import MinIO

    Run = Callable[..., str]

STILL = ("--still-for", "0", "--yes")


def age(root: Path) -> None:
    """Make all of a directory two hours older: what is pushed just now may not be collected."""
    then = time.time() - 7200
    for path in root.rglob("*"):
        os.utime(path, (then, then))


def collect(registry: Registry, *, untagged: bool = False) -> str:
    registry.write_config()
    words = [str(registry._program()), "garbage-collect", *(["-m"] if untagged else [])]
    return shlex.join([*words, str(registry.config)])


class Place:
    """A registry of a version on a disk, filled, with a vault that has a snapshot of it."""

    def __init__(self, version: Any, cli: Cli, run: Run, base: Path) -> None:
        self.cli = cli
        self.root = base / "storage"
        self.vault = base / "vault"
        self.registry = Registry(version, storage=self.root, state=base)
        with self.registry:
            self.pushed = fill(self.registry, run, base)
        age(self.root)
        cli("init", self.vault)
        cli("snapshot", f"fs:{self.root}", "--vault", self.vault, "--registry", "prod")

    def gc(self, *options: str, expect: int = 0, untagged: bool = False) -> dict[str, Any]:
        return self.cli(
            *("tier", "gc", f"fs:{self.root}", "--vault", self.vault, *options),
            *("--collect", collect(self.registry, untagged=untagged)),
            expect=expect,
        ).document

    def served(self, untagged: list[str] | None = None) -> None:
        """Prove by pulling that every image is served."""
        with self.registry:
            Reader(self.registry).everything(
                self.pushed.tags, self.pushed.untagged if untagged is None else untagged
            )

    def blobs(self) -> set[str]:
        data = (self.root / "docker/registry/v2/blobs").rglob("data")
        return {f"{path.parents[2].name}:{path.parent.name}" for path in data}


@pytest.fixture(params=["3", "2.8"])
def place(request: pytest.FixtureRequest, cli: Cli, run: Run, tmp_path: Path) -> Place:
    return Place(request.param, cli, run, tmp_path)


def test_what_was_foreseen_goes_and_every_image_is_pulled_afterwards(place: Place) -> None:
    before = place.blobs()
    plan = place.gc("--dry-run")["plan"]
    assert plan["refusals"] == []
    foreseen = {each["digest"] for each in plan["unneeded"]["largest"]}
    assert len(foreseen) == plan["unneeded"]["blobs"] > 0
    assert place.blobs() == before
    done = place.gc(*STILL)
    assert before - place.blobs() == foreseen
    assert done["freed"] == {"blobs": len(foreseen), "bytes": plan["unneeded"]["bytes"]}
    assert done["left"]["blobs"] == done["loss_count"] == done["change_count"] == 0
    assert done["proven"]["blobs"] == len(place.blobs())
    assert done["alone"] is True
    place.served()
    assert place.gc("--dry-run")["plan"]["unneeded"]["blobs"] == 0


def test_untagged_manifests_of_which_3_foresees_all(cli: Cli, run: Run, tmp_path: Path) -> None:
    place = Place("3", cli, run, tmp_path)
    plan = place.gc("--untagged", "--dry-run", untagged=True)["plan"]
    going = {f"{each['repository']}@{each['digest']}" for each in plan["untagged"]["listed"]}
    assert set(place.pushed.untagged) <= going
    before = place.blobs()
    done = place.gc("--untagged", *STILL, untagged=True)
    assert done["loss_count"] == done["left"]["blobs"] == 0
    assert before - place.blobs() == {each["digest"] for each in plan["unneeded"]["largest"]}
    assert done["revisions_gone"] == len(going)
    place.served(untagged=[])


@pytest.mark.parametrize("repair", [False, True])
def test_the_children_of_tagged_indexes_that_2_8_deletes_are_told_and_come_back(
    cli: Cli, run: Run, tmp_path: Path, repair: bool
) -> None:
    """distribution #3178: `garbage-collect -m` of 2.8 does not walk indexes."""
    place = Place("2.8", cli, run, tmp_path)
    # The builds lose their tags; the index stays.
    for build in ("build-amd64", "build-arm64", "tool"):
        path = place.root / f"docker/registry/v2/repositories/team/app/_manifests/tags/{build}"
        shutil.rmtree(path)
        del place.pushed.tags[f"team/app:{build}"]
    at_once = ("--repair",) if repair else ()
    done = place.gc("--untagged", *at_once, *STILL, expect=3, untagged=True)
    assert done["status"] == 0  # it has no idea
    (hurt,) = done["hurt"]
    assert hurt["repository"] == "team/app"
    assert {":latest", ":bundle"} <= set(hurt["images"])
    assert {loss["what"] for loss in done["losses"]} >= {"revision", "blob"}
    if repair:
        assert done["repaired"] == {"loss_count": 0, "losses": []}
    else:
        with pytest.raises(Exception, match="404"):
            place.served(untagged=[])
        # The commands that were printed, as they were printed.
        for line in done["restore_commands"]:
            cli(*shlex.split(line)[1:])
    place.served(untagged=[])


def test_on_object_storage(
    cli: Cli, run: Run, minio_server: MinIO, bucket: str, tmp_path: Path
) -> None:
    cli = cli.on(minio_server)
    source, vault = f"s3://{bucket}/live", f"s3://{bucket}/vault"
    storage = minio_server.bucket(bucket, "/live")
    registry = Registry("3", storage=storage, state=tmp_path)
    with registry:
        pushed = fill(registry, run, tmp_path)
    cli("init", vault)
    cli("snapshot", source, "--vault", vault)
    words = ("tier", "gc", source, "--vault", vault, "--collect", collect(registry))
    refused = cli(*words, *STILL, expect=5)
    assert "younger than an hour" in refused.error["message"]
    done = cli(*words, *STILL, "--allow-fresh").document
    assert (
        done["freed"]
        == {name: done["plan"]["unneeded"][name] for name in ("blobs", "bytes")}
        != {"blobs": 0, "bytes": 0}
    )
    assert done["loss_count"] == done["left"]["blobs"] == 0
    with registry:
        Reader(registry).everything(pushed.tags, pushed.untagged)


def test_a_push_between_two_looks_is_seen(place: Place, run: Run, tmp_path: Path) -> None:
    process = place.cli.start(
        *("tier", "gc", f"fs:{place.root}", "--vault", place.vault, "--yes", "--still-for", "8s"),
        *("--collect", collect(place.registry)),
    )
    before = place.blobs()
    with place.registry:
        time.sleep(3)
        image = f"{place.registry.host}/late/push:1"
        path = layer(tmp_path, "late")
        run("crane", "append", "--oci-empty-base", "-f", path, "-t", image)
    done = place.cli.finish(process)
    assert done.code == 5
    assert "late/push is new" in done.error["message"]
    assert before <= place.blobs()
