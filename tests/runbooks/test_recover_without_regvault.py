"""Executes the code blocks of the runbook themselves, as a person would paste them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from regvault.model.progress import NO_PROGRESS
from regvault.ops.sample import build_sample, change_sample
from regvault.ops.snapshot import SnapshotOptions, snapshot
from regvault.registry.layout import blob_key
from regvault.registry.reader import DistributionSource
from regvault.storage.local import LocalStore
from regvault.vault.envelope import write_document
from regvault.vault.keys import amendment_key
from regvault.vault.vault import Vault, create_vault

RUNBOOK = Path(__file__).parents[2] / "restore-runbooks" / "recover-without-regvault.md"
TOOLS = ("zstd", "jq", "tar", "grep", "awk", "sha256sum", "sort", "sed", "cut")
RAW_BYTES = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def _tools():
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        words = f"the runbook needs {', '.join(missing)} (Debian: apt-get install zstd jq)"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)


class Case:
    """A vault with three snapshots, and what the registry held at the first.

    Attributes:
        vault: its directory.
        blobs: hex -> bytes.
        tag: tag of `team/app/tools` -> digest.
    """

    def __init__(self, place: Path) -> None:
        self.vault = place / "vault"
        registry = LocalStore(place / "registry", create=True)
        build_sample(registry, images=2)
        store = LocalStore(self.vault, create=True)
        create_vault(store)
        self._snapshot(store, registry)
        self.blobs = {
            entry.key.split("/")[-2]: registry.get(entry.key)
            for entry in registry.list("docker/registry/v2/blobs/")
        }
        self.tag = {
            tag: registry.get(
                f"docker/registry/v2/repositories/team/app/tools/_manifests/tags/{tag}/current/link"
            ).decode()
            for tag in ("bundle", "latest")
        }
        change_sample(registry)
        self._snapshot(store, registry)
        self._snapshot(store, registry)
        # What only the first snapshot needs must come out of the vault, not out of the registry.
        shutil.rmtree(place / "registry")

    @staticmethod
    def _snapshot(store: LocalStore, registry: LocalStore) -> None:
        source = DistributionSource(registry, kind="distribution-fs")
        options = SnapshotOptions(registry="sample", threads=2)
        vault = Vault(store)
        root = snapshot(vault, source, options, progress=NO_PROGRESS, cache_base=None).root
        assert root is not None
        assert root.complete

    def closure(self, digest: str) -> set[str]:
        """Return all that an image needs."""
        found, todo = set(), [digest]
        while todo:
            one = todo.pop()
            if one in found:
                continue
            found.add(one)
            body = json.loads(self.blobs[one.partition(":")[2]])
            todo += [each["digest"] for each in body.get("manifests", ())]
            found |= {each["digest"] for each in body.get("layers", ())}
            found |= {body["config"]["digest"]} if "config" in body else set()
        return found


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("runbook"))


@pytest.fixture
def vault(case, tmp_path):
    """Return a copy of the vault, to be broken."""
    shutil.copytree(case.vault, tmp_path / "vault", copy_function=os.link)
    return tmp_path / "vault"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", RUNBOOK.read_text(), re.DOTALL | re.MULTILINE)


def paste(tmp_path, vault, reference, *, shell="sh", snapshot=1, repository="team/app/tools"):
    """Run the blocks one after the other in one shell; return the layout and what was said."""
    out = tmp_path / "out"
    first, *rest = blocks()
    values = {
        "VAULT": vault,
        "REGISTRY": "",
        "SNAPSHOT": snapshot,
        "REPOSITORY": repository,
        "REFERENCE": reference,
        "OUT": out,
    }
    for name, value in values.items():
        first, count = re.subn(rf"^{name}=.*$", f"{name}={value}", first, flags=re.MULTILINE)
        assert count == 1, f"{name} is not set once in the first block"
    tools = tmp_path / "bin"
    tools.mkdir()
    names = (
        "awk basename cat cut du grep head jq ls mkdir mktemp mv rm sed sha256sum sha384sum"
        " sha512sum sort tail tar tr wc zstd"
    )
    for tool in names.split():
        found = shutil.which(tool)
        assert found, f"the runbook needs {tool}"
        (tools / tool).symlink_to(found)
    done = subprocess.run(
        [shutil.which(shell) or shell],
        input="\n".join([first, *rest]),
        env={"PATH": str(tools), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    said = done.stdout + done.stderr
    return out, said


def recovered(out: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}:{path.name}": path.read_bytes() for path in out.glob("blobs/*/*")}


def assert_recovered(case, out, said, digest, name):
    assert "STOP" not in said, said
    assert "NOT COMPLETE" not in said, said
    expected = case.closure(digest)
    assert recovered(out) == {one: case.blobs[one.partition(":")[2]] for one in expected}
    assert json.loads((out / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads((out / "index.json").read_text())["manifests"]
    assert top["digest"] == digest
    assert top["size"] == len(case.blobs[digest.partition(":")[2]])
    body = json.loads(case.blobs[digest.partition(":")[2]])
    assert top["mediaType"] == body["mediaType"]
    assert top["annotations"] == {"org.opencontainers.image.ref.name": name}


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


def places_told(said: str) -> int:
    """Return how many places the catalog told; the number follows the image's line."""
    found = re.search(r"^rev .*\n *(\d+)$", said, re.MULTILINE)
    assert found, said
    return int(found[1])


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


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.unlink()  # it is linked to the case's
    path.write_bytes(data)


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
