"""The extras: libraries that only some vaults need."""

from __future__ import annotations

from regvault.errors import CredentialError

__all__ = ["not_installed"]


def not_installed(what: str, extra: str = "crypto") -> CredentialError:
    """Return what there is to say where a library is missing.

    Args:
        what: needs it, in the plural.
        extra: of regvault, that brings it.
    """
    return CredentialError(
        f"{what} need a library that is not installed",
        hint=f"Install regvault with its extra `{extra}`; in a clone of it: "
        f"pip install '.[{extra}]'",
    )
