"""What the two parts of an event's JSON say: read in C, and checked on the way."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from regvault.model.event import OPTIONAL

__all__ = ["Persons", "Told", "has_times", "persons_of", "told_of"]

#: SQLite and other readers of numbers have 64 bits.
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Number = int | float | None
#: Of optional fields; all others are texts.
_TYPES: Final[dict[str, Any]] = {
    "size": _Count | None,
    "references": list[str] | None,
    "value": _Number,
    "threshold": _Number,
    "missing": _Count | None,
    "reconstructed": bool | None,
    "joined": None,  # what a query makes; nothing that is archived has it
}


class _Always(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `ALWAYS`, with the types that an archive relies on."""

    seq: _Count
    spool: str
    received: str
    id: str
    time: str
    action: str
    method: str | None
    repository: str | None
    tag: str | None
    digest: str | None
    status: Annotated[int, msgspec.Meta(ge=0, le=999)] | None
    duration_ms: _Number
    source: str


if TYPE_CHECKING:

    class Told(_Always):
        """What an event says, but of persons; of `OPTIONAL`, what it does not say is None."""

        references: list[str] | None = None
        reconstructed: bool | None = None
else:
    Told = msgspec.defstruct(
        "Told",
        [(name, _TYPES.get(name, str | None), None) for name in OPTIONAL],
        bases=(_Always,),
        forbid_unknown_fields=True,
        gc=False,
    )


class Persons(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What an event tells of persons."""

    actor: str | None
    address: str | None
    useragent: str | None
    raw: str
    raw_base64: str | None = None


#: Both read JSON, and raise msgspec.MsgspecError where it is not that of such a part.
told_of = msgspec.json.Decoder(Told).decode
persons_of = msgspec.json.Decoder(Persons).decode

_TIME = r"(?:19[7-9]\d|[2-9]\d{3})-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}Z"
_are_times = re.compile(_TIME * 2, re.ASCII).fullmatch


def has_times(event: Told) -> bool:
    """Return whether the times of an event are some, in the form that events have."""
    received, when = event.received, event.time
    return (
        _are_times(received + when) is not None
        and len(when) == len(received)
        and _is_day(received[:10])
        and _is_day(when[:10])
    )


@lru_cache(5000)
def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
