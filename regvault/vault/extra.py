"""The extra `crypto`: libraries that only signed and sealed vaults need."""

from __future__ import annotations

from regvault.errors import CredentialError

__all__ = ["not_installed"]


def not_installed(what: str) -> CredentialError:
    """Return what there is to say where one of its libraries is missing.

    Args:
        what: needs it, in the plural.
    """
    return CredentialError(
        f"{what} need a library that is not installed",
        hint="Install regvault with its extra `crypto`; in a clone of it: pip install '.[crypto]'",
    )
