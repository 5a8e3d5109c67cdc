"""What `tier apply` has done of a plan, written before and after each step: it goes on from there.

JSON lines, forced to disk: which plan it is, then what is begun, and what came of it. A line that a
power cut tore off at the end is left out. What was begun and has no end may be done or not; the
store is asked.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

from regvault.errors import LeaseHeldError, RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Journal"]


class Journal:
    """The journal of one plan, of one process at a time.

    Attributes:
        path: of the file.
        ended: number of a move in its plan -> the word for what came of it.
        begun: those that were begun, and have no end.
    """

    def __init__(self, path: str, plan: str) -> None:
        """Open it; it is made where there is none.

        Args:
            path: of the file.
            plan: id of the plan.

        Raises:
            LeaseHeldError: another process has it.
            RefusedError: it is that of another plan, or damaged.
            UsageError: it cannot be read or written.
        """
        self.path = path
        self.ended: dict[int, str] = {}
        self.begun: set[int] = set()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        try:
            self._lock()
            self._load(plan)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LeaseHeldError(
                f"another process does this plan: it has {self.path}",
                hint="Wait for it to end.",
            ) from None

    def _load(self, plan: str) -> None:
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].splitlines()
        if not lines:
            os.ftruncate(self._fd, 0)
            self._write([{"plan": plan}])
            _sync_directory(self.path)
            return
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
                self._take(line, plan, first=number == 1)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise RefusedError(
                    f"line {number} of {self.path} is none of a journal",
                    hint="Put it aside, and make a new plan: regvault tier plan",
                ) from None
        os.ftruncate(self._fd, whole)

    def _take(self, line: dict[str, Any], plan: str, *, first: bool) -> None:
        if first:
            if line["plan"] != plan:
                raise RefusedError(
                    f"{self.path} is the journal of another plan, {line['plan']!r}",
                    hint="Give another one: --journal FILE",
                )
            return
        for number in line.get("begin", ()):
            self.begun.add(int(number))
        if "end" in line:
            number = int(line["end"])
            self.begun.discard(number)
            self.ended[number] = str(line["what"])

    def begin(self, numbers: Iterable[int]) -> None:
        """Write that some moves are begun, before they are."""
        found = list(numbers)
        self.begun.update(found)
        self._write([{"begin": found}])

    def end(self, ends: Iterable[tuple[int, str, dict[str, Any]]]) -> None:
        """Write what came of some moves: number, a word, and more."""
        lines = []
        for number, what, more in ends:
            self.begun.discard(number)
            self.ended[number] = what
            lines.append({"end": number, "what": what, **more})
        self._write(lines)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        data = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
        try:
            os.lseek(self._fd, 0, os.SEEK_END)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


def _sync_directory(path: str) -> None:
    fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
