"""Locations: how one writes where a registry or a vault is.

| Text                                     | Means                                          |
|------------------------------------------|------------------------------------------------|
| `fs:/path`                               | a registry's storage on a file system          |
| `s3://bucket/prefix`                     | a registry's storage or a vault on S3          |
| `/path`, `./path`, `file:/path`          | a vault on a file system                       |
| `oci:/path`                              | an OCI image layout, to export into            |
| `az://`, `gs://`, `http://`, `https://`  | known, but not supported by this version       |

A location holds no secret: credentials in one are refused, and `redact` takes them out of a
message before anyone sees it.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from urllib.parse import urlsplit

from regvault.errors import UsageError
from regvault.model.secrecy import conceal

__all__ = [
    "Kind",
    "Location",
    "Role",
    "endpoint_problem",
    "is_location",
    "parse_location",
    "redact",
]


class Kind(StrEnum):
    """What is at a location."""

    FS = "fs"
    S3 = "s3"
    FILE = "file"
    OCI = "oci"


class Role(StrEnum):
    """What a location is given for."""

    SOURCE = "source"
    TARGET = "target"
    VAULT = "vault"


_ROLES: dict[Role, frozenset[Kind]] = {
    Role.SOURCE: frozenset({Kind.FS, Kind.S3}),
    Role.TARGET: frozenset({Kind.FS, Kind.S3, Kind.OCI}),
    Role.VAULT: frozenset({Kind.FILE, Kind.S3}),
}
_WANTED = {
    Role.SOURCE: "the storage of a registry to read",
    Role.TARGET: "something to restore into",
    Role.VAULT: "a vault",
}
_IS = {
    Kind.FS: "the storage of a registry",
    Kind.S3: "a bucket",
    Kind.FILE: "a directory for a vault",
    Kind.OCI: "an image layout, which is only written to",
}
_LATER = {
    "az": "Azure Blob Storage",
    "gs": "Google Cloud Storage",
    "http": "a registry through its API",
    "https": "a registry through its API",
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"/|\.\.?(?:/|$)")
# A secret key of AWS may hold slashes; a port may not be taken for one.
_USERINFO = re.compile(r"://(?:[^\s/@:]*:(?!\d+(?:/|$))[^\s@]*@|[^\s/?#]*@)")
_SECRET_FIELD = re.compile(
    r"((?:[?&]|%3F|%26|\b)(?:x-amz-(?:signature|credential|security-token)|sig|signature|token|"
    r"access_token|password|passwd|secret|secret_access_key|aws_secret_access_key|"
    r"aws_session_token)(?:=|%3D))[^&\s'\"]+",
    re.IGNORECASE,
)
_MAX_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Location:
    """One place. Equal ones are written alike.

    Attributes:
        kind: what is there.
        path: of a file system, normalised; relative where it was written so.
        bucket: of S3.
        prefix: below the bucket, without slashes at its ends; "" is the whole bucket.
    """

    kind: Kind
    path: str = ""
    bucket: str = ""
    prefix: str = ""

    def __str__(self) -> str:
        if self.kind is Kind.S3:
            return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"
        path = self.path if _PLAIN.match(self.path) else f"./{self.path}"
        return path if self.kind is Kind.FILE else f"{self.kind}:{path}"

    @property
    def is_local(self) -> bool:
        """Whether this is on a file system."""
        return self.kind is not Kind.S3

    def absolute(self, base: str) -> Location:
        """Return this with a relative path put below the directory `base`."""
        if not self.is_local:
            return self
        return replace(self, path=_normal(posixpath.join(base, self.path)))

    def contains(self, other: Location) -> bool:
        """Return whether `other` is this place or lies inside it.

        Paths are compared as they are written: both must be absolute, and free of symbolic links
        where that matters. Buckets are taken to be of one endpoint.
        """
        if self.is_local != other.is_local:
            return False
        if self.is_local:
            return _below(self.path.strip("/"), other.path.strip("/"))
        return self.bucket == other.bucket and _below(self.prefix, other.prefix)

    def overlaps(self, other: Location) -> bool:
        """Return whether one of the two lies inside the other, or both are one place."""
        return self.contains(other) or other.contains(self)

    def require(self, role: Role) -> Location:
        """Return this if it fits `role`.

        Raises:
            UsageError: it does not.
        """
        if self.kind in _ROLES[role]:
            return self
        hint = "It is written s3://BUCKET/PREFIX"
        if self.is_local:
            fitting = Kind.FILE if role is Role.VAULT else Kind.FS
            hint += f", or on a file system {replace(self, kind=fitting)}"
        raise UsageError(
            f"{self} is {_IS[self.kind]}, but {_WANTED[role]} is asked for", hint=f"{hint}."
        )


def is_location(text: str) -> bool:
    """Return whether `text` is meant as a location rather than as a name of the configuration."""
    return text in {".", ".."} or "/" in text or ":" in text


def parse_location(text: str, role: Role | None = None) -> Location:
    """Return the location that `text` names.

    Args:
        text: as a person wrote it.
        role: what it is given for; None: any.

    Raises:
        UsageError: it is none, is not supported, has credentials in it, or does not fit the role.
    """
    if not text or len(text) > _MAX_LENGTH or _CONTROL.search(text):
        raise UsageError(f"not a location: {redact(text[:200])!r}", hint=_hint(role))
    match = _SCHEME.match(text)
    if match is None:
        location = _path(Kind.FILE, text, role, scheme=False)
    else:
        scheme, rest = match[1].lower(), text[match.end() :]
        if _USERINFO.search(text[match.start() :]):
            raise UsageError(
                f"{redact(text)} has credentials in it",
                hint="Leave them to the environment, to the provider's own configuration, or to "
                "references in regvault.yaml.",
            )
        if scheme in _LATER:
            raise UsageError(
                f"{redact(text)}: {_LATER[scheme]} is not supported by this version",
                hint=_hint(role),
            )
        if scheme not in list(Kind):
            raise _unknown(text, scheme, role)
        location = _s3(rest, text) if scheme == Kind.S3 else _path(Kind(scheme), rest, role)
    return location if role is None else location.require(role)


def redact(text: str) -> str:
    """Return `text` with `***` for private keys, and for the credentials of every URL in it."""
    return _SECRET_FIELD.sub(r"\1***", _USERINFO.sub("://***@", conceal(text)))


def _path(kind: Kind, path: str, role: Role | None, *, scheme: bool = True) -> Location:
    if not path or not (scheme or is_location(path)):
        raise UsageError(f"{path!r} is not a location", hint=_hint(role))
    if scheme and re.match(r"//[^/]", path):
        raise UsageError(
            f"{kind}:{path} names a host", hint=f"A path is written {kind}:/{path.lstrip('/')}."
        )
    if path.startswith("~"):
        raise UsageError(f"{path!r}: '~' is not expanded here", hint="Write the whole path.")
    return Location(kind, path=_normal(path))


def _s3(rest: str, text: str) -> Location:
    if not rest.startswith("//"):
        raise UsageError(f"not a location: {text!r}", hint="S3 is written s3://BUCKET/PREFIX.")
    bucket, _, prefix = rest[2:].partition("/")
    prefix = prefix.rstrip("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{text!r}: {bucket!r} is no name of a bucket", hint="S3 is written s3://BUCKET/PREFIX."
        )
    if prefix and any(part in {"", ".", ".."} for part in prefix.split("/")):
        raise UsageError(
            f"{text!r}: the prefix has an empty part, '.' or '..' in it",
            hint="Write it as the keys of the bucket begin.",
        )
    return Location(Kind.S3, bucket=bucket, prefix=prefix)


def _unknown(text: str, scheme: str, role: Role | None) -> UsageError:
    close = get_close_matches(scheme, list(Kind), n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}:? {_hint(role)}" if close else _hint(role)
    return UsageError(f"{redact(text)!r}: there is no kind of location {scheme}:", hint=hint)


def _hint(role: Role | None) -> str:
    local = {
        Role.SOURCE: "fs:/PATH",
        Role.TARGET: "fs:/PATH, oci:/PATH",
        Role.VAULT: "/PATH or ./PATH",
        None: "fs:/PATH, /PATH, oci:/PATH",
    }[role]
    return f"Locations here are {local} or s3://BUCKET/PREFIX."


def _normal(path: str) -> str:
    if path.startswith("/"):
        path = f"/{path.lstrip('/')}"
    return posixpath.normpath(path)


def _below(outer: str, inner: str) -> bool:
    return not outer or inner == outer or inner.startswith(f"{outer}/")


def endpoint_problem(text: str) -> tuple[str, str] | None:
    """Return what is wrong with the URL of a server, and how one is written; None: nothing."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        return "not the URL of a server", "One is written https://HOST or http://HOST:PORT."
    if parts.username is not None or parts.password is not None:
        return (
            "a URL must not have credentials in it",
            "Name them by access_key_id and secret_access_key, or by profile.",
        )
    return None
