"""What a person does who pastes the blocks of a runbook, and the vaults that this is done with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from regvault.model.progress import NO_PROGRESS
from regvault.ops.sample import build_sample, change_sample
from regvault.ops.snapshot import SnapshotOptions, snapshot
from regvault.registry.reader import DistributionSource
from regvault.storage.local import LocalStore
from regvault.vault.create import Sealing, create_vault
from regvault.vault.signing import NO_KEYS, Keys
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RAW_BYTES = 1 << 20


class Case:
    """A vault with three snapshots, and what the registry held at the first.

    Attributes:
        vault: its directory.
        keys: what it was written with.
        blobs: hex -> bytes.
        tag: tag of `team/app/tools` -> digest.
    """

    def __init__(self, place: Path, keys: Keys = NO_KEYS, sealing: Sealing | None = None) -> None:
        self.vault = place / "vault"
        self.keys = keys
        registry = LocalStore(place / "registry", create=True)
        build_sample(registry, images=2)
        store = LocalStore(self.vault, create=True)
        create_vault(store, keys, sealing=sealing)
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

    def _snapshot(self, store: LocalStore, registry: LocalStore) -> None:
        source = DistributionSource(registry, kind="distribution-fs")
        options = SnapshotOptions(registry="sample", threads=2)
        vault = Vault(store, self.keys)
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


TOOLS = (  # noqa: SIM905 - one a line says less
    "awk basename cat cut du grep head jq ls mkdir mktemp mv rm sed sha256sum sha384sum sha512sum"
    " sort tail tar tr wc zstd"
).split()


def require(tools: Iterable[str], packages: str) -> None:
    """Skip without a tool; in CI, where all of them are installed, fail."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        words = f"the runbook needs {', '.join(missing)} (Debian: apt-get install {packages})"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)


def blocks(runbook: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", runbook.read_text(), re.DOTALL | re.MULTILINE)


def paste(runbook, place, values, *, shell="sh", tools=TOOLS):
    """Run the blocks one after the other in one shell, which has these tools only.

    `values` are set in the first block. Returns what was said; what is made is in `place`.
    """
    first, *rest = blocks(runbook)
    for name, value in values.items():
        first, count = re.subn(rf"^{name}=.*$", f"{name}={value}", first, flags=re.MULTILINE)
        assert count == 1, f"{name} is not set once in the first block"
    own = place / "bin"
    own.mkdir()
    for tool in tools:
        found = shutil.which(tool)
        assert found, f"the runbook needs {tool}"
        (own / tool).symlink_to(found)
    done = subprocess.run(
        [shutil.which(shell) or shell],
        input="\n".join([first, *rest]),
        env={"PATH": str(own), "HOME": str(place), "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


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


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.unlink()  # it is linked to the case's
    path.write_bytes(data)


def places_told(said: str) -> int:
    """Return how many places the catalog told; the number follows the image's line."""
    found = re.search(r"^rev .*\n *(\d+)$", said, re.MULTILINE)
    assert found, said
    return int(found[1])
