"""Prove bytes against their digest: at once, or on their way through a reader."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any, Protocol, Self

from regvault.errors import DigestMismatchError
from regvault.oci.grammar import parse_digest
from regvault.oci.manifest import InvalidManifestError, load_json_object

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "ALGORITHMS",
    "VerifyingReader",
    "digest_of",
    "matches",
    "matches_manifest",
    "new_hash",
    "schema1_payload",
]


class _Reader(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...
    def readinto(self, buffer: bytearray | memoryview, /) -> int: ...
    def close(self) -> None: ...


# `hashlib.new` asks a dictionary of its own first, and takes four times as long.
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


#: Of digests, the usual one first.
ALGORITHMS = tuple(_HASHES)


def new_hash(algorithm: str) -> hashlib._Hash:
    """Return a fresh hash object of `sha256`, `sha384` or `sha512`."""
    return _HASHES[algorithm]()


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `data`."""
    hasher = new_hash(algorithm)
    hasher.update(data)
    return f"{algorithm}:{hasher.hexdigest()}"


def matches(data: bytes, digest: str) -> bool:
    """Return whether `data` is what `digest` says.

    Raises:
        InvalidNameError: it is no digest.
    """
    return digest_of(data, parse_digest(digest).algorithm) == digest


def matches_manifest(data: bytes, digest: str) -> bool:
    """Return whether `data` is the manifest that `digest` says.

    A signed schema 1 manifest is hashed without its signatures. Registries 2.x store the payload
    itself, but their API serves it signed, and older ones stored it signed.
    """
    if matches(data, digest):
        return True
    if b'"signatures"' not in data:
        return False
    payload = schema1_payload(data)
    return payload is not None and matches(payload, digest)


def schema1_payload(data: bytes) -> bytes | None:
    """Return what a signed schema 1 manifest was before it was signed; None if it is no such one.

    Each signature's `protected` header (base64url JSON) says how many bytes of the file begin the
    payload (`formatLength`), and what follows them in it (`formatTail`, base64url). Source:
    libtrust's `ParsePrettySignature`, which also demands that all signatures say the same.
    """
    try:
        signatures = load_json_object(data).get("signatures")
        if not isinstance(signatures, list) or not signatures:
            return None
        said = {_payload_format(signature) for signature in signatures}
    except InvalidManifestError:
        return None
    if len(said) != 1:
        return None
    length, tail = said.pop()
    return data[:length] + tail if 0 < length <= len(data) else None


def _payload_format(signature: Any) -> tuple[int, bytes]:
    protected = signature.get("protected") if isinstance(signature, dict) else None
    header = load_json_object(_base64url(protected))
    length = header.get("formatLength")
    if not isinstance(length, int) or isinstance(length, bool):
        raise InvalidManifestError("a signature without formatLength")
    return length, _base64url(header.get("formatTail"))


def _base64url(text: object) -> bytes:
    if not isinstance(text, str):
        raise InvalidManifestError("a signature without its header")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidManifestError("a signature is not base64") from error


class VerifyingReader:
    """A reader that proves what passes through it.

    The read that meets the end of the stream, or more bytes than promised, raises
    DigestMismatchError where size or digest are not as promised; so whoever reads until b"" (or 0)
    has proven all of it, and whoever stops before has proven nothing.

    Attributes:
        count: bytes that passed so far.
        proven: whether the end was reached and everything was right.
    """

    def __init__(self, reader: _Reader, digest: str, size: int | None = None) -> None:
        """Wrap `reader`, which is closed with this one.

        Args:
            reader: from its first byte on.
            digest: of sha256, sha384 or sha512.
            size: bytes, or None where it is not known.

        Raises:
            InvalidNameError: `digest` is none.
        """
        self._reader = reader
        self._digest = digest
        self._size = size
        self._hash = new_hash(parse_digest(digest).algorithm)
        self.count = 0
        self.proven = False

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes (-1: all), b"" at the end.

        Raises:
            DigestMismatchError: at the end, see the class.
        """
        if size < 0:
            parts = []
            while part := self.read(1 << 20):
                parts.append(part)
            return b"".join(parts)
        data = self._reader.read(size)
        self._passed(memoryview(data), at_end=not data and size > 0)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill `buffer`; return the number of bytes, 0 at the end.

        Raises:
            DigestMismatchError: at the end, see the class.
        """
        count = self._reader.readinto(buffer)
        self._passed(memoryview(buffer)[:count], at_end=not count and len(buffer) > 0)
        return count

    def _passed(self, data: memoryview, *, at_end: bool) -> None:
        self._hash.update(data)
        self.count += len(data)
        if self._size is not None and (
            self.count > self._size or (at_end and self.count < self._size)
        ):
            words = "more" if self.count > self._size else f"only {self.count}"
            raise DigestMismatchError(
                f"{self._digest}: {self._size} bytes were promised, {words} came"
            )
        if at_end:
            got = f"{self._digest.partition(':')[0]}:{self._hash.hexdigest()}"
            if got != self._digest:
                raise DigestMismatchError(f"{self._digest}: the bytes are {got}")
            self.proven = True

    def close(self) -> None:
        """Close the reader below."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
