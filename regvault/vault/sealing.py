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

from regvault.errors import CredentialError, VaultDamagedError
from regvault.vault.age import (
    HEADER_BYTES,
    check_header,
    is_no_match,
    library,
    plain_size,
    recipients_of,
)
from regvault.vault.keys import KEYED, tree_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.store import ByteReader, Stage
    from regvault.vault.age import Identity

__all__ = [
    "NAMING_KEY_BYTES",
    "PLAIN",
    "AgeSeal",
    "LockedSeal",
    "ProvenSealedError",
    "Seal",
    "SealedToOthersError",
]

#: Bytes of the key that names are made with.
NAMING_KEY_BYTES = 32

_PART = 1 << 20
_NEEDS_IDENTITY = (
    "Name one that it is sealed to: --identity file:/PATH, `identity` in the configuration, or "
    "$REGVAULT_IDENTITY."
)
_STALE = (
    "Nothing is sealed meanwhile: it might be to someone who was removed. Put the record back from "
    "a copy of the vault, which has the same below records/keys/. If there is none: regvault key "
    "list, then say who remains by `regvault key remove-recipient` with --despite-damage."
)


class SealedToOthersError(VaultDamagedError):
    """An age file that no identity opens, in a vault that one of them opens.

    Whoever has proven the stored bytes knows that it is not damaged.
    """


class ProvenSealedError(SealedToOthersError, CredentialError):
    """One whose stored bytes are proven: it is whole, and sealed to others."""

    exit_code = 12
    code = "sealed-to-others"
    HINT = (
        "What is stored stays sealed to whom it was then. A recipient who was added later needs an "
        "older one's identity as well, and a host the whole file that `regvault key rotate` made: "
        "both in one file. See to whom it is sealed: regvault key list"
    )

    def __init__(self, key: str | None) -> None:
        """Take the key of the object; None is the root that is looked at."""
        what = key or "the snapshot"
        super().__init__(
            f"{what} is sealed to others: none of the identities that were given opens it", key=key
        )


class Seal:
    """That of a plain vault: nothing is sealed, everything has its own name.

    Attributes:
        sealed: whether the vault is a sealed one.
        opens_names: whether trees and the catalog can be opened, and blobs be named.
        opens_contents: whether blobs can be opened, as far as is known.
        generation: of the key record that what is written is sealed under; 0 of a plain vault.
    """

    sealed = False
    opens_names = True
    opens_contents = True
    generation = 0

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
    """That of a sealed vault whose naming key is known.

    Attributes:
        opens_new: what is written from now on is sealed to one of the identities.
    """

    def __init__(
        self,
        naming_key: bytes,
        recipients: Iterable[str],
        writer: str,
        identities: tuple[Identity, ...],
        *,
        opens_contents: bool,
        generation: int = 0,
        stale: str = "",
    ) -> None:
        """Wrap.

        Args:
            naming_key: K.
            recipients: who can open all of it.
            writer: who can open trees and the catalog too.
            identities: what is opened with.
            opens_contents: one of them is a recipient's.
            generation: of the key record that says so.
            stale: why that may not be the one that counts; "" where it is. Nothing is sealed then.
        """
        self.naming_key = naming_key
        self.recipients = tuple(recipients)
        self.writer = writer
        self.opens_contents = opens_contents
        mine = {identity.public for identity in identities}
        self.opens_new = not mine.isdisjoint((*self.recipients, writer))
        self.generation = generation
        self.stale = stale
        self._identities = identities
        self._keys = [identity.key for identity in identities]
        self._content_to = recipients_of(self.recipients)
        self._index_to = recipients_of(dict.fromkeys((*self.recipients, writer)))
        self._age = library()

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

    def require_current(self) -> None:
        """Refuse to seal to whom another key record names than that which counts.

        Raises:
            VaultDamagedError: it is not known which counts.
        """
        if self.stale:
            raise VaultDamagedError(self.stale, hint=_STALE)

    def close_content(self, data: bytes) -> bytes:
        """Seal it to the recipients. Raises as `require_current`."""
        self.require_current()
        return bytes(self._age.encrypt(data, self._content_to))

    def close_index(self, data: bytes) -> bytes:
        """Seal it to the recipients and the writer. Raises as `require_current`."""
        self.require_current()
        return bytes(self._age.encrypt(data, self._index_to))

    def open_content(self, data: bytes, key: str) -> bytes:
        """Open it."""
        return self._open(data, key, contents=True)

    def open_index(self, data: bytes, key: str) -> bytes:
        """Open it."""
        return self._open(data, key, contents=False)

    def _open(self, data: bytes, key: str, *, contents: bool) -> bytes:
        try:
            check_header(data[:HEADER_BYTES])
            return bytes(self._age.decrypt(data, self._keys))
        except (ValueError, self._age.DecryptError) as error:
            raise self._refusal(error, key, contents=contents) from None

    def _refusal(self, error: Exception, key: str, *, contents: bool) -> Exception:
        if not is_no_match(error):
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
        """Seal it to the recipients on its way. Raises as `require_current`."""
        self.require_current()
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
            lambda source, sink: self._age.decrypt_io(_Headed(source), sink, self._keys),
            # Damage in the middle of a stream is told as an OSError.
            lambda error: self._refusal(error, key, contents=True),
        )


class _Headed:
    """A stream over an age file whose header is checked first: see `check_header`."""

    def __init__(self, stream: Any) -> None:
        """Read the header. Raises ValueError."""
        self._stream = stream
        head = b""
        while len(head) < HEADER_BYTES and (part := stream.read(HEADER_BYTES - len(head))):
            head += part
        check_header(head)
        self._head = head

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return bytes(self._stream.read(size))
        end = len(self._head) if size < 0 else size
        part, self._head = self._head[:end], self._head[end:]
        return part


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
