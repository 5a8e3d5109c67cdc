"""The servers that every other service test stands on do what those tests take for granted."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import signal
import tarfile
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from servers import MinIO, Registry, RegistryVersion, ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., str]


def layer(directory: Path, content: bytes = b"hello\n") -> Path:
    path = directory / f"layer-{hashlib.sha256(content).hexdigest()[:8]}.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("hello.txt")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return path


def push(run: Run, reference: str, layer: Path) -> str:
    """Push a one-layer image that needed no network to be built; returns its digest."""
    run("crane", "append", "--oci-empty-base", "-f", layer, "-t", reference)
    return run("crane", "digest", reference).strip()


def read(url: str) -> bytes:
    # Without it a registry hides OCI manifests from us.
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json, */*"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=accept), timeout=10) as answer:
        return bytes(answer.read())


def every_blob_is_itself(registry: Registry, repository: str, digest: str) -> bool:
    raw = read(f"{registry.url}/v2/{repository}/manifests/{digest}")
    manifest = json.loads(raw)
    found = {digest: raw}
    for part in (manifest["config"], *manifest["layers"]):
        found[part["digest"]] = read(f"{registry.url}/v2/{repository}/blobs/{part['digest']}")
    return all(f"sha256:{hashlib.sha256(data).hexdigest()}" == name for name, data in found.items())


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    answer = error.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_an_image_goes_from_one_registry_to_the_other_and_back_out_by_digest(
    registry3: Registry, registry28: Registry, run: Run, tmp_path: Path
) -> None:
    digest = push(run, f"{registry3.host}/team/app:v1", layer(tmp_path))

    run(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{registry3.host}/team/app:v1",
        f"docker://{registry28.host}/copied/app:v1",
    )

    assert run("crane", "digest", f"{registry28.host}/copied/app:v1").strip() == digest
    assert every_blob_is_itself(registry28, "copied/app", digest)
    run("crane", "pull", f"{registry28.host}/copied/app@{digest}", tmp_path / "image.tar")
    assert (tmp_path / "image.tar").stat().st_size > 0


def test_oras_attaches_a_referrer_that_is_found_by_its_fallback_tag(
    registry3: Registry, run: Run, tmp_path: Path
) -> None:
    digest = push(run, f"{registry3.host}/team/app:v1", layer(tmp_path))
    (tmp_path / "sbom.json").write_text("{}")

    subject = f"{registry3.host}/team/app@{digest}"
    run("oras", "attach", "--plain-http", "--artifact-type", "test/sbom", subject, "sbom.json")

    tags = run("crane", "ls", f"{registry3.host}/team/app").split()
    assert digest.replace(":", "-") in tags


@pytest.mark.parametrize("version", ["3", "2.8"])
def test_garbage_collection_takes_what_no_tag_reaches(
    version: RegistryVersion, run: Run, tmp_path: Path
) -> None:
    with Registry(version, storage=tmp_path / "data", state=tmp_path) as registry:
        lost = push(run, f"{registry.host}/app:v1", layer(tmp_path, b"lost\n"))
        kept = push(run, f"{registry.host}/app:v1", layer(tmp_path, b"kept\n"))
        registry.stop()

        would = registry.garbage_collect(delete_untagged=True, dry_run=True)
        registry.start()
        assert every_blob_is_itself(registry, "app", lost)
        registry.stop()
        registry.garbage_collect(delete_untagged=True)
        registry.start()

        assert lost in would
        assert every_blob_is_itself(registry, "app", kept)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(f"{registry.url}/v2/app/manifests/{lost}")


@pytest.mark.parametrize("version", ["3", "2.8"])
def test_a_read_only_registry_refuses_a_push(
    version: RegistryVersion, run: Run, tmp_path: Path
) -> None:
    with Registry(version, storage=tmp_path / "data", state=tmp_path) as registry:
        digest = push(run, f"{registry.host}/app:v1", layer(tmp_path))
        registry.stop()
        registry.readonly = True
        registry.start()

        assert every_blob_is_itself(registry, "app", digest)
        with pytest.raises(AssertionError, match="405"):
            push(run, f"{registry.host}/app:v2", layer(tmp_path, b"other\n"))


@pytest.mark.parametrize("version", ["3", "2.8"])
def test_a_registry_on_an_object_store_serves_what_was_pushed(
    version: RegistryVersion, minio_server: MinIO, bucket: str, run: Run, tmp_path: Path
) -> None:
    storage = minio_server.bucket(bucket, "registry")
    with Registry(version, storage=storage, state=tmp_path) as registry:
        digest = push(run, f"{registry.host}/team/app:v1", layer(tmp_path))
        assert every_blob_is_itself(registry, "team/app", digest)

    algorithm, value = digest.split(":")
    key = f"registry/docker/registry/v2/blobs/{algorithm}/{value[:2]}/{value}/data"
    stored = minio_server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == value


def test_minio_refuses_bytes_that_do_not_match_their_checksum(
    minio_server: MinIO, bucket: str
) -> None:
    client = minio_server.client()
    wrong = base64.b64encode(hashlib.sha256(b"what was meant").digest()).decode()

    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=bucket, Key="blob", Body=b"what came", ChecksumSHA256=wrong)

    assert refusal(error)[0] == 400
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_minio_creates_a_key_only_once_when_told_so(minio_server: MinIO, bucket: str) -> None:
    client = minio_server.client()
    client.put_object(Bucket=bucket, Key="root", Body=b"first", IfNoneMatch="*")

    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=bucket, Key="root", Body=b"second", IfNoneMatch="*")

    assert refusal(error) == (412, "PreconditionFailed")
    assert client.get_object(Bucket=bucket, Key="root")["Body"].read() == b"first"


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken: dict[str, Any] = {"storage": {"filesystem": None, "no-such-driver": {}}}
    registry = Registry("3", storage=tmp_path / "data", state=tmp_path, settings=broken)

    with pytest.raises(ServerError, match="no-such-driver"):
        registry.start()


def test_a_server_that_dies_under_a_test_is_not_stopped_in_silence(tmp_path: Path) -> None:
    registry = Registry("3", storage=tmp_path / "data", state=tmp_path).start()
    os.kill(registry.pid, signal.SIGKILL)
    os.waitid(os.P_PID, registry.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(ServerError, match="died by itself"):
        registry.stop()
