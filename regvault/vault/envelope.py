"""Two lines: a JSON body, then its SHA-256 and its signatures. Roots, records, leases, vault.json.

A root that was copied from another vault keeps its two lines, and two more follow: an amendment of
this vault, which says where the root is from, and which keys differ here.

(`docs/vault-format.md`, "Documents".)
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from regvault.errors import UnknownFormatError, VaultDamagedError
from regvault.oci.manifest import load_json_object
from regvault.vault.keys import FORMAT
from regvault.vault.signing import (
    SIGNED_TYPES,
    VaultId,
    check_signatures,
    countersigned,
    signatures_of,
)

__all__ = [
    "SEALED",
    "Document",
    "countersign_document",
    "from_time",
    "load_object",
    "read_document",
    "time_or_none",
    "to_time",
    "write_document",
]

#: No document is larger (a root is at most 16 KiB; a claim names many roots).
MAX_DOCUMENT_BYTES = 4 << 20

_MAX_DIGITS = 100

#: Feature of a sealed vault, and of its roots.
SEALED = "sealed"
#: Features that this regvault understands; a document that lists another one is refused.
KNOWN_FEATURES: frozenset[str] = frozenset({SEALED})


class Document(NamedTuple):
    """A document read back.

    Attributes:
        body: the JSON object of the first line.
        sha256: hex SHA-256 of the first line; what a successor names as `previous`.
        signatures: of the second line.
        amendment: the body of a copied root's amendment (keys that differ here), or None.
    """

    body: dict[str, Any]
    sha256: str
    signatures: list[dict[str, Any]]
    amendment: dict[str, Any] | None


def write_document(body: dict[str, Any]) -> tuple[bytes, str]:
    """Return the bytes of a document, and the hex SHA-256 of its body line.

    It is signed where its type is one that is, and `vault` of the body is the id of a vault that
    was opened with a key to sign with.

    Raises:
        CredentialError: the vault is a signed one, and it was opened without its key.
    """
    line = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    digest = hashlib.sha256(line).hexdigest()
    owner = body.get("vault")
    signed = isinstance(owner, VaultId) and body.get("type") in SIGNED_TYPES
    signatures = signatures_of(owner, line) if signed else []
    seal = json.dumps({"sha256": digest, "signatures": signatures}, separators=(",", ":")).encode()
    return b"%s\n%s\n" % (line, seal), digest


def read_document(data: bytes, key: str, *, types: tuple[str, ...], vault: str | None) -> Document:
    """Check and parse a document.

    Args:
        data: the stored bytes.
        key: where they were, for messages.
        types: the values of `type` that are acceptable here.
        vault: the vault's id that the body must carry; None where it is not known yet. One that was
            opened with trusted keys wants signatures of what is signed.

    Raises:
        VaultDamagedError: the bytes are not what was written.
        UntrustedError: they are not signed by whom is trusted.
        UnknownFormatError: a newer regvault wrote them.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise VaultDamagedError(f"{key} is damaged: {len(data)} bytes are too many for it")
    lines = data.split(b"\n")
    if len(lines) not in (3, 5) or lines[-1] != b"":
        raise VaultDamagedError(f"{key} is damaged: it does not have two lines")
    body, digest, signatures = _read_lines(lines[0], lines[1], key, types)
    if body["type"] in SIGNED_TYPES:
        check_signatures(vault, key, lines[0], signatures)
    amendment = None
    if len(lines) == 5:
        amendment, _, also = _read_lines(lines[2], lines[3], key, ("amendment",))
        check_signatures(vault, key, lines[2], also)
        if amendment.get("slot") != key:
            raise VaultDamagedError(f"{key} is damaged: its amendment is of another slot")
    # A copied root is of the vault that its amendment says, and the amendment is of this one.
    owner = body.get("vault")
    if amendment is not None and owner == amendment.get("origin"):
        owner = amendment.get("vault")
    if vault is not None and owner != vault:
        raise VaultDamagedError(
            f"{key} belongs to another vault ({owner!r:.100})",
            hint="Someone put an object, or the vault.json, of another vault here. Which, tells: "
            "regvault repair --dry-run",
        )
    return Document(body, digest, signatures, amendment)


