"""Two lines: a JSON body, then its SHA-256 and its signatures. Roots, records, leases, vault.json.

(`docs/vault-format.md`, "Documents".)
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from regvault.errors import UnknownFormatError, VaultDamagedError
from regvault.vault.keys import FORMAT

__all__ = ["Document", "from_time", "read_document", "to_time", "write_document"]

#: No document is larger (a root is at most 16 KiB; a claim names many roots).
MAX_DOCUMENT_BYTES = 4 << 20

#: Features that this regvault understands; a document that lists another one is refused.
KNOWN_FEATURES: frozenset[str] = frozenset()


class Document(NamedTuple):
    """A document read back.

    Attributes:
        body: the JSON object of the first line.
        sha256: hex SHA-256 of the first line; what a successor names as `previous`.
        signatures: of the second line, not yet checked.
        amendment: the third line of a copied root (keys that differ here), or None.
    """

    body: dict[str, Any]
    sha256: str
    signatures: list[dict[str, Any]]
    amendment: dict[str, Any] | None


def write_document(body: dict[str, Any]) -> tuple[bytes, str]:
    """Return the bytes of a document, and the hex SHA-256 of its body line."""
    line = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    digest = hashlib.sha256(line).hexdigest()
    seal = json.dumps({"sha256": digest, "signatures": []}, separators=(",", ":")).encode()
    return b"%s\n%s\n" % (line, seal), digest


def read_document(data: bytes, key: str, *, types: tuple[str, ...], vault: str | None) -> Document:
    """Check and parse a document.

    Args:
        data: the stored bytes.
        key: where they were, for messages.
        types: the values of `type` that are acceptable here.
        vault: the vault's id that the body must carry; None where it is not known yet.

    Raises:
        VaultDamagedError: the bytes are not what was written.
        UnknownFormatError: a newer regvault wrote them.
    """
    damaged = f"{key} is damaged"
    if len(data) > MAX_DOCUMENT_BYTES:
        raise VaultDamagedError(f"{damaged}: {len(data)} bytes are too many for it")
    lines = data.split(b"\n")
    if len(lines) not in (3, 4) or lines[-1] != b"":
        raise VaultDamagedError(f"{damaged}: it does not have two lines")
    try:
        seal = json.loads(lines[1])
        expected, signatures = seal["sha256"], seal["signatures"]
        amendment = json.loads(lines[2]) if len(lines) == 4 else None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise VaultDamagedError(f"{damaged}: its second line is no checksum") from None
    digest = hashlib.sha256(lines[0]).hexdigest()
    if digest != expected:
        raise VaultDamagedError(f"{damaged}: its checksum does not match")
    try:
        body = json.loads(lines[0])
        kind, version, features = body["type"], body["format"], body.get("features", [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise VaultDamagedError(f"{damaged}: its first line is no document") from None
    if version != FORMAT or not isinstance(features, list) or set(features) - KNOWN_FEATURES:
        raise UnknownFormatError(
            f"{key} is of format {version!r} with features {features!r}, which this regvault does "
            "not know",
            hint="Use the regvault that wrote the vault, or a newer one.",
        )
    if kind not in types:
        raise VaultDamagedError(f"{damaged}: it is a {kind!r}, not a {' or '.join(types)}")
    if vault is not None and body.get("vault") != vault:
        raise VaultDamagedError(
            f"{key} belongs to another vault ({body.get('vault')!r})",
            hint="Someone put an object of another vault here; compare with a second copy.",
        )
    return Document(body, digest, signatures, amendment)


def to_time(ns: int) -> str:
    """Return nanoseconds since the epoch as RFC 3339 UTC with milliseconds."""
    moment = datetime.fromtimestamp(ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_time(text: str) -> datetime:
    """Return an RFC 3339 time as an aware datetime. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without its zone: {text!r}")
    return moment
