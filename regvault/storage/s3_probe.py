"""What `doctor` asks a bucket: how it is configured, and what becomes of writes that only S3 has.

Nothing is taken from a server's promise that can be tried on an object of one's own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from regvault.errors import StoreAccessError, StoreError
from regvault.model.doctor import (
    Asked,
    BucketFacts,
    BucketTrials,
    LifecycleRule,
    Lock,
    Spool,
    ask,
    unasked,
)
from regvault.storage.local_errors import translated
from regvault.storage.s3_errors import answer_of
from regvault.storage.s3_upload import base64_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regvault.storage.s3 import S3Store

__all__ = ["BucketProbe", "parse_rule"]

_BODY = b"regvault doctor\n"
# What a bucket answers that was never given such a configuration.
_NOT_SET = frozenset({"NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError"})
_UNKNOWN = frozenset({"NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "501", "405"})


def _code(error: StoreError) -> str:
    answer = answer_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
    return "" if answer is None else answer.code


class BucketProbe:
    """Probes of one S3 store (implements StoreProbe)."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._server = ""

    def reach(self) -> Asked[bool]:
        """Ask for the first key below the prefix."""
        try:
            answer = self._store.call(
                "list_objects_v2", "list", "", Prefix=self._store.prefix, MaxKeys=1
            )
        except StoreAccessError as error:
            if _code(error) != "AccessDenied":
                raise  # the server does not know these credentials
            return Asked(None, error.message, error.hint, denied=True, exit_code=error.exit_code)
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        self._server = str(headers.get("server", ""))
        return Asked(True)

    # Without writing

    def look(self) -> BucketFacts:
        """Ask for versioning, Object Lock, lifecycle rules, and where uploads are spooled."""
        return BucketFacts(
            self._store.prefix,
            self._server,
            self._ask("get_bucket_versioning", lambda found: str(found.get("Status", "")), ""),
            self._ask("get_object_lock_configuration", _lock, Lock(enabled=False)),
            self._ask("get_bucket_lifecycle_configuration", _rules, ()),
            ask(self._spool),
        )

    def _ask(self, operation: str, parse: Callable[[dict[str, Any]], Any], unset: Any) -> Any:
        def call() -> Any:
            try:
                found = self._store.call(operation, "ask for the configuration of", "")
            except StoreError as error:
                code = _code(error)
                if code in _NOT_SET:
                    return unset
                if code in _UNKNOWN:
                    raise StoreError(f"this server does not know it ({code})") from error
                raise
            return parse(found)

        return ask(call)

    def _spool(self) -> Spool:
        path = self._store.spool_dir or tempfile.gettempdir()
        with translated("look at", f"file://{path}"):
            status = os.statvfs(path)
        return Spool(path, status.f_bavail * status.f_frsize)

    # Writing

    def try_writes(self, key: Callable[[], str]) -> BucketTrials:
        """Try checksums, an upload in parts, and the deletion of a version."""
        one = key()
        checksums = ask(lambda: self._store.probe_checksum(one))
        multipart, aborted = self._try_parts(key())
        return BucketTrials(checksums, multipart, aborted, self._try_version(key()))

    def _try_parts(self, key: str) -> tuple[Asked[bool], Asked[bool]]:
        """Begin an upload, send a part, abort it: what is larger than 1 GiB goes up so."""
        call = self._store.call
        begun = ask(
            lambda: str(
                call(
                    "create_multipart_upload",
                    "begin an upload of",
                    key,
                    ChecksumAlgorithm="CRC32",
                    **self._store.write_params(key),
                )["UploadId"]
            )
        )
        if begun.value is None:
            return Asked(None, *begun[1:]), unasked("no upload was begun")
        upload = begun.value
        crc = base64.b64encode(zlib.crc32(_BODY).to_bytes(4, "big")).decode()

        def part() -> bool:
            call(
                "upload_part",
                "upload a part of",
                key,
                UploadId=upload,
                PartNumber=1,
                Body=_BODY,
                ChecksumCRC32=crc,
            )
            return True

        def abort() -> bool:
            call("abort_multipart_upload", "abort the upload of", key, UploadId=upload)
            return True

        return ask(part), ask(abort)

    def _try_version(self, key: str) -> Asked[bool]:
        """Delete, for good, the version of an object that was just written for this."""
        written = ask(lambda: self._put(key))
        version = written.value
        if version is None:
            return Asked(None, *written[1:])
        if not version:
            return unasked("the bucket keeps no versions")

        def delete() -> bool:
            self._store.call("delete_object", "delete a version of", key, VersionId=version)
            return True

        return ask(delete)

    def _put(self, key: str) -> str:
        """Write an object; return its version, or "" where the bucket keeps none."""
        answer = self._store.call(
            "put_object",
            "write",
            key,
            Body=_BODY,
            ChecksumSHA256=base64_of(hashlib.sha256(_BODY).hexdigest()),
            **self._store.write_params(key),
        )
        version = str(answer.get("VersionId") or "")
        return "" if version == "null" else version

    def sweep(self, keys: Iterable[str]) -> None:
        """Delete all versions of these objects, and their delete markers."""
        with suppress(StoreError):  # listing versions is a right of its own
            for key in keys:
                self._sweep(key)

    def _sweep(self, key: str) -> None:
        found = self._store.call(
            "list_object_versions", "list versions of", "", Prefix=self._store.prefix + key
        )
        for version in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())):
            if version["Key"] == self._store.prefix + key:
                with suppress(StoreError):  # a default retention holds it for a while
                    self._store.call("delete_object", "delete", key, VersionId=version["VersionId"])


