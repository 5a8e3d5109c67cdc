"""The formats of `regvault audit tail --format`, and which of them a line has.

    stream = FORMATS["auto"]()
    for line in lines:
        events = stream.feed(line, fallback_time)
    events = stream.flush()

A stream is the lines of one file, in their order. It makes one event of every line that says
something, with that line in `raw`: a line of no known format is an event of `log`. It never raises,
and what it holds is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from regvault.audit.formats import (
    access,
    access_json,
    cloudfront,
    cri,
    distribution_log,
    falco,
    haproxy,
    harbor_log,
    s3_access,
    syslog,
    token_log,
)
from regvault.audit.formats.common import json_object, log_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.event import Event

    Parser = Callable[[str, str], Event | None]
    FromObject = Callable[[dict[str, Any], str, str], Event | None]

__all__ = ["FORMATS", "PARSERS", "Auto", "Fixed", "Stream"]


class Stream(Protocol):
    """The lines of one file, of one format or of several."""

    @property
    def holds(self) -> bool:
        """Whether it has taken a part of a line whose event is still to come."""
        ...  # pylint: disable=unnecessary-ellipsis

    def feed(self, line: str, fallback_time: str) -> list[Event]:
        """Return the events of the next line: one mostly, none of a header or a part of a line.

        Args:
            line: without its newline.
            fallback_time: when it was read, as events have it: for lines without a time or a year.
        """
        ...  # pylint: disable=unnecessary-ellipsis

    def flush(self) -> list[Event]:
        """Return the events of what is held, at the end of the file."""
        ...  # pylint: disable=unnecessary-ellipsis


PARSERS: Final[dict[str, Parser]] = {
    "distribution": distribution_log.parse,
    "combined": access.parse,
    "nginx": access.parser("nginx"),
    "haproxy": haproxy.parse,
    "traefik": access.parser("traefik"),
    "harbor": harbor_log.parse,
    "token": token_log.parse,
    "falco": falco.parse,
    "s3": s3_access.parse,
    "cloudtrail": s3_access.parse_cloudtrail,
}
"""The formats that need nothing but a line, by name. Those of text and of JSON may share a name."""

_OBJECTS: Final[dict[str, FromObject]] = {
    "distribution": distribution_log.from_object,
    "traefik": access_json.from_traefik,
    "haproxy": haproxy.from_object,
    "nginx": access_json.from_nginx,
    "falco": falco.from_object,
    "cloudtrail": s3_access.from_cloudtrail,
}

_TEXTS: Final[dict[str, Parser]] = {
    name: PARSERS[name] for name in ("combined", "distribution", "haproxy", "harbor", "token", "s3")
}


class Auto:
    """Any of the formats, for each line anew: the one that matched last is tried first.

    Lines in JSON and lines of text are remembered apart, since a registry writes both in turn. The
    wrappers are seen through: that of a container runtime, and the prefix of syslog.
    """

    def __init__(
        self,
        name: str = "auto",
        texts: dict[str, Parser] | None = None,
        objects: dict[str, FromObject] | None = None,
    ) -> None:
        """Make a stream of the formats of text and of JSON that are given, else of all.

        Args:
            name: what events of lines of no format have for a source.
            texts: of a line, by name.
            objects: of a JSON object, by name.
        """
        self._name = name
        self._texts = list((_TEXTS if texts is None else texts).values())
        self._objects = list((_OBJECTS if objects is None else objects).values())
        self._unwrapper = cri.Unwrapper()
        self._cloudfront = cloudfront.CloudFront() if texts is None else None
        self._last: Callable[[str, str], list[Event] | None] | None = None

    @property
    def holds(self) -> bool:
        """Whether a line is not ended: see `Stream`."""
        return self._unwrapper.holds

    def feed(self, line: str, fallback_time: str) -> list[Event]:
        """Return the events of the next line: see `Stream`."""
        if line[:1] == "{":
            obj = json_object(line)
            if obj is not None:
                return self._object(obj, line, fallback_time)
        else:
            if self._last is not None:
                events = self._last(line, fallback_time)
                if events is not None:
                    return events
            event = self._text(line, fallback_time)
            if event is not None:
                return [event]
            events = self._wrapped(line, fallback_time)
            if events is not None:
                return events
            if not line or (self._cloudfront is not None and self._cloudfront.header(line)):
                return []
        return [log_event(fallback_time, self._name, line)]

    def flush(self) -> list[Event]:
        """Return the events of parts of lines that were never ended."""
        events = []
        for inner in self._unwrapper.flush():
            events += self._within(inner.line, inner.time, inner.raw)
        return events

    def _object(self, obj: dict[str, Any], line: str, fallback_time: str) -> list[Event]:
        for at, from_object in enumerate(self._objects):
            event = from_object(obj, line, fallback_time)
            if event is not None:
                if at:
                    self._objects.insert(0, self._objects.pop(at))
                return [event]
        part = cri.from_docker(obj, fallback_time)
        if part is not None:
            return self._part(part, line)
        return [log_event(fallback_time, self._name, line)]

    def _text(self, line: str, fallback_time: str) -> Event | None:
        for at, parse in enumerate(self._texts):
            event = parse(line, fallback_time)
            if event is not None:
                if at:
                    self._texts.insert(0, self._texts.pop(at))
                return event
        if self._cloudfront is not None:
            return self._cloudfront.parse(line, fallback_time)
        return None

    def _wrapped(self, line: str, fallback_time: str) -> list[Event] | None:
        """Return the events of a line in one of the wrappers, or None where it is in none."""
        for unwrap in (self._container, self._syslog):
            events = unwrap(line, fallback_time)
            if events is not None:
                self._last = unwrap
                return events
        return None

    def _container(self, line: str, fallback_time: str) -> list[Event] | None:
        part = cri.part_of(line, fallback_time)
        return None if part is None else self._part(part, line)

    def _syslog(self, line: str, fallback_time: str) -> list[Event] | None:
        message = syslog.strip(line, fallback_time)
        return None if message is None else self._within(message.text, message.time, line)

    def _part(self, part: cri.Part, line: str) -> list[Event]:
        inner = self._unwrapper.feed(part, line)
        return [] if inner is None else self._within(inner.line, inner.time, inner.raw)

    def _within(self, text: str, time: str, raw: str) -> list[Event]:
        """Return the event of a line within another, of which no more wrappers are taken off."""
        event = None
        if text[:1] == "{":
            obj = json_object(text)
            if obj is not None:
                for from_object in self._objects:
                    event = from_object(obj, text, time)
                    if event is not None:
                        break
        else:
            event = self._text(text, time)
            if event is None:
                message = syslog.strip(text, time)
                if message is not None:
                    event = self._text(message.text, message.time)
        if event is None:
            event = log_event(time, self._name, raw)
        event["raw"] = raw
        return [event]


class Fixed:
    """One format that was named: a line that has another is an event of `log`.

    Where the format is one of text, its lines may have a prefix of syslog.
    """

    holds: Final = False

    def __init__(self, name: str) -> None:
        """Make a stream of one of `PARSERS`."""
        self._name = name
        self._parse = PARSERS[name]
        self._from_object = _OBJECTS.get(name)

    def feed(self, line: str, fallback_time: str) -> list[Event]:
        """Return the events of the next line: see `Stream`."""
        event = self._one(line, fallback_time)
        if event is None:
            message = syslog.strip(line, fallback_time)
            if message is not None:
                event = self._one(message.text, message.time)
                if event is not None:
                    event["raw"] = line
        if event is None:
            if not line:
                return []
            event = log_event(fallback_time, self._name, line)
        return [event]

    def flush(self) -> list[Event]:
        """Return nothing: no line is held."""
        return []

    def _one(self, line: str, fallback_time: str) -> Event | None:
        if line[:1] == "{" and self._from_object is not None:
            obj = json_object(line)
            return None if obj is None else self._from_object(obj, line, fallback_time)
        return self._parse(line, fallback_time)


class _CloudFront(cloudfront.CloudFront):
    """The lines of a file of CloudFront."""

    holds: Final = False

    def feed(self, line: str, fallback_time: str) -> list[Event]:
        """Return the events of the next line: see `Stream`."""
        event = self.parse(line, fallback_time)
        if event is not None:
            return [event]
        if not line or self.header(line):
            return []
        return [log_event(fallback_time, cloudfront.NAME, line)]

    def flush(self) -> list[Event]:
        """Return nothing: no line is held."""
        return []


def _fixed(name: str) -> Callable[[], Stream]:
    return lambda: Fixed(name)


FORMATS: Final[dict[str, Callable[[], Stream]]] = {
    "auto": Auto,
    "cri": lambda: Auto("cri"),
    **{name: _fixed(name) for name in PARSERS},
    "cloudfront": _CloudFront,
}
"""What makes a stream of a format, by the name that `--format` takes."""
