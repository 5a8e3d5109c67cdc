"""Files of text that a command reads, line by line; `-` is standard input."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import IO, TYPE_CHECKING

from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["open_lines"]


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
