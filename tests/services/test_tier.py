"""Tiering of a registry that runs, on a store that knows classes, while it is pulled from."""

from __future__ import annotations

import gzip
import json
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from images import push_one
from receiving import wait_for
from servers import Moto, Registry, S3Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from regvault_cli import Cli

DAY = 86_400
BUCKET = "registry"


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Moto]:
    """A store in which all is a hundred days old."""
    with Moto(state=tmp_path, age_days=100) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def registry(moto: Moto, tmp_path: Path) -> Iterator[Registry]:
    storage = S3Storage(
        endpoint=moto.url, bucket=BUCKET, access=moto.access, secret=moto.secret,
        rootdirectory="/some/registry",
    )  # fmt: skip
    with Registry("3", storage=storage, state=tmp_path) as server:
        yield server


def classes(moto: Moto) -> dict[str, str]:
    """The class of each blob of 1 MiB and more."""
    pages = moto.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {
        f"sha256:{entry['Key'].split('/')[-2]}": entry["StorageClass"]
        for page in pages
        for entry in page.get("Contents", ())
        if entry["Key"].endswith("/data") and entry["Size"] >= 1 << 20
    }


def history(path: Path, pulls: list[tuple[float, str]]) -> Path:
    """Write a history: days ago, and what was pulled."""
    now = time.time()
    lines = [
        json.dumps({"time": now - days * DAY, "method": "GET", "uri": uri, "status": 200})
        for days, uri in sorted(pulls, reverse=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_cold_blobs_move_while_they_are_pulled_and_come_back(
    moto: Moto, registry: Registry, run: Callable[..., str], cli: Cli, tmp_path: Path
) -> None:
    user = cli.at(
        AWS_ENDPOINT_URL=moto.url, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x"
    )  # fmt: skip
    source = f"s3://{BUCKET}/some/registry"
    busy = push_one(run, registry, tmp_path, "team/busy")
    cold = push_one(run, registry, tmp_path, "team/cold")
    used = [(day / 2, "/v2/team/busy/manifests/v1") for day in range(1, 180)]
    told = history(tmp_path / "told.jsonl", used)

    # On the first day nothing is known, and nothing is cold.
    first, *_, end = user("tier", "plan", source).lines
    assert end["end"]["moves"] == 0
    assert first["plan"]["access"]["frozen"] == "nothing is known of accesses"

    plan = tmp_path / "plan.jsonl"
    lines = user("tier", "plan", source, "--access", told, "--out", plan).lines
    assert [line["move"]["digest"] for line in lines if "move" in line] == [cold]
    assert lines == [json.loads(line) for line in plan.read_text().splitlines()]
    assert classes(moto) == {busy: "STANDARD", cold: "STANDARD"}

    pulled, stop = [], threading.Event()

    def pull() -> None:
        while not stop.is_set():
            out = tmp_path / f"pulled-{len(pulled)}.tar"
            run("crane", "pull", f"{registry.host}/team/cold:v1", out)
            pulled.append(out)

    thread = threading.Thread(target=pull)
    thread.start()
    try:
        dry = user("tier", "apply", plan, "--dry-run").document
        assert dry["dry_run"] is True
        assert classes(moto)[cold] == "STANDARD"
        user("tier", "apply", plan, expect=2)  # nobody can be asked
        done = user("tier", "apply", plan, "--yes").document
    finally:
        stop.set()
        thread.join()
    assert (done["moved"], done["stopped"]) == (1, None)
    assert classes(moto) == {busy: "STANDARD", cold: "GLACIER_IR"}
    again = user("tier", "apply", plan, "--yes").document
    assert (again["moved"], again["before"]) == (0, 1)
    run("crane", "pull", f"{registry.host}/team/cold:v1", tmp_path / "after.tar")
    assert len(pulled) >= 1

    # It is pulled again and again: it goes back.
    used += [(day / 4, f"/v2/team/cold/blobs/{cold}") for day in range(1, 40)]
    told = history(tmp_path / "told.jsonl", used)
    user("tier", "plan", source, "--access", told, "--out", plan)
    journal = tmp_path / "second.journal"
    done = user("tier", "apply", plan, "--yes", "--journal", journal).document
    assert done["moved"] == 1
    assert classes(moto) == {busy: "STANDARD", cold: "STANDARD"}


def test_what_is_used_since_the_plan_stays(
    moto: Moto, registry: Registry, run: Callable[..., str], cli: Cli, tmp_path: Path
) -> None:
    user = cli.at(
        AWS_ENDPOINT_URL=moto.url, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x"
    )  # fmt: skip
    source = f"s3://{BUCKET}/some/registry"
    push_one(run, registry, tmp_path, "team/busy")
    colds = [push_one(run, registry, tmp_path, f"team/cold-{n}") for n in range(3)]
    used = [(day / 2, "/v2/team/busy/manifests/v1") for day in range(1, 180)]
    told = history(tmp_path / "told.jsonl", used)
    plan = tmp_path / "plan.jsonl"
    user("tier", "plan", source, "--access", told, "--out", plan)
    # By its tag; the layer is nowhere in the history.
    history(told, [*used, (0, "/v2/team/cold-1/manifests/v1")])
    low = user("tier", "apply", plan, "--yes", "--max-cost", "0", expect=3).document
    assert "ceiling" in low["stopped"]
    assert low["moved"] == 0
    done = user("tier", "apply", plan, "--yes").document
    assert (done["moved"], done["used"]) == (2, 1)
    found = classes(moto)
    assert [found[digest] for digest in colds] == ["GLACIER_IR", "STANDARD", "GLACIER_IR"]


def test_a_bucket_with_versions_gets_tags_and_rules(
    moto: Moto, registry: Registry, run: Callable[..., str], cli: Cli, tmp_path: Path
) -> None:
    user = cli.at(AWS_ENDPOINT_URL=moto.url, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    client = moto.client()
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    other = {"ID": "a", "Filter": {"Prefix": "x/"}, "Status": "Enabled", "Expiration": {"Days": 9}}
    client.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": [other]}
    )
    source = f"s3://{BUCKET}/some/registry"
    push_one(run, registry, tmp_path, "team/busy")
    cold = push_one(run, registry, tmp_path, "team/cold")
    told = history(
        tmp_path / "told.jsonl", [(day / 2, "/v2/team/busy/manifests/v1") for day in range(1, 180)]
    )
    plan = tmp_path / "plan.jsonl"
    user("tier", "plan", source, "--access", told, "--out", plan)
    refused = user("tier", "apply", plan, "--yes", expect=5).error
    assert "regvault-GLACIER_IR" in refused["message"]
    assert len(client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]) == 1
    done = user("tier", "apply", plan, "--yes", "--add-rules").document
    assert (done["moved"], done["marked"]) == (0, 1)
    rules = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert [rule["ID"].rpartition("-")[0] or rule["ID"] for rule in rules] == [
        "a", "regvault-GLACIER_IR",
    ]  # fmt: skip
    assert rules[1]["Filter"]["And"]["Prefix"] == "some/registry/docker/registry/v2/blobs/"
    digits = cold[7:]
    key = f"some/registry/docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"
    tags = client.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert {"Key": "regvault-class", "Value": "GLACIER_IR"} in tags
    versions = client.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]
    assert len(versions) == 1


