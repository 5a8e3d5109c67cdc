"""File systems of a test's own. Mounting needs root, as CI has."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


def _run(*words: str | Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{' '.join(map(str, words))}: {done.stderr.strip()} (these tests need root, to mount)"
    )


@contextmanager
def _mounted(at: Path, *words: str | Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    _run("mount", *words, at)
    try:
        yield at
    finally:
        _run("umount", "--lazy", at)


def small(at: Path, size: str) -> AbstractContextManager[Path]:
    """A file system in memory with room for so much."""
    return _mounted(at, "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs")


def read_only(directory: Path, at: Path) -> AbstractContextManager[Path]:
    """The same directory at another place, where it cannot be written."""
    return _mounted(at, "-o", "bind,ro", directory)


def bound(directory: Path, at: Path) -> AbstractContextManager[Path]:
    """The same directory at another place."""
    return _mounted(at, "--bind", directory)


def enlarge(at: Path, size: str) -> None:
    """Give a small file system more room."""
    _run("mount", "-o", f"remount,size={size}", at)
