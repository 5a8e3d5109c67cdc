"""What values of settings may be, where several parts of a configuration have such ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from regvault.config.rules import Settings, text_of, wrong
from regvault.config.secrets import SecretRef, parse_secret_ref
from regvault.config.units import parse_size
from regvault.errors import UsageError
from regvault.model.location import Role, is_location, parse_location
from regvault.oci.grammar import InvalidNameError, glob_matcher, is_digest
from regvault.policy.access import AccessRules

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DigestText",
    "File",
    "Files",
    "Glob",
    "HostPort",
    "Ignored",
    "Secret",
    "Size",
    "SourceText",
    "VaultText",
    "given",
    "host_port",
    "schema",
]


def schema(pattern: str, *examples: str) -> WithJsonSchema:
    """Return what the JSON Schema says of a text."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


def _secret(value: Any) -> SecretRef:
    try:
        return parse_secret_ref(value if isinstance(value, str) else "")
    except ValueError as error:
        raise wrong(str(error)) from None


def _glob(value: Any) -> str:
    try:
        glob_matcher([text_of(value)])
    except InvalidNameError as error:
        raise wrong(str(error), "One is written team/*, team/** or library/nginx.") from None
    return str(value)


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise wrong("a size is expected here", "One is written 8MiB.")
    try:
        return parse_size(str(value))
    except ValueError as error:
        raise wrong(str(error)) from None


def _ignored(value: Any) -> str:
    try:
        AccessRules([text_of(value)])
    except UsageError as error:
        raise wrong(error.message, error.hint) from None
    return str(value)


def _file(value: Any, info: ValidationInfo) -> str:
    """Take a path, which counts from the file of the configuration; `-` is none."""
    text = text_of(value)
    if not text:
        raise wrong("it must not be empty")
    base = (info.context or {}).get("base", "")
    return text if text == "-" else os.path.join(base, text)


def given(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is given: key with dots between, and value; of secrets where they are."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from given(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", str(value) if isinstance(value, SecretRef) else value


def host_port(text: str, *, lowest: int = 1) -> tuple[str, int]:
    """Return host and port of HOST:PORT, an IPv6 address without its brackets.

    Raises:
        ValueError: it is none.
    """
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5
    if not host or not is_port or not lowest <= int(port) <= 65535:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def _host_port(value: Any) -> str:
    try:
        host_port(text_of(value), lowest=0)
    except ValueError as error:
        raise wrong(str(error), "One is kafka1:9092.") from None
    return str(value)


def _vault(value: Any, info: ValidationInfo) -> str:
    return _place(value, info, Role.VAULT)


def _source(value: Any, info: ValidationInfo) -> str:
    return _place(value, info, Role.SOURCE)


def _place(value: Any, info: ValidationInfo, role: Role) -> str:
    """Take a name of the configuration, or a location, whose path counts from the file."""
    text = text_of(value)
    if not is_location(text):
        return text
    try:
        found = parse_location(text, role)
    except UsageError as error:
        raise wrong(error.message, error.hint) from None
    base = (info.context or {}).get("base")
    return str(found if base is None else found.absolute(base))


def _digest(value: Any) -> str:
    if not is_digest(text_of(value)):
        raise wrong(f"{value!r} is no digest", "One is sha256: and 64 hex digits.")
    return str(value)


_TEXT = WithJsonSchema({"type": "string"})

Secret = Annotated[
    SecretRef,
    BeforeValidator(_secret),
    schema("^(file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$", "file:/run/secrets/key", "env:KEY"),
]
Glob = Annotated[str, BeforeValidator(_glob)]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["8MiB", "8GiB"]}),
]
File = Annotated[str, BeforeValidator(_file), _TEXT]
Files = list[File]
#: Who is no real client: see `AccessRules`.
Ignored = Annotated[str, BeforeValidator(_ignored)]
HostPort = Annotated[
    str, BeforeValidator(_host_port), schema("^.+:[0-9]{1,5}$", "kafka1:9092", "127.0.0.1:8099")
]
SourceText = Annotated[str, BeforeValidator(_source), _TEXT]
VaultText = Annotated[str, BeforeValidator(_vault), _TEXT]
DigestText = Annotated[str, BeforeValidator(_digest), _TEXT]
