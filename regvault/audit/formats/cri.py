r"""The lines that containers write, as container runtimes put them in files.

    2026-11-20T03:00:00.123456789Z stdout F a line
    2026-11-20T03:00:00.123456789Z stderr P the beginning of one that is long
    {"log":"a line\n","stream":"stdout","time":"2026-11-20T03:00:00.123456789Z"}

The first two are the CRI log format of Kubernetes (containerd, CRI-O): `P` is a part, `F` the end.
The last is Docker's json-file driver: what does not end in a newline is a part. An `Unwrapper`
joins the parts of a line. What it holds is bounded: a line that becomes longer comes out in pieces.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from regvault.audit.formats.common import json_object
from regvault.audit.formats.times import iso_time

__all__ = ["MAX_LINE", "NAME", "Inner", "Part", "Unwrapper", "from_docker", "part_of"]

NAME = "cri"

MAX_LINE: Final = 1 << 20
"""Characters of the longest line that is joined: of what is longer, pieces come out."""

_LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([A-Z])"
    r"(?::\S{0,100})?(?: |\Z)",
    re.ASCII,
)
_STREAMS: Final = frozenset({"stdout", "stderr"})


class Part(NamedTuple):
    """One line of a file of a container runtime.

    Attributes:
        time: of the runtime, as events have it.
        stream: `stdout` or `stderr`.
        text: what the container wrote, without a newline.
        partial: whether more of the same line follows.
    """

    time: str
    stream: str
    text: str
    partial: bool


class Inner(NamedTuple):
    """A whole line that a container wrote.

    Attributes:
        line: without its newline.
        time: of its first part, as events have it.
        stream: `stdout` or `stderr`.
        raw: the line of the file; of one in parts, all of theirs, with newlines between them.
        whole: False for a piece of a line that was longer than `MAX_LINE`, or was never ended.
    """

    line: str
    time: str
    stream: str
    raw: str
    whole: bool


class Unwrapper:
    """Joins the parts of the lines of one file, for each of its two streams apart."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: dict[str, tuple[str, list[str], list[str]]] = {}
        self._size: dict[str, int] = {}

    @property
    def holds(self) -> bool:
        """Whether there is a part of a line that is not ended."""
        return bool(self._parts)

    def feed(self, part: Part, raw: str) -> Inner | None:
        """Return the line that a part ends, or None where more of it follows.

        Args:
            part: see `part_of`.
            raw: the line of the file that it was made of.
        """
        stream = part.stream
        held = self._parts.get(stream)
        if held is None:
            if not part.partial:
                return Inner(part.text, part.time, stream, raw, whole=True)
            held = self._parts[stream] = (part.time, [], [])
            self._size[stream] = 0
        held[1].append(part.text)
        held[2].append(raw)
        self._size[stream] += len(raw) + 1
        if part.partial and self._size[stream] < self._limit:
            return None
        return self._take(stream, whole=not part.partial)

    def flush(self) -> list[Inner]:
        """Return what is held of lines that were never ended, and forget it."""
        return [self._take(stream, whole=False) for stream in list(self._parts)]

    def _take(self, stream: str, *, whole: bool) -> Inner:
        time, texts, raws = self._parts.pop(stream)
        del self._size[stream]
        return Inner("".join(texts), time, stream, "\n".join(raws), whole)


def part_of(line: str, fallback_time: str) -> Part | None:
    """Return what a line of the CRI log format holds, or None where it is none.

    Args:
        line: without its newline.
        fallback_time: when it was read.
    """
    found = _LINE.match(line)
    if found is not None:
        at, stream, tag = found.groups()
        return Part(iso_time(at) or fallback_time, stream, line[found.end() :], tag == "P")
    if line[:1] == "{":
        obj = json_object(line)
        return None if obj is None else from_docker(obj, fallback_time)
    return None


def from_docker(obj: dict[str, Any], fallback_time: str) -> Part | None:
    """Return what an object of Docker's json-file driver holds, or None where it is none."""
    text, stream = obj.get("log"), obj.get("stream")
    if type(text) is not str or type(stream) is not str or stream not in _STREAMS:
        return None
    time = iso_time(obj.get("time")) or fallback_time
    if text[-1:] == "\n":
        return Part(time, stream, text[:-1].removesuffix("\r"), partial=False)
    return Part(time, stream, text, partial=True)
