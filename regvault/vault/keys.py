"""The names of everything in a vault (`docs/vault-format.md`, "Keys")."""

from __future__ import annotations

import re
import secrets
import time
from typing import NamedTuple

from regvault.oci.grammar import is_digest

__all__ = [
    "AMENDMENTS",
    "CATALOG",
    "CONDEMNED",
    "FORMAT",
    "KEYED",
    "KEY_RECORDS",
    "LEASES",
    "LOCKED_BESIDE",
    "LOCKS",
    "LOCK_POLICY",
    "NOT_LOCKED",
    "OBJECT_PREFIXES",
    "PROBES",
    "PRUNE_LOCK",
    "RAW_BLOB_BYTES",
    "RECORDS",
    "REGISTRY_NAME",
    "RETENTIONS",
    "SNAPSHOTS",
    "TIERINGS",
    "VAULT_JSON",
    "SegmentName",
    "amendment_key",
    "blob_key",
    "check_key",
    "check_keys",
    "condemned_key",
    "digest_of_key",
    "evidence_key",
    "is_keyed",
    "is_locked_kind",
    "is_name",
    "is_object_key",
    "lease_key",
    "meta_key",
    "name_of_key",
    "name_of_slot",
    "new_run_id",
    "pack_key",
    "parse_segment_key",
    "plain_key",
    "probe_key",
    "record_key",
    "retention_key",
    "root_key",
    "sealed_meta_key",
    "segment_key",
    "sequence_of",
    "tiering_key",
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
KEY_RECORDS = "records/keys/"
LOCKS = "locks/"
PRUNE_LOCK = "locks/prune.json"
#: What the probes of a store leave behind where they may not delete; it means nothing.
PROBES = "locks/probe-"
LOCK_POLICY = "locks/policy.json"
RETENTIONS = "locks/retention/"
TIERINGS = "locks/tiering/"

#: What the names of blobs begin with in a sealed vault: an HMAC in place of a digest.
KEYED = "hmac-sha256:"

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

#: Below these nothing is locked all the same: it is derived, and overwritten.
NOT_LOCKED = ("audit/access/",)

#: A blob of this size or more is stored raw, byte for byte, under its own digest.
RAW_BLOB_BYTES = 1 << 20

#: The permanent name of a registry in a vault: one key component, safe in URLs and file names.
REGISTRY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)

# Numbers of more digits fit no counter, and nobody gets so far.
_SLOT = re.compile(r"(\d{8,18})\.(?:json|zst)", re.ASCII)
_KEYED_NAME = re.compile(rf"{KEYED}[0-9a-f]{{64}}", re.ASCII)
_RENAMED = re.compile(r"(?:\.[0-9a-f]{24}-\d+)+$", re.ASCII)
_SEGMENT = re.compile(
    r"catalog/(?P<level>\d+)-(?P<first>[a-z0-9-]+_[0-9a-f]{8})-(?P<last>[a-z0-9-]+_[0-9a-f]{8})"
    r"-(?P<run>[0-9a-f]{24})-(?P<sha256>[0-9a-f]{64})\.(?:zst|age)",
    re.ASCII,
)


_KEY_LENGTH = 1024
#: Most keys are seen to be right at once: no part is empty, or begins with a dot.
_USUAL_KEY = re.compile(
    rf"(?:{'|'.join(each[:-1] for each in OBJECT_PREFIXES)})(?:/[A-Za-z0-9_][A-Za-z0-9._-]*+)++"
)
_USUAL_KEYS = re.compile(rf"{_USUAL_KEY.pattern}(?:\n{_USUAL_KEY.pattern})*+")


