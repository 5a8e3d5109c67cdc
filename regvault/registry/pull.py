"""Pull one blob from a live registry, as a client does: the proof that it serves what it should."""

from __future__ import annotations

import base64
import http.client
import json
import re
import urllib.error
import urllib.request
from typing import IO, Final
from urllib.parse import urlencode, urlsplit

from regvault.errors import (
    CredentialError,
    NotFoundError,
    SourceError,
    SourceUnavailableError,
    UsageError,
)
from regvault.oci.grammar import is_digest, is_repository
from regvault.oci.verify import new_hash

__all__ = ["prove_pull"]

_TIMEOUT_S: Final = 60.0
_TOKEN_BYTES: Final = 1 << 20
_BUFFER: Final = 1 << 20
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')


def prove_pull(
    url: str, repository: str, digest: str, credentials: tuple[str, str] | None = None
) -> int:
    """Pull a blob, and prove its bytes.

    No cache between is to answer. It counts as an access of regvault's own, by its user agent.

    Args:
        url: of the registry: `https://registry.example.com`.
        repository: that has the blob.
        digest: of it.
        credentials: user and password, for registries that ask for them, by Basic or by a token.

    Returns:
        How many bytes it has.

    Raises:
        UsageError: the URL, the name or the digest is none.
        NotFoundError: the registry says that it has no such blob.
        CredentialError: it asks for other credentials than these.
        SourceError: what it served is not the blob.
        SourceUnavailableError: it cannot be reached, or it failed.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise UsageError(
            f"{url[:300]!r} is no URL of a registry", hint="One is written https://HOST[:PORT]."
        )
    if not is_repository(repository) or not is_digest(digest):
        raise UsageError(f"{repository[:300]!r} and {digest[:300]!r} name no blob")
    where = f"{url.rstrip('/')}/v2/{repository}/blobs/{digest}"
    hasher = new_hash(digest.partition(":")[0])
    count = 0
    try:
        with _opened(where, repository, credentials) as answer:
            while data := answer.read(_BUFFER):
                hasher.update(data)
                count += len(data)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, where) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise SourceUnavailableError(
            f"cannot pull {where}: {error}", hint="Is the registry running, and reached from here?"
        ) from error
    if hasher.hexdigest() != digest.partition(":")[2]:
        raise SourceError(f"{where} serves {count} bytes that are not the blob")
    return count


def _refusal(
    error: urllib.error.HTTPError, where: str
) -> NotFoundError | CredentialError | SourceUnavailableError:
    message = f"{where} answers {error.code}"
    if error.code in (401, 403):
        return CredentialError(message, hint="Give credentials that may pull it.")
    if error.code == 404:
        return NotFoundError(message, hint="The registry does not have it, or cannot read it.")
    return SourceUnavailableError(message, hint="See the log of the registry.")


def _opened(where: str, repository: str, credentials: tuple[str, str] | None) -> IO[bytes]:
    """Ask for a blob, and once more as the registry says that it has to be asked."""
    try:
        return _get(where)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        with error:
            challenges = error.headers.get_all("WWW-Authenticate") or []
    for challenge in challenges:
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "bearer":
            fields = dict(_PARAMETER.findall(rest))
            return _get(where, f"Bearer {_token(where, repository, fields, credentials)}")
        if kind.lower() == "basic" and credentials is not None:
            return _get(where, _basic(credentials))
    raise CredentialError(f"{where} asks for credentials", hint="Give some that may pull it.")


def _token(
    where: str, repository: str, fields: dict[str, str], credentials: tuple[str, str] | None
) -> str:
    """Return the token that the registry's token service gives for a pull."""
    realm = fields.get("realm", "")
    parts = urlsplit(realm)
    safe = ("https",) if where.startswith("https:") else ("http", "https")
    if parts.scheme not in safe or not parts.hostname:
        raise CredentialError(f"{where} names {realm[:300]!r} as its token service")
    query = {"service": fields.get("service", ""), "scope": f"repository:{repository}:pull"}
    joint = "&" if parts.query else "?"
    asked = f"{realm}{joint}{urlencode({k: v for k, v in query.items() if v})}"
    with _get(asked, None if credentials is None else _basic(credentials)) as answer:
        body = json.loads(answer.read(_TOKEN_BYTES))
    token = body.get("token") or body.get("access_token") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token.isprintable():
        raise CredentialError(f"{realm} gives no token for {repository}")
    return token


def _basic(credentials: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(credentials).encode()).decode("ascii")


def _get(url: str, authorization: str | None = None) -> IO[bytes]:
    headers = {"User-Agent": "regvault", "Cache-Control": "no-cache", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    if authorization is not None:
        # Not for whom the registry redirects to.
        request.add_unredirected_header("Authorization", authorization)
    answer: IO[bytes] = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    return answer
