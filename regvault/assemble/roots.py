"""Directories that are written into: where they may be, and owner and modes of what is new."""

from __future__ import annotations

import os

from regvault.errors import UsageError
from regvault.vault.keys import VAULT_JSON

__all__ = ["attributes_of", "make_root", "refuse_inside"]


def make_root(path: str, owner: tuple[int, int] | None, modes: tuple[int, int] | None) -> None:
    """Make the directory to restore into, with owner and mode as asked; leave one that is there."""
    try:
        os.makedirs(path)
        if modes is not None:
            os.chmod(path, modes[1])
        if owner is not None:
            os.chown(path, *owner)
    except OSError:
        return  # it is there; or it cannot be made, which opening it says better


def attributes_of(
    path: str, owner: tuple[int, int] | None, modes: tuple[int, int] | None
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return owner and modes for what is restored: as asked, else like the target's root."""
    try:
        root = os.stat(path)
    except OSError:
        return owner, modes
    mode = root.st_mode & 0o2777
    if owner is None and os.geteuid() == 0:
        owner = root.st_uid, root.st_gid
    if owner == (os.geteuid(), os.getegid()):
        owner = None  # what this process makes is its own anyway
    umask = os.umask(0)
    os.umask(umask)
    if modes is None and mode != 0o777 & ~umask:
        modes = mode & 0o666, mode
    return owner, modes


def refuse_inside(path: str, what: str) -> None:
    """Refuse a directory inside a registry or inside a vault.

    Raises:
        UsageError: it is.
    """
    above = os.path.realpath(path)
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        for mark, name in (("docker/registry/v2", "registry"), (VAULT_JSON, "vault")):
            if os.path.exists(os.path.join(above, mark)):
                raise UsageError(
                    f"{path} is inside the {name} {above}",
                    hint=f"Put {what} beside it, not into it.",
                )
