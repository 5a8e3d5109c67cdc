"""Read a configuration, and say of every error in which line and column it is."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from regvault.config.document import Document, Problem, parse_document
from regvault.config.model import Config
from regvault.config.places import overlap
from regvault.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from regvault.config.document import Path
    from regvault.config.model import Registry, Vault

__all__ = ["MAX_BYTES", "InvalidConfigurationError", "load_config", "parse_config"]

MAX_BYTES = 1 << 20
_CHECK = "'regvault config check' looks again; 'regvault config schema' is what an editor reads."


class InvalidConfigurationError(ConfigurationError):
    """A configuration with errors in it.

    Attributes:
        problems: all of them, in the order of the file.
        details: the same, for machines.
    """

    def __init__(self, file: str, problems: list[Problem]) -> None:
        """Put all problems into the message."""
        ordered = sorted(set(problems), key=lambda p: (p.line, p.column, p.path, p.message))
        lines = [
            f"{file}:{p.line}:{p.column}: {f'{p.path}: ' if p.path else ''}{p.message}"
            + (f" ({p.hint.rstrip('.')})" if p.hint else "")
            for p in ordered
        ]
        count = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
        super().__init__("\n".join([f"{count} in the configuration", *lines]), hint=_CHECK)
        self.problems = ordered
        self.details: dict[str, Any] = {
            "problems": [{"file": file, **problem._asdict()} for problem in ordered]
        }


def load_config(path: str) -> Config:
    """Return the configuration in a file.

    Raises:
        ConfigurationError: it cannot be read, or is wrong.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the configuration {path}: {error.strerror}",
            hint="Name another one by --config.",
        ) from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(
            f"{path} is larger than 1 MiB", hint="Is that really the configuration?"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        problem = Problem(line, column, "", "not UTF-8")
        raise InvalidConfigurationError(path, [problem]) from None
    return parse_config(text, path)


def parse_config(text: str, file: str) -> Config:
    """Return the configuration in `text`, which `file` holds.

    Raises:
        InvalidConfigurationError: it is wrong.
    """
    document = parse_document(text)
    config: Config | None = None
    if document.value is not None or not document.problems:
        try:
            value = {} if document.value is None else document.value
            base = os.path.dirname(os.path.abspath(file))
            config = Config.model_validate(value, context={"base": base}).read_from(file, base)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                _add(document, detail)
    if config is not None:
        _check_across(document, config)
    if document.problems or config is None:
        raise InvalidConfigurationError(file, document.problems)
    return config


def _add(document: Document, detail: ErrorDetails) -> None:
    path: Path = tuple(detail["loc"])
    kind = detail["type"]
    if path[-1:] == ("[key]",):
        path = path[:-1]
        document.add(path, *_words(detail), key=True)
    elif kind == "extra_forbidden":
        known = _fields(path[:-1])
        close = get_close_matches(str(path[-1]), known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(known)}."
        document.add(path, "there is no such setting", hint, key=True)
    elif kind == "missing":
        document.add(path, "it is missing")
    else:
        document.add(path, *_words(detail))


_MESSAGES = {
    "model_type": "settings are expected here: 'name: value' lines",
    "dict_type": "names with settings below them are expected here",
    "list_type": "a list is expected here",
    "string_type": "text is expected here",
    "int_type": "a whole number is expected here",
    "string_too_short": "it must not be empty",
}


def _words(detail: ErrorDetails) -> tuple[str, str | None]:
    context = detail.get("ctx", {})
    if detail["type"] == "regvault":
        return str(context["message"]), context["hint"]
    message = _MESSAGES.get(detail["type"])
    if message is None:
        message = detail["msg"][:1].lower() + detail["msg"][1:]
    return message, None


def _fields(path: Path) -> list[str]:
    """Return the names of the settings that may stand below `path`."""
    kind: Any = Config
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(part)].annotation
        else:  # a dictionary by name, a list by number
            kind = get_args(kind)[-1]
        if type(None) in get_args(kind):  # settings that may be left out
            kind = get_args(kind)[0]
    return list(kind.model_fields)


def _check_across(document: Document, config: Config) -> None:
    entries: dict[Path, Vault | Registry] = {
        **{("vaults", name): vault for name, vault in config.vaults.items()},
        **{("registries", name): registry for name, registry in config.registries.items()},
    }
    for path, entry in entries.items():
        if (entry.access_key_id is None) != (entry.secret_access_key is None):
            document.add(path, "access_key_id and secret_access_key go together", key=True)
        elif entry.session_token is not None and entry.access_key_id is None:
            document.add((*path, "session_token"), "it needs an access_key_id", key=True)
    for name, vault_place in config.vault_places.items():
        for other, place in config.registry_places.items():
            if overlap(vault_place, place):
                document.add(
                    ("vaults", name, "location"),
                    f"it overlaps with the registry {other!r} at {place.location}",
                    "A vault needs a place of its own, beside the registry.",
                )
    for key, message, hint in config.audit.problems(config.vaults):
        document.add(("audit", *key), message, hint, key=True)
