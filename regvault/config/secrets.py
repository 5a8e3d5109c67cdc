"""References to secrets: a configuration says where a secret is, never what it is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from regvault.errors import CredentialError

__all__ = ["SecretRef", "parse_secret_ref"]

_REFERENCE = re.compile(r"(env):([A-Za-z_][A-Za-z0-9_]*)|(file):([^\x00-\x1f]+)", re.ASCII)
#: An age identity, where a person wrote `file:` before it.
_AGE = "AGE-SECRET-KEY-1"
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is.

    Attributes:
        kind: `file` or `env`.
        name: the path, or the name of the variable.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def read(self) -> str:
        """Return the secret, without white space at its ends.

        Raises:
            CredentialError: it is not there, empty, or cannot be read.
        """
        value = os.environ.get(self.name, "") if self.kind == "env" else self._read_file()
        if not value.strip():
            raise CredentialError(
                f"there is no secret at {self}",
                hint="Put it there, or name another place in the configuration.",
            )
        return value.strip()

    def _read_file(self) -> str:
        try:
            with open(self.name, "rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise CredentialError(
                f"cannot read the secret at {self}: {error.strerror}",
                hint="The file must exist, and this user must be allowed to read it.",
            ) from error
        if len(data) > _MAX_BYTES:
            raise CredentialError(f"{self} is too large for a secret", hint="Is it the right file?")
        try:
            return data.decode()
        except UnicodeDecodeError:
            # No `from`: that error holds the secret's bytes.
            raise CredentialError(f"{self} is no text", hint="Is it the right file?") from None


def parse_secret_ref(text: str) -> SecretRef:
    """Return the reference that `text` is.

    Raises:
        ValueError: it is none. The message does not repeat it: it may be the secret itself.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or _AGE in text.upper():
        raise ValueError("a secret is never written here; say where it is: file:/PATH or env:NAME")
    return SecretRef(match[1] or match[3], match[2] or match[4])
