"""Keeps the indexes of a chain few: one for every 64 links, then one for every 1,024, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.vault.audit.expiry import expired
from regvault.vault.audit.index import (
    IndexReader,
    merged_terms,
    summary_of,
    write_index,
)
from regvault.vault.audit.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.vault.audit.chain import Chain, Index
    from regvault.vault.audit.months import Months
    from regvault.vault.vault import Vault

__all__ = ["LINKS", "MERGED", "covered", "with_more"]

LINKS = 64
"""So many links get an index."""
MERGED = 16
"""So many indexes of one size are merged into one."""


def covered(indexes: list[Index]) -> int:
    """Return the number of the last link that indexes are over, 0 where there is none."""
    return indexes[-1].last if indexes else 0


def with_more(
    vault: Vault, chain: Chain, months: Months, indexes: list[Index], head: int, run: str
) -> list[Index]:
    """Return the indexes of a chain, after those that are due were written.

    Args:
        vault: where.
        chain: whose.
        months: the keys of months.
        indexes: that there are, ascending.
        head: the number of the newest link.
        run: this run's id.

    Raises:
        VaultDamagedError: a link, a segment or an index cannot be read.
    """
    found = list(indexes)
    gone = expired(vault, chain.id).through if head - covered(found) >= LINKS else 0
    while head - covered(found) >= LINKS:
        first = covered(found) + 1
        links = [chain.read(number) for number in range(first, first + LINKS)]
        terms = [
            _numbered(SegmentReader.of(vault, link, months), link.number)
            for link in links
            if link.number > gone
        ]
        summaries = map(summary_of, links)
        found.append(write_index(vault, chain.id, run, summaries, merged_terms(terms)))
        while _due(found):
            readers = [IndexReader(vault, index) for index in found[-MERGED:]]
            all_links = (summary for reader in readers for summary in reader.links())
            all_terms = merged_terms([reader.terms() for reader in readers])
            merged = write_index(vault, chain.id, run, all_links, all_terms)
            found[-MERGED:] = [merged]
    return found


def _numbered(reader: SegmentReader, number: int) -> Iterator[tuple[str, int, list[int]]]:
    for term, frames in reader.index():
        yield term, number, frames


def _due(indexes: list[Index]) -> bool:
    last = indexes[-MERGED:]
    sizes = {index.last - index.first for index in last}
    return len(last) == MERGED and len(sizes) == 1
