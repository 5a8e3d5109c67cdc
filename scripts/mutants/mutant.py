"""One mutant: a safety rule that is broken on purpose, and the tests that must say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Mutant(NamedTuple):
    """A change of one place of the package.

    Attributes:
        id: a short name.
        file: below `regvault/`.
        old: the code that is replaced: it must be there exactly once.
        new: what takes its place.
        breaks: what is no longer so, in words.
        tests: node ids below `tests/`, each of which must fail.
    """

    id: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]

    def apply(self, package: Path) -> str:
        """Change a copy of the package; return the text that was there.

        Raises:
            ValueError: the code is not there exactly once, so the table is out of date.
        """
        path = package / self.file
        text = path.read_text()
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.id}: its code is {count} times in {self.file}, not once")
        path.write_text(text.replace(self.old, self.new))
        return text
