"""CSV that a spreadsheet can open: what comes from outside is neither a formula nor a line."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

from regvault.cli.text import inline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["cell", "write_rows"]

#: With one of these a spreadsheet takes a cell for a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any) -> Any:
    """Return a value as a cell has it: of text without control characters, `'` before a formula."""
    if not isinstance(value, str):
        return "" if value is None else value
    return f"'{inline(value)}" if value.startswith(_FORMULA) else inline(value)


def write_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows to standard output as they come, with a header; return how many.

    Args:
        columns: names of the columns. What a row has beside them is left out.
        rows: values by the names of columns.
    """
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    count = 0
    for row in rows:
        count += 1
        writer.writerow([cell(row.get(name)) for name in columns])
    return count
