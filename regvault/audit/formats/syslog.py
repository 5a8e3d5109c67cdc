"""The prefix that syslog puts before a line: RFC 3164, RFC 5424, and what rsyslog writes in files.

<134>Nov 20 03:00:00 proxy1 haproxy[14389]: 10.0.1.2:33317 [20/Nov/2026:03:00:00.655] ...
Nov 20 03:00:00 172.18.0.1 core[823]: 2026-11-20T03:00:00Z [INFO] ...
<14>2026-11-20T03:00:00Z harbor-core-5d audit[1]: 2026-11-20T03:00:00Z [INFO] ...
<134>1 2026-11-20T03:00:00.123456Z proxy1 nginx 812 - - 10.0.1.2 - - [...
"""

from __future__ import annotations

import re
from typing import NamedTuple

from regvault.audit.formats.times import iso_time, yearless_time

__all__ = ["Message", "strip"]

_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"
_TAG = r"(?:([\w./-]{1,255}) )?[\w./-]{1,64}(?:\[[\w.-]{1,32}\])?: ?"

_OLD = re.compile(rf"(?:<\d{{1,3}}>)?([A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d) (?:{_TAG})", re.ASCII)
# A priority of syslog, and Go's, which has a time of RFC 3339; a file of rsyslog has no priority.
_FILE = re.compile(rf"(?:<\d{{1,3}}>)?({_ISO}) (?:{_TAG})", re.ASCII)
_NEW = re.compile(
    rf"<\d{{1,3}}>1 ({_ISO}|-) (\S{{1,255}}) \S{{1,48}} \S{{1,128}} \S{{1,32}} "
    r'(?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: \ufeff?|\Z)',
    re.ASCII,
)

_LONGEST = 4096


class Message(NamedTuple):
    """A line of syslog without its prefix.

    Attributes:
        text: what the program wrote.
        time: of the prefix, as events have it; that which was given where the prefix has none.
    """

    text: str
    time: str


def strip(line: str, fallback_time: str) -> Message | None:
    """Return what follows the prefix of syslog, or None where a line has none.

    Args:
        line: of a log.
        fallback_time: when it was read: a prefix of RFC 3164 has no year.
    """
    if line[:1] == "<":
        found = _NEW.match(line, 0, _LONGEST)
        if found is not None:
            return Message(line[found.end() :], iso_time(found[1]) or fallback_time)
    found = _OLD.match(line)
    if found is not None:
        return Message(line[found.end() :], yearless_time(found[1], fallback_time) or fallback_time)
    found = _FILE.match(line)
    if found is not None:
        return Message(line[found.end() :], iso_time(found[1]) or fallback_time)
    return None
