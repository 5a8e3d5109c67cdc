from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.oci import media
from regvault.oci.manifest import (
    MAX_MANIFEST_SIZE,
    Descriptor,
    InvalidManifestError,
    load_json_object,
    parse_manifest,
)

D = [f"sha256:{n:064x}" for n in range(10)]
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": D[0], "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": D[1], "size": 3}
CHILD = {"mediaType": media.OCI_IMAGE, "digest": D[2], "size": 4}
IMAGE = {"schemaVersion": 2, "mediaType": media.OCI_IMAGE, "config": CONFIG, "layers": [LAYER]}
INDEX = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [CHILD]}
SCHEMA1 = {
    "schemaVersion": 1,
    "name": "a",
    "tag": "b",
    "fsLayers": [{"blobSum": D[1]}, {"blobSum": D[1]}, {"blobSum": D[3]}],
    "history": [{"v1Compatibility": "{}"}],
}


def parse(body, **words):
    return parse_manifest(json.dumps(body).encode(), **words)


def without(body, *keys):
    return {key: value for key, value in body.items() if key not in keys}


@pytest.mark.parametrize("stated", [media.OCI_IMAGE, media.DOCKER_IMAGE, None])
def test_an_image_needs_its_config_and_its_layers(stated):
    body = without(IMAGE, "mediaType") | ({"mediaType": stated} if stated else {})
    manifest = parse(body)
    assert manifest.media_type == (stated or media.OCI_IMAGE)
    assert manifest.config == Descriptor(CONFIG["mediaType"], D[0], 2)
    assert [each.digest for each in manifest.blobs] == [D[0], D[1]]
    assert manifest.children == ()
    assert not manifest.is_index


@pytest.mark.parametrize("stated", [media.OCI_INDEX, media.DOCKER_INDEX, None])
def test_an_index_needs_its_children(stated):
    body = without(INDEX, "mediaType") | ({"mediaType": stated} if stated else {})
    manifest = parse(body)
    assert manifest.media_type == (stated or media.OCI_INDEX)
    assert manifest.children == (Descriptor(media.OCI_IMAGE, D[2], 4),)
    assert manifest.is_index
    assert manifest.blobs == ()


@pytest.mark.parametrize("key", ["manifests", "layers"])
def test_an_empty_list_as_go_writes_it(key):
    body = {**(INDEX if key == "manifests" else IMAGE), key: None}
    assert parse(body).children + parse(body).layers == ()


def test_schema_1_names_its_layers_only():
    assert parse(SCHEMA1).media_type == media.DOCKER_SCHEMA1
    assert parse({**SCHEMA1, "signatures": []}).media_type == media.DOCKER_SCHEMA1_SIGNED
    assert [each.digest for each in parse(SCHEMA1).layers] == [D[1], D[1], D[3]]
    assert all(each.size == -1 for each in parse(SCHEMA1).layers)


def test_an_artifact_of_the_release_candidates():
    body = {
        "mediaType": media.OCI_ARTIFACT,
        "artifactType": "text/x",
        "blobs": [LAYER],
        "subject": CHILD,
    }
    manifest = parse(body)
    assert manifest.media_type == media.OCI_ARTIFACT
    assert [each.digest for each in manifest.blobs] == [D[1]]
    assert manifest.subject == Descriptor(media.OCI_IMAGE, D[2], 4)
    assert manifest.artifact_type == "text/x"


@pytest.mark.parametrize("body", [IMAGE, INDEX])
def test_a_subject_is_seen_and_is_no_blob(body):
    manifest = parse({**body, "subject": {**CHILD, "digest": D[7]}, "artifactType": "x/y"})
    assert manifest.subject is not None
    assert manifest.subject.digest == D[7]
    assert D[7] not in {each.digest for each in manifest.blobs + manifest.children}
    assert manifest.artifact_type == "x/y"


@pytest.mark.parametrize(
    "change",
    [
        {"urls": ["https://example.com/layer"]},
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"},
    ],
)
def test_the_absence_of_a_foreign_layer_is_known_to_be_normal(change):
    manifest = parse({**IMAGE, "layers": [{**LAYER, **change}, LAYER]})
    assert [each.foreign for each in manifest.layers] == [True, False]


