"""A snapshot that is killed at any moment leaves a vault that the next one goes on with at once."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import vaults

from regvault.assemble import open_directory
from regvault.ops.sample import build_sample, change_sample

if TYPE_CHECKING:
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
