"""A vault on a store with archives: tiered, thawed over many looks, stopped, and restored."""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from images import push_one
from receiving import wait_for
from servers import Moto, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regvault_cli import Cli

BUCKET = "backup"
VAULT = f"s3://{BUCKET}/vault"
LOOKS = 16


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Moto]:
    """A store in which all is a hundred days old, and in which a thaw takes many looks."""
    with Moto(state=tmp_path, age_days=100) as server:
        server.create_bucket(BUCKET)
        answer = requests.post(
            f"{server.url}/moto-api/state-manager/set-transition",
            json={
                "model_name": "s3::keyrestore",
                "transition": {"progression": "manual", "times": LOOKS},
            },
            timeout=10,
        )
        assert answer.ok, answer.text
        yield server


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    storage = tmp_path / "registry"
    storage.mkdir()
    with Registry("3", storage=storage, state=tmp_path) as server:
        yield server


def classes(moto: Moto) -> dict[str, str]:
    """The class of each object of data, by what its key ends with."""
    found = moto.client().list_objects_v2(Bucket=BUCKET)["Contents"]
    return {
        entry["Key"].rpartition("/")[2]: entry["StorageClass"]
        for entry in found
        if entry["Key"].startswith(("vault/blobs/", "vault/packs/"))
    }


def requests_of(moto: Moto, digest: str, method: str, what: str = "") -> int:
    """How often something was asked of a blob, by the server's log: to ask it would be a look."""
    hexed = digest.partition(":")[2]
    path = f"{method} /{BUCKET}/vault/blobs/sha256/{hexed[:2]}/{hexed}{what}"
    return moto.log.read_text(errors="replace").count(path)


def stopped(user: Cli, *arguments: Any, when: Callable[[], bool]) -> int:
    """Run a command, and end it by SIGTERM once something is so; return its exit code."""
    process = user.start(*arguments)
    deadline = time.monotonic() + 30
    while not when() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    assert process.poll() is None, user.finish(process)
    process.send_signal(signal.SIGTERM)
    return user.finish(process).code


def repositories(tmp_path: Path) -> Path:
    return tmp_path / "registry/docker/registry/v2/repositories"


def two_snapshots(
    user: Cli, vault: str, run: Callable[..., str], registry: Registry, tmp_path: Path
) -> tuple[str, str]:
    """Take two of a registry that has lost an image in between; return its layer, and the other."""
    source = f"fs:{tmp_path / 'registry'}"
    old, live = (push_one(run, registry, tmp_path, f"team/{name}") for name in ("old", "live"))
    user("snapshot", source, "--vault", vault, "--registry", "r")
    shutil.move(repositories(tmp_path) / "team/old", tmp_path / "aside")
    user("snapshot", source, "--vault", vault, "--registry", "r", expect=3)
    user("confirm", "r@2", "--vault", vault, "--yes")
    return old, live


def test_what_old_snapshots_need_goes_and_comes_back(
    moto: Moto, registry: Registry, run: Callable[..., str], cli: Cli, tmp_path: Path
) -> None:
    user = cli.at(
        AWS_ENDPOINT_URL=moto.url, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x"
    )  # fmt: skip
    source = f"fs:{tmp_path / 'registry'}"
    user("init", VAULT)
    old, live = two_snapshots(user, VAULT, run, registry, tmp_path)

    plan = tmp_path / "plan.jsonl"
    header = user("tier", "plan", VAULT, "--newest", "1", "--out", plan).lines[0]["plan"]
    assert (header["kind"], header["moves"]) == ("vault", 1)
    assert [each["kept"] for each in header["restore"]] == [True]
    done = user("tier", "apply", plan, "--yes").document
    assert (done["moved"], done["stopped"]) == (1, None)
    found = classes(moto)
    assert found[old.partition(":")[2]] == "DEEP_ARCHIVE"
    assert found[live.partition(":")[2]] == "STANDARD"
    user("restore", "latest", "--vault", VAULT, "--to", f"fs:{tmp_path / 'newest'}")
    verified = user("verify", "--vault", VAULT, "--read-data").document
    assert verified["archived_not_read"]["objects"] == 1

    # The old one waits, and nothing of it is written before that is said.
    back = tmp_path / "back"
    restore = ["restore", "r@1", "--vault", VAULT, "--to", f"fs:{back}"]
    dry = user(*restore, "--dry-run").document["thaw"]
    assert (dry["objects"], dry["ways"]["standard"]["hours"]) == (1, 12)
    refused = user(*restore, expect=6)
    assert "regvault tier thaw r@1" in refused.error["hint"]
    assert not back.exists()

    # A restore asks for it, writes what is ready, and is stopped while it waits; so is a thaw.
    def is_asked() -> bool:
        return requests_of(moto, old, "POST", "?restore") > 0

    assert stopped(user, *restore, "--thaw", "bulk", when=is_asked) == 143
    thaw = ["tier", "thaw", "r@1", "--vault", VAULT]
    looks = requests_of(moto, old, "HEAD")
    waiting = [*thaw, "--wait", "--poll", "30s"]
    code = stopped(user, *waiting, when=lambda: requests_of(moto, old, "HEAD") > looks + 1)
    assert code == 143
    again = user(*thaw).document
    assert (again["asked"], again["before"], again["done"]) == (0, 1, False)
    assert user(*restore, expect=6).error
    looks = requests_of(moto, old, "HEAD")
    ready = user(*thaw, "--wait", "--poll", "1s").document
    assert (ready["asked"], ready["before"], ready["done"]) == (0, 1, True)
    assert requests_of(moto, old, "HEAD") >= looks + 3
    assert requests_of(moto, old, "POST", "?restore") == 1
    restored = user(*restore).document
    assert restored["blobs_written"] > 0
    with Registry("3", storage=back, state=tmp_path / "second", readonly=True) as second:
        for name in ("old", "live"):
            run("crane", "pull", f"{second.host}/team/{name}:v1", tmp_path / f"{name}.tar")

    # It comes back to the registry: it is stored again, and not taken from the archive.
    shutil.move(tmp_path / "aside", repositories(tmp_path) / "team/old")
    user("snapshot", source, "--vault", VAULT, "--registry", "r")
    assert sorted(classes(moto).values()).count("DEEP_ARCHIVE") == 1
    user("restore", "latest", "--vault", VAULT, "--to", f"fs:{tmp_path / 'third'}")
    assert user("info", "--vault", VAULT).document["registries"][0]["archived"] == {
        "objects": 0,
        "nbytes": 0,
        "promised": 0,
        "promised_bytes": 0,
    }


