"""Where the configuration is."""

from __future__ import annotations

import os

from regvault.errors import ConfigurationError

__all__ = ["ENVIRONMENT", "SEARCHED", "find_config"]

ENVIRONMENT = "REGVAULT_CONFIG"
SEARCHED = (f"${ENVIRONMENT}", "./regvault.yaml", "/etc/regvault/regvault.yaml")
_FILES = ("regvault.yaml", "/etc/regvault/regvault.yaml")


def find_config(given: str | None) -> str | None:
    """Return the path of the configuration to read; None where there is none.

    Args:
        given: by `--config`.

    Raises:
        ConfigurationError: the file that is named does not exist.
    """
    named, by = (given, "--config") if given else (os.environ.get(ENVIRONMENT), f"${ENVIRONMENT}")
    if named:
        if not os.path.exists(named):
            raise ConfigurationError(
                f"{by} names {named}, which does not exist",
                hint="Name another file, or none: regvault works without a configuration too.",
            )
        return named
    # One that exists but cannot be read is an error when it is read, not a reason to go on.
    return next((path for path in _FILES if os.path.lexists(path)), None)
