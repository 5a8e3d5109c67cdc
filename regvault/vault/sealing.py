"""What a vault seals (age, age-encryption.org/v1), and how it names what is sealed.

Contents are sealed to the recipients only; trees and the catalog to the recipients and to the
writer, who so finds what is there already, and cannot read a layer that it wrote. What is sealed
is always one whole age file. (`docs/vault-format.md`, "Sealing".)

A `Seal` stands for all of it. The plain one changes nothing, so that whoever stores or reads
objects need not ask whether a vault is sealed.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from regvault.errors import CredentialError, UsageError, VaultDamagedError
from regvault.vault.keys import KEYED, tree_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import ByteReader, Stage

__all__ = [
    "AGE_MAGIC",
    "HEADER_BYTES",
    "NAMING_KEY_BYTES",
    "OVERHEAD",
    "PLAIN",
    "AgeSeal",
    "Identity",
    "LockedSeal",
    "Seal",
    "SealedToOthersError",
    "age_header_length",
    "identities_text",
    "open_sealed",
    "parse_identities",
    "parse_recipient",
    "plain_size",
    "seal_to",
]

#: What every age file begins with.
AGE_MAGIC = b"age-encryption.org/v1\n"
#: No header of one for some hundred recipients is longer.
HEADER_BYTES = 64 << 10
#: Bytes of the key that names are made with.
NAMING_KEY_BYTES = 32
#: An age file of less than a mebibyte is never so much longer than what it seals: some hundred
#: bytes a recipient, 16 a 64 KiB.
OVERHEAD = 16 << 10

_PREFIX = "AGE-SECRET-KEY-1"
_PART = 1 << 20
#: Payload of an age file: a nonce, then chunks of 64 KiB with a tag each.
_NONCE, _CHUNK, _TAG = 16, 64 << 10, 16
_MAKE_IT = (
    f"It is written {_PREFIX}..., as `regvault key generate --identity FILE` and age-keygen do."
)
_NEEDS_IDENTITY = (
    "Name one that it is sealed to: --identity file:/PATH, `identity` in the configuration, or "
    "$REGVAULT_IDENTITY."
)


class SealedToOthersError(VaultDamagedError):
    """An age file that no identity opens, in a vault that one of them opens.

    Whoever has proven the stored bytes knows that it is not damaged.
    """


class Identity:
    """A private age key (X25519). Its text is in no message and no `repr`.

    Attributes:
        public: the recipient that it opens for: `age1...`.
    """

    def __init__(self, key: Any) -> None:
        self._key = key
        self.public = str(key.to_public())

    @classmethod
    def generate(cls) -> Identity:
        """Make a new one."""
        return cls(_library().x25519.Identity.generate())

    def secret(self) -> str:
        """Return its text: a secret."""
        return str(self._key)

    @property
    def key(self) -> Any:
        """What the library opens with."""
        return self._key


def identities_text(identities: Iterable[Identity]) -> str:
    """Return a file of identities, as `age-keygen` writes it: a secret."""
    return "".join(f"# public key: {each.public}\n{each.secret()}\n" for each in identities)


def parse_identities(text: str, where: str) -> tuple[Identity, ...]:
    """Read a file of age identities, as `age-keygen` and `regvault key generate` write it.

    Raises:
        CredentialError: there is none, or a line is none. The message does not repeat it.
    """
    found: list[Identity] = []
    age = _library()
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            found.append(Identity(age.x25519.Identity.from_str(line)))
        except age.IdentityError:
            raise CredentialError(
                f"line {number} of {where} is no age identity",
                hint=_MAKE_IT,
            ) from None
    if not found:
        raise CredentialError(f"there is no age identity at {where}", hint=_MAKE_IT)
    return tuple(found)


def parse_recipient(text: str) -> str:
    """Return an age recipient (X25519). Raises UsageError; it never repeats an identity."""
    age = _library()
    if _PREFIX in text.upper():
        raise UsageError(
            "that is an identity, which is a secret, and no recipient",
            hint="Name the recipient that goes with it, age1..., as `age-keygen -y FILE` shows it. "
            "What was typed may be in the shell's history now: consider a new identity.",
        )
    try:
        return str(age.x25519.Recipient.from_str(text.strip()))
    except age.RecipientError:
        raise UsageError(
            f"{text[:100]!r} is no age recipient",
            hint="It is written age1..., as `regvault key generate --identity FILE` and "
            "age-keygen show it.",
        ) from None


def seal_to(recipients: Iterable[str], data: bytes) -> bytes:
    """Return an age file of `data` that each of these recipients can open."""
    return bytes(_library().encrypt(data, _recipients(recipients)))


def open_sealed(data: bytes, identities: Iterable[Identity]) -> bytes | None:
    """Return what an age file holds; None where none of the identities opens it.

    Raises:
        ValueError: it is none, or is damaged.
    """
    age = _library()
    try:
        return bytes(age.decrypt(data, [identity.key for identity in identities]))
    except age.DecryptError as error:
        if _is_no_match(error):
            return None
        raise ValueError(str(error)) from None


def _recipients(texts: Iterable[str]) -> list[Any]:
    age = _library()
    return [age.x25519.Recipient.from_str(text) for text in texts]


def _is_no_match(error: Exception) -> bool:
    return "No matching keys" in str(error)


def age_header_length(head: bytes) -> int | None:
    """Return how many bytes the header of an age file takes; None where `head` does not tell."""
    at = head.find(b"\n--- ")
    end = head.find(b"\n", at + 1) if at >= 0 else -1
    return None if end < 0 else end + 1


def plain_size(head: bytes, stored: int) -> int | None:
    """Return how many bytes an age file holds.

    Args:
        head: its first bytes.
        stored: its size.
    """
    header = age_header_length(head)
    if header is None:
        return None
    payload = stored - header - _NONCE
    chunks = -(-payload // (_CHUNK + _TAG))
    size = payload - chunks * _TAG
    return size if payload >= _TAG and size >= 0 else None


class Seal:
    """That of a plain vault: nothing is sealed, everything has its own name.

    Attributes:
        sealed: whether the vault is a sealed one.
        opens_names: whether trees and the catalog can be opened, and blobs be named.
        opens_contents: whether blobs can be opened, as far as is known.
    """

    sealed = False
    opens_names = True
    opens_contents = True

    def name(self, digest: str) -> str:
        """Return what a blob is called in the catalog, in packs and in keys."""
        return digest

    def chunk_key(self, hexed: str) -> str:
        """Return the plain key of a tree's chunk whose frame has this SHA-256."""
        return tree_key(hexed)

    def mac(self, sha256: str) -> str:
        """Return what only those can make who can open names: "" in a plain vault.

        Args:
            sha256: hex digest of what a root says in clear.
        """
        return ""

    def close_content(self, data: bytes) -> bytes:
        """Return the stored form of a small blob, or of a frame of several."""
        return data

    def close_index(self, data: bytes) -> bytes:
        """Return the stored form of a tree's chunk, or a frame of a segment."""
        return data

    def open_content(self, data: bytes, key: str) -> bytes:
        """Undo `close_content`; `key`: of the object, for messages.

        Raises:
            VaultDamagedError: it is not what was stored.
            CredentialError: no identity that was given opens it.
        """
        return data

    def open_index(self, data: bytes, key: str) -> bytes:
        """Undo `close_index`. Raises as `open_content`."""
        return data

    def close_stream(self, reader: ByteReader, stage: Stage) -> None:
        """Write the stored form of a large blob. Errors of both pass through as they are."""
        while data := reader.read(1 << 20):
            stage.write(data)

    def open_stream(self, reader: ByteReader, key: str) -> ByteReader:
        """Return a stream over what a large blob's object holds; closing it closes `reader`."""
        return reader

    def raw_size(self, head: bytes, stored: int) -> int | None:
        """Return the size of a large blob by its object's first bytes and size."""
        return stored


