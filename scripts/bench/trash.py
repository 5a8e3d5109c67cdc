"""Removes files at a time when that disturbs nobody.

ext4 does not use the inodes again of files that were deleted within the last minute, and who
creates files then searches past all of them (`recently_deleted` in the kernel's fs/ext4/ialloc.c):
after 50,000 files were deleted, a third of a run's time. So what is over is only moved aside, and
when its room is needed, a minute passes.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

REST_S = 65
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
_NAME = "trash"


def aside(path: Path) -> None:
    """Move a file or directory, if it is there, to where `remove` finds it."""
    if path.exists():
        trash = path.parent / _NAME
        trash.mkdir(exist_ok=True)
        path.rename(trash / f"{time.time_ns()}-{path.name}")


def remove(top: Path) -> None:
    """Delete what was moved aside below `top`, and wait until it is forgotten."""
    shutil.rmtree(top / _NAME, ignore_errors=True)
    rest()


def rest() -> None:
    """Let a minute pass; with the inodes on the disk, or it would be six."""
    os.sync()
    if os.access(DROP_CACHES, os.W_OK):
        DROP_CACHES.write_text("1\n")
    time.sleep(REST_S)
