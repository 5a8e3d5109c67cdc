"""The progress port: how long work tells people how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NO_PROGRESS", "Progress", "Silent"]


class Progress(Protocol):
    """Told by the verbs, shown by the command line. Thread-safe; every call is cheap."""

    def phase(
        self, name: str, *, total_items: int | None = None, total_bytes: int | None = None
    ) -> None:
        """Begin a phase ("Reading repositories"); totals may be unknown. Ends the phase before."""

    def advance(self, items: int = 0, nbytes: int = 0) -> None:
        """Count work done in this phase."""

    def total(self, *, items: int | None = None, nbytes: int | None = None) -> None:
        """Set or correct the totals of this phase."""

    def note(self, message: str) -> None:
        """Say something worth a line of its own."""

    def warn(self, message: str, *, hint: str | None = None) -> None:
        """Say something that a person should look at, though the work goes on."""


class Silent:
    """A progress that nobody watches."""

    def phase(
        self, name: str, *, total_items: int | None = None, total_bytes: int | None = None
    ) -> None:
        """Do nothing."""

    def advance(self, items: int = 0, nbytes: int = 0) -> None:
        """Do nothing."""

    def total(self, *, items: int | None = None, nbytes: int | None = None) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def warn(self, message: str, *, hint: str | None = None) -> None:
        """Do nothing."""


NO_PROGRESS = Silent()
