"""A command that is killed at any moment leaves a vault that the next one goes on with at once.

On a disk: `tests/faults/test_killed.py` has the other verbs.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import vaults

from regvault.assemble import open_directory
from regvault.ops.sample import build_sample, change_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from regvault_cli import Cli
    from servers import MinIO

SEED = 20_261_120
KILLS = 6
SLOWLY = ("--limit-upload", "3MiB", "--threads", "2")


def files(root: Path) -> dict[str, str]:
    """Return path -> hash of all that is in a directory."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and ".regvault" not in path.name
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["disk", "minio"])
def test_the_same_command_works_at_once_after_a_kill(
    kind: str, cli: Cli, minio_server: MinIO, bucket: str, tmp_path: Path
) -> None:
    cli = cli.on(minio_server)
    vault = str(tmp_path / "vault") if kind == "disk" else f"s3://{bucket}/vault"
    store = vaults.disk if kind == "disk" else vaults.minio
    chance = random.Random(f"{SEED} {kind}")
    live, kept = tmp_path / "live", tmp_path / "kept"
    registry = open_directory(str(live))
    build_sample(registry, seed=SEED, images=20, large=1 << 18)
    cli("init", vault)
    cli("snapshot", f"fs:{live}", "--vault", vault)
    shutil.copytree(live, kept)

    killed = []
    for number in range(KILLS):
        # More than a limited upload brings in the time that it is given.
        build_sample(open_directory(str(tmp_path / "more")), seed=number, images=8, large=1 << 19)
        shutil.copytree(tmp_path / "more", live, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "more")
        process = cli.start("snapshot", f"fs:{live}", "--vault", vault, *SLOWLY)
        moment = chance.uniform(0.3, 3.0)
        time.sleep(moment)
        process.kill()
        done = cli.finish(process)
        killed.append((round(moment, 2), done.code))
        if number % 2:
            change_sample(registry, seed=number)
    print(killed)
    assert [code for _, code in killed].count(-9) >= KILLS // 2

    taken = cli("snapshot", f"fs:{live}", "--vault", vault).document
    now = taken["sequence"]
    cli("verify", "--vault", vault, "--read-data")
    opened = store(tmp_path / "vault") if kind == "disk" else store(minio_server, bucket, "vault")
    names = vaults.snapshots(opened)
    assert len(names) >= 2
    for sequence, wanted in ((1, kept), (now, live)):
        to = tmp_path / f"restored-{sequence}"
        cli("restore", str(sequence), "--vault", vault, "--to", f"fs:{to}")
        assert files(to) == files(wanted)
    # And a host that has cached nothing sees the same.
    fresh = cli.elsewhere(tmp_path / "other-cache")
    again = fresh("snapshot", f"fs:{live}", "--vault", vault).document
    assert again["blobs_stored"] == 0
    assert again["lost_objects_stored_again"] == []


#: So many kills for each verb.
KILLS_EACH = int(os.environ.get("KILLS", "2"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("verb", ["snapshot again", "forget", "prune", "copy", "restore"])
def test_any_verb_works_at_once_after_a_kill_on_s3(
    verb: str, cli: Cli, minio_server: MinIO, make_bucket: Callable[[], str], tmp_path: Path
) -> None:
    cli = cli.on(minio_server)
    vault, copied = (f"s3://{make_bucket()}/vault" for _ in range(2))
    chance = random.Random(f"{SEED} {verb}")
    live, to = tmp_path / "live", tmp_path / "to"
    registry = open_directory(str(live))
    build_sample(registry, seed=SEED, images=10, large=1 << 18)
    for each in (vault, copied):
        cli("init", each)
    kept: dict[int, dict[str, str]] = {}

    def take() -> int:
        sequence: int = cli("snapshot", f"fs:{live}", "--vault", vault).document["sequence"]
        kept[sequence] = files(live)
        return sequence

    def restored(sequence: int, where: str) -> dict[str, str]:
        shutil.rmtree(to, ignore_errors=True)
        cli("restore", str(sequence), "--vault", where, "--to", f"fs:{to}")
        return files(to)

    take()
    killed: list[tuple[float, int]] = []
    latest = 0.9  # seconds; earlier where a process was done before its moment came
    for number in range(3 * KILLS_EACH):
        if [code for _, code in killed].count(-9) >= KILLS_EACH:
            break
        change_sample(registry, seed=number)
        newest = take()
        shutil.rmtree(to, ignore_errors=True)
        words = {
            "snapshot again": ("snapshot", f"fs:{live}", "--vault", vault),
            "forget": ("forget", "--vault", vault, "--keep-last", "1", "--yes"),
            "prune": ("prune", "--vault", vault, "--yes"),
            "copy": ("copy", "--from", vault, "--to", copied),
            "restore": ("restore", str(newest), "--vault", vault, "--to", f"fs:{to}"),
        }[verb]
        process = cli.start(*words)
        moment = chance.uniform(0.1, latest)
        time.sleep(moment)
        process.kill()
        killed.append((round(moment, 2), cli.finish(process).code))
        if killed[-1][1] != -9:
            latest = max(0.2, moment)
        cli(*words)
        if verb == "restore":
            assert set(files(to).items()) <= set(kept[newest].items())
        for each in (vault, copied) if verb == "copy" else (vault,):
            cli("verify", "--vault", each, "--read-data")
            assert restored(newest, each).keys() <= kept[newest].keys()
    print(SEED, killed)
    assert [code for _, code in killed].count(-9) >= 1
    opened = vaults.vault(vaults.minio(minio_server, vault.split("/")[2], "vault"))
    for root in opened.roots(next(iter(opened.registries()))):
        wanted, found = kept.get(root.name.sequence), restored(root.name.sequence, vault)
        assert wanted is None or set(found.items()) <= set(wanted.items()), root.name