def _lock(found: dict[str, Any]) -> Lock:
    configuration = found.get("ObjectLockConfiguration", {})
    retention = configuration.get("Rule", {}).get("DefaultRetention", {})
    period = ""
    for unit in ("Days", "Years"):
        if number := retention.get(unit):
            period = f"{number} {unit.lower()[: -1 if number == 1 else None]}"
    return Lock(
        configuration.get("ObjectLockEnabled") == "Enabled", str(retention.get("Mode", "")), period
    )


def _rules(found: dict[str, Any]) -> tuple[LifecycleRule, ...]:
    return tuple(parse_rule(rule, n) for n, rule in enumerate(found.get("Rules", ()), start=1))


def parse_rule(rule: dict[str, Any], number: int) -> LifecycleRule:
    """Return a rule as botocore has it, told apart by what it does.

    Args:
        rule: an element of `Rules`.
        number: of the rule, for one without an ID.
    """
    given = rule.get("Filter") or {}
    # The prefix is in the rule itself (old form), in its filter, or in the filter's And.
    both = {**given, **given.get("And", {})}
    expiration = rule.get("Expiration", {})
    old = rule.get("NoncurrentVersionExpiration", {})
    aborted = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    return LifecycleRule(
        name=str(rule.get("ID") or f"number {number}"),
        enabled=rule.get("Status") == "Enabled",
        prefix=str(both.get("Prefix") or rule.get("Prefix") or ""),
        tagged="Tag" in both or bool(both.get("Tags")),
        sized="ObjectSizeGreaterThan" in both or "ObjectSizeLessThan" in both,
        expires=_when(expiration.get("Days"), expiration.get("Date")),
        transitions=tuple(
            (str(move.get("StorageClass")), _when(move.get("Days"), move.get("Date"), "at once"))
            for move in rule.get("Transitions", ())
        ),
        noncurrent=_when(old.get("NoncurrentDays"), None),
        aborts=_when(aborted, None),
    )


def _when(days: Any, date: Any, otherwise: str = "") -> str:
    if days:
        return f"after {days} {'day' if days == 1 else 'days'}"
    return f"on {date:%Y-%m-%d}" if date else otherwise
