"""Errors of the store of a *source*, told as errors of the source (invariant 9)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from regvault.errors import (
    RegvaultError,
    SourceError,
    SourceUnavailableError,
    StoreError,
    StoreMissingError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ends_scan", "source_error", "source_errors"]


def ends_scan(error: StoreError) -> bool:
    """Return whether the whole source is out of reach, rather than one thing in it."""
    return isinstance(error, (StoreUnavailableError, StoreMissingError))


def source_error(error: StoreError) -> RegvaultError:
    """Return what `error` means where the store is a source."""
    kind = SourceUnavailableError if ends_scan(error) else SourceError
    return kind(error.message, hint=error.hint)


@contextmanager
def source_errors() -> Iterator[None]:
    """Turn every StoreError of the block into a SourceError or a SourceUnavailableError."""
    try:
        yield
    except StoreError as error:
        raise source_error(error) from error
