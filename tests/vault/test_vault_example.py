"""The bytes in docs/vault-format.md are a vault, and the vault that this code writes."""

from __future__ import annotations

import vault_example
import zstandard

from regvault.vault.blobs import BlobReader
from regvault.vault.catalog import Catalog
from regvault.vault.root import RootName
from regvault.vault.tree import ChunkRef
from regvault.vault.vault import Vault


def test_the_documented_bytes_are_still_read():
    vault = Vault(vault_example.documented())
    root = vault.read_slot(RootName("demo", 1))
    assert root is not None
    objects = vault.object_list(root)
    (entry,) = vault.tree("repositories", root.repositories, objects).lines()
    name, state, _ = entry.decode().split(" ")
    assert name == "hello"
    lines = list(vault.tree("state", ChunkRef(state), objects).lines())
    (tag,) = [line.decode() for line in lines if line.startswith(b"tag ")]
    digest = tag.removeprefix("tag 1 ")
    blobs = BlobReader(vault.store, Catalog(vault.store, None), objects)
    assert blobs.read(digest) == vault_example.MANIFEST
    assert blobs.read(vault_example.digest_of(vault_example.CONFIG)) == vault_example.CONFIG
    assert blobs.read(vault_example.digest_of(vault_example.LAYER)) == vault_example.LAYER


def test_the_documented_texts_are_those_of_the_objects():
    document = vault_example.DOCUMENT.read_text()
    store = vault_example.documented()
    opener = zstandard.ZstdDecompressor()
    for prefix in ("trees/", "catalog/"):
        for entry in store.list(prefix):
            assert f"```text\n{opener.decompress(store.get(entry.key)).decode()}```" in document


def test_the_same_vault_is_written_today():
    # Compressed bytes, and so names, may differ with another version of zstd; texts may not.
    today, then = vault_example.build(), vault_example.documented()
    opener = zstandard.ZstdDecompressor()

    def texts(prefix):
        return [
            sorted(opener.decompress(store.get(entry.key)) for entry in store.list(prefix))
            for store in (today, then)
        ]

    if zstandard.ZSTD_VERSION == (1, 5, 7):
        assert {e.key: today.get(e.key) for e in today.list()} == {
            e.key: then.get(e.key) for e in then.list()
        }
    for entry in then.list("packs/"):
        assert today.get(entry.key) == then.get(entry.key)
    meta_today, meta_then = texts("meta/")
    assert meta_today == meta_then
