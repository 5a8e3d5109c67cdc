"""Object Lock and versions as MinIO has them: the contract, and what a real server enforces."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import vaults

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
pytest.register_assert_rewrite("store_contract", "lock_contract")

from lock_contract import HOUR, LockContract  # noqa: E402
from store_contract import MIB, OneWay, sha  # noqa: E402

from regvault.errors import StoreError  # noqa: E402
from regvault.model.store import Retention  # noqa: E402
from regvault.storage import s3_upload  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import MinIO

    from regvault.storage.s3 import S3Store


@pytest.fixture
def locked(minio_server: MinIO, make_bucket: Callable[..., str]) -> S3Store:
    """A store in a bucket with Object Lock."""
    return vaults.minio(minio_server, make_bucket(object_lock=True), "some/prefix")  # type: ignore[return-value]


class TestMinioLocks(LockContract):
    @pytest.fixture
    def store(self, locked):
        return locked


def test_uploads_in_parts_and_copies_are_locked(
    locked: S3Store, minio_server: MinIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_upload, "SINGLE_PUT_LIMIT", MIB)
    data = bytes(6 * MIB)
    wanted = Retention("governance", locked.now_ns() // 10**9 * 10**9 + HOUR)
    locked.lock_writes(lambda _: wanted)
    locked.put_stream("parts", OneWay(data), size=len(data), sha256=sha(data))
    other = vaults.minio(minio_server, locked.bucket, "other")
    other.put("k", b"1")
    assert locked.copy_in(other, "k", "copied", size=1, sha256=sha(b"1")) is not None
    assert locked.retention("parts") == locked.retention("copied") == wanted


def test_what_is_locked_stays_until_it_lapses_whoever_asks(
    locked: S3Store, minio_server: MinIO
) -> None:
    for mode in ("governance", "compliance"):
        until = Retention(mode, locked.now_ns() + 4 * 10**9)
        locked.lock_writes(lambda _, until=until: until)  # type: ignore[misc]
        locked.put_stream("k", io.BytesIO(b"1"), size=1, sha256=sha(b"1"))
        client = minio_server.client()
        key = f"{locked.prefix}k"
        version = client.head_object(Bucket=locked.bucket, Key=key)["VersionId"]
        with pytest.raises(Exception, match=r"WORM|AccessDenied|ObjectLocked"):
            client.delete_object(Bucket=locked.bucket, Key=key, VersionId=version)
        # The very owner of the server cannot shorten it.
        with pytest.raises(StoreError, match=r"WORM|AccessDenied"):
            locked.call(
                "put_object_retention",
                "lock",
                "k",
                Retention={"Mode": mode.upper(), "RetainUntilDate": time.time() + 1},
            )
        time.sleep(5)
        client.delete_object(Bucket=locked.bucket, Key=key, VersionId=version)
