"""The vault of the worked example in docs/vault-format.md: made, written as text, read as text."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from regvault.storage.memory import MemoryStore
from regvault.vault.envelope import write_document
from regvault.vault.keys import VAULT_JSON, tree_key
from regvault.vault.objectlist import ListRef, ObjectRef, build_base
from regvault.vault.pack import MetaWriter, PackWriter
from regvault.vault.presence import Presence
from regvault.vault.root import Counts, Root, RootName
from regvault.vault.segment import Location, write_segment
from regvault.vault.tree import TreeBuilder
from regvault.vault.writer import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.vault.pack import Placed
    from regvault.vault.tree import ChunkRef, TreeRef

DOCUMENT = Path(__file__).parents[2] / "docs" / "vault-format.md"
VAULT = "000102030405060708090a0b0c0d0e0f"
RUN = "019b75e8f400a1b2c3d4e5f6"
STARTED, FINISHED = "2026-01-01T03:00:00.000Z", "2026-01-01T03:00:01.500Z"
LAYER = b"hello\n"
CONFIG = b"{}"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": digest_of(CONFIG),
            "size": len(CONFIG),
        },
        "layers": [
            {
                "mediaType": "text/plain",
                "digest": digest_of(LAYER),
                "size": len(LAYER),
            }
        ],
    },
    separators=(",", ":"),
).encode()


def build() -> MemoryStore:
    """Make the vault as a snapshot does, with the times and random numbers of the example."""
    store = MemoryStore()
    body = {"type": "vault", "format": 1, "features": [], "vault": VAULT, "created": STARTED}
    store.put(VAULT_JSON, write_document(body)[0])
    writer = ObjectWriter(store, RUN, Presence(None), frozenset())
    placed: list[Placed] = []
    meta = MetaWriter(writer, placed.extend)
    meta.add(digest_of(MANIFEST), MANIFEST)
    meta.add(digest_of(CONFIG), CONFIG)
    meta.flush()
    packs = PackWriter(writer, placed.extend)
    packs.add(digest_of(LAYER), LAYER)
    packs.flush()

    needed = {place.ref for place in placed}
    put = writer.chunk_putter(tree_key)

    def keep(data: bytes) -> ChunkRef:
        chunk = put(data)
        needed.add(ObjectRef(chunk.key, chunk.size, chunk.digest.partition(":")[2]))
        return chunk

    state = tree(
        "state",
        keep,
        [
            f"layer {digest_of(CONFIG)} {len(CONFIG)}",
            f"layer {digest_of(LAYER)} {len(LAYER)}",
            f"rev {digest_of(MANIFEST)} application/vnd.oci.image.manifest.v1+json {len(MANIFEST)}",
            f"tag 1 {digest_of(MANIFEST)}",
            f"was 1 {digest_of(MANIFEST)}",
        ],
    )
    repositories = tree("repositories", keep, [f"hello {state.top.digest} -"])
    base, count, nbytes = build_base(sorted(needed), put)
    lines = sorted(
        Location(p.digest, p.ref.key, p.offset, p.length, p.size, "regvault").line() for p in placed
    )
    assert write_segment(store, lines, level=0, run=RUN)
    root = Root(
        name=RootName("demo", 1),
        registry_id=RUN,
        previous=None,
        run=RUN,
        started=STARTED,
        finished=FINISHED,
        source={"kind": "distribution-fs", "location": "fs:/var/lib/registry"},
        scope={"globs": [], "windows": {}},
        repositories=repositories,
        objects=ListRef(base, None, count, nbytes),
        damage=None,
        counts=Counts(1, 1, 1, 3, len(MANIFEST) + len(CONFIG) + len(LAYER)),
        complete=True,
        held=None,
    )
    store.put(root.name.key, root.to_document(VAULT)[0], if_none_match=True)
    return store


def tree(kind: str, put: Callable[[bytes], ChunkRef], lines: Iterable[str]) -> TreeRef:
    builder = TreeBuilder(kind, put)
    for line in lines:
        builder.add(line.encode())
    return builder.finish()


def to_text(store: MemoryStore) -> str:
    """Write objects as the document shows them: a key, then hex; `00*<n>` is a run of zeros."""
    parts = []
    for entry in store.list():
        data = store.get(entry.key)
        if entry.key.endswith(".json"):
            parts.append(f"{entry.key}\n" + data.decode())
            continue
        lines, at = [], 0
        for match in re.finditer(rb"\0{16,}", data):
            lines += _hex(data[at : match.start()])
            lines.append(f"00*{len(match[0])}")
            at = match.end()
        lines += _hex(data[at:])
        parts.append(f"{entry.key}\n" + "".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


def _hex(data: bytes) -> list[str]:
    return [data[at : at + 32].hex() for at in range(0, len(data), 32)]


def from_text(text: str) -> MemoryStore:
    """Undo `to_text`."""
    store = MemoryStore()
    for part in text.strip("\n").split("\n\n"):
        key, *lines = part.split("\n")
        if key.endswith(".json"):
            store.put(key, "".join(f"{line}\n" for line in lines).encode())
            continue
        data = b""
        for line in lines:
            zeros = re.fullmatch(r"00\*(\d+)", line)
            data += bytes(int(zeros[1])) if zeros else bytes.fromhex(line)
        store.put(key, data)
    return store


def documented() -> MemoryStore:
    """Return the vault as the document has it."""
    text = DOCUMENT.read_text()
    found = re.search(r"<!-- the example's objects -->\n```text\n(.*?)```", text, re.DOTALL)
    assert found, "the worked example is gone from docs/vault-format.md"
    return from_text(found[1])


if __name__ == "__main__":
    print(to_text(build()), end="")