AMBIGUOUS = [
    {**IMAGE, "manifests": []},
    {**INDEX, "layers": []},
    {**INDEX, "config": CONFIG},
    {**IMAGE, "manifests": None},
    {**SCHEMA1, "layers": []},
    {**IMAGE, "fsLayers": []},
    {"schemaVersion": 2, "mediaType": media.OCI_ARTIFACT, "layers": [], "blobs": []},
    {**IMAGE, "mediaType": media.OCI_INDEX},
    {**INDEX, "mediaType": media.OCI_IMAGE},
]


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_what_two_readers_could_take_for_two_things_is_refused(body):
    with pytest.raises(InvalidManifestError):
        parse(body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schemaVersion": 2},
        {"schemaVersion": 3, "config": CONFIG},
        {**IMAGE, "mediaType": "text/plain"},
        {**IMAGE, "mediaType": 7},
        {**IMAGE, "config": None},
        {**IMAGE, "layers": {}},
        {**IMAGE, "layers": ["x"]},
        {**IMAGE, "layers": [{**LAYER, "digest": "sha256:../../x"}]},
        {**IMAGE, "layers": [{**LAYER, "digest": None}]},
        {**IMAGE, "layers": [{**LAYER, "size": -1}]},
        {**IMAGE, "layers": [{**LAYER, "size": True}]},
        {**IMAGE, "layers": [{**LAYER, "size": 1.5}]},
        {**IMAGE, "layers": [{**LAYER, "size": 10**40}]},
        {**IMAGE, "layers": [{**LAYER, "mediaType": "x" * 300}]},
        {**INDEX, "subject": "x"},
        {**SCHEMA1, "fsLayers": None},
        {**SCHEMA1, "fsLayers": [{"blobSum": 1}]},
    ],
)
def test_what_cannot_be_walked_is_refused(body):
    with pytest.raises(InvalidManifestError):
        parse(body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"x": {"a": 1, "a": 2}}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 1_000_000,
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a": 1}' + b" " * MAX_MANIFEST_SIZE,
        b'{"a": 1} x',
    ],
)
def test_hostile_json_is_refused_and_stops_nothing(data):
    with pytest.raises(InvalidManifestError):
        load_json_object(data)


def test_a_number_of_a_million_digits_costs_nothing():
    assert load_json_object(b'{"a": ' + b"9" * 1_000_000 + b"}") == {"a": float("inf")}


def test_brackets_in_strings_are_not_depth():
    assert load_json_object(json.dumps({"a": '[{"\\' * 500}).encode()) == {"a": '[{"\\' * 500}


@pytest.mark.parametrize(
    ("claimed", "fits"),
    [(media.OCI_IMAGE, True), (media.DOCKER_IMAGE, False), (media.OCI_INDEX, False), ("a/b", True)],
)
def test_a_claimed_type_must_not_contradict_the_body(claimed, fits):
    if fits:
        assert parse(IMAGE, media_type=claimed).media_type == media.OCI_IMAGE
    else:
        with pytest.raises(InvalidManifestError):
            parse(IMAGE, media_type=claimed)


SHAPES = ["config", "layers", "manifests", "fsLayers", "blobs", "signatures", "subject"]
FIELDS = ["mediaType", "schemaVersion", "digest", "size", "urls"]
KEYS = st.text(max_size=3) | st.sampled_from(SHAPES) | st.sampled_from(FIELDS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


@given(JSON, st.sampled_from([{}, IMAGE, INDEX, SCHEMA1]))
def test_any_json_is_a_manifest_or_an_invalid_one(noise, body):
    data = json.dumps({**body, **noise} if isinstance(noise, dict) else noise).encode()
    try:
        manifest = parse_manifest(data)
    except InvalidManifestError:
        return
    assert manifest.media_type in media.MANIFESTS
    assert manifest.size == len(data)
    assert not (manifest.children and manifest.blobs)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_an_invalid_one(data):
    with pytest.raises(InvalidManifestError):
        parse_manifest(data)
