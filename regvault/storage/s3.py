"""A store in a bucket of S3, or of anything that speaks like it.

What S3 does not promise is checked here: that keys of a listing come in order, that a 412 is not
one's own success, that an endpoint refuses a body that is not its checksum (probed once a store).
botocore is loaded at the first request, not on import.
"""

from __future__ import annotations

import base64
import threading
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from regvault.errors import (
    ObjectNotFoundError,
    ReadOnlyStoreError,
    StoreAccessError,
    StoreError,
    StoreMissingError,
    StoreUnavailableError,
)
from regvault.model.store import Space, Stored
from regvault.storage import s3_classes, s3_lifecycle, s3_locks, s3_upload, s3_walk
from regvault.storage.delegate import unwrap
from regvault.storage.keys import check_directory, check_key, check_prefix
from regvault.storage.s3_client import Connection, Endpoint
from regvault.storage.s3_errors import answer_of, is_botocore, is_urllib3, translate
from regvault.storage.s3_put import copy_object, probe_checksum, put_small
from regvault.storage.s3_read import open_object
from regvault.storage.s3_stage import SpooledStage
from regvault.storage.streams import check_range

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Iterator

    from regvault.model.classes import Moved, Placement
    from regvault.model.store import ByteReader, Entry, ObjectStore, Retention, SizedReader, Stage

__all__ = ["S3Store"]

_BROKEN_ANSWERS = 3
_WRITES = frozenset(
    {
        "put_object",
        "put_object_retention",
        "delete_object",
        "create_multipart_upload",
        "upload_part",
        "copy_object",
        "restore_object",
        "upload_part_copy",
    }
)


