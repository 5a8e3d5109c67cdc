"""Media types of manifests, and what of them matters to a backup."""

from __future__ import annotations

__all__ = [
    "DOCKER_IMAGE",
    "DOCKER_INDEX",
    "DOCKER_SCHEMA1",
    "DOCKER_SCHEMA1_SIGNED",
    "INDEXES",
    "MANIFESTS",
    "OCI_ARTIFACT",
    "OCI_IMAGE",
    "OCI_INDEX",
    "SCHEMA1",
    "is_foreign_layer",
]

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
# Of release candidates of OCI 1.1 only, but registries still hold some.
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
"""What lists manifests."""

SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})

MANIFESTS = frozenset({OCI_IMAGE, OCI_ARTIFACT, DOCKER_IMAGE}) | INDEXES | SCHEMA1
"""All that a registry may store as a manifest."""

_FOREIGN_LAYERS = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)


def is_foreign_layer(media_type: str) -> bool:
    """Return whether layers of this type are normally not pushed to registries."""
    return media_type.startswith(_FOREIGN_LAYERS)
