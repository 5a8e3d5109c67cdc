"""What the two parts of an event's JSON say: read in C, and checked on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from regvault.model.event import OPTIONAL

__all__ = ["Persons", "Told", "persons_of", "told_of"]


class _Always(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The fields of `ALWAYS`, with the types that an archive relies on."""

    seq: int
    spool: str
    received: str
    id: str
    time: str
    action: str
    method: Any
    repository: str | None
    tag: str | None
    digest: str | None
    status: Any
    duration_ms: Any
    source: str


if TYPE_CHECKING:

    class Told(_Always):
        """What an event says, but of persons; of `OPTIONAL`, what it does not say is None."""

        references: Any = None
else:
    Told = msgspec.defstruct(
        "Told",
        [(name, Any, None) for name in OPTIONAL],
        bases=(_Always,),
        forbid_unknown_fields=True,
        gc=False,
    )


class Persons(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What an event tells of persons."""

    actor: str | None
    address: str | None
    useragent: Any
    raw: str
    raw_base64: Any = None


#: Both read JSON, and raise msgspec.MsgspecError where it is not that of such a part.
told_of = msgspec.json.Decoder(Told).decode
persons_of = msgspec.json.Decoder(Persons).decode
