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

from regvault.audit.spool.files import sync_directory
from regvault.errors import LeaseHeldError, RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WORDS", "Journal"]

WORDS = frozenset({"moved", "marked", "there", "gone", "used", "written", "damaged"})
"""What may come of a move."""

_BEGIN = b'{"plan":"'


class Journal:
    """The journal of one plan, of one process at a time.

    Attributes:
        path: of the file.
        ended: number of a move in its plan -> the word for what came of it.
        begun: those that were begun, and have no end.
        damaged: of those whose bytes are not what their names say, why.
    """

    def __init__(self, path: str, plan: str, *, replace: bool = False) -> None:
        """Open it; it is made where there is none.

        Args:
            path: of the file.
            plan: id of the plan.
            replace: begin anew where it is the journal of another plan.

        Raises:
            LeaseHeldError: another process has it.
            RefusedError: it is that of another plan, or damaged.
            UsageError: it cannot be read or written.
        """
        self.path = path
        self.ended: dict[int, str] = {}
        self.begun: set[int] = set()
        self.damaged: dict[int, str] = {}
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        try:
            self._lock()
            self._load(plan, replace=replace)
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

    def _load(self, plan: str, *, replace: bool) -> None:
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].splitlines()
        if not lines:
            if not _line({"plan": plan}).startswith(data) and not data.startswith(_BEGIN):
                raise self._damaged(1)
            self._begin(plan)
            return
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
                if number == 1 and line["plan"] != plan and isinstance(line["plan"], str):
                    if not replace:
                        raise RefusedError(
                            f"{self.path} is the journal of another plan, {line['plan']!r}",
                            hint="Give another one: --journal FILE",
                        )
                    self._begin(plan)
                    return
                self._take(line, first=number == 1)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise self._damaged(number) from None
        os.ftruncate(self._fd, whole)

    def _damaged(self, number: int) -> RefusedError:
        return RefusedError(
            f"line {number} of {self.path} is none of a journal",
            hint="Put it aside, and make a new plan: regvault tier plan",
        )

    def _begin(self, plan: str) -> None:
        os.ftruncate(self._fd, 0)
        self._write([{"plan": plan}])
        sync_directory(os.path.dirname(self.path) or ".")

    def _take(self, line: dict[str, Any], *, first: bool) -> None:
        if first:
            return
        if set(line) == {"begin"} and isinstance(line["begin"], list):
            self.begun.update(map(_number, line["begin"]))
            return
        number = _number(line["end"])
        if line["what"] not in WORDS:
            raise ValueError(line["what"])
        self.begun.discard(number)
        self.ended[number] = line["what"]
        if line["what"] == "damaged":
            self.damaged[number] = str(line.get("why", ""))

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
            if what == "damaged":
                self.damaged[number] = str(more.get("why", ""))
            lines.append({"end": number, "what": what, **more})
        self._write(lines)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        data = b"".join(map(_line, lines))
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


def _line(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _number(value: Any) -> int:
    """Return the number of a move. Raises ValueError where it is none."""
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value
