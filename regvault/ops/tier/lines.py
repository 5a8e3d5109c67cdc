"""Lines of histories and of sizes: CSV with a header, or JSON lines; what they say."""

from __future__ import annotations

import csv
import itertools
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from regvault.audit.formats.times import clf_time
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "BLOB",
    "MANIFEST",
    "NOWHERE",
    "OPAQUE",
    "Place",
    "bytes_of",
    "number_of",
    "place_of_uri",
    "read_sizes",
    "time_of",
    "trace_rows",
]

OPAQUE, BLOB, MANIFEST = range(3)
"""Kinds of content; the first is the name of anything."""

_FIELDS = ("time", "client", "method", "uri", "status", "bytes", "useragent")
_ALIASES = {
    "time_iso8601": "time",
    "time_local": "time",
    "timestamp": "time",
    "remote_addr": "client",
    "client_ip": "client",
    "request_method": "method",
    "request_uri": "uri",
    "body_bytes_sent": "bytes",
    "bytes_sent": "bytes",
    "user_agent": "useragent",
    "http_user_agent": "useragent",
}
_MOST_BYTES = 1 << 44
_DIGEST = re.compile(r"(sha256|sha512)(?::|%3[Aa]|/[0-9a-f]{2}/)([0-9a-f]{64}(?:[0-9a-f]{64})?)\b")
_OF_API = re.compile(r"/v2/(.+)/(manifests|blobs)/([^/?#]*)")


class Place(NamedTuple):
    """What a line is about.

    Attributes:
        name: a digest, or what stands for one.
        repository: its name; "" where nobody knows.
        kind: of content.
    """

    name: str
    repository: str
    kind: int


NOWHERE = Place("", "", OPAQUE)


def read_sizes(lines: Iterable[str]) -> dict[str, int]:
    """Return digest -> bytes of a file: CSV with `digest` and `size`, or JSON lines of such.

    Raises:
        UsageError: it is none, or a line of it is not.
    """
    found: dict[str, int] = {}
    for number, row in enumerate(_rows(lines, "sizes", _SIZES_HINT, {"digest"}, {"size"}), 1):
        digest, size = row.get("digest"), number_of(row.get("size"))
        if not isinstance(digest, str) or size is None or not 0 <= size <= _MOST_BYTES:
            raise UsageError(
                f"entry {number} of the sizes has no digest and size: {str(row)[:100]}",
                hint=_SIZES_HINT,
            )
        found[digest.strip()] = int(size)
    return found


def trace_rows(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a history as fields by name; an empty one for what is none.

    Raises:
        UsageError: it is no history.
    """
    return _rows(lines, "trace", _TRACE_HINT, {"uri", "digest"})


_SIZES_HINT = "CSV has digest,size in its first line; JSON lines have objects with both."
_TRACE_HINT = f"CSV has a header, with any of {', '.join(_FIELDS)}; JSON lines have objects."


def _rows(
    lines: Iterable[str], name: str, hint: str, *wanted: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a file as fields by name; an empty one for what is none.

    Args:
        lines: of the file.
        name: what it is called.
        hint: what it should be.
        wanted: of each of these, the header must have one.
    """
    rest = iter(lines)
    first = next((line for line in rest if line.strip("\ufeff \t\r\n")), None)
    if first is None:
        raise UsageError(f"there is nothing in the file of the {name}", hint=hint)
    first = first.lstrip("\ufeff")
    if first.lstrip().startswith("{"):
        for line in itertools.chain([first], rest):
            if line.strip():
                yield _parsed(line)
        return
    if first.startswith("\x1f"):
        raise UsageError(f"the file of the {name} is compressed", hint="Pipe it: zcat FILE | ...")
    header = [field.strip().lower() for field in _fields(first) or ()]
    header = [_ALIASES.get(field, field) for field in header]
    for some in wanted:
        if not some & set(header):
            raise UsageError(
                f"the file of the {name} has no field {' or '.join(sorted(some))} in its first "
                f"line: {first.strip()[:60]!r}",
                hint=hint,
            )
    if len(set(header)) < len(header):
        raise UsageError(f"the header of the {name} has a field twice", hint=hint)
    for line in rest:
        if line.strip():
            yield dict(zip(header, _fields(line) or (), strict=False))


def _fields(line: str) -> list[str] | None:
    """Return the fields of one line of CSV, which never go on in the next one; None: it is none."""
    if '"' not in line:
        return line.rstrip("\r\n").split(",")
    try:
        return next(csv.reader([line]), None)
    except csv.Error:
        return None


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    for alias, name in _ALIASES.items():
        if alias in found and name not in found:
            found[name] = found[alias]
    return found


def place_of_uri(uri: str) -> Place | None:
    """Return what a target is about; None: no content."""
    if "%2" in uri:
        uri = unquote(uri)
    digest = _DIGEST.search(uri)
    api = _OF_API.search(uri)
    if digest is None and api is None:
        # Of an API, lists and the like; else whatever it is the name of.
        return None if "/v2/" in uri else Place(uri.partition("?")[0], "", OPAQUE)
    repository = "" if api is None else api[1]
    kind = MANIFEST if api is not None and api[2] == "manifests" else BLOB
    if digest is not None:
        return Place(f"{digest[1]}:{digest[2]}", repository, kind)
    if kind == BLOB:
        return None  # a step of an upload
    assert api is not None
    return Place(f"{repository}:{api[3]}", repository, kind)


def bytes_of(row: Mapping[str, Any], *, is_read: bool) -> int | None:
    """Return the size of the content that a line tells.

    That of an event; or the bytes of a whole answer, no redirect, no part, none to a push.
    """
    size = number_of(row.get("size"))
    if size is None and is_read and number_of(row.get("status")) in (None, 200.0):
        size = number_of(row.get("bytes"))
    return None if size is None else int(min(size, _MOST_BYTES))


def number_of(value: Any) -> float | None:
    """Return a number; None where it is none, or means nothing."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if abs(found) < 1e18 else None


def time_of(value: Any) -> float | None:
    """Return seconds since 1970, of such a number or of a written time; None: it is none."""
    if not isinstance(value, str):
        return None if isinstance(value, bool) else number_of(value)
    text = value.strip()
    try:
        if text[2:3] == "/":
            # Without a zone nobody knows when it was.
            text = (clf_time(text) if text[-6:-4] in (" +", " -") else None) or ""
        elif text[4:5] != "-":
            return number_of(text)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
