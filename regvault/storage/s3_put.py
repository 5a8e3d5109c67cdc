"""Small objects on a condition, copies that the server makes, and what an endpoint enforces."""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    DigestMismatchError,
    ObjectNotFoundError,
    PreconditionError,
    StoreAccessError,
    StoreError,
)
from regvault.model.store import Stored
from regvault.storage.keys import RESERVED
from regvault.storage.s3_errors import answer_of, is_botocore, outcome_unknown
from regvault.storage.s3_upload import base64_of, sha256_params

if TYPE_CHECKING:
    from regvault.storage.s3 import S3Store

__all__ = ["copy_object", "probe_checksum", "put_small"]

_ATTEMPTS = 10
# The largest object that one CopyObject takes.
_COPY_LIMIT = 5 * 1024**3
# With these a server says that it does not copy like this, or not for these credentials (a copy
# may need more rights than reading and writing do).
_COPIES_NOT = frozenset({400, 403, 405, 501})


def put_small(store: S3Store, key: str, data: bytes, *, proof: str, **condition: str) -> Stored:
    """Write an object, on a condition if one is given (IfNoneMatch, IfMatch).

    A 412 after a repetition, or no answer at all, may hide one's own success: then the object is
    read back, and its being there with these bytes is success. A 409 is another write at the
    same moment: then it is tried again.

    Raises:
        PreconditionError: the condition does not hold.
        StoreError: anything else that went wrong.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    params: dict[str, Any] = {"Body": bytes(data), **sha256_params(sha256)}
    params |= store.write_params(key) | condition
    unclear = False
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = store.call("put_object", "write", key, **params)
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, Exception):
                raise
            unclear = unclear or outcome_unknown(cause)
            etag = _etag_if_there(store, key, data) if unclear else None
            if etag is not None:
                return Stored(etag, len(data), sha256, proof)
            if "IfMatch" in condition and isinstance(error, ObjectNotFoundError):
                message = f"{key!r} is not in {store.location} any more"
                raise PreconditionError(message, key=key) from cause
            said = answer_of(cause)
            if said is None or said.status != 409 or attempt == _ATTEMPTS:
                raise
        else:
            return Stored(answer["ETag"].strip('"'), len(data), sha256, proof)
        time.sleep(random.uniform(0, min(2.0, 0.05 * 2**attempt)))  # noqa: S311


def _etag_if_there(store: S3Store, key: str, data: bytes) -> str | None:
    """Return the etag of `key` if it has these very bytes."""
    try:
        answer = store.call("get_object", "read", key)
        with answer["Body"] as body:
            same = body.read() == data
    except StoreError:
        return None
    except Exception as error:
        if not is_botocore(error):
            raise
        return None
    return str(answer["ETag"]).strip('"') if same else None


def copy_object(
    source: S3Store,
    source_key: str,
    target: S3Store,
    key: str,
    *,
    size: int,
    sha256: str,
    version: str | None = None,
) -> Stored | None:
    """Copy within one endpoint, an older version if one is named; see `S3Store.copy_in`."""
    if size > _COPY_LIMIT:
        return None
    named = {"Bucket": source.bucket, "Key": source.prefix + source_key}
    if version is not None:
        named["VersionId"] = version
    try:
        answer = target.call(
            "copy_object",
            "copy to",
            key,
            CopySource=named,
            ChecksumAlgorithm="SHA256",
            **target.write_params(key),
        )
    except ObjectNotFoundError as error:
        message = f"no object {source_key!r} in {source.location}"
        raise ObjectNotFoundError(message, key=source_key) from error
    except StoreError as error:
        cause = error.__cause__
        said = answer_of(cause) if isinstance(cause, Exception) else None
        if said is None or said.status not in _COPIES_NOT:
            raise
        return None  # whoever reads and writes it may fare better, and else has the reason
    # AWS tells the checksum in the answer's body, MinIO in a header of it; HEAD has it on both.
    seen = target.call("head_object", "look at", key, ChecksumMode="ENABLED")
    said = answer.get("CopyObjectResult", {}).get("ChecksumSHA256")
    checksums = {found for found in (said, seen.get("ChecksumSHA256")) if found}
    if checksums == {base64_of(sha256)} and seen["ContentLength"] == size:
        return Stored(seen["ETag"].strip('"'), size, sha256, "store")
    with suppress(StoreAccessError):  # a writer may have no right to delete
        target.delete(key)
    # None, or one of parts, which says nothing of the whole.
    if not checksums or any("-" in found for found in checksums):
        return None
    message = f"the copy of {source_key!r} of {source.location} is not sha256:{sha256}"
    raise DigestMismatchError(message, key=key)


def probe_checksum(store: S3Store, key: str | None) -> bool:
    """PUT an object with a wrong checksum; see `S3Store.probe_checksum`."""
    key = key or f"{RESERVED}probe-{secrets.token_hex(8)}"
    body = b"regvault: does this endpoint check x-amz-checksum-sha256?\n"
    checksum = base64_of(hashlib.sha256(b"another body").hexdigest())
    try:
        store.call("put_object", "probe", key, Body=body, ChecksumSHA256=checksum)
    except DigestMismatchError:
        return True
    except StoreAccessError:
        return False
    except StoreError as error:
        said = answer_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
        if said is None or said.status != 400:
            raise
        return True
    with suppress(StoreAccessError):
        store.call("delete_object", "delete", key)
    return False
