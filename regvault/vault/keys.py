"""The names of everything in a vault (`docs/vault-format.md`, "Keys")."""

from __future__ import annotations

import re
import secrets
import time
from typing import NamedTuple

__all__ = [
    "AMENDMENTS",
    "CATALOG",
    "CONDEMNED",
    "FORMAT",
    "LEASES",
    "LOCKED_BESIDE",
    "LOCK_POLICY",
    "OBJECT_PREFIXES",
    "PRUNE_LOCK",
    "RAW_BLOB_BYTES",
    "RECORDS",
    "REGISTRY_NAME",
    "RETENTIONS",
    "SNAPSHOTS",
    "VAULT_JSON",
    "SegmentName",
    "amendment_key",
    "blob_key",
    "condemned_key",
    "digest_of_key",
    "is_locked_kind",
    "lease_key",
    "meta_key",
    "new_run_id",
    "pack_key",
    "parse_segment_key",
    "plain_key",
    "record_key",
    "retention_key",
    "root_key",
    "segment_key",
    "sequence_of",
    "tree_key",
]

FORMAT = 1
VAULT_JSON = "vault.json"
SNAPSHOTS = "snapshots/"
CATALOG = "catalog/"
LEASES = "leases/"
CONDEMNED = "condemned/"
RECORDS = "records/"
AMENDMENTS = "records/amendments/"
PRUNE_LOCK = "locks/prune.json"
LOCK_POLICY = "locks/policy.json"
RETENTIONS = "locks/retention/"

#: What an object list may name, in byte order; everything below these is an object of a snapshot.
OBJECT_PREFIXES = ("attachments/", "blobs/", "meta/", "packs/", "trees/")

#: What is locked beside the objects of snapshots. Leases, the prune lock and probes are not.
LOCKED_BESIDE = (
    VAULT_JSON,
    LOCK_POLICY,
    SNAPSHOTS,
    CATALOG,
    RECORDS,
    CONDEMNED,
    RETENTIONS,
    "audit/",
    "evidence/",
)

#: A blob of this size or more is stored raw, byte for byte, under its own digest.
RAW_BLOB_BYTES = 1 << 20

#: The permanent name of a registry in a vault: one key component, safe in URLs and file names.
REGISTRY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)

_SLOT = re.compile(r"(\d{8,})\.(?:json|zst)", re.ASCII)
_RENAMED = re.compile(r"\.[0-9a-f]{24}-\d+$", re.ASCII)
_SEGMENT = re.compile(
    r"catalog/(?P<level>\d+)-(?P<first>[a-z0-9]+_[0-9a-f]{8})-(?P<last>[a-z0-9]+_[0-9a-f]{8})"
    r"-(?P<run>[0-9a-f]{24})-(?P<sha256>[0-9a-f]{64})\.zst",
    re.ASCII,
)


def new_run_id() -> str:
    """Return a fresh run id: 24 hex digits, 12 of milliseconds since the epoch, 12 random."""
    return f"{time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF:012x}{secrets.token_hex(6)}"


def blob_key(digest: str) -> str:
    """Return the key of a raw blob: `blobs/<alg>/<2 hex>/<hex>`."""
    algorithm, _, hexed = digest.partition(":")
    return f"blobs/{algorithm}/{hexed[:2]}/{hexed}"


def pack_key(sha256: str) -> str:
    """Return the key of a pack."""
    return f"packs/{sha256}.tar"


def meta_key(sha256: str) -> str:
    """Return the key of a meta object."""
    return f"meta/{sha256}.tar.zst"


def tree_key(sha256: str) -> str:
    """Return the key of a tree's chunk."""
    return f"trees/{sha256}.zst"


def plain_key(key: str) -> str:
    """Return `key` without the `.<run>-<n>` that a second copy of the same name carries."""
    return _RENAMED.sub("", key)


def digest_of_key(key: str) -> str | None:
    """Return the digest that a key of a raw blob, pack, meta or tree states, or None."""
    parts = plain_key(key).split("/")
    if parts[0] == "blobs" and len(parts) == 4:
        return f"{parts[1]}:{parts[3]}"
    if parts[0] in ("packs", "meta", "trees") and len(parts) == 2:
        return f"sha256:{parts[1].partition('.')[0]}"
    return None


def root_key(registry: str, sequence: int) -> str:
    """Return the slot of one snapshot's root."""
    return f"{SNAPSHOTS}{registry}/{sequence:08d}.json"


def amendment_key(number: int) -> str:
    """Return the slot of one amendment."""
    return f"{AMENDMENTS}{number:08d}.json"


def condemned_key(number: int) -> str:
    """Return the slot of one condemned list."""
    return f"{CONDEMNED}{number:08d}.zst"


def lease_key(run: str) -> str:
    """Return the key of a run's lease."""
    return f"{LEASES}{run}.json"


def record_key(kind: str, run: str) -> str:
    """Return the key of a record that a run creates once."""
    return f"records/{kind}/{run}.json"


def retention_key(run: str) -> str:
    """Return the key of what one run says of locks."""
    return f"{RETENTIONS}{run}.json"


def is_locked_kind(key: str) -> bool:
    """Return whether what lies under a key is locked where a vault is; leases are not."""
    return key.startswith((*OBJECT_PREFIXES, *LOCKED_BESIDE))


def sequence_of(key: str) -> int | None:
    """Return the number of a slot's key, or None where the key is no slot."""
    match = _SLOT.fullmatch(key.rpartition("/")[2])
    return int(match.group(1)) if match else None


class SegmentName(NamedTuple):
    """What a segment's key says.

    Attributes:
        key: the whole key.
        level: 0 as a run wrote it; a merge of level n gives n + 1.
        first, last: the range of digests, each as `<alg>_<8 hex>`.
        run: the run that wrote it.
        sha256: hex, of the stored bytes.
    """

    key: str
    level: int
    first: str
    last: str
    run: str
    sha256: str

    def may_hold(self, digest: str) -> bool:
        """Return whether the range includes `digest`."""
        return self.first <= _short(digest) <= self.last


def _short(digest: str) -> str:
    algorithm, _, hexed = digest.partition(":")
    return f"{algorithm}_{hexed[:8]}"


def segment_key(level: int, first: str, last: str, run: str, sha256: str) -> str:
    """Return the key of a segment whose first and last lines are of these digests."""
    return f"{CATALOG}{level}-{_short(first)}-{_short(last)}-{run}-{sha256}.zst"


def parse_segment_key(key: str) -> SegmentName | None:
    """Return what a segment's key says, or None where it is no segment's."""
    match = _SEGMENT.fullmatch(key)
    if match is None:
        return None
    return SegmentName(
        key, int(match["level"]), match["first"], match["last"], match["run"], match["sha256"]
    )
