"""Files that a command reads line by line, or writes all at once; `-` is standard input."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import IO, TYPE_CHECKING

from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["open_lines", "write_file"]


@contextlib.contextmanager
def open_lines(path: str, option: str) -> Iterator[IO[str]]:
    """Open a file of text; `-` is standard input.

    Args:
        path: of it.
        option: that names it, for messages.

    Raises:
        UsageError: it cannot be read.
    """
    if path == "-":
        if sys.stdin is None:  # it was closed
            raise UsageError(f"{option}: there is no standard input")
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")
        yield sys.stdin
        return
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def write_file(path: str, chunks: Iterable[bytes]) -> None:
    """Put a file in place of what was there, all at once.

    Raises:
        UsageError: it cannot be written.
    """
    aside = f"{path}.tmp"
    try:
        with open(aside, "wb") as file:
            file.writelines(chunks)
        os.replace(aside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