class S3Store:
    """Objects in a bucket, below a prefix.

    Streams: a reader that is seekable (a file, a buffer, `LocalStore.open`) is rewound and sent
    again when a connection breaks; for any other `put_stream` raises StoreUnavailableError, and
    the caller opens the source again.

    Args:
        bucket: its name.
        prefix: what all keys begin with; a slash is put between it and the key.
        endpoint_url: of another server than AWS; None: as the environment (AWS_ENDPOINT_URL_S3,
            AWS_ENDPOINT_URL) and the AWS configuration say.
        region: None: as they say.
        profile: of the AWS configuration; None: as the environment says.
        max_connections: connections kept open; as many as there are threads.
        storage_class: of what is written; None: the bucket's default.
        addressing_style: "path", "virtual" or "auto"; None: "path" except for AWS.
        spool_dir: where stages are kept until they are uploaded; None: TMPDIR.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        max_connections: int = 32,
        storage_class: str | None = None,
        addressing_style: str | None = None,
        spool_dir: str | None = None,
        credentials: tuple[str, str, str | None] | None = None,
    ) -> None:
        self.bucket = bucket
        directory = check_directory(prefix.strip("/"))
        self.prefix = f"{directory}/" if directory else ""
        self.endpoint = Endpoint(endpoint_url, region, profile, credentials)
        self.connection = Connection(
            self.endpoint,
            self.location,
            max_connections=max_connections,
            addressing_style=addressing_style,
        )
        self._storage_class = storage_class
        self.spool_dir = spool_dir
        self._enforces_checksums: bool | None = None
        self._probing = threading.Lock()
        self._bucket_seen = False
        self._lock_rule: Callable[[str], Retention | None] | None = None

    @property
    def location(self) -> str:
        """Where this is, for messages."""
        return f"s3://{self.bucket}/{self.prefix}".removesuffix("/")

    # Requests

    def call(self, operation: str, what: str, key: str, **params: Any) -> dict[str, Any]:
        """Send a request for `key` ("": for the bucket) and return the answer.

        Raises:
            StoreError: it failed, told as `translate` does.
        """
        if key:
            params["Key"] = self.prefix + key
        try:
            answer = self._send(operation, params)
        except Exception as error:
            if not is_botocore(error):
                raise
            raise self.translate(error, what, key, write=operation in _WRITES) from error
        self._bucket_seen = True
        return answer

    def _send(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request; botocore repeats it, but not where an answer of an error breaks off.

        It reads that of a download when it no longer expects the connection to break.
        """
        send = getattr(self.connection.client, operation)
        for _ in range(_BROKEN_ANSWERS):
            try:
                return send(Bucket=self.bucket, **params)  # type: ignore[no-any-return]
            except Exception as error:
                if operation != "get_object" or not is_urllib3(error):
                    raise
        return send(Bucket=self.bucket, **params)  # type: ignore[no-any-return]

    def translate(
        self, error: Exception, what: str, key: str, *, write: bool = False
    ) -> StoreError:
        """Translate an exception of botocore; ask the server where its answer has two meanings."""
        found = translate(error, what, self.location, key=key)
        if isinstance(found, ObjectNotFoundError) and not self._bucket_seen:
            # HEAD has no words: a missing bucket looks like a missing object.
            try:
                self.connection.client.head_bucket(Bucket=self.bucket)
            except Exception as other:
                answer = answer_of(other)
                if answer is not None and answer.status == 404:
                    return StoreMissingError(
                        f"cannot {what} {key!r}: there is no bucket {self.bucket!r}",
                        key=key,
                        hint="check the bucket's name and the endpoint, or create the bucket",
                    )
                if not is_botocore(other):
                    raise
            else:
                self._bucket_seen = True
        if write and isinstance(found, StoreAccessError):
            answer = answer_of(error)
            if answer is not None and answer.code == "AccessDenied" and self._can_read():
                hint = "these credentials may read only: use those of the backup role"
                return ReadOnlyStoreError(found.message, key=key, hint=hint)
        return found

    def _can_read(self) -> bool:
        try:
            self.connection.client.list_objects_v2(
                Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1
            )
        except Exception as error:
            if not is_botocore(error):
                raise
            return False
        return True

    def write_params(self, key: str) -> dict[str, Any]:
        """Return what every request has that makes the object `key`."""
        params = {"StorageClass": self._storage_class} if self._storage_class else {}
        retention = self._lock_rule(key) if self._lock_rule is not None else None
        return params if retention is None else params | s3_locks.params_of(retention)

    # Reading

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of `key`, or a range of them."""
        with self.open(key, start=start, length=length) as reader:
            return reader.read()

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> SizedReader:
        """Return a stream over the same bytes; it survives broken connections."""
        check_key(key)
        check_range(start, length)
        return open_object(self, key, start=start, length=length)

    def head(self, key: str) -> Entry:
        """Return what LIST would say of `key`, but for the fraction of a second."""
        return s3_classes.entry_of(key, self.call("head_object", "look at", check_key(key)))

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        """Yield the objects below `prefix` in byte order of their keys.

        Raises:
            StoreError: the server gave them in another order, or did not come to an end.
        """
        check_prefix(prefix)
        return (entry for entry, _ in s3_walk.objects(self, prefix, after))

    def list_prefixes(self, prefix: str = "") -> Iterator[str]:
        """Yield the common prefixes below `prefix`."""
        directory = check_directory(prefix)
        return s3_walk.prefixes(self, f"{directory}/" if directory else "")

    # Writing

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> Stored:
        """Write a small object, on a condition or not."""
        check_key(key)
        proof = "store" if self._enforces_checksums else "regvault"
        if if_none_match:
            return put_small(self, key, data, proof=proof, IfNoneMatch="*")
        if if_match is not None:
            return put_small(self, key, data, proof=proof, IfMatch=f'"{if_match}"')
        return put_small(self, key, data, proof=proof)

    def put_stream(
        self, key: str, reader: ByteReader, *, size: int, sha256: str | None = None
    ) -> Stored:
        """Write `size` bytes of `reader`, proven by the store where it does so."""
        check_key(key)
        if size > s3_upload.SINGLE_PUT_LIMIT or self._needs_checksum(key, size, sha256):
            return s3_upload.put_parts(self, key, reader, size=size, sha256=sha256)
        hashing = sha256 is None or not self.enforces_checksums()
        return s3_upload.put_single(self, key, reader, size=size, sha256=sha256, hashing=hashing)

    def _needs_checksum(self, key: str, size: int, sha256: str | None) -> bool:
        """Return whether a PUT lacks the checksum that S3 wants where an object is to be locked.

        Parts always have one.
        """
        return sha256 is None and size > 0 and bool(self._lock_rule and self._lock_rule(key))

    def stage(self) -> Stage:
        """Begin an object whose key is not known yet, on the local disk."""

        def publish(key: str, file: IO[bytes], size: int, sha256: str) -> Stored:
            return self.put_stream(key, file, size=size, sha256=sha256)  # type: ignore[arg-type]

        return SpooledStage(publish, self.spool_dir)

    def enforces_checksums(self) -> bool:
        """Return whether the endpoint refuses a body that is not its `x-amz-checksum-sha256`.

        Asked once for this store object, by a PUT with a wrong one; never taken from a promise.
        """
        with self._probing:
            if self._enforces_checksums is None:
                self._enforces_checksums = self.probe_checksum()
            return self._enforces_checksums

    def probe_checksum(self, key: str | None = None) -> bool:
        """PUT an object with a wrong checksum, and remove it if it was accepted.

        Args:
            key: a temporary key; None: a hidden one that no listing shows.

        Returns:
            Whether it was refused. False too where these credentials may not write such a key.
        """
        return probe_checksum(self, key)

    def copy_in(
        self, source: ObjectStore, source_key: str, key: str, *, size: int, sha256: str
    ) -> Stored | None:
        """Let the server copy an object from another bucket of the same endpoint.

        The server computes the SHA-256 of the copy, which must be the promised one.

        Args:
            source: the store to copy from.
            source_key: the key there.
            key: the key here.
            size: bytes, as a LIST of the source said.
            sha256: hex digest that the copy must have.

        Returns:
            What was stored, proven by the store; None where the server cannot do it, so that the
            caller streams the bytes.

        Raises:
            DigestMismatchError: the copy had another digest or size; it was deleted.
            ObjectNotFoundError: there is no such source.
        """
        check_key(key)
        check_key(source_key)
        source, version = unwrap(source), None
        from regvault.storage.s3_versions import S3AsOf

        if isinstance(source, S3AsOf):
            source, version = source.version_of(source_key)
        if not isinstance(source, S3Store) or source.endpoint != self.endpoint:
            return None
        return copy_object(source, source_key, self, key, size=size, sha256=sha256, version=version)

    def stored_sha256(self, key: str) -> str | None:
        """Return the hex SHA-256 that the server keeps of the whole object, or None."""
        answer = self.call("head_object", "look at", check_key(key), ChecksumMode="ENABLED")
        found = answer.get("ChecksumSHA256")
        # That of a multipart upload is a checksum of checksums, and ends in "-<parts>".
        if not found or "-" in found:
            return None
        return base64.b64decode(found).hex()

    def delete(self, key: str) -> None:
        """Remove `key`, if it is there."""
        try:
            self.call("delete_object", "delete", check_key(key))
        except ObjectNotFoundError:
            return

    def barrier(self) -> None:
        """Do nothing: what S3 has acknowledged is durable."""

    # Locks and versions

    def locks(self) -> bool:
        """Return whether Object Lock is enabled for the bucket."""
        return s3_locks.enabled(self)

    def lock_writes(self, rule: Callable[[str], Retention | None] | None) -> None:
        """Send a retention with whatever makes an object from now on."""
        self._lock_rule = rule

    def retention(self, key: str) -> Retention | None:
        """Return what locks the present version of `key`."""
        return s3_locks.retention(self, check_key(key))

    def extend_retention(self, key: str, retention: Retention) -> bool:
        """Lock the present version of `key` at least until then."""
        return s3_locks.extend(self, check_key(key), retention)

    def versioned(self) -> bool:
        """Return whether the bucket keeps versions, or did."""
        return bool(self.call("get_bucket_versioning", "look at", "").get("Status"))

    @cached_property
    def keeps_versions(self) -> bool:
        """Whether the bucket keeps versions, as it was when that was asked first."""
        return self.versioned()

    def as_of(self, moment_ns: int) -> ObjectStore:
        """Return the bucket as it was, by the versions that it keeps."""
        from regvault.storage.s3_versions import S3AsOf

        return S3AsOf(self, moment_ns)

    # Storage classes

    def list_classes(self, prefix: str = "", *, after: str = "") -> Iterator[tuple[Entry, str]]:
        """Yield the objects below `prefix`, as `list` does, and their storage classes."""
        check_prefix(prefix)
        return s3_walk.objects(self, prefix, after)

    @property
    def archives(self) -> frozenset[str]:
        """The classes whose objects have to be restored before they can be read."""
        return s3_classes.ARCHIVES

    def placement(self, key: str) -> Placement:
        """Return in which storage class an object lies, and whether it can be read."""
        return s3_classes.placement(self, check_key(key))

    def change_class(self, key: str, storage_class: str, *, expected: Placement) -> Moved:
        """Let the server copy an object onto itself, into another storage class."""
        return s3_classes.change(self, check_key(key), storage_class, expected)

    def thaw(self, key: str, *, way: str, days: int) -> None:
        """Ask for an archived object to be restored for some days."""
        s3_classes.thaw(self, check_key(key), way, days)

    def moves_by_rules(self) -> bool:
        """Return whether the bucket keeps versions."""
        return self.keeps_versions

    def mark_class(self, key: str, storage_class: str, *, expected: Placement) -> None:
        """Tag an object, so that a lifecycle rule moves it."""
        s3_lifecycle.mark(self, check_key(key), storage_class, expected)

    def missing_rules(self, prefix: str, classes: Iterable[str]) -> builtins.list[dict[str, Any]]:
        """Return the lifecycle rules that are needed and not there."""
        return s3_lifecycle.missing_rules(self, prefix, classes)

    def add_rules(self, prefix: str, classes: Iterable[str]) -> None:
        """Add the lifecycle rules that are missing."""
        s3_lifecycle.add_rules(self, prefix, classes)

    # The store as a whole

    def now_ns(self) -> int:
        """Return the server's time by its last answer; asks for one if there was none.

        Raises:
            StoreUnavailableError: it cannot be reached, or its answers have no Date.
        """
        now = self.connection.clock.now_ns()
        if now is not None:
            return now
        failure: StoreError | None = None
        try:
            self.call("head_bucket", "look at", "")
        except StoreError as error:
            failure = error  # a refusal has a Date too
        now = self.connection.clock.now_ns()
        if now is None:
            raise failure or StoreUnavailableError(
                f"the answers of {self.location} have no Date", hint="check the endpoint"
            )
        return now

    def space(self) -> Space:
        """Return that nothing is known."""
        return Space(None, None)

    def close(self) -> None:
        """Close all connections."""
        self.connection.close()
