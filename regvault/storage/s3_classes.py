"""Storage classes of S3: which one an object is in, moving it to another one, and thawing.

A class is changed by letting the server copy the object onto itself. In a bucket that keeps
versions that would leave the old bytes behind, billed as before: it is refused there.
"""

from __future__ import annotations

import base64
import re
import secrets
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from regvault.errors import (
    ObjectArchivedError,
    ObjectNotFoundError,
    PreconditionError,
    RefusedError,
    StoreError,
)
from regvault.model.classes import Moved, Placement
from regvault.model.store import Entry
from regvault.storage.s3_errors import answer_of
from regvault.storage.s3_list import STANDARD, datetime_ns
from regvault.storage.s3_upload import abort, complete

if TYPE_CHECKING:
    from regvault.storage.s3 import S3Store

__all__ = ["ARCHIVES", "change", "entry_of", "placement", "thaw"]

ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Classes whose objects cannot be read before they are restored."""

#: The largest object that one CopyObject takes, and the parts of larger ones.
_COPY_LIMIT = 5 * 1024**3
_PART = 1024**3
_MAX_PARTS = 10_000
_WAYS: Final = {"bulk": "Bulk", "standard": "Standard", "expedited": "Expedited"}
#: What a copy keeps of its source only if it is said again.
_ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "WebsiteRedirectLocation",
)
_UNDER_WAY = re.compile(r'ongoing-request="true"')
_UNTIL = re.compile(r'expiry-date="([^"]+)"')


def entry_of(key: str, answer: dict[str, Any]) -> Entry:
    """Return what a HEAD says of a key."""
    modified = int(answer["LastModified"].timestamp()) * 1_000_000_000
    return Entry(key, answer["ContentLength"], answer["ETag"].strip('"'), modified)


def placement(store: S3Store, key: str) -> Placement:
    """Return in which class an object lies, and whether it can be read."""
    return _placement(key, store.call("head_object", "look at", key))


def _placement(key: str, answer: dict[str, Any]) -> Placement:
    storage_class = answer.get("StorageClass") or STANDARD
    restore = answer.get("Restore") or ""
    until = _UNTIL.search(restore)
    thawing = _UNDER_WAY.search(restore) is not None
    # INTELLIGENT_TIERING may have archives of its own, if somebody has opted in.
    cold = storage_class in ARCHIVES or bool(answer.get("ArchiveStatus"))
    return Placement(
        entry_of(key, answer),
        storage_class,
        archived=cold and until is None,
        thawing=thawing,
        thawed_until_ns=None if until is None else datetime_ns(parsedate_to_datetime(until[1])),
    )


def change(store: S3Store, key: str, storage_class: str, expected: Placement) -> Moved:
    """Copy an object onto itself, into another class; see `ClassedStore.change_class`."""
    if store.keeps_versions:
        raise RefusedError(
            f"{store.location} keeps versions: a copy would leave the old bytes, and their bill",
            hint="There the bucket's lifecycle moves objects, by their tags.",
        )
    answer = store.call("head_object", "look at", key)
    seen = _placement(key, answer)
    if (seen.entry.size, seen.entry.etag) != (expected.entry.size, expected.entry.etag):
        raise PreconditionError(f"{key!r} in {store.location} is not what it was", key=key)
    if seen.storage_class == storage_class:
        return Moved(seen, None)
    if seen.archived:
        raise ObjectArchivedError(
            f"{key!r} in {store.location} lies in {seen.storage_class}",
            key=key,
            hint="Thaw it first: regvault tier thaw",
        )
    kept = {name: answer[name] for name in _ENCRYPTION if answer.get(name) not in (None, "")}
    params = {**store.write_params(key), **kept, "StorageClass": storage_class}
    try:
        sha256 = None
        if seen.entry.size <= _COPY_LIMIT:
            sha256 = _copy(store, key, seen.entry, params)
        else:
            _copy_parts(store, key, seen.entry, answer, params)
    except StoreError as error:
        raise _said_well(store, key, storage_class, error) from error
    after = placement(store, key)
    if (after.entry.size, after.storage_class) != (seen.entry.size, storage_class):
        raise StoreError(
            f"{key!r} in {store.location} has {after.entry.size} bytes in {after.storage_class} "
            f"after a move to {storage_class}; it had {seen.entry.size}",
            key=key,
            hint="Does this server know that class? Look at the object before going on.",
        )
    return Moved(after, sha256)


def _said_well(store: S3Store, key: str, storage_class: str, error: StoreError) -> StoreError:
    """Return an error of a copy, with what it means here."""
    cause = error.__cause__
    said = answer_of(cause) if isinstance(cause, Exception) else None
    if said is not None and said.code in ("InvalidStorageClass", "InvalidArgument"):
        return StoreError(
            f"{store.location} does not take {key!r} into {storage_class}: {said.code}",
            key=key,
            hint="Plan with the prices of what this store has: --prices NAME|FILE",
        )
    return error


def _copy(store: S3Store, key: str, seen: Entry, params: dict[str, Any]) -> str | None:
    """Copy at once; return the SHA-256 that the server computed, if it did."""
    answer = store.call(
        "copy_object",
        "change the class of",
        key,
        CopySource={"Bucket": store.bucket, "Key": store.prefix + key},
        CopySourceIfMatch=f'"{seen.etag}"',
        ChecksumAlgorithm="SHA256",
        MetadataDirective="COPY",
        TaggingDirective="COPY",
        **params,
    )
    found = answer.get("CopyObjectResult", {}).get("ChecksumSHA256")
    if not found or "-" in found:
        return None
    return base64.b64decode(found).hex()


def _copy_parts(
    store: S3Store, key: str, seen: Entry, answer: dict[str, Any], params: dict[str, Any]
) -> None:
    """Copy what is too large to be copied at once; its parts say nothing of the whole."""
    mark = secrets.token_hex(16)
    told = {name: answer[name] for name in _HEADERS if answer.get(name)}
    if answer.get("TagCount"):
        tags = store.call("get_object_tagging", "read the tags of", key)["TagSet"]
        told["Tagging"] = _encoded(tags)
    upload = store.call(
        "create_multipart_upload",
        "change the class of",
        key,
        Metadata={**answer.get("Metadata", {}), "regvault-upload": mark},
        **told,
        **params,
    )["UploadId"]
    size = max(_PART, -(-seen.size // _MAX_PARTS))
    try:
        parts = []
        for number, start in enumerate(range(0, seen.size, size), 1):
            done = store.call(
                "upload_part_copy",
                "change the class of",
                key,
                UploadId=upload,
                PartNumber=number,
                CopySource={"Bucket": store.bucket, "Key": store.prefix + key},
                CopySourceIfMatch=f'"{seen.etag}"',
                CopySourceRange=f"bytes={start}-{min(start + size, seen.size) - 1}",
            )
            parts.append({"PartNumber": number, "ETag": done["CopyPartResult"]["ETag"]})
        complete(store, key, upload, parts, mark)
    except BaseException:
        abort(store, key, upload)
        raise


def _encoded(tags: list[dict[str, str]]) -> str:
    from urllib.parse import urlencode

    return urlencode([(tag["Key"], tag["Value"]) for tag in tags])


def thaw(store: S3Store, key: str, way: str, days: int) -> None:
    """Ask for an archived object to be restored; that somebody has asked before is no error."""
    if way not in _WAYS:
        raise StoreError(
            f"{store.location} knows no way {way} to thaw {key!r}",
            key=key,
            hint=f"Name the ways of the prices as S3 does: {', '.join(_WAYS)}",
        )
    request: dict[str, Any] = {"Days": days, "GlacierJobParameters": {"Tier": _WAYS[way]}}
    try:
        store.call("restore_object", "thaw", key, RestoreRequest=request)
    except StoreError as error:
        if isinstance(error, ObjectNotFoundError):
            raise
        cause = error.__cause__
        said = answer_of(cause) if isinstance(cause, Exception) else None
        if said is None or said.code != "RestoreAlreadyInProgress":
            raise