def countersign_document(data: bytes, key: str, *, types: tuple[str, ...], vault: VaultId) -> bytes:
    """Return a document with one more signature, that of the vault's key to sign with.

    Its body stays, and so does what names it. A document of a type that nobody signs, and one
    that has the signature, are returned as they are.

    Args:
        data: the stored bytes.
        key: where they are.
        types: the values of `type` that are acceptable here.
        vault: the vault's id.

    Raises:
        VaultDamagedError: the bytes are not what was written.
        UntrustedError: they are not signed by whom is trusted.
        UnknownFormatError: a newer regvault wrote them.
        CredentialError: there is no key to sign with.
    """
    # A key record may be of the vault that this one is a copy of.
    owner = None if "keys" in types else vault
    if read_document(data, key, types=types, vault=owner).body["type"] not in SIGNED_TYPES:
        return data
    lines = data.split(b"\n")
    for at in range(0, len(lines) - 1, 2):  # of a copied root, and of its amendment
        seal = load_object(lines[at + 1])
        check_signatures(vault, key, lines[at], seal["signatures"])
        signatures = countersigned(vault, lines[at], seal["signatures"])
        if signatures != seal["signatures"]:
            seal = {**seal, "signatures": signatures}
            lines[at + 1] = json.dumps(seal, separators=(",", ":")).encode()
    return b"\n".join(lines)


def _read_lines(
    line: bytes, seal_line: bytes, key: str, types: tuple[str, ...]
) -> tuple[dict[str, Any], str, list[dict[str, Any]]]:
    """Check a body against the checksum in the line after it; return body, digest, signatures."""
    damaged = f"{key} is damaged"
    try:
        seal = load_object(seal_line)
        expected, signatures = seal["sha256"], seal["signatures"]
    except (ValueError, KeyError):
        raise VaultDamagedError(f"{damaged}: its second line is no checksum") from None
    if not isinstance(signatures, list) or not all(isinstance(s, dict) for s in signatures):
        raise VaultDamagedError(f"{damaged}: its signatures are none")
    digest = hashlib.sha256(line).hexdigest()
    if digest != expected:
        raise VaultDamagedError(f"{damaged}: its checksum does not match")
    try:
        body = load_object(line)
        kind, version, features = body["type"], body["format"], body.get("features", [])
    except (ValueError, KeyError):
        raise VaultDamagedError(f"{damaged}: its first line is no document") from None
    known = isinstance(features, list) and all(
        isinstance(feature, str) and feature in KNOWN_FEATURES for feature in features
    )
    if version != FORMAT or not known:
        raise UnknownFormatError(
            f"{key} is of format {version!r:.50} with features {features!r:.200}, which this "
            "regvault does not know",
            hint="Use the regvault that wrote the vault, or a newer one.",
        )
    if kind not in types:
        raise VaultDamagedError(f"{damaged}: it is a {kind!r:.50}, not a {' or '.join(types)}")
    return body, digest, signatures


def load_object(line: bytes) -> dict[str, Any]:
    """Parse a JSON object that can be written again.

    Raises:
        ValueError: it is none, or has what JSON cannot say or two readers would take for two
            things: a member twice, half of a surrogate pair, a number without bounds.
    """
    body = load_json_object(line, digits=_MAX_DIGITS, finite=True)
    if b"\\u" in line:  # else there can be no half of a pair
        json.dumps(body, ensure_ascii=False).encode()
    return body


def to_time(ns: int) -> str:
    """Return nanoseconds since the epoch as RFC 3339 UTC with milliseconds."""
    moment = datetime.fromtimestamp(ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_or_none(ns: int | None) -> str | None:
    """Return `to_time` of a time that there may be."""
    return None if ns is None else to_time(ns)


def from_time(text: str) -> datetime:
    """Return an RFC 3339 time as an aware datetime. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without its zone: {text!r}")
    return moment