def check_key(key: str) -> str:
    """Return `key` if a list may name it. Raises ValueError (keys of a vault are hostile input)."""
    if len(key) <= _KEY_LENGTH and _USUAL_KEY.fullmatch(key):
        return key
    parts = key.split("/")
    if (
        not key.startswith(OBJECT_PREFIXES)
        or len(key) > _KEY_LENGTH
        or not key.isascii()
        or not key.isprintable()
        or " " in key
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ValueError(f"no key of an object: {key[:200]!r}")
    return key


def check_keys(keys: list[str]) -> list[str]:
    """Return keys if a list may name all of them; many at once in a third of the time.

    Raises:
        ValueError: it may not name one of them.
    """
    text = "\n".join(keys)
    usual = _USUAL_KEYS.fullmatch(text) is not None and text.count("\n") == len(keys) - 1
    if not usual or max(map(len, keys)) > _KEY_LENGTH:
        for key in keys:
            check_key(key)
    return keys


def is_object_key(key: str) -> bool:
    """Return whether a list may name `key`."""
    try:
        check_key(key)
    except ValueError:
        return False
    return True


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


def sealed_meta_key(sha256: str) -> str:
    """Return the key of a meta object of a sealed vault."""
    return f"{meta_key(sha256)}.age"


def tree_key(sha256: str) -> str:
    """Return the key of a tree's chunk."""
    return f"trees/{sha256}.zst"


def plain_key(key: str) -> str:
    """Return `key` without the `.<run>-<n>` that a second copy of the same name carries.

    Vaults of the first days may have keys that carry several.
    """
    return _RENAMED.sub("", key)


def digest_of_key(key: str) -> str | None:
    """Return the digest of its bytes that a key states, or None.

    Keys of raw blobs, packs, meta objects and chunks of trees do. In a sealed vault those of blobs
    and chunks do not: see `is_keyed`.
    """
    parts = plain_key(key).split("/")
    if is_keyed(key):
        return None
    if parts[0] == "blobs" and len(parts) == 4:
        return f"{parts[1]}:{parts[3]}"
    if parts[0] in ("packs", "meta", "trees") and len(parts) == 2:
        return f"sha256:{parts[1].partition('.')[0]}"
    return None


def is_keyed(key: str) -> bool:
    """Return whether a key's name is an HMAC, which tells nothing of the bytes."""
    return key.startswith("blobs/hmac-sha256/") or (
        key.startswith("trees/") and plain_key(key).endswith(".age")
    )


def name_of_key(key: str) -> str | None:
    """Return the name of the blob that lies under a key of a raw blob, or None."""
    parts = plain_key(key).split("/")
    return f"{parts[1]}:{parts[3]}" if parts[0] == "blobs" and len(parts) == 4 else None


def is_name(text: str) -> bool:
    """Return whether this is the name of a blob in the catalog: a digest, or an HMAC of one."""
    return is_digest(text) or _KEYED_NAME.fullmatch(text) is not None


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


def probe_key() -> str:
    """Return a fresh key of a probe."""
    return f"{PROBES}{secrets.token_hex(8)}"


def record_key(kind: str, run: str) -> str:
    """Return the key of a record that a run creates once."""
    return f"records/{kind}/{run}.json"


def evidence_key(kind: str, run: str) -> str:
    """Return the key of a report that a run creates once."""
    return f"evidence/{kind}/{run}.json"


def retention_key(run: str) -> str:
    """Return the key of what one run says of locks."""
    return f"{RETENTIONS}{run}.json"


def tiering_key(plan: str) -> str:
    """Return the key of what a tiering says of the objects that it moves."""
    return f"{TIERINGS}{plan}.zst"


def is_locked_kind(key: str) -> bool:
    """Return whether what lies under a key is locked where a vault is; leases are not."""
    return key.startswith((*OBJECT_PREFIXES, *LOCKED_BESIDE)) and not key.startswith(NOT_LOCKED)


def sequence_of(key: str) -> int | None:
    """Return the number of a slot's key, or None where the key is no slot."""
    match = _SLOT.fullmatch(key.rpartition("/")[2])
    return int(match.group(1)) if match else None


def name_of_slot(key: str) -> tuple[str, int] | None:
    """Return the registry and the number that the key of a root's slot says, or None."""
    registry, sequence = key.removeprefix(SNAPSHOTS).partition("/")[0], sequence_of(key)
    if sequence is None or not REGISTRY_NAME.fullmatch(registry):
        return None
    return (registry, sequence) if root_key(registry, sequence) == key else None


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


def segment_key(
    level: int, first: str, last: str, run: str, sha256: str, *, sealed: bool = False
) -> str:
    """Return the key of a segment whose first and last lines are of these digests."""
    end = "age" if sealed else "zst"
    return f"{CATALOG}{level}-{_short(first)}-{_short(last)}-{run}-{sha256}.{end}"


def parse_segment_key(key: str) -> SegmentName | None:
    """Return what a segment's key says, or None where it is no segment's."""
    match = _SEGMENT.fullmatch(key)
    if match is None:
        return None
    return SegmentName(
        key, int(match["level"]), match["first"], match["last"], match["run"], match["sha256"]
    )
