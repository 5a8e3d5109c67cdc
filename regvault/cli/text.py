"""How the command line writes sizes, times, names and tables, for people."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "count",
    "duration",
    "first",
    "inline",
    "money",
    "number",
    "percent",
    "printable",
    "size",
    "table",
]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# Control characters, what turns the direction of text, and halves of surrogate pairs.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return `text` with what could steer a terminal written out as `\x1b`.

    Names and labels come from registries and vaults, and those are hostile input. New lines and
    tabs stay.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def inline(value: object) -> str:
    r"""Return a value as a part of one line: new lines and tabs too are written out, as `\n`.

    So what comes from outside cannot look like a line of its own.
    """
    return printable(str(value)).replace("\n", "\\n").replace("\t", "\\t")


def size(count: int) -> str:
    """Return a number of bytes with three digits and an IEC unit: `1.50 GiB`."""
    value, unit = float(count), 0
    # 1023.6 KiB would be written as 1024 KiB.
    while abs(value) >= 1023.5 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    if unit == 0:
        return f"{count} B"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def number(count: int) -> str:
    """Return a number with its thousands set apart: `1,234,567`."""
    return f"{count:,}"


def count(amount: int, noun: str) -> str:
    """Return an amount of something: `1 repository`, `2,000 repositories`.

    Only the last letter of the noun, which is in the singular, changes.
    """
    if amount != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeo" else f"{noun}s"
    return f"{number(amount)} {noun}"


def percent(part: float, whole: float) -> str:
    """Return a share: `12.5 %`; of nothing, all is done."""
    return f"{100 * part / whole:.1f} %" if whole else "100.0 %"


def money(amount: float | None) -> str:
    """Return an amount of money with two digits, `< 0.01` where that shows nothing; None: `?`."""
    if amount is None:
        return "?"
    return "< 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"


def amount(value: float) -> str:
    """Return an amount of money with two digits, and small ones with three that say something."""
    return f"{value:,.2f}" if abs(value) >= 1 or not value else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units: `1 h 05 min`, `3 min 20 s`, `0.42 s`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02} h"


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, align: str = "", gap: str = "  "
) -> list[str]:
    """Return the lines of a table.

    Args:
        header: titles of the columns; () for none.
        rows: of the table; None is an empty cell.
        align: a letter for each column, `l` or `r`; columns that it does not reach are `l`.
        gap: between columns.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if header:
        cells.insert(0, [_cell(title) for title in header])
    columns = max((len(row) for row in cells), default=0)
    widths = [max((_width(r[i]) for r in cells if i < len(r)), default=0) for i in range(columns)]
    sides = align.ljust(columns, "l")
    return [
        gap.join(
            f"{' ' * (widths[i] - _width(value))}{value}"
            if sides[i] == "r"
            else f"{value}{' ' * (widths[i] - _width(value))}"
            for i, value in enumerate(row)
        ).rstrip()
        for row in cells
    ]


def _cell(value: object) -> str:
    return "" if value is None else inline(value)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def first(lines: Iterable[str], count: int, most: int) -> Iterator[str]:
    """Yield lines up to a bound, and then how many more there are.

    Args:
        lines: the first of them at least.
        count: of all.
        most: that are shown.
    """
    yield from islice(lines, most)
    if count > most:
        yield f"  and {count - most:,} more: --json has more of them"