@pytest.mark.parametrize("locked", [False, True])
def test_a_vault_in_a_bucket_with_versions_is_tiered_by_tags_and_rules(
    moto: Moto,
    registry: Registry,
    run: Callable[..., str],
    cli: Cli,
    tmp_path: Path,
    *,
    locked: bool,
) -> None:
    user = cli.at(
        AWS_ENDPOINT_URL=moto.url, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x"
    )  # fmt: skip
    client, bucket = moto.client(), "versions"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locked)
    if not locked:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    other = {"ID": "a", "Filter": {"Prefix": "x/"}, "Status": "Enabled", "Expiration": {"Days": 9}}
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": [other]}
    )
    vault, source = f"s3://{bucket}/vault", f"fs:{tmp_path / 'registry'}"
    user("init", vault, *(["--lock", "governance", "--lock-for", "300d"] if locked else []))
    pushed = two_snapshots(user, vault, run, registry, tmp_path)
    old, live = (digest.partition(":")[2] for digest in pushed)

    plan = tmp_path / "plan.jsonl"
    made = user("tier", "plan", vault, "--newest", "1", "--out", plan).lines[0]["plan"]
    assert (made["moves"], made["left"]["under the promise"]["count"]) == (1, 1)
    assert (
        "regvault-DEEP_ARCHIVE" in user("tier", "apply", plan, "--yes", expect=5).error["message"]
    )
    done = user("tier", "apply", plan, "--yes", "--add-rules").document
    assert (done["moved"], done["marked"]) == (0, 1)
    rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert [rule.get("ID", "").rpartition("-")[0] or "a" for rule in rules] == [
        "a", "regvault-DEEP_ARCHIVE", "regvault-DEEP_ARCHIVE",
    ]  # fmt: skip
    assert sorted(rule["Filter"]["And"]["Prefix"] for rule in rules[1:]) == [
        "vault/blobs/", "vault/packs/",
    ]  # fmt: skip

    # Before the rules act, what is marked comes back to the registry: it is stored again.
    shutil.move(tmp_path / "aside", repositories(tmp_path) / "team/old")
    user("snapshot", source, "--vault", vault, "--registry", "r")
    waiting = user("tier", "plan", vault, "--newest", "1").lines[0]["plan"]
    assert waiting["left"]["marked already: rules of the bucket move it"]["count"] == 1
    os.kill(moto.pid, signal.SIGUSR1)
    found = {}

    def has_moved() -> bool:
        found.update(
            (entry["Key"].rpartition("/")[2], entry["StorageClass"])
            for entry in client.list_objects_v2(Bucket=bucket, Prefix="vault/blobs/")["Contents"]
        )
        return found[old] == "DEEP_ARCHIVE"

    wait_for(has_moved)
    assert found[live] == "STANDARD"
    assert sum(name.startswith(old) for name in found) == 2
    versions = client.list_object_versions(Bucket=bucket, Prefix="vault/blobs/")["Versions"]
    assert len(versions) == len(found)
    user("restore", "latest", "--vault", vault, "--to", f"fs:{tmp_path / 'newest'}")
    # What was stored again is read, and nothing has to be thawed for the old one either.
    user("restore", "r@1", "--vault", vault, "--to", f"fs:{tmp_path / 'oldest'}")
    assert user("tier", "apply", plan, "--yes").document["before"] == 1
    assert user("verify", "--vault", vault).code == 0