PLAIN = Seal()


class _OfAge(Seal):
    """What is true of every sealed vault, with an identity and without."""

    sealed = True

    def raw_size(self, head: bytes, stored: int) -> int | None:
        """Return what the age file says itself."""
        return plain_size(head, stored)


class LockedSeal(_OfAge):
    """That of a sealed vault that was opened without an identity: only lists can be read."""

    opens_names = False
    opens_contents = False

    def __init__(self, why: str, hint: str = _NEEDS_IDENTITY) -> None:
        self._why = why
        self._hint = hint

    def _refuse(self) -> CredentialError:
        return CredentialError(self._why, hint=self._hint)

    def name(self, digest: str) -> str:
        """Refuse."""
        raise self._refuse()

    def chunk_key(self, hexed: str) -> str:
        """Refuse."""
        raise self._refuse()

    def mac(self, sha256: str) -> str:
        """Refuse."""
        raise self._refuse()

    def close_content(self, data: bytes) -> bytes:
        """Refuse."""
        raise self._refuse()

    def close_index(self, data: bytes) -> bytes:
        """Refuse."""
        raise self._refuse()

    def open_content(self, data: bytes, key: str) -> bytes:
        """Refuse."""
        raise self._refuse()

    def open_index(self, data: bytes, key: str) -> bytes:
        """Refuse."""
        raise self._refuse()

    def close_stream(self, reader: ByteReader, stage: Stage) -> None:
        """Refuse."""
        raise self._refuse()

    def open_stream(self, reader: ByteReader, key: str) -> ByteReader:
        """Refuse."""
        raise self._refuse()


