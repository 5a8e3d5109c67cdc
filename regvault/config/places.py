"""What a name or a location on the command line means, with the settings that go with it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from regvault.config.secrets import parse_secret_ref
from regvault.errors import NotFoundError, UsageError
from regvault.model.location import Role, is_location, parse_location
from regvault.policy.rule321 import Declared
from regvault.vault.signing import parse_public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regvault.config.model import Config
    from regvault.config.secrets import SecretRef
    from regvault.model.location import Location
    from regvault.policy.retention import Retention

__all__ = [
    "RegistryPlace",
    "S3Settings",
    "VaultPlace",
    "endpoint_of",
    "overlap",
    "refuse_overlap",
    "resolve_registry",
    "resolve_vault",
]

_Place = TypeVar("_Place")

#: Where the key to sign with is, and the public keys that count, where no configuration says so.
SIGN_KEY = "REGVAULT_SIGN_KEY"
TRUSTED_KEYS = "REGVAULT_TRUSTED_KEYS"
#: Where the age identities are that open a sealed vault.
IDENTITY = "REGVAULT_IDENTITY"


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How S3 is reached; None is the provider's own chain (environment, profile, role).

    Attributes:
        endpoint_url: of a server other than AWS.
        region: to sign for.
        profile: of the AWS configuration.
        addressing_style: `path`, `virtual` or `auto`.
        access_key_id, secret_access_key, session_token: where the credentials are.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    addressing_style: str | None = None
    access_key_id: SecretRef | None = None
    secret_access_key: SecretRef | None = None
    session_token: SecretRef | None = None

    def credentials(self) -> tuple[str, str, str | None] | None:
        """Return access key id, secret access key and session token, where they are named.

        Raises:
            CredentialError: one of them is not where the configuration says.
        """
        if self.access_key_id is None or self.secret_access_key is None:
            return None
        token = self.session_token.read() if self.session_token else None
        return self.access_key_id.read(), self.secret_access_key.read(), token


@dataclass(frozen=True, slots=True)
class RegistryPlace:
    """A registry to read, or a place to restore into.

    Attributes:
        location: where it is; a path is absolute.
        name: in the configuration, and so its permanent name in a vault; None of a location.
        s3: how it is reached.
        repos: globs of the repositories to read; () means all.
        fail_on: `new` or `any` damage makes exit code 3.
        threads: that read; None: the default.
        retention: which of its snapshots are kept; None: as the vault has it.
        declared: what is said of it that no store can say.
        cold: name -> path on this host of its cold mounts, where it is not what they were bound at.
    """

    location: Location
    name: str | None = None
    s3: S3Settings = field(default_factory=S3Settings)
    repos: tuple[str, ...] = ()
    fail_on: str = "new"
    threads: int | None = None
    retention: Retention | None = None
    declared: Declared = field(default_factory=Declared)
    cold: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class VaultPlace:
    """A vault.

    Attributes:
        location: where it is; a path is absolute.
        name: in the configuration; None of a location.
        s3: how it is reached.
        storage_class: of what is written; None: the bucket's own default.
        limit_upload, limit_download: bytes per second; None: no limit.
        threads: that read and write; None: the default.
        retention: which snapshots of each registry are kept; None: nothing says so.
        sign_key: where the key is that signs what is written; None: nothing is signed.
        trusted_keys: public keys whose signatures count; (): everyone's.
        identity: where the age identities are that open what is sealed; None: nothing is opened.
        declared: what is said of it that no store can say.
        as_of_ns: read as it was then, nanoseconds since the epoch; None: as it is.
    """

    location: Location
    name: str | None = None
    s3: S3Settings = field(default_factory=S3Settings)
    storage_class: str | None = None
    limit_upload: int | None = None
    limit_download: int | None = None
    threads: int | None = None
    retention: Retention | None = None
    sign_key: SecretRef | None = None
    trusted_keys: tuple[str, ...] = ()
    identity: SecretRef | None = None
    declared: Declared = field(default_factory=Declared)
    as_of_ns: int | None = None


def resolve_vault(
    text: str | None, config: Config | None, *, endpoint_url: str | None = None
) -> VaultPlace:
    """Return the vault that a person means.

    A location that the configuration has too takes its settings from there.

    Args:
        text: a name or a location; None: the configuration's only vault.
        config: the configuration, if there is one.
        endpoint_url: given on the command line, instead of the configured one.

    Raises:
        UsageError: none is named, or the location is wrong.
        NotFoundError: the configuration has no such name.
    """
    known: Mapping[str, VaultPlace] = {} if config is None else config.vault_places
    if not text:
        if len(known) != 1:
            have = f"the configuration has {len(known)}: {', '.join(known)}" if known else ""
            raise UsageError(
                f"no vault is named{', and ' + have if have else ''}",
                hint="Name it by --vault VAULT or $REGVAULT_VAULT.",
            )
        found = next(iter(known.values()))
    elif is_location(text):
        location = parse_location(text, Role.VAULT).absolute(os.getcwd())
        same = [place for place in known.values() if place.location == location]
        found = same[0] if same else VaultPlace(location)
    else:
        found = _named(text, known, "vault", f"A vault in a directory is written ./{text}.")
    return _with_keys(replace(found, s3=_at(found.s3, endpoint_url)))


def _with_keys(place: VaultPlace) -> VaultPlace:
    """Take what the configuration does not say of keys from the environment.

    Raises:
        UsageError: it says something that is none.
    """
    trusted = place.trusted_keys
    sign_key = place.sign_key or _named_by(SIGN_KEY)
    identity = place.identity or _named_by(IDENTITY)
    if not trusted:
        trusted = _trusted_by(TRUSTED_KEYS)
    return replace(place, sign_key=sign_key, trusted_keys=trusted, identity=identity)


def _trusted_by(variable: str) -> tuple[str, ...]:
    """Return the public keys that a variable of the environment lists; () where it is not set.

    Raises:
        UsageError: one of them is none; or there is none, and whoever set it meant to trust some.
    """
    listed = os.environ.get(variable, "")
    parts = [part for part in re.split(r"[,\s]+", listed) if part]
    if listed and not parts:
        raise UsageError(
            f"${variable} is set, and names no public key",
            hint="ed25519:BASE64, with commas between several. Unset it to trust everybody.",
        )
    try:
        return tuple(str(parse_public_key(part)) for part in parts)
    except UsageError as error:
        raise UsageError(f"${variable}: {error.message}", hint=error.hint) from None


def _named_by(variable: str) -> SecretRef | None:
    """Return the reference that a variable of the environment holds; None where it is not set."""
    named = os.environ.get(variable)
    try:
        return parse_secret_ref(named) if named else None
    except ValueError as error:
        raise UsageError(f"${variable}: {error}", hint="file:/PATH or env:NAME") from None


def resolve_registry(
    text: str, config: Config | None, role: Role, *, endpoint_url: str | None = None
) -> RegistryPlace:
    """Return the registry that a person means, to read or to restore into.

    A location that the configuration has too takes its settings from there.

    Args:
        text: a name or a location.
        config: the configuration, if there is one.
        role: what it is for.
        endpoint_url: given on the command line, instead of the configured one.

    Raises:
        UsageError: the location is wrong, or does not fit the role.
        NotFoundError: the configuration has no such name.
    """
    known: Mapping[str, RegistryPlace] = {} if config is None else config.registry_places
    if is_location(text):
        location = parse_location(text, role).absolute(os.getcwd())
        same = [place for place in known.values() if place.location == location]
        found = same[0] if same else RegistryPlace(location)
    else:
        found = _named(text, known, "registry", f"A directory is written fs:./{text}.")
    return replace(found, s3=_at(found.s3, endpoint_url))


def refuse_overlap(one: RegistryPlace | VaultPlace, other: RegistryPlace | VaultPlace) -> None:
    """Refuse two places of which one lies inside the other.

    Symbolic links are followed. Buckets at endpoints that are written differently are taken for
    different ones.

    Raises:
        UsageError: they overlap.
    """
    if overlap(one, other):
        raise UsageError(
            f"{one.location} and {other.location} overlap",
            hint="A vault and a registry each need a place of their own, beside each other.",
        )


def overlap(one: RegistryPlace | VaultPlace, other: RegistryPlace | VaultPlace) -> bool:
    """Return whether one of two places lies inside the other, or both are the same."""
    if one.location.is_local and other.location.is_local:
        return _real(one.location).overlaps(_real(other.location))
    if endpoint_of(one.s3) != endpoint_of(other.s3):
        return False
    return one.location.overlaps(other.location)


def endpoint_of(settings: S3Settings) -> str:
    """Return the endpoint that the command line, a file or the environment names; else ""."""
    for url in (
        settings.endpoint_url,
        os.environ.get("AWS_ENDPOINT_URL_S3"),
        os.environ.get("AWS_ENDPOINT_URL"),
    ):
        if url:
            return url.rstrip("/").lower()
    return ""


def _real(location: Location) -> Location:
    return replace(location, path=os.path.realpath(location.path))


def _named(text: str, known: Mapping[str, _Place], what: str, instead: str) -> _Place:
    try:
        return known[text]
    except KeyError:
        close = get_close_matches(text, known, n=1)
        names = f"The configuration has: {', '.join(known)}." if known else ""
        hint = f"Did you mean {close[0]}?" if close else names
        raise NotFoundError(
            f"the configuration has no {what} {text!r}", hint=f"{hint} {instead}".strip()
        ) from None


def _at(settings: S3Settings, endpoint_url: str | None) -> S3Settings:
    return settings if endpoint_url is None else replace(settings, endpoint_url=endpoint_url)
