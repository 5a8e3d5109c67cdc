"""Executes the code blocks of the runbook themselves, as a person would paste them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pasting import (
    RAW_BYTES,
    Case,
    assert_recovered,
    flip,
    places_told,
    recovered,
    require,
)
from pasting import paste as paste_blocks

from regvault.registry.layout import blob_key
from regvault.storage.local import LocalStore
from regvault.vault.envelope import write_document
from regvault.vault.keys import amendment_key
from regvault.vault.vault import Vault

RUNBOOK = Path(__file__).parents[2] / "restore-runbooks" / "recover-without-regvault.md"
TOOLS = ("zstd", "jq", "tar", "grep", "awk", "sha256sum", "sort", "sed", "cut")


@pytest.fixture(scope="module", autouse=True)
def _tools():
    require(TOOLS, "zstd jq")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("runbook"))


@pytest.fixture
def vault(case, tmp_path):
    """Return a copy of the vault, to be broken."""
    shutil.copytree(case.vault, tmp_path / "vault", copy_function=os.link)
    return tmp_path / "vault"


def paste(tmp_path, vault, reference, *, shell="sh", snapshot=1, repository="team/app/tools"):
    """Run the blocks; return the layout and what was said."""
    out = tmp_path / "out"
    values = {
        "VAULT": vault,
        "REGISTRY": "",
        "SNAPSHOT": snapshot,
        "REPOSITORY": repository,
        "REFERENCE": reference,
        "OUT": out,
    }
    return out, paste_blocks(RUNBOOK, tmp_path, values, shell=shell)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_an_older_image_comes_back_without_regvault_and_without_the_catalog(
    case, vault, tmp_path, shell
):
    shutil.rmtree(vault / "catalog")
    out, said = paste(tmp_path, vault, "bundle", shell=shell)
    digest = case.tag["bundle"]
    assert_recovered(case, out, said, digest, "bundle")
    assert places_told(said) == 0
    # It is the image that was promised: an index in an index, a raw layer and a packed one.
    top = json.loads(case.blobs[digest.partition(":")[2]])
    inner = [json.loads(case.blobs[m["digest"].partition(":")[2]]) for m in top["manifests"]]
    assert any("manifests" in body for body in inner)
    assert "from packs/" in said
    assert "from meta/" in said
    raw = {one for one, data in recovered(out).items() if len(data) >= RAW_BYTES}
    assert raw
    assert said.count("from blobs/") == len(raw)


def test_the_catalog_is_used_where_it_is_there(case, vault, tmp_path):
    out, said = paste(tmp_path, vault, "bundle")
    assert_recovered(case, out, said, case.tag["bundle"], "bundle")
    # All that is not raw is told by it.
    raw = sum(len(data) >= RAW_BYTES for data in case.blobs.values())
    assert places_told(said) == len(case.blobs) - raw


def test_a_tag_that_moved_since_comes_back_as_it_was(case, vault, tmp_path):
    out, said = paste(tmp_path, vault, "latest")
    assert_recovered(case, out, said, case.tag["latest"], "latest")
    newest = next(Vault(LocalStore(vault)).roots("sample"))
    assert newest.name.sequence == 3
    moved, said = paste_again(tmp_path, vault, "latest", snapshot=3)
    (top,) = json.loads((moved / "index.json").read_text())["manifests"]
    assert top["digest"] != case.tag["latest"], said


def test_a_digest_comes_back(case, vault, tmp_path):
    out, said = paste(tmp_path, vault, case.tag["latest"])
    assert_recovered(case, out, said, case.tag["latest"], "recovered")


def test_renamed_and_amended_objects_are_found(case, vault, tmp_path):
    shutil.rmtree(vault / "catalog")
    store = LocalStore(vault)
    opened = Vault(store)
    root = next(root for root in opened.roots("sample") if root.name.sequence == 1)
    changes = []
    for ref in opened.object_list(root):
        if not ref.key.startswith("trees/"):
            renamed = f"{ref.key}.019b75e8f400a1b2c3d4e5f6-1"
            changes.append([ref.key, renamed, ref.size, ref.sha256])
        else:
            renamed = f"{ref.key}.019b75e8f400a1b2c3d4e5f6-2"
        (vault / ref.key).rename(vault / renamed)
    half = len(changes) // 2
    for number, part in enumerate((changes[:half], changes[half:]), start=1):
        body = {"type": "amendment", "format": 1, "features": [], "vault": opened.id}
        store.put(amendment_key(number), write_document({**body, "changes": part})[0])
    out, said = paste(tmp_path, vault, "bundle")
    assert_recovered(case, out, said, case.tag["bundle"], "bundle")


@pytest.mark.parametrize("what", ["root", "chunk", "raw", "tag", "snapshot"])
def test_it_stops_where_a_byte_is_wrong(case, vault, tmp_path, what):
    reference, number = "bundle", 1
    opened = Vault(LocalStore(vault))
    root = next(root for root in opened.roots("sample") if root.name.sequence == 1)
    if what == "root":
        flip(vault / root.name.key, 100)
    elif what == "chunk":
        flip(vault / f"trees/{root.repositories.top.digest.partition(':')[2]}.zst", 20)
    elif what == "raw":
        digests = case.closure(case.tag["bundle"])
        large = next(d for d in digests if len(case.blobs[d.partition(":")[2]]) >= RAW_BYTES)
        flip(vault / blob_key(large).removeprefix("docker/registry/v2/").removesuffix("/data"), 5)
    elif what == "tag":
        reference = "no-such-tag"
    else:
        number = 9
    _, said = paste(tmp_path, vault, reference, snapshot=number)
    assert "STOP" in said


def test_tags_that_are_equal_as_numbers_are_not_the_same(case, vault, tmp_path):
    # awk compares 1.0 and 1.00 as numbers unless it is told not to.
    _, said = paste(tmp_path, vault, "1.00")
    assert "team/app/tools:1.00 is not in snapshot 1" in said


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_layout(case, vault, tmp_path):
    out, _ = paste(tmp_path, vault, "bundle")
    target = tmp_path / "copy"
    subprocess.run(
        [shutil.which("skopeo"), "inspect", "--raw", f"oci:{out}:bundle"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    out, _ = paste_again(tmp_path, vault, "latest")
    subprocess.run(
        [shutil.which("skopeo"), "copy", "--quiet", f"oci:{out}:latest", f"dir:{target}"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    manifest = (target / "manifest.json").read_bytes()
    assert manifest == case.blobs[case.tag["latest"].partition(":")[2]]


def paste_again(tmp_path, vault, reference, **options):
    again = tmp_path / "again"
    again.mkdir()
    return paste(again, vault, reference, **options)
