"""Reads a history of accesses: CSV with a header, or JSON lines; also events as `audit query` has.

Any of the fields `time, client, method, uri, status, bytes, useragent` will do, `uri` alone too:
then the order of the lines is time. A line of an event has `digest` and `repository` instead.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from array import array
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from regvault.errors import UsageError
from regvault.policy.tiering.history import make_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from regvault.policy.access import AccessRules
    from regvault.policy.tiering.history import History, Ints

__all__ = ["ASSUMED_BYTES", "Trace", "read_sizes", "read_trace"]

ASSUMED_BYTES = 4 << 20
"""Of a blob whose size nobody tells: about the mean of layers in published studies."""

_DAY = 86_400.0
_DIGEST = re.compile(r"(sha256|sha512)(?::|%3[Aa]|/[0-9a-f]{2}/)([0-9a-f]{64}(?:[0-9a-f]{64})?)\b")
_OF_API = re.compile(r"/v2/(.+?)/(manifests|blobs)/([^?#]*)")
_WRITES = {"PUT", "POST", "PATCH"}
_FIELDS = ("time", "client", "method", "uri", "status", "bytes", "useragent")
_READ, _PUSHED, _DELETED = range(3)
#: So many repositories are looked at one by one, so many of what their names begin with.
_GROUPS, _FAMILIES = 400, 200


class Trace(NamedTuple):
    """A history that was read.

    Attributes:
        history: of all content, from day 0, that of the first read.
        families: of each group of it (a repository), the number of its family (a project).
        days: how long it is.
        begin: when day 0 began, seconds since 1970; None: lines have no time.
        lines: that were read.
        ignored: that are no access of a client: scanners, HEAD, failures, lists.
        unreadable: that say nothing.
        assumed: how many sizes were.
    """

    history: History
    families: Ints
    days: float
    begin: float | None
    lines: int
    ignored: int
    unreadable: int
    assumed: int


def read_sizes(lines: Iterable[str]) -> dict[str, int]:
    """Return digest -> bytes of a file: CSV with `digest` and `size`, or JSON lines of such.

    Raises:
        UsageError: it is none, or a line of it is not.
    """
    found: dict[str, int] = {}
    for row in _rows(lines, "sizes", {"digest", "size"}):
        try:
            size = int(row["size"])
            if size < 0:
                raise ValueError
            found[str(row["digest"])] = size
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"a line of the sizes has no digest and size: {str(row)[:100]}",
                hint="One is sha256:...,12345 below the header digest,size.",
            ) from None
    return found


def read_trace(
    lines: Iterable[str],
    *,
    rules: AccessRules,
    sizes: Mapping[str, int] | None = None,
    horizon: float | None = None,
    default_days: float = 730.5,
) -> Trace:
    """Read a history.

    Args:
        lines: of the file.
        rules: who is no client whose reads count.
        sizes: digest -> bytes, where the lines do not tell.
        horizon: days from the first read on that are looked at; None: all.
        default_days: how long it is taken to be where lines have no time, and no horizon is given.

    Raises:
        UsageError: it is none; or nothing in it is read.
    """
    reader = _Reader(rules)
    for row in _rows(lines, "trace", {"uri", "digest"}):
        reader.take(row)
    return reader.trace(sizes or {}, horizon, default_days)


def _rows(lines: Iterable[str], name: str, wanted: set[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a file as fields by name; an empty one for what is none."""
    rest = iter(lines)
    first = next((line for line in rest if line.strip()), None)
    if first is None:
        raise UsageError(f"the {name} is empty")
    if first.lstrip().startswith("{"):
        for line in itertools.chain([first], rest):
            if line.strip():
                yield _parsed(line)
        return
    header = [field.strip().lower() for field in next(csv.reader([first]))]
    if not wanted & set(header):
        raise UsageError(
            f"the {name} has no field {' or '.join(sorted(wanted))} in its first line",
            hint=f"CSV has a header, with any of {', '.join(_FIELDS)}; JSON lines have objects.",
        )
    try:
        for values in csv.reader(rest):
            if values:
                yield dict(zip(header, values, strict=False))
    except csv.Error as error:
        raise UsageError(f"the {name} is no CSV: {error}") from None


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class _Reader:
    """Takes lines one by one."""

    def __init__(self, rules: AccessRules) -> None:
        self.rules = rules
        self.lines = self.ignored = self.unreadable = 0
        self.known: dict[str, int] = {}
        self.digests: list[str] = []
        self.sizes = array("q")
        self.manifests = array("b")
        self.groups = array("q")
        self.repositories: dict[str, int] = {}
        self.places: dict[str, int | None] = {}
        self.whats = array("b")
        self.contents = array("q")
        self.times = array("d")
        self.timed = 0

    def take(self, row: Mapping[str, Any]) -> None:
        """Take one line."""
        self.lines += 1
        uri = row.get("uri")
        if isinstance(uri, str) and uri:
            content = self.places.get(uri, -1)
            if content == -1:
                content = self.places[uri] = self._of_uri(uri)
        elif isinstance(row.get("digest"), str):
            kind = row.get("kind") == "manifest"
            content = self._content(row["digest"], str(row.get("repository") or ""), kind)
        elif row.get("action") is not None:
            content = None  # an event of something else
        else:
            self.unreadable += 1
            return
        what = None if content is None else self._what(row)
        if content is None or what is None:
            self.ignored += 1
            return
        size = _number(row.get("bytes", row.get("size")))
        if size is not None and size > self.sizes[content]:
            self.sizes[content] = min(int(size), 1 << 50)
        time = _time(row.get("time"))
        self.timed += time is not None
        self.whats.append(what)
        self.contents.append(content)
        self.times.append(float("nan") if time is None else time)

    def _what(self, row: Mapping[str, Any]) -> int | None:
        """Return what a line says that was done; None: nothing that counts."""
        status = _number(row.get("status"))
        if status is not None and status >= 400:
            return None
        method = str(row.get("method") or "").upper()
        action = row.get("action")
        if method in _WRITES or action in ("push", "mount"):
            return _PUSHED
        if method == "DELETE" or action == "delete":
            return _DELETED
        if method not in ("", "GET") or action not in (None, "pull"):
            return None
        who = [
            value if isinstance(value, str) and value else None
            for value in (
                row.get("useragent"),
                row.get("actor"),
                row.get("client") or row.get("address"),
            )
        ]
        return None if self.rules.ignores(*who) else _READ

    def _of_uri(self, uri: str) -> int | None:
        """Return the number of the content that a target is about; None: it is about none."""
        digest = _DIGEST.search(uri)
        api = _OF_API.search(uri)
        if digest is None and api is None:
            # Of an API, lists and the like; else whatever it is the name of.
            return None if "/v2/" in uri else self._content(uri.partition("?")[0], "", False)
        repository = "" if api is None else api[1]
        is_manifest = api is not None and api[2] == "manifests"
        if digest is not None:
            return self._content(f"{digest[1]}:{digest[2]}", repository, is_manifest)
        if not is_manifest:
            return None  # a step of an upload
        assert api is not None
        return self._content(f"{repository}:{api[3]}", repository, True)

    def _content(self, name: str, repository: str, is_manifest: bool) -> int:
        number = self.known.get(name)
        if number is None:
            number = self.known[name] = len(self.digests)
            self.digests.append(name)
            self.sizes.append(-1)
            self.manifests.append(is_manifest)
            self.groups.append(self.repositories.setdefault(repository, len(self.repositories)))
        elif is_manifest:
            self.manifests[number] = True
        return number

    def trace(self, sizes: Mapping[str, int], horizon: float | None, default_days: float) -> Trace:
        """Return all of it."""
        self.places.clear()
        whats = np.frombuffer(self.whats, dtype=np.int8)
        contents = np.frombuffer(self.contents, dtype=np.int64)
        reads = whats == _READ
        if not reads.any():
            raise UsageError(
                f"nothing is read in the trace: {self.lines} lines, {self.ignored} of them no "
                f"access of a client, {self.unreadable} unreadable",
                hint="A read is a GET, or a line without a method, that was answered below 400 and "
                "comes from no scanner, replication or probe.",
            )
        begin: float | None = None
        if self.timed:
            stamps = np.frombuffer(self.times)
            some = np.isfinite(stamps)
            whats, contents, reads, stamps = whats[some], contents[some], reads[some], stamps[some]
            begin = float(stamps[reads].min()) if reads.any() else float(stamps.min())
            times = (stamps - begin) / _DAY
            days = float(times.max()) + 1 / _DAY
        else:
            days = horizon or default_days
            times = (np.arange(len(whats)) + 0.5) / len(whats) * days
        days = min(days, horizon or days)
        count = len(self.digests)
        born, ended = np.full(count, np.inf), np.full(count, np.inf)
        np.minimum.at(born, contents, times)
        gone = whats == _DELETED
        last = np.full(count, -np.inf)
        np.maximum.at(last, contents[gone], times[gone])
        used = np.full(count, -np.inf)
        np.maximum.at(used, contents[~gone], times[~gone])
        deleted = (last > used) & (last < days)  # and not pushed again
        ended = np.where(deleted, last, days)
        there = (born < days) & (ended > np.maximum(born, 0.0))
        known = self._sizes(sizes)
        groups, families = self._grouped()
        # What is not there in this time is left out.
        number = np.cumsum(there) - 1
        some = reads & there[contents]
        history = make_history(
            number[contents[some]],
            times[some],
            sizes=np.where(known < 0, ASSUMED_BYTES, known)[there],
            born=born[there],
            begin=0.0,
            ended=ended[there],
            deleted=deleted[there],
            groups=groups[there],
            movable=np.array(self.manifests)[there] == 0,
        )
        return Trace(
            history,
            families,
            days,
            begin,
            self.lines,
            self.ignored,
            self.unreadable,
            int((known < 0)[there].sum()),
        )

    def _sizes(self, sizes: Mapping[str, int]) -> Ints:
        found: Ints = np.array(self.sizes, dtype=np.int64)
        for name, size in sizes.items():
            number = self.known.get(name)
            if number is not None:
                found[number] = size
        return found

    def _grouped(self) -> tuple[Ints, Ints]:
        """Return the group of each content, and the family of each group.

        A group is a repository, its family what its name begins with. Those that have little are
        one group for each family, and small families are one.
        """
        of: Ints = np.array(self.groups, dtype=np.int64)
        sizes = np.bincount(of, minlength=len(self.repositories))
        large = set(np.argsort(-sizes, kind="stable")[:_GROUPS].tolist())
        families: dict[str, int] = {}
        groups: dict[tuple[str, int | None], int] = {}
        numbers: list[int] = []
        for number, name in enumerate(self.repositories):
            family = name.rpartition("/")[0]
            if family not in families and len(families) >= _FAMILIES:
                family = ""
            families.setdefault(family, len(families))
            key = family, number if number in large else None
            numbers.append(groups.setdefault(key, len(groups)))
        made = np.array([families[family] for family, _ in groups], dtype=np.int64)
        return np.array(numbers, dtype=np.int64)[of], made


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < 1e18 else None


def _time(value: Any) -> float | None:
    """Return seconds since 1970, of such a number or of an ISO 8601 time; None: it is none."""
    if isinstance(value, str) and value[4:5] == "-":
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return _number(value)
