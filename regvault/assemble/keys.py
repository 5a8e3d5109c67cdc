"""The keys that a vault is opened with, read from where they are said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.vault.age import parse_identities
from regvault.vault.signing import Keys, SigningKey, parse_public_key

if TYPE_CHECKING:
    from regvault.config.places import VaultPlace
    from regvault.vault.age import Identity

__all__ = ["identities_of", "keys_of", "signing_keys"]


def keys_of(place: VaultPlace) -> Keys:
    """Return the keys that a vault is opened with.

    Raises:
        CredentialError: the key to sign with, or an identity, is not where it should be.
    """
    return signing_keys(place)._replace(identities=identities_of(place))


def signing_keys(place: VaultPlace) -> Keys:
    """Return the key that a vault is signed with, and whose signatures count.

    Raises:
        CredentialError: the key to sign with is not where it should be.
    """
    where = place.sign_key
    signer = None if where is None else SigningKey.from_pem(where.read(), str(where))
    return Keys(signer, tuple(parse_public_key(text) for text in place.trusted_keys))


def identities_of(place: VaultPlace) -> tuple[Identity, ...]:
    """Return what a sealed vault is opened with.

    Raises:
        CredentialError: it is not where it should be.
    """
    where = place.identity
    return () if where is None else parse_identities(where.read(), str(where))
