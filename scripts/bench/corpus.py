"""A registry's storage to measure on: deterministic by seed, in the distribution layout.

    python scripts/bench/corpus.py DIR [--seed 0] [--images 5000] [--bytes 2.4G]
    python scripts/bench/corpus.py DIR --mutate STEP [--share 0.01]

How large layers are, and which image has which, is in `shape.py`. Every manifest and config is
valid and every digest is right, but a layer is noise in place of gzip'd tar: noise is what
compressed data is to a backup, and no part of it occurs twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shape import SMALL_BOUND, Spec, plan, quantiles

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "docker/registry/v2"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True)
class Corpus:
    """What is there.

    Attributes:
        root: of the registry's driver, holds `docker/`.
        one: a repository and a tag of a middling image, to restore alone.
    """

    spec: Spec
    root: str
    repositories: int
    images: int
    layers: int
    files: int
    bytes: int
    small_layers: float
    one: tuple[str, str]
    seconds: float


class Blob(NamedTuple):
    digest: str
    size: int


class Storage:
    """Writes as a registry writes; new files replace old ones, so hard links elsewhere stay."""

    def __init__(self, root: Path) -> None:
        self.base = f"{root}/{BASE}"
        self.files = 0
        self.bytes = 0
        self._links: set[str] = set()

    def blob(self, data: bytes) -> Blob:
        name = hashlib.sha256(data).hexdigest()
        self._write(f"{self.base}/blobs/sha256/{name[:2]}/{name}", "data", data)
        return Blob(f"sha256:{name}", len(data))

    def link_layer(self, repository: str, digest: str) -> None:
        self._link(f"{repository}/_layers/{digest.replace(':', '/')}", digest)

    def link_manifest(self, repository: str, digest: str, *tags: str) -> None:
        name = digest.replace(":", "/")
        self._link(f"{repository}/_manifests/revisions/{name}", digest)
        for tag in tags:
            self._link(f"{repository}/_manifests/tags/{tag}/index/{name}", digest)
            self._link(f"{repository}/_manifests/tags/{tag}/current", digest, moves=True)

    def _link(self, where: str, digest: str, *, moves: bool = False) -> None:
        if where in self._links and not moves:
            return
        self._write(
            f"{self.base}/repositories/{where}",
            "link",
            digest.encode(),
            again=where in self._links,
        )
        self._links.add(where)

    def _write(self, directory: str, name: str, data: bytes, *, again: bool = False) -> None:
        path = f"{directory}/{name}"
        try:
            file = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        except FileNotFoundError:
            os.makedirs(directory, exist_ok=True)
            file = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)
        os.rename(f"{path}.new", path)
        self.files += not again
        self.bytes += 0 if again else len(data)


def noise(size: int, *words: object) -> bytes:
    """Bytes that occur nowhere else, for the same words the same. About 500 MB/s."""
    return hashlib.shake_128("/".join(map(str, words)).encode()).digest(size)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def config_of(diff_ids: list[str], created: int, words: str) -> dict[str, Any]:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_767_258_000 + 60 * created))
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": when,
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", f"BUILD={words}"],
            "Cmd": ["/srv/bin/run"],
            "Labels": {"org.opencontainers.image.revision": noise(20, words).hex()},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created": when, "created_by": f"RUN step {number} of {words} # buildkit"}
            for number in range(len(diff_ids))
        ],
    }


def push(
    storage: Storage, repository: str, layers: list[Blob], created: int, words: str, *tags: str
) -> str:
    """Push an image whose layers are there already; returns its digest."""
    diff_ids = [f"sha256:{noise(32, 'diff', each.digest).hex()}" for each in layers]
    config = storage.blob(json_bytes(config_of(diff_ids, created, words)))
    for each in (*layers, config):
        storage.link_layer(repository, each.digest)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
        "layers": [
            {"mediaType": LAYER, "digest": each.digest, "size": each.size} for each in layers
        ],
    }
    digest = storage.blob(json_bytes(manifest)).digest
    storage.link_manifest(repository, digest, *tags)
    return digest


# --- the whole ---


def build(root: Path, spec: Spec) -> Corpus:
    """Build a corpus in an empty directory. Not durable: sync before measuring."""
    started = time.monotonic()
    images, sizes = plan(spec)
    storage = Storage(root)
    layers: dict[int, Blob] = {}
    for number, image in enumerate(images):
        for each in image.layers:
            if each not in layers:
                layers[each] = storage.blob(noise(sizes[each], spec.seed, "layer", each))
        words = f"{spec.seed}-{number}"
        blobs = [layers[each] for each in image.layers]
        push(storage, image.repository, blobs, number, words, image.tag, "latest")
    stored = [blob.size for blob in layers.values()]
    middle = sorted(images, key=lambda image: sum(layers[n].size for n in image.layers))
    one = middle[len(images) // 2]
    return Corpus(
        spec=spec,
        root=str(root),
        repositories=len({image.repository for image in images}),
        images=len(images),
        layers=len(stored),
        files=storage.files,
        bytes=storage.bytes,
        small_layers=round(sum(size < SMALL_BOUND for size in stored) / len(stored), 3),
        one=(one.repository, one.tag),
        seconds=round(time.monotonic() - started, 1),
    )


def cached(cache: Path, spec: Spec) -> Corpus:
    """Return the corpus from the cache directory, built there if it is not. Do not write to it."""
    home = cache / spec.name
    said = home / "corpus.json"
    if not said.exists():
        partial = cache / f".{spec.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)
        partial.mkdir(parents=True)
        corpus = build(partial / "registry", spec)
        (partial / "corpus.json").write_text(json.dumps(asdict(corpus), indent=2) + "\n")
        partial.rename(home)
    fields = json.loads(said.read_text())
    fields |= {
        "spec": Spec(**fields["spec"]),
        "root": str(home / "registry"),
        "one": tuple(fields["one"]),
    }
    return Corpus(**fields)


# --- a day later ---


class Change(NamedTuple):
    pushed: int
    moved: int
    bytes: int


def mutate(root: Path, spec: Spec, step: int, share: float = 0.01) -> Change:
    """Change `share` of the images: four new pushes for each tag that only moves.

    The same corpus and the same steps, in order from 1, give the same result.
    """
    choose = random.Random(f"{spec.seed}/mutate/{step}")
    storage = Storage(root)
    found = sorted(repositories(f"{storage.base}/repositories"))
    sizes = quantiles(1000, spec.bytes * 1000 // max(1, round(spec.images * 0.8)))
    pushed = moved = 0
    for number in range(max(1, round(spec.images * share))):
        repository = choose.choice(found)
        tags = f"{storage.base}/repositories/{repository}/_manifests/tags"
        if number % 5 == 4:
            tag = choose.choice(sorted(name for name in os.listdir(tags) if name != "latest"))
            storage.link_manifest(
                repository, _read(f"{tags}/{tag}/current/link").decode(), "latest"
            )
            moved += 1
            continue
        newest = _read(f"{tags}/latest/current/link").decode()
        name = newest.removeprefix("sha256:")
        manifest = json.loads(_read(f"{storage.base}/blobs/sha256/{name[:2]}/{name}/data"))
        layers = [Blob(each["digest"], each["size"]) for each in manifest["layers"]]
        # The top layer is built anew; what is below stays.
        words = f"{spec.seed}-{step}-{number}"
        size = choose.choice(sizes[: int(len(sizes) * 0.99)])
        layers[-1] = storage.blob(noise(size, "changed", words))
        created = 100_000 + step * 1000 + number
        push(storage, repository, layers, created, words, f"2.{step}.{number}", "latest")
        pushed += 1
    return Change(pushed, moved, storage.bytes)


def repositories(top: str, below: str = "") -> Iterator[str]:
    with os.scandir(f"{top}/{below}") as entries:
        names = [entry.name for entry in entries]
    if "_manifests" in names:
        yield below.rstrip("/")
    for name in names:
        if not name.startswith("_"):
            yield from repositories(top, f"{below}{name}/")


def image_files(root: Path, repository: str, tag: str) -> list[str]:
    """Every file of one image, below the root: what a tool must bring back that knows no images."""
    links = f"{BASE}/repositories/{repository}"
    current = f"{links}/_manifests/tags/{tag}/current/link"
    digest = _read(f"{root}/{current}").decode()

    def data(digest: str) -> str:
        name = digest.removeprefix("sha256:")
        return f"{BASE}/blobs/sha256/{name[:2]}/{name}/data"

    manifest = json.loads(_read(f"{root}/{data(digest)}"))
    path = digest.replace(":", "/")
    files = [current, f"{links}/_manifests/tags/{tag}/index/{path}/link"]
    files += [f"{links}/_manifests/revisions/{path}/link", data(digest)]
    for each in (manifest["config"], *manifest["layers"]):
        files.append(f"{links}/_layers/{each['digest'].replace(':', '/')}/link")
        files.append(data(each["digest"]))
    return files


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def size_of(text: str) -> int:
    """A number of bytes, also as 500K, 2.4G and the like (powers of 1000)."""
    units = {"K": 10**3, "M": 10**6, "G": 10**9}
    unit = text[-1:].upper()
    return int(float(text[:-1]) * units[unit]) if unit in units else int(text)


def main() -> None:
    default = Spec()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path, help="root of the registry's driver")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--images", type=int, default=default.images)
    parser.add_argument("--bytes", type=size_of, default=default.bytes)
    parser.add_argument("--mutate", type=int, metavar="STEP", help="change a corpus in place")
    parser.add_argument("--share", type=float, default=0.01, help="how much of it (%(default)s)")
    args = parser.parse_args()
    spec = Spec(args.seed, args.images, args.bytes)
    if args.mutate is not None:
        print(json.dumps(mutate(args.directory, spec, args.mutate, args.share)._asdict()))
    else:
        args.directory.mkdir(parents=True)
        print(json.dumps(asdict(build(args.directory, spec)), indent=2))


if __name__ == "__main__":
    main()
