"""Errors of the store of a *source*, told as errors of the source (invariant 9)."""

from __future__ import annotations

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
    from types import TracebackType

__all__ = ["ends_scan", "source_error", "source_errors"]


def ends_scan(error: StoreError) -> bool:
    """Return whether the whole source is out of reach, rather than one thing in it."""
    return isinstance(error, (StoreUnavailableError, StoreMissingError))


def source_error(error: StoreError) -> RegvaultError:
    """Return what `error` means where the store is a source."""
    kind = SourceUnavailableError if ends_scan(error) else SourceError
    return kind(error.message, hint=error.hint)


class source_errors:  # noqa: N801  (a block of this name, as contextlib's are)
    """Turn every StoreError of the block into a SourceError or a SourceUnavailableError.

    Args:
        but: errors that are left as they are.
    """

    __slots__ = ("_but",)

    def __init__(self, *, but: tuple[type[StoreError], ...] = ()) -> None:
        self._but = but

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(error, StoreError) and not isinstance(error, self._but):
            raise source_error(error) from error
