"""What a request of the registry asked for: a wrong reading counts pulls that were none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.audit.formats.uri import Call, blob_of_key, read
from regvault.model.event import ACTIONS
from regvault.oci.grammar import is_digest, is_repository, is_tag

HEX = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
BLOB = f"sha256:{HEX}"
UPLOAD = "2cea2c96-cf3b-4916-add4-8446a1aa0804"


@pytest.mark.parametrize(
    ("method", "uri", "status", "expected"),
    [
        ("GET", "/v2/", 200, Call("login")),
        ("HEAD", "/v2", 401, Call("login")),
        ("GET", "/v2/_catalog?n=100", 200, Call("list")),
        ("GET", "/v2/team/app/tags/list?n=10", 200, Call("list", None, "team/app")),
        ("GET", f"/v2/a/referrers/{BLOB}", 404, Call("list", None, "a", None, BLOB)),
        ("GET", "/v2/team/app/manifests/v1", 200, Call("pull", "manifest", "team/app", "v1")),
        ("HEAD", f"/v2/a/manifests/{BLOB}", 200, Call("pull", "manifest", "a", None, BLOB)),
        ("PUT", "/v2/a/manifests/v1", 201, Call("push", "manifest", "a", "v1")),
        ("DELETE", f"/v2/a/manifests/{BLOB}", 202, Call("delete", "manifest", "a", None, BLOB)),
        ("PATCH", "/v2/a/manifests/v1", 405, Call("other", "manifest", "a", "v1")),
        ("GET", f"/v2/a/blobs/{BLOB}", 307, Call("pull", "blob", "a", None, BLOB)),
        ("DELETE", f"/v2/a/blobs/{BLOB}", 202, Call("delete", "blob", "a", None, BLOB)),
        ("POST", "/v2/a/blobs/uploads/", 202, Call("upload", "blob", "a")),
        ("PATCH", f"/v2/a/blobs/uploads/{UPLOAD}?_state=x", 202, Call("upload", "blob", "a")),
        (
            "PUT",
            f"/v2/a/blobs/uploads/{UPLOAD}?_state=x&digest={BLOB.replace(':', '%3A')}",
            201,
            Call("push", "blob", "a", None, BLOB),
        ),
        (
            "POST",
            f"/v2/a/blobs/uploads/?mount={BLOB}&from=team%2Fapp",
            201,
            Call("mount", "blob", "a", None, BLOB, "team/app"),
        ),
        # Not to be mounted, so the registry began an upload instead.
        ("POST", f"/v2/a/blobs/uploads/?mount={BLOB}&from=b", 202, Call("upload", "blob", "a")),
        (
            "POST",
            f"/v2/a/blobs/uploads/?digest={BLOB}",
            201,
            Call("push", "blob", "a", None, BLOB),
        ),
        # Names that are words of the API.
        ("GET", "/v2/v2/manifests/v1", 200, Call("pull", "manifest", "v2", "v1")),
        (
            "GET",
            "/v2/blobs/uploads/manifests/v1",
            200,
            Call("pull", "manifest", "blobs/uploads", "v1"),
        ),
        ("GET", "/v2/a/manifests/token", 200, Call("pull", "manifest", "a", "token")),
        # Encoded, below a prefix, and whole URLs.
        (
            "GET",
            f"/v2/team%2Fapp/blobs/sha256%3A{HEX}",
            200,
            Call("pull", "blob", "team/app", None, BLOB),
        ),
        ("GET", "/registry/v2/a/manifests/v1", 200, Call("pull", "manifest", "a", "v1")),
        ("GET", "https://reg.example/v2/a/manifests/v1", 200, Call("pull", "manifest", "a", "v1")),
        # Tokens: of Harbor, docker_auth, GitLab.
        (
            "GET",
            "/service/token?scope=repository%3Alibrary%2Fapp%3Apull%2Cpush&service=harbor-registry",
            200,
            Call("login", None, "library/app"),
        ),
        ("GET", "/auth?scope=repository:a/b:pull&service=r", 200, Call("login", None, "a/b")),
        ("GET", "/jwt/auth?service=container_registry", 401, Call("login")),
        ("GET", "/v2/token?service=r&scope=repository:a:pull", 200, Call("login", None, "a")),
        ("POST", "/token", 200, Call("login")),
        ("GET", "/auth", 200, None),
        # What no registry could have is left out; what was done is still known.
        ("GET", "/v2/Team/app/manifests/v1", 404, Call("pull", "manifest", None, "v1")),
        ("GET", "/v2/team//app/manifests/v1", 404, Call("pull", "manifest", None, "v1")),
        ("GET", "/v2/a/manifests/%2e%2e", 404, Call("pull", "manifest", "a")),
        ("GET", "/v2/../etc/blobs/sha256:00", 404, Call("pull", "blob")),
        ("GET", f"/v2/{'a' * 256}/manifests/v1", 404, Call("pull", "manifest", None, "v1")),
        ("GET", "/v2/a/manifests/sha256:abc", 400, Call("pull", "manifest", "a")),
        ("GET", "/v2/_oci/ext/discover", 404, Call("other")),
        ("GET", "/api/v2/users", 200, None),
        ("GET", "/healthz", 200, None),
        ("GET", "*", 400, None),
        # A download that a CDN served from the registry's storage.
        (
            "GET",
            f"/docker/registry/v2/blobs/sha256/2c/{HEX}/data",
            200,
            Call("pull", "blob", None, None, BLOB),
        ),
        ("GET", f"/docker/registry/v2/blobs/sha256/ff/{HEX}/data", 404, None),
        ("PUT", f"/x/docker/registry/v2/blobs/sha256/2c/{HEX}/data", 200, None),
    ],
)  # fmt: skip
def test_a_request_is_read_as_the_api_means_it(
    method: str, uri: str, status: int, expected: Call | None
) -> None:
    assert read(method, uri, status) == expected


PIECES = st.sampled_from(
    ["/v2/", "v2", "/", "team", "app", "manifests", "blobs", "uploads", "tags", "list", "referrers",
     BLOB, "%2F", "%", "%zz", "..", "Ä", "\x00", "?", "&", "digest=", "mount=", "from=", "scope=",
     "repository:", ":pull", "token", "/service/token", "data", "docker/registry/v2/blobs/sha256/"]
)  # fmt: skip


@given(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "X", ""]),
    st.one_of(
        st.text(), st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=12).map("".join)
    ),
    st.sampled_from([None, 200, 201, 404]),
)
def test_nothing_comes_out_that_is_no_name(method: str, uri: str, status: int | None) -> None:
    call = read(method, uri, status)
    if call is not None:
        assert call.action in ACTIONS
        assert call.kind in {None, "manifest", "blob"}
        assert call.repository is None or is_repository(call.repository)
        assert call.from_repository is None or is_repository(call.from_repository)
        assert call.tag is None or is_tag(call.tag)
        assert call.digest is None or is_digest(call.digest)


def test_a_key_is_of_a_blob_only_where_its_shard_fits() -> None:
    assert blob_of_key(f"x/docker/registry/v2/blobs/sha256/2c/{HEX}/data") == BLOB
    assert blob_of_key(f"docker/registry/v2/blobs/sha256/2d/{HEX}/data") is None
    assert blob_of_key(f"docker/registry/v2/blobs/sha512/2c/{HEX}/data") is None
    assert blob_of_key(f"docker/registry/v2/blobs/sha256/2c/{HEX}/data\n") is None
    assert blob_of_key(f"docker/registry/v2/blobs/sha256/2c/{HEX}x/data") is None
