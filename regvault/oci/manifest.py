"""Read a manifest's raw bytes. Nothing here writes one: its digest is over the bytes it came as."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.oci import media
from regvault.oci.grammar import is_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_DEPTH",
    "MAX_MANIFEST_SIZE",
    "Descriptor",
    "InvalidManifestError",
    "Manifest",
    "load_json_object",
    "parse_manifest",
]

MAX_MANIFEST_SIZE = 4 * 1024 * 1024
"""Bytes; registries refuse larger ones (OCI distribution specification 1.1)."""

MAX_DEPTH = 100
"""Levels of JSON. Real manifests have fewer than ten."""

_MAX_SIZE = 2**63 - 1
_MAX_MEDIA_TYPE = 255


class InvalidManifestError(ValueError):
    """These bytes are no manifest that can be walked."""


class Descriptor(NamedTuple):
    """What a manifest says of something that it needs.

    Attributes:
        media_type: as stated, or "" where it is not (schema 1).
        digest: a digest of a known algorithm.
        size: bytes, or -1 where it is not stated (schema 1).
        foreign: its bytes may be elsewhere (`urls`, or a type of layer that is not distributed),
            so that its absence from a registry is normal. The URLs are not kept: never fetch them
            (CVE-2020-15157).
    """

    media_type: str
    digest: str
    size: int
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, parsed.

    Attributes:
        media_type: one of `media.MANIFESTS`, determined from the body.
        size: bytes of the body.
        children: what an index lists. Most are manifests, but an index may list blobs too: a child
            whose type is in `media.MANIFESTS`, or that has a revision link, is a manifest.
        config: the config of an image.
        layers: the layers of an image, or the blobs of an artifact, in their order.
        subject: the manifest that this one refers to (a signature, an SBOM), or None. It need not
            exist, and is no part of what a pull needs.
        artifact_type: `artifactType`, or "".
    """

    media_type: str
    size: int
    children: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """All that a pull of this manifest gets from `blobs/`: the config, then the layers."""
        return self.layers if self.config is None else (self.config, *self.layers)

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.media_type in media.INDEXES


def parse_manifest(data: bytes, *, media_type: str = "") -> Manifest:
    """Parse the raw bytes of a manifest.

    The type comes from the body (`mediaType`, else the shape), as in a registry.

    Args:
        data: all bytes.
        media_type: the type that a server or a descriptor claims. It decides only where the body
            leaves it open (OCI bodies may have no `mediaType`), and must not contradict the body.

    Raises:
        InvalidManifestError: not a manifest, or one that two readers could take for two things
            (CVE-2021-41190: `manifests` together with `layers` or `config`).
    """
    body = load_json_object(data)
    kind = _media_type(body)
    if media_type in media.MANIFESTS and media_type != kind:
        both_schema1 = media_type in media.SCHEMA1 and kind in media.SCHEMA1
        if not both_schema1:
            raise InvalidManifestError(f"its body is {kind}, not {media_type}")
    if kind in media.SCHEMA1:
        return Manifest(kind, len(data), layers=_schema1_layers(body))
    artifact_type = body.get("artifactType")
    subject = body.get("subject")
    common: dict[str, Any] = {
        "subject": None if subject is None else _descriptor(subject, "subject"),
        "artifact_type": artifact_type if isinstance(artifact_type, str) else "",
    }
    if kind in media.INDEXES:
        return Manifest(kind, len(data), children=_descriptors(body, "manifests"), **common)
    if kind == media.OCI_ARTIFACT:
        return Manifest(kind, len(data), layers=_descriptors(body, "blobs"), **common)
    return Manifest(
        kind,
        len(data),
        config=_descriptor(body.get("config"), "config"),
        layers=_descriptors(body, "layers"),
        **common,
    )


