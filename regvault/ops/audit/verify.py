"""Proves that nothing was taken out of archived events, put in, changed or moved since."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, RegvaultError, VaultDamagedError
from regvault.ops.audit.known import RECORDS, heads_of
from regvault.storage.read_only import is_past
from regvault.vault.audit.chain import Chain, chains, heads
from regvault.vault.audit.expiry import NOTHING, expired, not_believed
from regvault.vault.audit.keys import MONTHS, link_key
from regvault.vault.audit.months import Months
from regvault.vault.audit.segment_reader import SegmentReader
from regvault.vault.fetch import sha256_of
from regvault.vault.keys import new_run_id
from regvault.vault.records import read_records, write_record
from regvault.vault.slots import gaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.progress import Progress
    from regvault.vault.audit.chain import Link
    from regvault.vault.vault import Vault

__all__ = ["AuditReport", "Finding", "verify_audit"]

_AT_ONCE = 128 << 20


class Finding(NamedTuple):
    """Something that is wrong.

    Attributes:
        key: of the object; "" where a whole chain is meant.
        what: `missing`, `damaged`, `cut-off`, `forked`, `numbers`.
        detail: for people.
    """

    key: str
    what: str
    detail: str


@dataclass
class AuditReport:
    """What was found.

    Attributes:
        chains: ids, each with the number of its newest link.
        links, events, nbytes: that were read.
        expired: links whose segments are not kept any more, as the vault says.
        erased: months that tell of nobody any more.
        problems: what is wrong.
        gaps: what is known to be missing: records that were gone before they were archived.
        recorded: a record in the vault says how far chains are.
    """

    chains: dict[str, int] = field(default_factory=dict)
    links: int = 0
    events: int = 0
    nbytes: int = 0
    expired: int = 0
    erased: list[str] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    recorded: bool = False

    def exit_code(self) -> int:
        """Return 4 where the archive is not what it was, 3 where events are known to be missing."""
        return 4 if self.problems else 3 if self.gaps else 0

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "chains": self.chains,
            "links": self.links,
            "events": self.events,
            "bytes": self.nbytes,
            "expired_links": self.expired,
            "erased_months": self.erased,
            "problems": [found._asdict() for found in self.problems],
            "gaps": self.gaps,
            "recorded": self.recorded,
        }


def verify_audit(vault: Vault, *, progress: Progress) -> AuditReport:
    """Read all chains of a vault, and all that is in them.

    What is encrypted is opened where its month has a key; elsewhere its bytes are proven.
    """
    report = AuditReport()
    months = Months(vault)
    try:
        report.erased = sorted(name for name, when in months.known().items() if when is not None)
    except VaultDamagedError as error:
        report.problems.append(Finding(error.key or MONTHS, "damaged", error.message))
    said = list(_said(vault))
    for chain in sorted({*chains(vault), *(name for name, _, _, _ in said)}):
        progress.phase(f"Proving chain {chain}")
        known = [(number, sha256, who) for name, number, sha256, who in said if name == chain]
        _Verifier(vault, months, report, progress).chain(chain, known)
    if not report.problems and report.chains and not is_past(vault.store):
        _record(vault, report, progress)
    return report


def _record(vault: Vault, report: AuditReport, progress: Progress) -> None:
    """Say in the vault how far chains are, so that a later verification knows."""
    fields = {
        "heads": heads(vault, {}),
        "events": report.events,
        "gaps": len(report.gaps),
        "erased_months": report.erased,
    }
    try:
        write_record(vault.store, vault.id, RECORDS, new_run_id(), fields)
        report.recorded = True
    except RegvaultError as error:
        progress.warn(f"the verification is not recorded in the vault: {error.message}")


def _said(vault: Vault) -> Iterator[tuple[str, int, str, str]]:
    """Yield what roots and records say of chains: id, number, SHA-256 of a link, who says it."""
    for root in vault.all_roots():
        yield from ((*head, str(root.name)) for head in heads_of(root.audit))
    for record in read_records(vault.store, vault.id, RECORDS, leave_damaged=True):
        who = f"the verification of {record.get('at')}"
        yield from ((*head, who) for head in heads_of(record.get("heads")))


class _Verifier:
    def __init__(
        self, vault: Vault, months: Months, report: AuditReport, progress: Progress
    ) -> None:
        self._vault = vault
        self._months = months
        self._report = report
        self._progress = progress
        self._expired = NOTHING

    def _problem(self, key: str, what: str, detail: str) -> None:
        self._report.problems.append(Finding(key, what, detail))

    def chain(self, name: str, said: list[tuple[int, str, str]]) -> None:
        """Prove one chain.

        Args:
            name: its id.
            said: of links: number, SHA-256, and who says so.
        """
        chain = Chain(self._vault, name)
        numbers = chain.numbers()
        head = numbers[-1] if numbers else 0
        self._report.chains[name] = head
        for missing in gaps(numbers):
            keys = link_key(name, missing[0]), link_key(name, missing[-1])
            self._problem(keys[0], "missing", f"links {missing[0]} to {missing[-1]} are gone")
        newest = max((number for number, _, _ in said), default=0)
        if newest > head:
            who = next(who for number, _, who in said if number == newest)
            key = link_key(name, head + 1)
            self._problem(
                key, "cut-off", f"links {head + 1} to {newest} are gone: {who} knew of {newest}"
            )
        self._expired = expired(self._vault, name)
        for forged in not_believed(self._vault, name):
            self._problem(*forged)
        digests: dict[int, str] = {}
        before: Link | None = None
        newest_link: Link | None = None
        for number in numbers:
            link = self._link(chain, number)
            if link is None:
                before = None
                continue
            digests[number] = link.sha256
            newest_link = link
            if number == self._expired.through and link.sha256 != self._expired.sha256:
                self._problem(
                    self._expired.key, "forked", f"it knew another link {number} than there is"
                )
            if before is not None:
                self._follows(before, link)
            elif number == 1 and link.previous is not None:
                self._problem(link_key(name, 1), "forked", "the first link names one before it")
            before = link
        if newest_link is not None:
            self._indexes(newest_link)
        for number, sha256, who in said:
            if number in digests and digests[number] != sha256:
                key = link_key(name, number)
                self._problem(key, "forked", f"it is another link than the one that {who} knew")

    def _link(self, chain: Chain, number: int) -> Link | None:
        key = link_key(chain.id, number)
        try:
            link = chain.read(number)
        except VaultDamagedError as error:
            self._problem(key, "damaged", error.message)
            return None
        except ObjectNotFoundError:
            self._problem(key, "missing", "it is gone")
            return None
        self._report.links += 1
        self._report.gaps += [
            f"partition {gap.get('partition')}: records {gap.get('first')} to {gap.get('next')} "
            "were gone before they were archived"
            for gap in link.gaps
        ]
        if number > self._expired.through:
            self._segment(link)
        else:
            self._report.expired += 1
        return link

    def _follows(self, before: Link, link: Link) -> None:
        key = link_key(link.chain, link.number)
        if link.previous != before.sha256:
            self._problem(key, "forked", "it does not name the link before it")
        back = [name for name, at in before.positions.items() if link.positions.get(name, 0) < at]
        if back:
            self._problem(key, "numbers", f"it goes back in {', '.join(sorted(back))}")

    def _indexes(self, link: Link) -> None:
        """Prove the indexes that the newest link names."""
        store = self._vault.store
        for index in link.indexes:
            try:
                if sha256_of(store, index.key) != index.sha256:
                    self._problem(index.key, "damaged", "its bytes are not what its link says")
            except ObjectNotFoundError:
                self._problem(index.key, "missing", f"link {link.number} says that it is there")

    def _segment(self, link: Link) -> None:
        store = self._vault.store
        try:
            size = store.head(link.key).size
            reader = SegmentReader.of(self._vault, link, self._months)
            if size != link.size or self._digest(reader, size) != link.digest:
                self._problem(link.key, "damaged", "its bytes are not what its link says")
                return
            self._report.nbytes += size
            if self._vault.seal.opens_names:
                self._lines(reader, link)
        except ObjectNotFoundError:
            self._problem(link.key, "missing", f"link {link.number} says that it is there")
        except VaultDamagedError as error:
            self._problem(link.key, "damaged", error.message)
        self._progress.advance(1)

    def _digest(self, reader: SegmentReader, size: int) -> str:
        """Return the SHA-256 of a segment, which is read once where it is not a large one."""
        if size > _AT_ONCE:
            return sha256_of(self._vault.store, reader.key)
        return hashlib.sha256(reader.read_whole()).hexdigest()

    def _lines(self, reader: SegmentReader, link: Link) -> None:
        count = 0
        for number in range(len(reader.table().frames)):
            lines = reader.lines(number)
            count += len(lines)
        if count != link.events:
            self._problem(link.key, "damaged", f"it has {count} events, not {link.events}")
        self._report.events += count
