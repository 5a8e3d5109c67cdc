r"""Records of a spool: one line each, that says how long it is and proves itself.

    <length, 8 hex digits> <CRC-32 of the JSON, 8 hex digits> <JSON>\n

The JSON is one object that begins with `{"seq":<number>,` and holds no newline. So whatever happens
to one record, the next begins after the next newline; and where the newline itself is hurt, length
and checksum still say where the record ends.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

__all__ = ["HEADER", "MAX_BYTES", "Found", "encode", "scan", "seq_of"]

#: Bytes before the JSON.
HEADER = 18
#: Bytes of JSON that one record may have: what takes events at the door refuses larger ones.
MAX_BYTES = 16 << 20

_SEQ = b'{"seq":'


def encode(data: bytes) -> bytes:
    """Return the record of a JSON object."""
    return b"%08x %08x %b\n" % (len(data), crc32(data), data)


def seq_of(data: bytes) -> int:
    """Return the number of a record. Raises ValueError."""
    end = data.index(b",", 0, 32)
    if not data.startswith(_SEQ):
        raise ValueError("a record has no number")
    return int(data[len(_SEQ) : end])


class Found(NamedTuple):
    """What bytes of a segment hold.

    Attributes:
        records: the JSON of each, in order.
        damage: (offset, length, how many records are before it) of what is no record, but lies
            before the last newline.
        end: the offset after the last record or damage; what follows is a beginning of a record.
    """

    records: list[bytes]
    damage: list[tuple[int, int, int]]
    end: int


def scan(data: bytes, at: int = 0, *, limit: int = 1 << 62) -> Found:
    """Find the records in bytes that begin with one, or with what is left of one.

    Args:
        data: of a segment.
        at: where to begin.
        limit: records, at most.
    """
    records: list[bytes] = []
    damage: list[tuple[int, int, int]] = []
    size = len(data)
    while at < size and len(records) < limit:
        try:
            start = at + HEADER
            end = start + int(data[at : at + 8], 16)
            body = data[start:end]
            if end < size and crc32(body) == int(data[at + 9 : at + 17], 16) and body[:7] == _SEQ:
                records.append(body)
                at = end + 1
                continue
        except ValueError:
            pass
        newline = data.find(b"\n", at)
        if newline < 0:
            break
        if damage and damage[-1][0] + damage[-1][1] == at:
            damage[-1] = (damage[-1][0], newline + 1 - damage[-1][0], len(records))
        else:
            damage.append((at, newline + 1 - at, len(records)))
        at = newline + 1
    return Found(records, damage, at)
