from __future__ import annotations

import base64
import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.errors import DigestMismatchError
from regvault.oci.grammar import InvalidNameError
from regvault.oci.verify import (
    VerifyingReader,
    digest_of,
    matches,
    matches_manifest,
    schema1_payload,
)

ALGORITHMS = st.sampled_from(["sha256", "sha384", "sha512"])


def sign(payload: bytes, times: int = 1) -> bytes:
    """Sign as libtrust does: the signatures go before the payload's closing brace."""
    length = payload.rindex(b"\n}")
    tail = payload[length:]

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    header = json.dumps({"formatLength": length, "formatTail": encode(tail), "time": "now"})
    signature = {"header": {"alg": "ES256"}, "signature": "x", "protected": encode(header.encode())}
    signatures = json.dumps([signature] * times, indent=3)
    return payload[:length] + b',\n   "signatures": ' + signatures.encode() + b"\n}"


PAYLOAD = json.dumps({"schemaVersion": 1, "name": "a", "fsLayers": []}, indent=3).encode()


@given(st.binary(max_size=5000), ALGORITHMS, st.integers(1, 700), st.booleans())
def test_what_passes_whole_is_what_went_in_and_is_proven(data, algorithm, step, into):
    digest = digest_of(data, algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    reader = VerifyingReader(io.BytesIO(data), digest, len(data))
    got = bytearray()
    buffer = bytearray(step)
    if into:
        while count := reader.readinto(buffer):
            got += buffer[:count]
    else:
        while part := reader.read(step):
            got += part
    assert got == data
    assert reader.proven
    assert reader.count == len(data)


@given(st.binary(min_size=1, max_size=3000), ALGORITHMS, st.data())
def test_one_wrong_bit_never_passes(data, algorithm, draw):
    place = draw.draw(st.integers(0, len(data) * 8 - 1))
    wrong = bytearray(data)
    wrong[place // 8] ^= 1 << place % 8
    reader = VerifyingReader(io.BytesIO(bytes(wrong)), digest_of(data, algorithm))
    with pytest.raises(DigestMismatchError):
        reader.read()
    assert not reader.proven


@pytest.mark.parametrize("size", [2, 4])
def test_a_wrong_size_never_passes(size):
    with (
        pytest.raises(DigestMismatchError),
        VerifyingReader(io.BytesIO(b"abc"), digest_of(b"abc"), size) as reader,
    ):
        reader.read()


def test_what_was_not_read_to_its_end_is_not_proven():
    reader = VerifyingReader(io.BytesIO(b"abc"), digest_of(b"abc"))
    reader.read(3)
    reader.read(0)
    assert not reader.proven
    assert reader.read(3) == b""
    assert reader.proven


def test_closing_it_closes_what_is_below():
    below = io.BytesIO(b"")
    VerifyingReader(below, digest_of(b"")).close()
    assert below.closed


def test_no_digest_no_reader():
    with pytest.raises(InvalidNameError):
        VerifyingReader(io.BytesIO(b""), "md5:x")
    with pytest.raises(InvalidNameError):
        matches(b"", "sha256:x")


@pytest.mark.parametrize("times", [1, 2])
def test_a_signed_schema_1_manifest_is_right_by_its_payload(times):
    signed = sign(PAYLOAD, times)
    json.loads(signed)
    assert schema1_payload(signed) == PAYLOAD
    assert not matches(signed, digest_of(PAYLOAD))
    assert matches_manifest(signed, digest_of(PAYLOAD))
    assert matches_manifest(PAYLOAD, digest_of(PAYLOAD))
    assert matches_manifest(signed, digest_of(signed))
    assert not matches_manifest(signed, digest_of(b"other"))


def with_header(header: object) -> bytes:
    protected = base64.urlsafe_b64encode(json.dumps(header).encode()).decode()
    return json.dumps({"signatures": [{"protected": protected}]}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"signatures": []}',
        b'{"signatures": {}}',
        b'{"signatures": [1]}',
        b'{"signatures": [{"protected": "\xc3\xa9"}]}',
        b'{"signatures": [{"protected": "x"}]}',
        with_header({}),
        with_header({"formatLength": -1, "formatTail": ""}),
        with_header({"formatLength": 10**9, "formatTail": ""}),
        with_header({"formatLength": True, "formatTail": ""}),
        with_header({"formatLength": 1, "formatTail": 1}),
        with_header([]),
    ],
)
def test_hostile_signatures_have_no_payload(data):
    assert schema1_payload(data) is None
    assert not matches_manifest(data, digest_of(b"x"))


def test_signatures_that_disagree_have_no_payload():
    one, two = (json.loads(with_header({"formatLength": n, "formatTail": "fQ"})) for n in (1, 2))
    both = {"signatures": one["signatures"] + two["signatures"]}
    assert schema1_payload(json.dumps(both).encode()) is None
