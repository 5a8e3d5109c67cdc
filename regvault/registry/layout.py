"""The storage layout of CNCF distribution, in both directions: what it is -> path -> what it is.

    blobs/<alg>/<hex[:2]>/<hex>/data
    repositories/<name>/_layers/<alg>/<hex>/link
    repositories/<name>/_manifests/revisions/<alg>/<hex>/link
    repositories/<name>/_manifests/tags/<tag>/current/link
    repositories/<name>/_manifests/tags/<tag>/index/<alg>/<hex>/link
    repositories/<name>/_uploads/<id>/...

all below `docker/registry/v2/`. A link's content is a digest, without a newline. Source:
distribution v2.8 and v3.1, `registry/storage/paths.go`; its file system, S3, Azure and GCS drivers
share it. Pure.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from regvault.oci.grammar import InvalidNameError, is_digest, is_hex, is_repository, is_tag

__all__ = [
    "BASE",
    "BLOBS",
    "LINK_LIMIT",
    "REPOSITORIES",
    "Place",
    "What",
    "blob_key",
    "classify",
    "classify_link",
    "current_key",
    "history_key",
    "layer_key",
    "parse_link",
    "repository_prefix",
    "revision_key",
]

BASE = "docker/registry/v2"
"""Where a registry is, below the root directory of its storage driver."""

BLOBS = f"{BASE}/blobs/"
REPOSITORIES = f"{BASE}/repositories/"

LINK_LIMIT = 256
"""Bytes to read of a link: more than the longest digest has."""


class What(enum.Enum):
    """What a path of a registry is."""

    BLOB = "blob"
    LAYER = "layer"
    REVISION = "revision"
    CURRENT = "current"
    HISTORY = "history"
    UPLOAD = "upload"
    TEMPORARY = "temporary"  # `<target>.<uuid>.tmp`, of a write of distribution 3.1 that crashed
    INVALID_NAME = "invalid-name"  # the right shape, but a repository or tag that none may have
    UNKNOWN = "unknown"


class Place(NamedTuple):
    """What a path is about.

    Attributes:
        what: its kind.
        repository: a name, valid unless `what` is INVALID_NAME; "" for blobs and for strays that
            are in no repository.
        digest: of a blob or a link; "" for CURRENT and what is no link.
        tag: of CURRENT and HISTORY.
    """

    what: What
    repository: str = ""
    digest: str = ""
    tag: str = ""


def _parts(digest: str) -> tuple[str, str]:
    if not is_digest(digest):
        raise InvalidNameError(f"not a digest: {digest[:200]!r}")
    algorithm, _, digits = digest.partition(":")
    return algorithm, digits


def blob_key(digest: str) -> str:
    """Return the key of a blob's data. Raises InvalidNameError."""
    algorithm, digits = _parts(digest)
    return f"{BLOBS}{algorithm}/{digits[:2]}/{digits}/data"


def repository_prefix(repository: str) -> str:
    """Return what all keys of a repository begin with, and those nested in it. InvalidNameError."""
    if not is_repository(repository):
        raise InvalidNameError(f"not the name of a repository: {repository[:300]!r}")
    return f"{REPOSITORIES}{repository}/"


def layer_key(repository: str, digest: str) -> str:
    """Return the key of a layer link. Raises InvalidNameError."""
    algorithm, digits = _parts(digest)
    return f"{repository_prefix(repository)}_layers/{algorithm}/{digits}/link"


def revision_key(repository: str, digest: str) -> str:
    """Return the key of a revision link. Raises InvalidNameError."""
    algorithm, digits = _parts(digest)
    return f"{repository_prefix(repository)}_manifests/revisions/{algorithm}/{digits}/link"


def current_key(repository: str, tag: str) -> str:
    """Return the key of the link that says where a tag points. Raises InvalidNameError."""
    return f"{_tag_prefix(repository, tag)}current/link"


def history_key(repository: str, tag: str, digest: str) -> str:
    """Return the key of one link of a tag's history. Raises InvalidNameError."""
    algorithm, digits = _parts(digest)
    return f"{_tag_prefix(repository, tag)}index/{algorithm}/{digits}/link"


def _tag_prefix(repository: str, tag: str) -> str:
    if not is_tag(tag):
        raise InvalidNameError(f"not a tag: {tag[:300]!r}")
    return f"{repository_prefix(repository)}_manifests/tags/{tag}/"


def parse_link(content: bytes) -> str | None:
    """Return the digest that a link holds, or None where a registry would not take it."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if is_digest(text) else None


_UNKNOWN = Place(What.UNKNOWN)


def classify(key: str) -> Place:
    """Return what a key is; UNKNOWN for whatever a registry does not write."""
    if key.startswith(BLOBS):
        return _classify_blob(key)
    if not key.startswith(REPOSITORIES):
        return Place(What.TEMPORARY) if key.endswith(".tmp") else _UNKNOWN
    rest = key[len(REPOSITORIES) :]
    # No component of a name begins with an underscore.
    cut = rest.find("/_")
    if cut <= 0:
        return Place(What.TEMPORARY) if key.endswith(".tmp") else _UNKNOWN
    repository = rest[:cut]
    place = classify_link(rest[cut + 1 :])
    if not is_repository(repository):
        return Place(What.INVALID_NAME, repository)
    return place._replace(repository=repository)


def classify_link(rest: str) -> Place:
    """Return what the part of a key after the repository's name is; `repository` is left out."""
    parts = rest.split("/")
    last = parts[-1]
    if parts[0] == "_uploads" and len(parts) > 2:
        return Place(What.UPLOAD)
    if last != "link":
        return Place(What.TEMPORARY) if last.endswith(".tmp") else _UNKNOWN
    match parts:
        case ["_layers", algorithm, digits, _] if is_hex(algorithm, digits):
            return Place(What.LAYER, digest=f"{algorithm}:{digits}")
        case ["_manifests", "revisions", algorithm, digits, _] if is_hex(algorithm, digits):
            return Place(What.REVISION, digest=f"{algorithm}:{digits}")
        case ["_manifests", "tags", tag, "current", _]:
            return Place(What.CURRENT if is_tag(tag) else What.INVALID_NAME, tag=tag)
        case ["_manifests", "tags", tag, "index", algorithm, digits, _] if is_hex(
            algorithm, digits
        ):
            what = What.HISTORY if is_tag(tag) else What.INVALID_NAME
            return Place(what, digest=f"{algorithm}:{digits}", tag=tag)
        case _:
            return _UNKNOWN


def _classify_blob(key: str) -> Place:
    match key[len(BLOBS) :].split("/"):
        case [algorithm, two, digits, "data"] if two == digits[:2] and is_hex(algorithm, digits):
            return Place(What.BLOB, digest=f"{algorithm}:{digits}")
        case _:
            return Place(What.TEMPORARY) if key.endswith(".tmp") else _UNKNOWN
