"""Uploading streams to S3: one PUT, or many parts.

Up to 1 GiB an object is one PUT. Where the endpoint was seen to refuse a wrong
`x-amz-checksum-sha256`, the promised digest is sent as that checksum and nothing is hashed here.
Larger objects go up in parts, each with its CRC-32, and are hashed here before they are completed.
"""

from __future__ import annotations

import base64
import hashlib
import random
import secrets
import time
import zlib
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    DigestMismatchError,
    ObjectNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from regvault.model.store import Stored
from regvault.storage.s3_body import Body
from regvault.storage.s3_errors import answer_of, is_botocore, outcome_unknown
from regvault.storage.streams import digest_mismatch, size_mismatch

if TYPE_CHECKING:
    from regvault.model.store import ByteReader
    from regvault.storage.s3 import S3Store

__all__ = [
    "SINGLE_PUT_LIMIT",
    "abort",
    "base64_of",
    "complete",
    "part_size",
    "put_parts",
    "put_single",
    "sha256_params",
]

MIB = 1024 * 1024
SINGLE_PUT_LIMIT = 1024 * MIB
_MIN_PART = 16 * MIB
_MAX_PARTS = 10_000
_COMPLETE_ATTEMPTS = 6
_UPLOAD_ID = "regvault-upload"


def base64_of(sha256: str) -> str:
    """Return a hex digest as S3's headers want it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def sha256_params(sha256: str) -> dict[str, str]:
    """Return the parameters of a PUT whose bytes have this digest.

    The algorithm is named besides: S3 wants that in requests that lock, and in every PUT to a
    bucket with a default retention.
    """
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": base64_of(sha256)}


def part_size(size: int) -> int:
    """Return the size of the parts (bytes) of an object: 16 MiB, more above 156 GiB."""
    needed = -(-size // _MAX_PARTS)
    return max(_MIN_PART, -(-needed // MIB) * MIB)


def put_single(
    store: S3Store, key: str, reader: ByteReader, *, size: int, sha256: str | None, hashing: bool
) -> Stored:
    """Store a stream with one PUT.

    Args:
        store: where.
        key: checked.
        reader: the bytes.
        size: how many.
        sha256: what they are promised to be; needed where they are not hashed here.
        hashing: whether to hash them here.

    Raises:
        DigestMismatchError: size or digest are not as promised.
        StoreUnavailableError: the connection broke, and the stream cannot be rewound.
    """
    body = Body(reader, key, size=size, sha256=sha256, hashing=hashing)
    params = store.write_params(key)
    if sha256 is not None:
        params |= sha256_params(sha256)
    if size:
        params["Body"] = body
    else:
        body.check_end()
        params["Body"] = b""
        params |= sha256_params(_check_nothing(key, sha256))
    try:
        answer = store.call("put_object", "write", key, ContentLength=size, **params)
    except StoreError:
        if body.error is not None:
            raise body.error from None
        raise
    digest = body.sha256() if hashing or sha256 is None else sha256
    proof = "regvault" if hashing else "store"
    return Stored(answer["ETag"].strip('"'), size, digest, proof)


def _check_nothing(key: str, sha256: str | None) -> str:
    """Return the digest of no bytes, which must be the promised one."""
    empty = hashlib.sha256().hexdigest()
    if sha256 is not None and sha256 != empty:
        raise digest_mismatch(key, sha256, got=empty)
    return empty


def put_parts(
    store: S3Store, key: str, reader: ByteReader, *, size: int, sha256: str | None
) -> Stored:
    """Store a stream in parts, one part in memory at a time, so that each can be repeated.

    Raises:
        DigestMismatchError: size or digest are not as promised; nothing was completed.
    """
    mark = secrets.token_hex(16)
    upload = store.call(
        "create_multipart_upload",
        "write",
        key,
        ChecksumAlgorithm="CRC32",
        Metadata={_UPLOAD_ID: mark},
        **store.write_params(key),
    )["UploadId"]
    try:
        parts, digest = _send_parts(store, key, upload, reader, size)
        if sha256 is not None and digest != sha256:
            raise digest_mismatch(key, sha256, got=digest)
        etag = complete(store, key, upload, parts, mark)
    except BaseException:
        abort(store, key, upload)
        raise
    return Stored(etag, size, digest, "regvault")


def _send_parts(
    store: S3Store, key: str, upload: str, reader: ByteReader, size: int
) -> tuple[list[dict[str, Any]], str]:
    digest = hashlib.sha256()
    buffer = bytearray(min(part_size(size), size + 1))
    parts: list[dict[str, Any]] = []
    total = 0
    while count := _fill(reader, buffer):
        total += count
        if total > size:
            raise size_mismatch(key, size, got=total)
        view = memoryview(buffer)[:count]
        digest.update(view)
        crc = base64.b64encode(zlib.crc32(view).to_bytes(4, "big")).decode()
        answer = store.call(
            "upload_part",
            "write",
            key,
            UploadId=upload,
            PartNumber=len(parts) + 1,
            Body=bytes(view),
            ChecksumCRC32=crc,
        )
        part = {"PartNumber": len(parts) + 1, "ETag": answer["ETag"]}
        # Sent back only where the server knows it: some know no checksums.
        if answer.get("ChecksumCRC32"):
            part["ChecksumCRC32"] = crc
        parts.append(part)
    if total != size:
        raise size_mismatch(key, size, got=total)
    return parts, digest.hexdigest()


def _fill(reader: ByteReader, buffer: bytearray) -> int:
    view = memoryview(buffer)
    done = 0
    while done < len(view):
        count = reader.readinto(view[done:])
        if not count:
            break
        done += count
    return done


def complete(store: S3Store, key: str, upload: str, parts: list[dict[str, Any]], mark: str) -> str:
    """Complete an upload and return the etag.

    Servers have lost objects over a Complete that was sent twice: when its outcome is unknown,
    HEAD says whether the object there is this very upload, before another attempt.
    """
    client = store.connection.client_that_tries_once
    for attempt in range(1, _COMPLETE_ATTEMPTS + 1):
        try:
            answer = client.complete_multipart_upload(
                Bucket=store.bucket,
                Key=store.prefix + key,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
            )
        except Exception as error:
            if not is_botocore(error):
                raise
            said = answer_of(error)
            unclear = outcome_unknown(error) or (said is not None and said.code == "NoSuchUpload")
            etag = _etag_if_ours(store, key, mark) if unclear else None
            if etag is not None:
                return etag
            failure = store.translate(error, "write", key)
            if not isinstance(failure, StoreUnavailableError) or attempt == _COMPLETE_ATTEMPTS:
                raise failure from error
        else:
            return str(answer["ETag"]).strip('"')
        time.sleep(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311
    raise AssertionError


def _etag_if_ours(store: S3Store, key: str, mark: str) -> str | None:
    try:
        answer = store.call("head_object", "look at", key)
    except ObjectNotFoundError:
        return None
    if answer.get("Metadata", {}).get(_UPLOAD_ID) != mark:
        return None
    return str(answer["ETag"]).strip('"')


def abort(store: S3Store, key: str, upload: str) -> None:
    """Throw the parts away. Failing at it is no error: `doctor` wants a lifecycle rule for it."""
    try:
        store.call("abort_multipart_upload", "abort the upload of", key, UploadId=upload)
    except (StoreError, DigestMismatchError):
        return
