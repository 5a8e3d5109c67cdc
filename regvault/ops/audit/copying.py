"""Brings archived events into another vault: chains as they are, and the keys of months."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import (
    DigestMismatchError,
    ObjectNotFoundError,
    PreconditionError,
    VaultDamagedError,
)
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.expiry import expired
from regvault.vault.audit.keys import link_key
from regvault.vault.audit.months import Months
from regvault.vault.copied import copied_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import new_run_id

if TYPE_CHECKING:
    from regvault.model.progress import Progress
    from regvault.vault.audit.chain import Link
    from regvault.vault.vault import Vault

__all__ = ["CopiedAudit", "copy_audit"]

_YOUNG_NS = 86_400 * 10**9


@dataclass
class CopiedAudit:
    """What was copied of archived events.

    Attributes:
        links: of chains.
        events: in them.
        nbytes: of segments and indexes.
        erased: months whose keys were thrown away in the source, and now here.
        problems: what could not be copied, with the reason.
    """

    links: int = 0
    events: int = 0
    nbytes: int = 0
    erased: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "links": self.links,
            "events": self.events,
            "bytes": self.nbytes,
            "erased_months": self.erased,
            "problems": self.problems,
        }


def copy_audit(
    source: Vault, target: Vault, *, dry_run: bool = False, progress: Progress
) -> CopiedAudit:
    """Copy the links that a vault lacks, each byte proven; no key is needed for that.

    A month that was erased in the source is erased here too, and one that was erased here stays so.

    Args:
        source: whose archived events.
        target: where they go.
        dry_run: copy nothing, say what would be.
        progress: is told.
    """
    done = CopiedAudit()
    names = chains(source)
    if not names:
        return done
    progress.phase("Copying archived events")
    if not dry_run:
        try:
            _copy_months(source, target, done)
        except VaultDamagedError as error:
            done.problems.append(f"the keys of months: {error.message}")
            return done
    for name in names:
        try:
            _Copier(source, target, name, done, progress, dry_run=dry_run).run()
        except (VaultDamagedError, ObjectNotFoundError, DigestMismatchError) as error:
            done.problems.append(f"chain {name}: {error.message}")
    return done


def _copy_months(source: Vault, target: Vault, done: CopiedAudit) -> None:
    """Copy keys before anything that they open; and what says that one is gone."""
    theirs, ours = Months(source), Months(target)
    here = ours.known()
    for month, erased in theirs.known().items():
        if erased is not None:
            if month not in here or here[month] is None:
                ours.erase(month)
                done.erased.append(month)
        elif month not in here:
            ours.take(month, theirs)


class _Copier:
    def __init__(
        self,
        source: Vault,
        target: Vault,
        name: str,
        done: CopiedAudit,
        progress: Progress,
        *,
        dry_run: bool,
    ) -> None:
        self._source, self._target = source, target
        self._theirs, self._ours = Chain(source, name), Chain(target, name)
        self._name = name
        self._done = done
        self._progress = progress
        self._dry_run = dry_run
        self._run = new_run_id()

    def run(self) -> None:
        """Copy the links after the newest that is here. Raises what cannot be read."""
        newest = self._ours.head()
        if newest is not None and self._theirs.read(newest.number).sha256 != newest.sha256:
            raise VaultDamagedError(
                f"link {newest.number} is another one in {self._target.store.location}",
                hint="Does something else archive the same stream there? Compare the two with: "
                "regvault audit verify",
            )
        first = 1 if newest is None else newest.number + 1
        numbers = [number for number in self._theirs.numbers() if number >= first]
        gone = expired(self._source, self._name)
        if first <= gone.through and not self._dry_run:
            self._say_what_is_gone(gone.key)
        for number in numbers:
            link = self._theirs.read(number)
            is_kept = number > gone.through
            if not self._dry_run:
                self._copy(link, kept=is_kept, last=number == numbers[-1])
            self._done.links += 1
            if is_kept:
                self._done.events += link.events
                self._done.nbytes += link.size
            self._progress.advance(1)

    def _say_what_is_gone(self, key: str) -> None:
        """Copy what says which segments cannot be, since the source does not keep them."""
        store = self._target.store
        document = self._document(key)
        with contextlib.suppress(PreconditionError):
            store.put(key, document, if_none_match=True)
        store.barrier()

    def _document(self, key: str) -> bytes:
        data = fetch_document(self._source.store, key)
        return copied_document(data, vault=self._target.id, slot=key, run=self._run, changes={})

    def _copy(self, link: Link, *, kept: bool, last: bool) -> None:
        if kept:
            self._object(link.key, link.size, link.digest)
        # Only those of the newest link are asked.
        for index in link.indexes if last else ():
            self._object(index.key, index.size, index.sha256)
        store = self._target.store
        store.barrier()
        key = link_key(self._name, link.number)
        try:
            store.put(key, self._document(key), if_none_match=True)
        except PreconditionError:
            if self._ours.read(link.number).sha256 != link.sha256:
                raise VaultDamagedError(
                    f"another run has put another link {link.number} there", key=key
                ) from None
        store.barrier()

    def _object(self, key: str, size: int, sha256: str) -> None:
        store = self._target.store
        try:
            there = store.head(key)
            # What lies there for long, and no link names, may be deleted at this moment.
            if there.size == size and store.now_ns() - there.modified_ns < _YOUNG_NS:
                return
        except ObjectNotFoundError:
            pass
        if store.copy_in(self._source.store, key, key, size=size, sha256=sha256) is None:
            with self._source.store.open(key) as reader:
                store.put_stream(key, reader, size=size, sha256=sha256)
