"""Look at what the keys that are given open and sign: by opening, not by comparing keys."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from regvault.errors import CredentialError, VaultDamagedError
from regvault.model.doctor import Openings, Signing
from regvault.vault.age import AGE_MAGIC, open_sealed
from regvault.vault.current_keys import require_current_keys
from regvault.vault.fetch import fetch, fetch_document
from regvault.vault.frames import decompress
from regvault.vault.keyring import read_key_record
from regvault.vault.keys import KEY_RECORDS
from regvault.vault.pack import MAX_FRAME_BYTES, MAX_META_BYTES
from regvault.vault.sealing import AgeSeal
from regvault.vault.signing import Keys, UntrustedError
from regvault.vault.tree import MAX_STORED
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from regvault.vault.age import Identity
    from regvault.vault.objectlist import ObjectRef
    from regvault.vault.root import Root

__all__ = ["try_identities", "try_signing"]

#: Of a snapshot's objects of one kind, so many are looked through for the oldest and the newest.
_AT_MOST = 10_000
#: Nearly every frame of meta is shorter.
_FRAME_HEAD = 1 << 20


def try_identities(
    vault: Vault, roots: Sequence[Root], identities: tuple[Identity, ...]
) -> Openings:
    """Return what identities open of the newest roots and the newest snapshot of a sealed vault.

    What is stored stays sealed to whom it was sealed to then, so the oldest object and the newest
    of each kind are opened.

    Args:
        vault: it, opened without keys.
        roots: the newest of each registry.
        identities: what is opened with; at least one.

    Raises:
        VaultDamagedError: what is looked at is damaged.
        ObjectNotFoundError: it is gone.
    """
    keyed = Vault(vault.store, Keys(identities=identities))
    try:
        seal = keyed.seal
    except CredentialError:
        return Openings(len(identities), vault=False)
    assert isinstance(seal, AgeSeal)
    require_current_keys(keyed)
    root = max(roots, key=lambda each: each.started, default=None)
    # Of every registry: a snapshot that cannot open the newest root of a chain is refused.
    names = [_opened(r.sealed, r.name.key, identities) is not None for r in roots if r.sealed]
    names += [] if root is None else [*_names(vault, root, identities)]
    contents = [] if root is None else [*_contents(vault, root, identities)]
    return Openings(
        len(identities),
        vault=True,
        snapshot="" if root is None else str(root.name),
        names=tuple(names),
        contents=tuple(contents),
        reads_contents=seal.opens_contents,
        writes=seal.opens_new,
        host_reads=seal.writer in seal.recipients,
    )


def _names(vault: Vault, root: Root, identities: tuple[Identity, ...]) -> Iterator[bool]:
    """Yield whether trees that are sealed can be opened."""
    trees = vault.object_list(root).with_prefix("trees/")
    for ref in _oldest_and_newest(ref for ref in trees if ".zst.age." in ref.key):
        yield _opened(fetch(vault.store, ref.key, MAX_STORED), ref.key, identities) is not None


def _contents(vault: Vault, root: Root, identities: tuple[Identity, ...]) -> Iterator[bool]:
    """Yield whether manifests and configs can be opened: a frame of each object looked at."""
    for ref in _oldest_and_newest(vault.object_list(root).with_prefix("meta/")):
        frame = _opened(_first_frame(vault, ref.key), ref.key, identities)
        if frame is not None:
            decompress(frame, ref.key, MAX_FRAME_BYTES)
        yield frame is not None


def _oldest_and_newest(refs: Iterable[ObjectRef]) -> list[ObjectRef]:
    """Return the object that the first run wrote, and that which the last one did."""
    found = sorted(islice(refs, _AT_MOST), key=lambda ref: ref.key.rpartition(".")[2])
    return found if len(found) < 2 else [found[0], found[-1]]


def _first_frame(vault: Vault, key: str) -> bytes:
    data = vault.store.get(key, length=_FRAME_HEAD)
    end = data.find(AGE_MAGIC, 1)
    if end < 0 and len(data) == _FRAME_HEAD:
        data = fetch(vault.store, key, MAX_META_BYTES)
        end = data.find(AGE_MAGIC, 1)
    return data if end < 0 else data[:end]


def _opened(data: bytes, key: str, identities: tuple[Identity, ...]) -> bytes | None:
    try:
        return open_sealed(data, identities)
    except ValueError as error:
        raise VaultDamagedError(
            f"{key} is damaged: {error}", hint="See all of it with: regvault verify", key=key
        ) from None


def try_signing(vault: Vault, roots: Sequence[Root], keys: Keys) -> Signing:
    """Return whether a vault is signed, and what the keys that are given have to do with that.

    Args:
        vault: it, opened without keys.
        roots: the newest of each registry.
        keys: what is signed with, and who is trusted.
    """
    refused = ""
    try:
        trusting = Vault(vault.store, keys._replace(identities=()))
        for root in roots:
            trusting.read_slot(root.name)
        for entry in trusting.store.list(KEY_RECORDS):
            read_key_record(fetch_document(trusting.store, entry.key), entry.key, trusting.id)
    except UntrustedError as error:
        refused = error.message
    signer = None if keys.signer is None else keys.signer.public
    return Signing(
        signed=vault.id.signed,
        signer="" if signer is None else signer.id,
        trusts=len(keys.trusted),
        trusts_itself=signer in keys.trusted,
        refused=refused,
    )