def test_an_inventory_in_a_bucket_stands_for_the_listing(
    moto: Moto, registry: Registry, run: Callable[..., str], cli: Cli, tmp_path: Path
) -> None:
    user = cli.at(AWS_ENDPOINT_URL=moto.url, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    source = f"s3://{BUCKET}/some/registry"
    push_one(run, registry, tmp_path, "team/busy")
    cold = push_one(run, registry, tmp_path, "team/cold")
    told = history(
        tmp_path / "told.jsonl", [(day / 2, "/v2/team/busy/manifests/v1") for day in range(1, 180)]
    )
    client = moto.client()
    rows = "".join(
        f'"{BUCKET}","{entry["Key"]}","{entry["Size"]}","{entry["LastModified"].isoformat()}",'
        f'{entry["ETag"]},"{entry["StorageClass"]}"\n'
        for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]
    )
    client.create_bucket(Bucket="inventories")
    client.put_object(
        Bucket="inventories", Key="reg/daily/data/1.csv.gz", Body=gzip.compress(rows.encode())
    )
    manifest = {
        "sourceBucket": BUCKET,
        "creationTimestamp": str(int(time.time() * 1000)),
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag, StorageClass",
        "files": [{"key": "reg/daily/data/1.csv.gz"}],
    }
    key = "reg/daily/2026-11-28T01-00Z/manifest.json"
    client.put_object(Bucket="inventories", Key=key, Body=json.dumps(manifest).encode())
    plan = tmp_path / "plan.jsonl"
    words = ("--access", told, "--inventory", f"s3://inventories/{key}", "--out", plan)
    lines = user("tier", "plan", source, *words).lines
    assert [line["move"]["digest"] for line in lines if "move" in line] == [cold]
    assert user("tier", "apply", plan, "--yes").document["moved"] == 1
    assert classes(moto)[cold] == "GLACIER_IR"
    other = "s3://inventories/reg"
    assert "bucket" in user("tier", "plan", other, *words, expect=2).error["message"]


def test_killed_again_and_again_it_goes_on_and_moves_each_once(
    moto: Moto, registry: Registry, run: Callable[..., str], cli: Cli, tmp_path: Path
) -> None:
    user = cli.at(AWS_ENDPOINT_URL=moto.url, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x")
    source = f"s3://{BUCKET}/some/registry"
    push_one(run, registry, tmp_path, "team/busy")
    colds = [push_one(run, registry, tmp_path, f"team/cold-{number}") for number in range(8)]
    told = history(
        tmp_path / "told.jsonl", [(day / 2, "/v2/team/busy/manifests/v1") for day in range(1, 180)]
    )
    plan, journal = tmp_path / "plan.jsonl", tmp_path / "plan.jsonl.journal"
    user("tier", "plan", source, "--access", told, "--out", plan)
    words = ("tier", "apply", plan, "--yes", "--rate", "4", "--threads", "1")

    def moved() -> int:
        return list(classes(moto).values()).count("GLACIER_IR")

    for how, at in ((signal.SIGKILL, 2), (signal.SIGTERM, 4), (signal.SIGKILL, 6)):
        process = user.start(*words)
        wait_for(lambda at=at: moved() >= at)
        process.send_signal(how)
        done = user.finish(process)
        assert done.code in (-how, 128 + how)
        for number in range(len(colds)):
            image = f"{registry.host}/team/cold-{number}:v1"
            run("crane", "pull", image, tmp_path / "pulled.tar")
    done = user(*words).document
    assert done["before"] + done["moved"] == len(colds)
    assert [classes(moto)[digest] for digest in colds] == ["GLACIER_IR"] * len(colds)
    ends = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sorted(line["end"] for line in ends if "end" in line) == list(range(len(colds)))
    # Each was copied once: the store's own log tells.
    copies = [line for line in moto.log.read_text().splitlines() if '"PUT /registry/' in line]
    times = [sum(digest[7:] in line for line in copies) for digest in colds]
    assert times == [times[0]] * len(colds), times
