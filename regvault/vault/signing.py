"""Who signs a vault's documents, and whose signatures count (Ed25519, RFC 8032).

Roots, stubs, amendments, condemned lists and key records are signed: what a vault promises.
`vault.json` is signed where a vault was made so; then nothing unsigned is taken from it, and nobody
without the key can write what would not be taken. The public keys that count come from who reads,
never from the vault. (`docs/vault-format.md`, "Signatures".)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from regvault.errors import CredentialError, UsageError, VaultDamagedError
from regvault.model.secrecy import is_private_key
from regvault.vault.extra import not_installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from regvault.vault.age import Identity

__all__ = [
    "NO_KEYS",
    "SIGNED_TYPES",
    "Keys",
    "PublicKey",
    "SigningKey",
    "UntrustedError",
    "VaultId",
    "check_signatures",
    "countersigned",
    "parse_public_key",
    "require_key",
    "signatures_of",
]

_SIGNED_OF_AUDIT = {"audit", "audit-expiry", "access", "month-erased"}
#: Types of documents that are signed. (Condemned lists are too.)
SIGNED_TYPES = frozenset({"vault", "root", "stub", "amendment", "keys", *_SIGNED_OF_AUDIT})

_NAME_IT = (
    "Name it by sign_key in the configuration, or $REGVAULT_SIGN_KEY: file:/PATH or env:NAME."
)
_ALGORITHM = "ed25519"
_PREFIX = "ed25519:"


class UntrustedError(VaultDamagedError):
    """Nobody signed it whose key counts."""

    code = "untrusted"
    HINT = (
        "Someone without the key wrote it, or its key is not among the trusted ones: regvault key "
        "list. Compare the vault with a second copy."
    )


class PublicKey(NamedTuple):
    """A public key: 32 bytes."""

    raw: bytes

    @property
    def id(self) -> str:
        """The first 32 hex digits of the SHA-256 of the key."""
        return hashlib.sha256(self.raw).hexdigest()[:32]

    def __str__(self) -> str:
        return _PREFIX + base64.b64encode(self.raw).decode()

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether a signature is of this key over these bytes."""
        ed25519 = _library()
        from cryptography.exceptions import InvalidSignature

        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


def parse_public_key(text: str) -> PublicKey:
    """Return the key that `ed25519:BASE64` is. Raises UsageError, without a private key."""
    if is_private_key(text):
        raise UsageError(
            "that is a private key, which is a secret, and no public key",
            hint="Name the public key that goes with it, ed25519:..., as `regvault key generate` "
            "printed it. What was written there may be in logs by now: consider a new key.",
        )
    try:
        raw = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(_PREFIX) or len(raw) != 32:
        raise UsageError(
            f"{text[:100]!r} is no public key",
            hint="It is written ed25519:BASE64, as `regvault key generate` prints it.",
        )
    return PublicKey(raw)


class SigningKey:
    """A private key. Its bytes are in no message and no `repr`."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new one."""
        return cls(_library().Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: str, where: str) -> SigningKey:
        """Read an unencrypted PKCS#8 PEM, as `regvault key generate` and openssl write it.

        Raises:
            CredentialError: it is none. The message does not repeat it.
        """
        ed25519 = _library()
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise CredentialError(
                f"there is no Ed25519 private key at {where}",
                hint="Make one with: regvault key generate FILE",
            )
        return cls(key)

    def to_pem(self) -> str:
        """Return it as PKCS#8 PEM: a secret."""
        from cryptography.hazmat.primitives import serialization

        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def sign(self, data: bytes) -> bytes:
        """Return the signature of some bytes."""
        return self._key.sign(data)


class Keys(NamedTuple):
    """The keys that a vault is opened with.

    Attributes:
        signer: signs what is written; None: nothing is signed.
        trusted: whose signatures count; (): everyone's.
        identities: open what is sealed.
    """

    signer: SigningKey | None = None
    trusted: tuple[PublicKey, ...] = ()
    identities: tuple[Identity, ...] = ()


NO_KEYS = Keys()


class VaultId(str):
    """The id of a vault that was opened, with the keys that it was opened with.

    Attributes:
        keys: who signs, and whom is trusted.
        signed: the vault was made for signed documents: nothing else is written into it.
    """

    __slots__ = ("keys", "signed")
    keys: Keys
    signed: bool

    def __new__(cls, identity: str, keys: Keys = NO_KEYS, *, signed: bool = False) -> Self:
        """Make one."""
        made = super().__new__(cls, identity)
        made.keys = keys
        made.signed = signed
        return made


def signatures_of(vault: str | None, data: bytes) -> list[dict[str, str]]:
    """Return the signatures that go beside some bytes of a vault; [] where nobody signs.

    Raises:
        CredentialError: the vault is a signed one, and it was opened without its key.
    """
    signer = vault.keys.signer if isinstance(vault, VaultId) else None
    if vault is None or signer is None:
        require_key(vault or "")
        return []
    return [
        {
            "alg": _ALGORITHM,
            "key": signer.public.id,
            "sig": base64.b64encode(signer.sign(data)).decode(),
        }
    ]


def require_key(vault: str) -> None:
    """Refuse at once what would be refused when it is committed.

    Raises:
        CredentialError: it is a signed vault, and it was opened without its key.
    """
    if isinstance(vault, VaultId) and vault.signed and vault.keys.signer is None:
        raise CredentialError(
            f"what is written into vault {vault} is signed, and no key to sign with is given",
            hint=_NAME_IT,
        )


def check_signatures(
    vault: str | None, key: str, data: bytes, signatures: Iterable[dict[str, Any]]
) -> None:
    """Refuse bytes of a vault that nobody signed whose key counts.

    Args:
        vault: the vault's id; only a VaultId with trusted keys asks for signatures.
        key: where they were, for messages.
        data: what is signed.
        signatures: beside it; those of other algorithms or keys are passed over.

    Raises:
        UntrustedError: there is no good one.
    """
    if not isinstance(vault, VaultId) or not vault.keys.trusted:
        return
    trusted = {public.id: public for public in vault.keys.trusted}
    for each in signatures:
        public = trusted.get(str(each.get("key")))
        if public is None or each.get("alg") != _ALGORITHM:
            continue
        try:
            signature = base64.b64decode(str(each.get("sig")), validate=True)
        except (binascii.Error, ValueError):
            continue
        if public.verifies(signature, data):
            return
    raise UntrustedError(f"{key} is not signed by a key that is trusted")


def countersigned(
    vault: VaultId, data: bytes, signatures: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return signatures of some bytes, and among them that of the key to sign with.

    Raises:
        CredentialError: there is no such key.
    """
    own = signatures_of(vault, data)
    if not own:
        raise CredentialError("there is no key to sign with", hint=_NAME_IT)
    # Ed25519 signs alike every time.
    return [*signatures, *(each for each in own if each not in signatures)]


def _library() -> Any:
    """Return the part of `cryptography` that is used; an extra, since few need it."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise not_installed("signatures") from None
    return ed25519
