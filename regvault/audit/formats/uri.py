"""What a request of the OCI distribution API asked for, read out of its URI.

The API is that of the OCI distribution specification 1.1; tokens are asked for as the Docker
registry token specification says. All of it is what a client wrote: a name, a tag or a digest comes
out only where it is one. Nothing here raises, and a URI is read in time linear in its length.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote, unquote_plus

from regvault.oci.grammar import (
    ALGORITHMS,
    MAX_NAME_LENGTH,
    is_digest,
    is_hex,
    is_repository,
    is_tag,
)

__all__ = ["CACHED_LENGTH", "Call", "blob_of_key", "read"]

CACHED_LENGTH: Final = 220
"""Characters of the longest URI that is remembered: longer ones hold the state of an upload."""

_READ: Final = frozenset({"GET", "HEAD"})
_MANIFEST: Final = {"GET": "pull", "HEAD": "pull", "PUT": "push", "DELETE": "delete"}
_BLOB: Final = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}

# Harbor, distribution's own example, others; docker_auth and GitLab, only with such a query.
_TOKEN: Final = ("/service/token", "/token", "/oauth2/token")
_MAYBE_TOKEN: Final = (*_TOKEN, "/auth")

_KEY = re.compile(
    rf"docker/registry/v2/blobs/({'|'.join(ALGORITHMS)})/([a-f0-9]{{2}})/([a-f0-9]{{64,128}})/data",
    re.ASCII,
)
_SHA256 = re.compile(r"sha256:[a-f0-9]{64}", re.ASCII).fullmatch
_KEY_LENGTH: Final = 256
_LONGEST_PATH: Final = 4096
"""Characters of a path that is decoded: nothing in a longer one can be a name."""

_SCOPE = re.compile(r"repository(?:\([a-z]{1,32}\))?:([^ ]{1,600}):[a-z,*-]{0,100}(?: |\Z)")


class Call(NamedTuple):
    """What one request asked for.

    Attributes:
        action: one of `regvault.model.event.ACTIONS`.
        kind: `manifest` or `blob`, or None where it is about neither.
        repository: its name, or None where there is none, or none that a registry could have.
        tag: the reference of a manifest that is a tag.
        digest: of the manifest or the blob, or that referrers were asked of.
        from_repository: that a blob was mounted from.
    """

    action: str
    kind: str | None = None
    repository: str | None = None
    tag: str | None = None
    digest: str | None = None
    from_repository: str | None = None


_BASE: Final = Call("login")
_OTHER: Final = Call("other")
_WITHOUT_NAME: Final = {"": _BASE, "_catalog": Call("list")}


def read(method: str, uri: str, status: int | None) -> Call | None:
    """Return what a request asked for, or None where it is none of a registry.

    Args:
        method: of HTTP, in capitals.
        uri: path and query as the client sent them, percent-encoded; a whole URL is taken too.
        status: of the answer. Only with 201 did a mount mount, and an upload of one POST end.
    """
    if len(uri) > CACHED_LENGTH:
        return _read(method, uri, status == 201)
    return _cached(method, uri, status == 201)


def blob_of_key(path: str) -> str | None:
    """Return the digest of the blob whose data the key of an object store, or a path, ends in."""
    if not path.endswith("/data"):
        return None
    found = _KEY.search(path[-_KEY_LENGTH:])
    if found is None or found.end() != len(path[-_KEY_LENGTH:]):
        return None
    algorithm, shard, digits = found.groups()
    if digits[:2] != shard or not is_hex(algorithm, digits):
        return None
    return f"{algorithm}:{digits}"


def _read(method: str, uri: str, created: bool) -> Call | None:
    path, _, query = uri.partition("?")
    if path[:4] == "/v2/" and "%" not in path:
        call = _api(method, path[4:], query, created)
        if call[0] != "other":
            return call
    return _unusual(method, path, query, created)


def _unusual(method: str, path: str, query: str, created: bool) -> Call | None:
    """Return what is asked for by a path that is encoded, has a prefix, or is none of the API."""
    if not path.startswith("/"):
        # The absolute form of RFC 9112, which proxies are asked in.
        if not path.startswith(("http://", "https://")):
            return None
        path = "/" + path.split("/", 3)[3] if path.count("/", 0, 1024) >= 3 else "/"
    if "%" in path and len(path) <= _LONGEST_PATH:
        path = unquote(path)
    at = 0 if path.startswith("/v2/") else path.find("/v2/")
    if path.endswith("/data"):
        digest = blob_of_key(path)
        if digest is not None:
            return Call("pull", "blob", digest=digest) if method == "GET" else None
    call = _api(method, path[at + 4 :], query, created) if at >= 0 else None
    if call is None or call.action == "other":
        if path.endswith(_MAYBE_TOKEN):
            sure = at != 0 and path.endswith(_TOKEN)
            if sure or _asks_token(query):
                return Call("login", repository=_scope(query))
        if call is None:
            return _BASE if path.endswith("/v2") and method in _READ else None
        if at and call.repository is None:
            return None  # something else below a path of its own, such as /api/v2/users
    return call


_cached = lru_cache(maxsize=4096)(_read)


def _api(method: str, rest: str, query: str, created: bool) -> Call:
    """Return what is asked for by what follows `/v2/`."""
    parts = rest.rsplit("/", 2)
    if len(parts) != 3:
        if method in _READ and rest in _WITHOUT_NAME:
            return _WITHOUT_NAME[rest]
        return _OTHER
    name, what, reference = parts
    if what == "manifests":
        action = _MANIFEST.get(method, "other")
        # What `Call(...)` makes, which takes three times as long.
        if _SHA256(reference) or is_digest(reference):
            return tuple.__new__(Call, (action, "manifest", _name(name), None, reference, None))
        tag = reference if is_tag(reference) else None
        return tuple.__new__(Call, (action, "manifest", _name(name), tag, None, None))
    if what == "blobs":
        if reference == "uploads":
            return _upload(method, name, query, created)
        digest = reference if _SHA256(reference) or is_digest(reference) else None
        action = _BLOB.get(method, "other")
        return tuple.__new__(Call, (action, "blob", _name(name), None, digest, None))
    if what == "uploads" and name.endswith("/blobs"):
        return _upload(method, name[:-6], query, created)
    if what == "tags" and reference == "list":
        return Call("list" if method in _READ else "other", None, _name(name))
    if what == "referrers":
        digest = reference if is_digest(reference) else None
        return Call("list" if method in _READ else "other", None, _name(name), None, digest)
    return _OTHER


def _upload(method: str, name: str, query: str, created: bool) -> Call:
    values = _query(query) if query else {}
    digest = values.get("digest")
    if digest is not None and not is_digest(digest):
        digest = None
    if method == "PUT" or (method == "POST" and created and "digest" in values):
        return Call("push", "blob", _name(name), None, digest)
    if method == "POST" and created and "mount" in values:
        mounted = values["mount"]
        source = _name(values.get("from", ""))
        digest = mounted if is_digest(mounted) else None
        return Call("mount", "blob", _name(name), None, digest, source)
    return Call("upload", "blob", _name(name), None, digest)


def _query(query: str) -> dict[str, str]:
    """Return those values that an upload may have; of two, the first, as Go's `Get` does."""
    values: dict[str, str] = {}
    for part in query.split("&", 32)[:32]:
        name, _, value = part.partition("=")
        if name in ("digest", "mount", "from"):
            values.setdefault(name, unquote_plus(value[:1024]))
    return values


def _asks_token(query: str) -> bool:
    return "service=" in query or "scope=" in query


def _scope(query: str) -> str | None:
    """Return the repository of the first scope that names one."""
    for part in query.split("&", 32)[:32]:
        name, _, value = part.partition("=")
        if name == "scope":
            found = _SCOPE.match(unquote_plus(value[:1024]))
            if found is not None:
                return _name(found[1])
    return None


def _name(text: str) -> str | None:
    if len(text) > MAX_NAME_LENGTH:
        return None
    return text if _is_repository(text) else None


_is_repository = lru_cache(maxsize=8192)(is_repository)
