"""Valid documents of every kind, made by the real writers: what mutations begin from."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import NamedTuple

from regvault.oci import media
from regvault.storage.memory import MemoryStore
from regvault.vault.condemned import condemned_document
from regvault.vault.copied import copied_document
from regvault.vault.envelope import write_document
from regvault.vault.objectlist import ListRef, ObjectRef
from regvault.vault.pack import MetaWriter, PackWriter
from regvault.vault.presence import Presence
from regvault.vault.records import write_record
from regvault.vault.root import Counts, Root, RootName
from regvault.vault.segment import Location, write_segment
from regvault.vault.stub import stub_document
from regvault.vault.tree import ChunkRef, TreeBuilder, TreeRef
from regvault.vault.writer import ObjectWriter

RUN = "019b75e8f400a1b2c3d4e5f6"
VAULT = "0123456789abcdef" * 2
NAME = RootName("prod", 2)
STARTED, FINISHED = "2026-01-01T03:00:00.000Z", "2026-01-01T03:00:01.500Z"


def digest(text: str, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, text.encode()).hexdigest()}"


def _hex(text: str) -> str:
    return digest(text).partition(":")[2]


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def _described(text: str, media_type: str, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(text), "size": len(text), **more}


def manifests() -> list[bytes]:
    config = _described("config", "application/vnd.oci.image.config.v1+json")
    layer = _described("layer", "application/vnd.oci.image.layer.v1.tar+gzip")
    urls = ["https://example.com/layer"]
    foreign = _described("f", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    image = {"schemaVersion": 2, "mediaType": media.OCI_IMAGE, "config": config}
    signature = {
        "protected": "eyJmb3JtYXRMZW5ndGgiOjEwLCJmb3JtYXRUYWlsIjoiQ24wIn0",
        "signature": "",
    }
    return [
        _json({**image, "layers": [layer, foreign | {"urls": urls}]}),
        _json({**image, "layers": [], "subject": layer, "artifactType": "a/b", "annotations": {}}),
        _json(
            {
                "schemaVersion": 2,
                "manifests": [_described("x", media.OCI_IMAGE, platform={"os": "linux"})],
            }
        ),
        _json({"mediaType": media.OCI_ARTIFACT, "artifactType": "a", "blobs": [layer]}),
        _json(
            {
                "schemaVersion": 1,
                "name": "a",
                "tag": "b",
                "fsLayers": [{"blobSum": digest("layer")}],
                "history": [{"v1Compatibility": "{}"}],
                "signatures": [signature],
            }
        ),
    ]


@cache
def root() -> Root:
    tree = TreeRef(ChunkRef(digest("repositories")), 3)
    top = ChunkRef(digest("base"), f"trees/{_hex('base')}.zst", 100)
    return Root(
        NAME,
        RUN,
        _hex("previous"),
        RUN,
        STARTED,
        FINISHED,
        {"kind": "distribution-fs", "location": "fs:/var/lib/registry"},
        {"globs": ["team/*"], "windows": {"a": [STARTED, FINISHED]}},
        tree,
        ListRef(TreeRef(top, 5), TreeRef(top, 1), 5, 500),
        tree,
        Counts(3, 5, 5, 10, 1000),
        complete=True,
        held={"reason": "it shrank", "against": 1},
    )


def roots() -> list[bytes]:
    data, sha256 = root().to_document(VAULT)
    key = NAME.key
    changes = {f"packs/{_hex('old')}.tar": ObjectRef(f"packs/{_hex('p')}.tar", 1, _hex("p"))}
    foreign, _ = root().to_document("f" * 32)
    copied = copied_document(foreign, vault=VAULT, slot=key, run=RUN, changes=changes)
    stub = stub_document(VAULT, root(), RUN)
    void = write_document(_body("void", slot=key, run=RUN, nonce="0" * 32))[0]
    del sha256
    return [data, copied, stub, void]


def _body(kind: str, **fields: object) -> dict[str, object]:
    return {"type": kind, "format": 1, "features": [], "vault": VAULT, **fields}


def identities() -> list[bytes]:
    return [write_document(_body("vault", created=STARTED))[0]]


def leases() -> list[bytes]:
    holder = {"host": "h", "boot": "b", "namespace": "n", "pid": 1, "started": "2"}
    lease = _body(
        "lease",
        run=RUN,
        role="writer",
        registry="prod",
        holder=holder,
        state="live",
        renewals=0,
        slot=NAME.key,
        roots=[],
        created=STARTED,
    )
    claim = {"key": NAME.key, "objects": [f"trees/{_hex('base')}.zst"]}
    reader = lease | {"role": "reader", "roots": [claim], "slot": None}
    return [write_document(body)[0] for body in (lease, reader)]


def records() -> list[bytes]:
    store = MemoryStore()
    said = {"registry": "prod", "sequence": 2, "root": _hex("r"), "by": "me", "reason": "why"}
    keys = [write_record(store, VAULT, "pins", RUN, said)]
    keys.append(write_record(store, VAULT, "confirmations", RUN, said))
    keys.append(write_record(store, VAULT, "forgets", RUN, {"snapshots": [said], "by": "me"}))
    return [store.get(key) for key in keys]


def amendments() -> list[bytes]:
    pack, other = f"packs/{_hex('p')}.tar", f"packs/{_hex('q')}.tar"
    changes = [[pack, other, 512, _hex("q")], [f"meta/{_hex('m')}.tar.zst"]]
    body = _body("amendment", slot="records/amendments/00000001.json", run=RUN, changes=changes)
    return [write_document(body)[0]]


def condemned() -> list[bytes]:
    keys = sorted(f"packs/{_hex(str(n))}.tar" for n in range(3))
    return [condemned_document(VAULT, 1, RUN, keys)]


class _Chunks:
    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def put(self, data: bytes) -> ChunkRef:
        self.chunks.append(data)
        sha256 = hashlib.sha256(data).hexdigest()
        return ChunkRef(f"sha256:{sha256}", f"trees/{sha256}.zst", len(data))


def states() -> list[bytes]:
    """Lines of a state."""
    lines = [f"blob {digest('b')} 3", f"layer {digest('l', 'sha512')} 1048576"]
    lines += [f"rev {digest('r')} {media.OCI_IMAGE} 357", f"rev {digest('s')} - -"]
    lines += [f"tag 1.0 {digest('r')}", "tag lost -", f"was 1.0 {digest('s')}", "later x y"]
    return [line.encode() for line in sorted(lines)]


def lists() -> list[bytes]:
    """Lines of the other trees."""
    key = f"packs/{_hex('p')}.tar"
    lines = [f"{key} 512 {_hex('p')}", f"{key} + 512 {_hex('p')}", f"{key} -"]
    lines += [f"team/app {digest('s')} distribution-fs:1:abcdef", f"app {digest('s')} -"]
    lines.append(f"team/app tag-dangling {digest('s')} :a%20b 3")
    lines.append(f"trees/{_hex('t')}.zst.{RUN}-1 108 {_hex('t')}")
    return [line.encode() for line in lines]


def trees() -> list[bytes]:
    made = _Chunks()
    builder = TreeBuilder("state", made.put)
    for line in states():
        builder.add(line)
    builder.finish()
    for keyed in (False, True):
        builder = TreeBuilder("objects", made.put, keyed=keyed)
        for number in range(1500):
            builder.add(f"packs/{number:08d} 1 x".encode())
        builder.finish()
    return sorted(set(made.chunks), key=len)[:6]


def locations() -> list[bytes]:
    """Lines of segments."""
    places = [
        Location(digest("a"), f"packs/{_hex('p')}.tar", 512, 6, 6, "regvault"),
        Location(digest("b", "sha512"), f"meta/{_hex('m')}.tar.zst", 0, 300, 20, "regvault"),
        Location(digest("c"), f"blobs/sha256/{_hex('c')[:2]}/{_hex('c')}", 0, 9, 9, "store"),
    ]
    return sorted(place.line() for place in places)


def segments() -> list[bytes]:
    store = MemoryStore()
    key = write_segment(store, locations(), level=1, run=RUN, supersedes=["catalog/x"])
    assert key is not None
    return [store.get(key)]


class Archives(NamedTuple):
    """A pack, a meta object, and one frame of it decompressed."""

    packs: list[bytes]
    metas: list[bytes]
    frames: list[bytes]


@cache
def archives() -> Archives:
    import zstandard

    store = MemoryStore()
    writer = ObjectWriter(store, RUN, Presence(None), frozenset())
    pack = PackWriter(writer, lambda _: None)
    meta = MetaWriter(writer, lambda _: None)
    for algorithm in ("sha256", "sha512"):
        data = f"hello {algorithm}".encode()
        pack.add(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}", data)
        meta.add(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}", data)
    pack.flush()
    meta.flush()
    packs = [store.get(entry.key) for entry in store.list("packs/")]
    metas = [store.get(entry.key) for entry in store.list("meta/")]
    return Archives(packs, metas, [zstandard.ZstdDecompressor().decompress(metas[0]), *packs])


def links() -> list[bytes]:
    base = "docker/registry/v2"
    plain = _hex("x")
    below = f"{base}/repositories/team/app/_manifests"
    keys = [
        f"{base}/blobs/sha256/{plain[:2]}/{plain}/data",
        f"{base}/repositories/team/app/_layers/sha256/{plain}/link",
        f"{below}/revisions/sha256/{plain}/link",
        f"{below}/tags/1.0/current/link",
        f"{below}/tags/1.0/index/sha256/{plain}/link",
    ]
    return [digest("x").encode(), digest("x", "sha512").encode(), *(k.encode() for k in keys)]


def texts() -> list[bytes]:
    """What people and names say: references, selectors, globs, locations."""
    return [
        b"team/app:1.0",
        f"team/app@{digest('x')}".encode(),
        digest("x").encode(),
        b"prod@2026-11-20T14:30:05.123+01:00",
        b"prod@latest",
        b"3 days ago",
        b"**/app-[!a-c]?*",
        b"s3://bucket/prefix",
        b"fs:/var/lib/registry",
    ]


def configurations() -> list[bytes]:
    return [
        (
            b"vaults:\n  disk:\n    location: /vault\n    limit_upload: 10MiB\nregistries:\n"
            b"  prod:\n    location: s3://bucket/registry\n    repos: ['team/**']\n"
        ),
        b"timezone: Europe/Berlin\nvaults:\n  b: &a {location: /x, threads: 4}\n",
    ]
