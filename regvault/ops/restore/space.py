"""Whether a target has the room for what is restored into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import StoreFullError

if TYPE_CHECKING:
    from regvault.model.registry import RegistryTarget
    from regvault.ops.restore.result import RestorePlan

__all__ = ["check_space"]

#: A file system takes blocks of this size for every file and directory.
_BLOCK = 4096


def check_space(target: RegistryTarget, plan: RestorePlan) -> None:
    """Refuse what does not fit.

    Raises:
        StoreFullError: the target has not the room.
    """
    space = target.space()
    files = 2 * plan.blobs + 2 * plan.links
    needed = plan.nbytes + files * _BLOCK
    if space.free_bytes is not None and needed > space.free_bytes:
        raise StoreFullError(
            f"{target.location} has {space.free_bytes >> 20} MiB left, and the restore "
            f"needs {-(-needed >> 20)} MiB",
            hint="Make room, restore elsewhere, or restore some repositories with --repo.",
        )
    if space.free_inodes is not None and files > space.free_inodes > 0:
        raise StoreFullError(
            f"{target.location} has {space.free_inodes} inodes left, and the restore needs {files}",
            hint="Restore to a file system with more inodes.",
        )
