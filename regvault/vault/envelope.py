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
from regvault.vault.keys import FORMAT

__all__ = ["Document", "from_time", "read_document", "time_or_none", "to_time", "write_document"]

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
        amendment: the body of a copied root's amendment (keys that differ here), or None.
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
    if len(data) > MAX_DOCUMENT_BYTES:
        raise VaultDamagedError(f"{key} is damaged: {len(data)} bytes are too many for it")
    lines = data.split(b"\n")
    if len(lines) not in (3, 5) or lines[-1] != b"":
        raise VaultDamagedError(f"{key} is damaged: it does not have two lines")
    body, digest, signatures = _read_lines(lines[0], lines[1], key, types)
    amendment = None
    if len(lines) == 5:
        amendment, _, _ = _read_lines(lines[2], lines[3], key, ("amendment",))
        if amendment.get("slot") != key:
            raise VaultDamagedError(f"{key} is damaged: its amendment is of another slot")
    # A copied root is of the vault that its amendment says, and the amendment is of this one.
    owner = body.get("vault")
    if amendment is not None and owner == amendment.get("origin"):
        owner = amendment.get("vault")
    if vault is not None and owner != vault:
        raise VaultDamagedError(
            f"{key} belongs to another vault ({owner!r})",
            hint="Someone put an object of another vault here; compare with a second copy.",
        )
    return Document(body, digest, signatures, amendment)


def _read_lines(
    line: bytes, seal_line: bytes, key: str, types: tuple[str, ...]
) -> tuple[dict[str, Any], str, list[dict[str, Any]]]:
    """Check a body against the checksum in the line after it; return body, digest, signatures."""
    damaged = f"{key} is damaged"
    try:
        seal = json.loads(seal_line)
        expected, signatures = seal["sha256"], seal["signatures"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise VaultDamagedError(f"{damaged}: its second line is no checksum") from None
    digest = hashlib.sha256(line).hexdigest()
    if digest != expected:
        raise VaultDamagedError(f"{damaged}: its checksum does not match")
    try:
        body = json.loads(line)
        kind, version, features = body["type"], body["format"], body.get("features", [])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise VaultDamagedError(f"{damaged}: its first line is no document") from None
    known = isinstance(features, list) and all(
        isinstance(feature, str) and feature in KNOWN_FEATURES for feature in features
    )
    if version != FORMAT or not known:
        raise UnknownFormatError(
            f"{key} is of format {version!r} with features {features!r}, which this regvault does "
            "not know",
            hint="Use the regvault that wrote the vault, or a newer one.",
        )
    if kind not in types:
        raise VaultDamagedError(f"{damaged}: it is a {kind!r}, not a {' or '.join(types)}")
    return body, digest, signatures


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