def load_json_object(data: bytes, *, digits: int = 20, finite: bool = False) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no duplicate keys, no NaN, bounded depth and integers.

    Args:
        data: all bytes.
        digits: an integer of more is taken for infinite.
        finite: refuse infinite numbers.

    Raises:
        InvalidManifestError: it is anything else, or larger than a manifest may be.
    """
    if len(data) > MAX_MANIFEST_SIZE:
        raise InvalidManifestError(f"{len(data)} bytes, more than a manifest may have (4 MiB)")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidManifestError("not UTF-8") from error
    _check_depth(text)
    try:
        body = _decoder(digits, finite).decode(text)
    except InvalidManifestError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidManifestError(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidManifestError("not a JSON object")
    return body


@cache
def _decoder(digits: int, finite: bool) -> json.JSONDecoder:
    number = _finite if finite else float
    return json.JSONDecoder(
        object_pairs_hook=_no_duplicates,
        parse_constant=_refuse,
        parse_float=number,
        # Python refuses to parse thousands of digits, and takes a second for a million.
        parse_int=lambda each: int(each) if len(each) <= digits else number("inf"),
    )


#: A string, closed or not, or a bracket outside of strings.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{}\]]', re.DOTALL)


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser's own recursion meets it."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for found in _TOKEN.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidManifestError(f"nested deeper than {MAX_DEPTH} levels")
        elif found[0] in "]}":
            depth -= 1


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidManifestError("an object names a key twice")
    return found


def _finite(number: str) -> float:
    found = float(number)
    if math.isinf(found):
        raise InvalidManifestError("a number is infinite")
    return found


def _refuse(constant: str) -> Any:
    raise InvalidManifestError(f"{constant} is not JSON")


_IMAGE_LIKE = {media.OCI_IMAGE: "layers", media.DOCKER_IMAGE: "layers"}


def _media_type(body: dict[str, Any]) -> str:
    """Return the type that a registry would determine.

    Source: distribution's `manifest/ocischema`, `manifest/schema2`, `manifest/manifestlist` and
    their `validateManifest` / `validateIndex`.
    """
    if body.get("schemaVersion") == 1:
        if "manifests" in body or "layers" in body:
            raise InvalidManifestError("schema 1 together with schema 2")
        return media.DOCKER_SCHEMA1_SIGNED if "signatures" in body else media.DOCKER_SCHEMA1
    stated = body.get("mediaType", "")
    if not isinstance(stated, str):
        raise InvalidManifestError("mediaType is not a string")
    if "manifests" in body and ("layers" in body or "config" in body):
        raise InvalidManifestError(
            "both an index and an image: it has `manifests` and `layers` or `config`"
        )
    if "fsLayers" in body:
        raise InvalidManifestError("schema 2 together with schema 1 (`fsLayers`)")
    if stated == media.OCI_ARTIFACT:
        return _checked(stated, wrong=("manifests", "layers", "config"), body=body)
    if body.get("schemaVersion") != 2:
        raise InvalidManifestError("neither schema version 1 nor 2")
    if stated in media.INDEXES or (not stated and "manifests" in body):
        return _checked(stated or media.OCI_INDEX, wrong=("layers", "config"), body=body)
    if stated in _IMAGE_LIKE or (not stated and "config" in body):
        return _checked(stated or media.OCI_IMAGE, wrong=("manifests",), body=body)
    if stated:
        raise InvalidManifestError(f"no manifest: its mediaType is {stated[:_MAX_MEDIA_TYPE]!r}")
    raise InvalidManifestError("neither `manifests` nor `config`")


def _checked(kind: str, *, wrong: Iterable[str], body: dict[str, Any]) -> str:
    for key in wrong:
        if key in body:
            raise InvalidManifestError(f"{kind} with `{key}`")
    return kind


def _descriptors(body: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    listed = body.get(key)
    # Go writes an empty list as null.
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise InvalidManifestError(f"`{key}` is not a list")
    return tuple(_descriptor(item, key) for item in listed)


def _descriptor(item: Any, where: str) -> Descriptor:
    if not isinstance(item, dict):
        raise InvalidManifestError(f"`{where}` has something that is no descriptor")
    media_type, digest, size = item.get("mediaType", ""), item.get("digest"), item.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise InvalidManifestError(f"`{where}` has no valid digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise InvalidManifestError(f"`{where}` states no valid size for {digest}")
    if not isinstance(media_type, str) or len(media_type) > _MAX_MEDIA_TYPE:
        raise InvalidManifestError(f"`{where}` states no valid media type for {digest}")
    foreign = bool(item.get("urls")) or media.is_foreign_layer(media_type)
    return Descriptor(media_type, digest, size, foreign)


def _schema1_layers(body: dict[str, Any]) -> tuple[Descriptor, ...]:
    """Return the layers of a schema 1 manifest, newest first as it lists them.

    It states neither sizes nor types, and its config is in itself (`history`).
    """
    listed = body.get("fsLayers")
    if not isinstance(listed, list):
        raise InvalidManifestError("schema 1 without `fsLayers`")
    layers = []
    for item in listed:
        digest = item.get("blobSum") if isinstance(item, dict) else None
        if not isinstance(digest, str) or not is_digest(digest):
            raise InvalidManifestError("`fsLayers` has no valid digest")
        layers.append(Descriptor("", digest, -1))
    return tuple(layers)
