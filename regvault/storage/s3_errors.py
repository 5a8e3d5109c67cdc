"""What botocore raises, told as errors of a store.

The codes are those of AWS, MinIO, Ceph and others. botocore's exceptions are told apart by the
names of their classes, so that this module can be imported without botocore.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from regvault.errors import (
    DigestMismatchError,
    ObjectArchivedError,
    ObjectNotFoundError,
    PreconditionError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreMissingError,
    StoreUnavailableError,
)

__all__ = ["Answer", "answer_of", "is_botocore", "is_urllib3", "outcome_unknown", "translate"]

_FULL = frozenset(
    {
        "XMinioStorageFull",
        "StorageFull",
        "QuotaExceeded",
        "XMinioAdminBucketQuotaExceeded",
        "InsufficientCapacity",
        "507",
    }
)
_MISMATCH = frozenset(
    {"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidDigest"}
)
_WRONG_CREDENTIALS = {
    "InvalidAccessKeyId": "the access key is not known to the server",
    "SignatureDoesNotMatch": "the secret key is wrong, or a proxy changes the request",
    "ExpiredToken": "the session token has expired: get a new one",
    "InvalidToken": "the session token is wrong",
    "TokenRefreshRequired": "the session token has expired: get a new one",
    "RequestTimeTooSkewed": "set the clock of this host (its time differs from the server's)",
    "AuthorizationHeaderMalformed": "check the region",
    "InvalidSecurity": "check the credentials",
}
_BUSY = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "ServiceUnavailable",
        "InternalError",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "OperationAborted",
        "ConditionalRequestConflict",
        "XMinioServerNotInitialized",
        "XMinioReadQuorum",
        "XMinioWriteQuorum",
    }
)
_NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "TokenRetrievalError",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "LoginRefreshRequired",
        "NoAuthTokenError",
    }
)
_UNREACHABLE = {
    "EndpointConnectionError": "check the endpoint and the network",
    "ConnectTimeoutError": "check the endpoint and the network",
    "ReadTimeoutError": "the server took too long to answer",
    "ConnectionClosedError": "the server closed the connection",
    "ProxyConnectionError": "check the proxy settings (HTTPS_PROXY, NO_PROXY)",
    "ConnectionError": "check the endpoint and the network",
    "HTTPClientError": "check the endpoint and the network",
    "ResponseStreamingError": "the connection broke",
    "IncompleteReadError": "the connection broke",
    "HTTPError": "the connection broke",
    "OSError": "the connection broke",
    "UnseekableStreamError": "the connection broke in a stream that cannot be rewound",
}
_HINT_DENIED = "check what the credentials may do: docs/iam has a policy for each role"


class Answer(NamedTuple):
    """What a server said to a request that failed.

    Attributes:
        code: its word, such as "NoSuchKey"; the status where it had no word.
        status: the HTTP status, 0 where there was none.
        message: its explanation.
        retries: how many times botocore had tried again.
    """

    code: str
    status: int
    message: str
    retries: int


def is_botocore(error: BaseException) -> bool:
    """Return whether an exception is botocore's, boto3's or of the HTTP library below them."""
    return any(
        kind.__module__.partition(".")[0] in ("botocore", "boto3", "urllib3")
        for kind in type(error).__mro__
    )


def is_urllib3(error: BaseException) -> bool:
    """Return whether an exception of the HTTP library came past botocore, which wraps most."""
    return type(error).__module__.partition(".")[0] == "urllib3"


def answer_of(error: Exception) -> Answer | None:
    """Return what the server said, or None where it said nothing."""
    response: dict[str, Any] | None = getattr(error, "response", None)
    if not isinstance(response, dict) or "Error" not in response:
        return None
    metadata = response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode") or 0)
    said = response["Error"]
    return Answer(
        str(said.get("Code") or status),
        status,
        str(said.get("Message") or ""),
        int(metadata.get("RetryAttempts") or 0),
    )


def outcome_unknown(error: Exception) -> bool:
    """Return whether a write that failed so may have been done all the same."""
    answer = answer_of(error)
    if answer is None:
        return type(error).__name__ in _UNREACHABLE and type(error).__name__ not in (
            "EndpointConnectionError",
            "ConnectTimeoutError",
        )
    return answer.status >= 500 or (answer.status == 412 and answer.retries > 0)


def translate(error: Exception, what: str, location: str, *, key: str = "") -> StoreError:
    """Translate an exception of botocore.

    Args:
        error: what was raised.
        what: the verb that failed, for the message.
        location: where the store is.
        key: the key, or "" where the whole store is meant.
    """
    where = f"{key!r} in {location}" if key else location
    answer = answer_of(error)
    if answer is None:
        return _translate_silence(error, f"cannot {what} {where}", key)
    code = answer.code
    message = f"cannot {what} {where}: {code}"
    if answer.message and answer.message != code:
        message += f": {answer.message}"
    if code == "NoSuchBucket":
        hint = "check the bucket's name and the endpoint, or create the bucket"
        return StoreMissingError(message, key=key, hint=hint)
    if code in ("NoSuchKey", "NoSuchVersion") or (answer.status == 404 and code in ("404", "")):
        return ObjectNotFoundError(f"no object {where}", key=key)
    if code in ("PreconditionFailed", "412"):
        return PreconditionError(f"{where}: the condition does not hold", key=key)
    if code in _MISMATCH or _speaks_of_checksum(answer):
        return DigestMismatchError(message, key=key)
    if code in _FULL or answer.status == 507:
        hint = "free some space or raise the quota"
        return StoreFullError(message, key=key, hint=hint)
    if code == "InvalidObjectState":
        hint = "it lies in an archive class: thaw it (regvault tier thaw), then try again"
        return ObjectArchivedError(message, key=key, hint=hint)
    if code in _WRONG_CREDENTIALS:
        return StoreAccessError(message, key=key, hint=_WRONG_CREDENTIALS[code])
    if answer.status in (401, 403):
        return StoreAccessError(message, key=key, hint=_HINT_DENIED)
    if code in _BUSY or answer.status in (408, 429) or answer.status >= 500:
        hint = "the server is overloaded or in trouble: try again later"
        return StoreUnavailableError(message, key=key, hint=hint)
    if answer.status in (301, 307, 308):
        return StoreError(message, key=key, hint="check the region of the bucket")
    return StoreError(message, key=key)


def _speaks_of_checksum(answer: Answer) -> bool:
    """Return whether bytes were refused for their checksum; not a request that lacks a header."""
    asked_for = answer.code.startswith("Missing")
    return answer.status == 400 and "checksum" in answer.message.lower() and not asked_for


def _translate_silence(error: Exception, what: str, key: str) -> StoreError:
    """Translate an error without an answer of a server."""
    name = type(error).__name__
    message = f"{what}: {error}"
    if name in _NO_CREDENTIALS:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role"
        return StoreAccessError(message, key=key, hint=hint)
    if name == "SSLError":
        hint = "check the certificate (AWS_CA_BUNDLE) and whether the endpoint speaks TLS"
        return StoreUnavailableError(message, key=key, hint=hint)
    for kind in type(error).__mro__:
        if kind.__name__ in _UNREACHABLE:
            return StoreUnavailableError(message, key=key, hint=_UNREACHABLE[kind.__name__])
    return StoreError(message, key=key)