class AgeSeal(_OfAge):
    """That of a sealed vault whose naming key is known."""

    def __init__(
        self,
        naming_key: bytes,
        recipients: Iterable[str],
        writer: str,
        identities: tuple[Identity, ...],
        *,
        opens_contents: bool,
    ) -> None:
        """Wrap.

        Args:
            naming_key: K.
            recipients: who can open all of it.
            writer: who can open trees and the catalog too.
            identities: what is opened with.
            opens_contents: one of them is a recipient's.
        """
        self.naming_key = naming_key
        self.recipients = tuple(recipients)
        self.writer = writer
        self.opens_contents = opens_contents
        self._identities = identities
        self._keys = [identity.key for identity in identities]
        self._content_to = _recipients(self.recipients)
        self._index_to = _recipients(dict.fromkeys((*self.recipients, writer)))
        self._age = _library()

    def _hmac(self, text: str) -> str:
        return hmac.new(self.naming_key, text.encode("ascii"), hashlib.sha256).hexdigest()

    def name(self, digest: str) -> str:
        """Return `hmac-sha256:` and the HMAC of it."""
        return f"{KEYED}{self._hmac(f'blob {digest}')}"

    def chunk_key(self, hexed: str) -> str:
        """Return `trees/`, the HMAC of its digest, and `.zst.age`."""
        return f"{tree_key(self._hmac(f'tree sha256:{hexed}'))}.age"

    def mac(self, sha256: str) -> str:
        """Return an HMAC of it."""
        return self._hmac(f"root {sha256}")

    def close_content(self, data: bytes) -> bytes:
        """Seal it to the recipients."""
        return bytes(self._age.encrypt(data, self._content_to))

    def close_index(self, data: bytes) -> bytes:
        """Seal it to the recipients and the writer."""
        return bytes(self._age.encrypt(data, self._index_to))

    def open_content(self, data: bytes, key: str) -> bytes:
        """Open it."""
        return self._open(data, key, contents=True)

    def open_index(self, data: bytes, key: str) -> bytes:
        """Open it."""
        return self._open(data, key, contents=False)

    def _open(self, data: bytes, key: str, *, contents: bool) -> bytes:
        try:
            return bytes(self._age.decrypt(data, self._keys))
        except self._age.DecryptError as error:
            raise self._refusal(error, key, contents=contents) from None

    def _refusal(self, error: Exception, key: str, *, contents: bool) -> Exception:
        if not _is_no_match(error):
            return VaultDamagedError(f"{key} is damaged: {error}", key=key)
        if contents and not self.opens_contents:
            return CredentialError(
                f"{key} is sealed, and no identity that was given opens contents",
                hint="The identity of the host that takes snapshots opens names only. "
                + _NEEDS_IDENTITY,
            )
        return SealedToOthersError(
            f"{key} is damaged, or sealed to others: none of the identities that were given opens "
            "it",
            key=key,
        )

    def close_stream(self, reader: ByteReader, stage: Stage) -> None:
        """Seal it to the recipients on its way."""
        source, sink = _Watched(reader), _Watched(stage)
        try:
            self._age.encrypt_io(source, sink, self._content_to)
        except self._age.EncryptError:
            for each in (source, sink):
                if each.error is not None:
                    raise each.error from None
            raise

    def open_stream(self, reader: ByteReader, key: str) -> ByteReader:
        """Open it on its way."""
        from regvault.vault.unsealing import Unsealed

        return Unsealed(
            reader,
            lambda source, sink: self._age.decrypt_io(source, sink, self._keys),
            # Damage in the middle of a stream is told as an OSError.
            lambda error: self._refusal(error, key, contents=True),
        )


class _Watched:
    """A stream that keeps the error it raised: the library passes on only its text.

    The library reads 8 KiB at a time: they come out of a mebibyte that was read at once.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._part = b""
        self._at = 0
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        if self._at >= len(self._part):
            try:
                self._part, self._at = self._stream.read(_PART), 0
            except BaseException as error:
                self.error = error
                raise
        begin = self._at
        self._at = len(self._part) if size < 0 else begin + size
        return self._part[begin : self._at]

    def write(self, data: bytes) -> int:
        try:
            self._stream.write(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""


def _library() -> Any:
    """Return `pyrage`; an extra, since few need it."""
    try:
        import pyrage
    except ImportError:
        raise CredentialError(
            "sealed vaults need a library that is not installed",
            hint="pip install 'regvault[crypto]'",
        ) from None
    return pyrage
