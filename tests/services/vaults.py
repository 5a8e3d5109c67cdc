"""What a vault says, read by regvault's own library: what the restored registry is held against."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from programs import program

if TYPE_CHECKING:
    from pathlib import Path

    from servers import MinIO, Moto

    from regvault.model.store import ObjectStore
    from regvault.vault.vault import Vault


def disk(path: Path) -> ObjectStore:
    from regvault.storage.local import LocalStore

    return LocalStore(str(path))


def moto(server: Moto, bucket: str, prefix: str = "") -> ObjectStore:
    from regvault.storage.s3 import S3Store

    return S3Store(
        bucket,
        prefix,
        endpoint_url=server.url,
        region="us-east-1",
        credentials=(server.access, server.secret, None),
    )


def minio(server: MinIO, bucket: str, prefix: str = "") -> ObjectStore:
    from regvault.storage.s3 import S3Store

    return S3Store(
        bucket,
        prefix,
        endpoint_url=server.url,
        region=server.region,
        credentials=(server.access, server.secret, None),
    )


def vault(store: ObjectStore) -> Vault:
    from regvault.vault.vault import Vault

    return Vault(store)


def tags_of(store: ObjectStore, registry: str, sequence: int) -> dict[str, str]:
    """Return `repository:tag` -> digest of a snapshot."""
    from regvault.ops.listing import list_images, list_repositories
    from regvault.ops.opened import Opened
    from regvault.vault.root import RootName

    opened = vault(store)
    root = opened.read_slot(RootName(registry, sequence))
    assert root is not None
    found = {}
    with Opened(opened, root) as snapshot:
        for repository in list_repositories(snapshot):
            for row in list_images(snapshot, repository.name):
                assert not row.marks, row
                found[f"{repository.name}:{row.tag}"] = row.digest
    return found


def snapshots(store: ObjectStore) -> list[str]:
    """Return the keys of all slots."""
    return [entry.key for entry in store.list("snapshots/")]


def proofs(store: ObjectStore) -> dict[str, str]:
    """Return `digest` -> who proved its bytes, of all blobs that are objects of their own.

    Read with zstd alone, as the format promises.
    """
    found = {}
    for entry in store.list("catalog/"):
        text = subprocess.run(
            [program("zstd"), "-dcq"], input=store.get(entry.key), capture_output=True, check=True
        ).stdout.decode()
        for line in text.splitlines():
            digest, key, _, _, _, proof = line.split(" ")
            if key == "-":
                found[digest] = proof
    return found
