"""A repository's state: what a snapshot knows of one repository, as sorted lines of text.

The lines are part of vault format 1 (`docs/vault-format.md`, "Repository state"):

    blob <digest> <size>                  a manifest here refers to it, but no layer link does
    layer <digest> <size>                 a layer link
    rev <digest> <media type> <size>      a revision link and its manifest
    tag <name> <digest>                   where the tag points; `-` where that is lost
    was <tag> <digest>                    one entry of the tag's history

A size of `-` says: the source did not have these bytes (or not the right ones), and the snapshot
does not hold them.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote

from regvault.errors import VaultDamagedError
from regvault.oci.grammar import is_digest, is_tag, parse_number

__all__ = ["Line", "checked_line", "decode_field", "encode_field", "parse_line"]

_SAFE = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) != "%")


def encode_field(text: str) -> str:
    """Return `text` as one field: percent-encoded outside printable ASCII; "" becomes `-`."""
    if not text:
        return "-"
    if text == "-":
        return "%2D"
    return quote_from_bytes(text.encode("utf-8", "surrogateescape"), safe=_SAFE)


def decode_field(field: str) -> str:
    """Undo `encode_field`."""
    if field == "-":
        return ""
    if "%" not in field:
        return field
    return unquote(field, errors="surrogateescape")


class Line(NamedTuple):
    """One parsed line.

    Attributes:
        what: `blob`, `layer`, `rev`, `tag` or `was`; anything else is of a later version.
        name: the digest, or the tag's name.
        value: the media type of a `rev`, the digest of a `tag` or `was`, else "".
        size: bytes; None where the snapshot does not hold them, and for `tag` and `was`.
    """

    what: str
    name: str
    value: str
    size: int | None


def parse_line(line: str) -> Line:
    """Parse one state line. The grammar of names and digests is the caller's to check.

    Raises:
        ValueError: the line has not the fields that its kind has.
    """
    fields = line.split(" ")
    what = fields[0]
    if what in ("layer", "blob"):
        _, digest, size = fields
        return Line(what, digest, "", _size(size))
    if what == "rev":
        _, digest, media_type, size = fields
        return Line(what, digest, decode_field(media_type), _size(size))
    if what in ("tag", "was"):
        _, name, digest = fields
        if not digest:
            raise ValueError("a tag without its digest")
        return Line(what, name, "" if digest == "-" else digest, None)
    return Line(what, fields[1] if len(fields) > 1 else "", "", None)


def _size(field: str) -> int | None:
    return None if field == "-" else parse_number(field)


def checked_line(data: bytes) -> Line:
    """Parse one state line that came out of a vault, where names and digests are hostile input.

    Raises:
        VaultDamagedError: it is none.
    """
    try:
        line = parse_line(data.decode("ascii"))
    except ValueError:
        raise VaultDamagedError(f"a state has a line that is none: {data[:200]!r}") from None
    what, name, value, _ = line
    if what in ("tag", "was"):
        good = is_tag(name) and (is_digest(value) or (what == "tag" and not value))
    elif what in ("rev", "layer", "blob"):
        good = is_digest(name)
    else:
        good = True
    if not good:
        raise VaultDamagedError(f"a state has a line that is none: {data[:200]!r}")
    return line
