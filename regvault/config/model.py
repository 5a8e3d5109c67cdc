"""What a configuration may hold. `regvault config schema` prints this as JSON Schema."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, tzinfo
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema

from regvault.config.audit import Audit
from regvault.config.places import RegistryPlace, S3Settings, VaultPlace
from regvault.config.rules import Check, RetentionRules, Settings, Span, text_of, wrong
from regvault.config.tier import Tier
from regvault.config.units import parse_rate
from regvault.config.values import Glob, Secret, schema
from regvault.errors import UsageError
from regvault.model.location import Location, Role, endpoint_problem, parse_location
from regvault.policy.rule321 import Declared, Rule
from regvault.vault.keys import REGISTRY_NAME
from regvault.vault.signing import parse_public_key

__all__ = ["Check", "Config", "Registry", "Vault"]


def _location(value: Any, role: Role) -> Location:
    try:
        return parse_location(text_of(value), role)
    except UsageError as error:
        raise wrong(error.message, error.hint) from None


def _source(value: Any) -> Location:
    return _location(value, Role.SOURCE)


def _vault(value: Any) -> Location:
    return _location(value, Role.VAULT)


def _rate(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise wrong("a rate is expected here", "One is written 10MiB: bytes per second.")
    try:
        return parse_rate(str(value))
    except ValueError as error:
        raise wrong(str(error)) from None


def _url(value: Any) -> str:
    text = text_of(value)
    problem = endpoint_problem(text)
    if problem is not None:
        raise wrong(*problem)
    return text


def _name(value: str) -> str:
    if not REGISTRY_NAME.fullmatch(value):
        raise wrong(
            f"{value!r} is no name",
            "Use 1 to 64 of a-z, 0-9, '.', '_' and '-', with a letter or digit at both ends.",
        )
    return value


def _timezone(value: Any) -> str:
    text = text_of(value)
    try:
        _zone(text)
    except (OSError, ValueError):
        raise wrong(
            f"{text!r} is no timezone that this machine knows",
            "One is written UTC or Europe/Berlin. Is tzdata installed?",
        ) from None
    return text


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except KeyError as error:  # ZoneInfoNotFoundError
        raise ValueError(str(error)) from None


_Name = Annotated[str, Field(pattern=f"^{REGISTRY_NAME.pattern}$"), BeforeValidator(_name)]
_Source = Annotated[
    Location,
    BeforeValidator(_source),
    schema("^(fs:|s3://).+", "fs:/var/lib/registry", "s3://bucket/prefix"),
]
_VaultAt = Annotated[
    Location,
    BeforeValidator(_vault),
    schema("^(/|\\./|\\.\\./|file:|s3://).+", "/backup/vault", "s3://bucket/prefix"),
]
_Rate = Annotated[
    int,
    BeforeValidator(_rate),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["10MiB", "1.5GiB"]}),
]


def _public_key(value: Any) -> str:
    try:
        return str(parse_public_key(value if isinstance(value, str) else ""))
    except UsageError as error:
        raise wrong(error.message, error.hint) from None


_PublicKey = Annotated[
    str,
    BeforeValidator(_public_key),
    schema("^ed25519:[A-Za-z0-9+/]{43}=$", "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
]
_Url = Annotated[str, BeforeValidator(_url), schema("^https?://[^@]+$", "https://s3.example.com")]
_Zone = Annotated[str, BeforeValidator(_timezone)]
_Threads = Annotated[int, Field(ge=1, le=256)]


#: A word that is shown and compared, and means nothing to regvault.
_WORD = r"^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,63}$"


class _Place(Settings):
    endpoint_url: _Url | None = Field(
        None, description="The S3 endpoint, where it is not AWS: http://minio.example.com:9000."
    )
    region: str | None = Field(None, min_length=1, description="The region of the bucket.")
    profile: str | None = Field(
        None, min_length=1, description="The profile of the AWS configuration to take."
    )
    addressing_style: Literal["auto", "path", "virtual"] | None = Field(
        None, description="How the bucket is put into URLs; found out where it is left out."
    )
    access_key_id: Secret | None = Field(
        None, description="Where the access key id is: file:/PATH or env:NAME."
    )
    secret_access_key: Secret | None = Field(
        None, description="Where the secret access key is: file:/PATH or env:NAME."
    )
    session_token: Secret | None = Field(
        None, description="Where the session token is, if one is needed: file:/PATH or env:NAME."
    )

    domain: str | None = Field(
        None,
        pattern=_WORD,
        description="The failure domain that it is in, for `regvault check`: what is lost together "
        "has the same. Else what can be seen: the disk, the file server, the endpoint.",
    )
    offsite: bool | None = Field(
        None, description="It is at another site than the registry, for `regvault check`."
    )
    medium: str | None = Field(
        None, pattern=_WORD, description="What it is stored on: disk, object, tape."
    )
    offline: bool | None = Field(
        None,
        description="It is detached except while it is written or checked, for `regvault check`.",
    )

    def declared(self) -> Declared:
        """Return what no store can say of it."""
        return Declared(self.domain, self.offsite, self.medium, self.offline)

    def s3(self) -> S3Settings:
        """Return how S3 is reached."""
        return S3Settings(
            endpoint_url=self.endpoint_url,
            region=self.region,
            profile=self.profile,
            addressing_style=self.addressing_style,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            session_token=self.session_token,
        )


class Registry(_Place):
    """A registry to back up."""

    location: _Source = Field(
        description="Its storage: the root directory of its driver (the one that holds docker/) "
        "as fs:/PATH, or s3://BUCKET/PREFIX. A relative path counts from this file."
    )
    repos: list[Glob] = Field(
        [],
        description="Globs of the repositories to read; all where none is given. "
        "The others are inherited from the snapshot before.",
    )
    fail_on: Literal["new", "any"] = Field(
        "new", description="Which damage at the source makes exit code 3: new damage, or any."
    )
    threads: _Threads | None = Field(None, description="How many threads read.")
    retention: RetentionRules | None = Field(
        None, description="Which snapshots of it are kept, where not as the vault has it."
    )
    cold: dict[str, str] = Field(
        {},
        description="Where its cold mounts are on this host, by name, where that is not the path "
        "that they were bound at.",
    )


class Vault(_Place):
    """A vault: where snapshots are kept."""

    location: _VaultAt = Field(
        description="A directory, or s3://BUCKET/PREFIX. A relative path counts from this file."
    )
    storage_class: str | None = Field(
        None,
        pattern=r"^[A-Z0-9_]{1,64}$",
        description="The S3 storage class of what is written; else the bucket's default.",
    )
    limit_upload: _Rate | None = Field(
        None, description="How many bytes per second are written at most: 10MiB."
    )
    limit_download: _Rate | None = Field(
        None, description="How many bytes per second are read at most: 10MiB."
    )
    threads: _Threads | None = Field(None, description="How many threads read and write.")
    retention: RetentionRules | None = Field(
        None, description="Which snapshots of each registry `regvault forget` keeps."
    )
    sign_key: Secret | None = Field(
        None,
        description="Where the Ed25519 private key is that signs snapshots: file:/PATH or "
        "env:NAME. Else $REGVAULT_SIGN_KEY.",
    )
    trusted_keys: list[_PublicKey] = Field(
        [],
        description="Public keys whose signatures count; what none of them signed is refused. "
        "Else $REGVAULT_TRUSTED_KEYS.",
    )
    identity: Secret | None = Field(
        None,
        description="Where the age identities are that open a sealed vault: file:/PATH or "
        "env:NAME. Else $REGVAULT_IDENTITY.",
    )
    max_age: Span | None = Field(
        None, description="How old its newest snapshot may be, where not as `check` has it: 8d."
    )

    def declared(self) -> Declared:
        """Return what no store can say of it."""
        return replace(super().declared(), max_age_s=self.max_age)


class Config(Settings):
    """The configuration of regvault."""

    timezone: _Zone = Field(
        "UTC",
        description="The timezone in which times are shown, and plain dates are read. "
        "Everything stored is UTC.",
    )
    registries: dict[_Name, Registry] = Field(
        {}, description="The registries by name. It is the registry's permanent name in a vault."
    )
    vaults: dict[_Name, Vault] = Field({}, description="The vaults by name.")
    check: Check = Field(
        default_factory=lambda: Check.model_validate({}),
        description="What `regvault check` asks for: 3-2-1-1-0.",
    )
    audit: Audit = Field(
        default_factory=lambda: Audit.model_validate({}),
        description="What the commands of `regvault audit` take where they are not told otherwise.",
    )
    tier: Tier = Field(
        default_factory=lambda: Tier.model_validate({}),
        description="What the commands of `regvault tier` take where they are not told otherwise.",
    )

    _file: str = PrivateAttr("")
    _base: str = PrivateAttr("/")

    @property
    def file(self) -> str:
        """The file that this was read from."""
        return self._file

    def read_from(self, file: str, base: str) -> Config:
        """Say which file this was read from, and in which directory that is."""
        self._file, self._base = file, base
        return self

    @property
    def rule(self) -> Rule:
        """What `regvault check` asks for."""
        return self.check.rule()

    @property
    def tzinfo(self) -> tzinfo:
        """The timezone."""
        return _zone(self.timezone)

    @cached_property
    def registry_places(self) -> dict[str, RegistryPlace]:
        """The registries, ready to use."""
        return {
            name: RegistryPlace(
                location=entry.location.absolute(self._base),
                name=name,
                s3=entry.s3(),
                repos=tuple(entry.repos),
                fail_on=entry.fail_on,
                threads=entry.threads,
                retention=entry.retention.rules() if entry.retention else None,
                declared=entry.declared(),
                cold={
                    mount: os.path.abspath(os.path.join(self._base, path))
                    for mount, path in entry.cold.items()
                },
            )
            for name, entry in self.registries.items()
        }

    @cached_property
    def vault_places(self) -> dict[str, VaultPlace]:
        """The vaults, ready to use."""
        return {
            name: VaultPlace(
                location=entry.location.absolute(self._base),
                name=name,
                s3=entry.s3(),
                storage_class=entry.storage_class,
                limit_upload=entry.limit_upload,
                limit_download=entry.limit_download,
                threads=entry.threads,
                retention=entry.retention.rules() if entry.retention else None,
                sign_key=entry.sign_key,
                trusted_keys=tuple(entry.trusted_keys),
                identity=entry.identity,
                declared=entry.declared(),
            )
            for name, entry in self.vaults.items()
        }
