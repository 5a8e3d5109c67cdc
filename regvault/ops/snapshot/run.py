"""Leads one snapshot: finds its registry, takes its lease, and has it taken."""

from __future__ import annotations

import itertools
import sqlite3
from typing import TYPE_CHECKING

from regvault.errors import VaultDamagedError
from regvault.ops.snapshot.choose import choose_registry
from regvault.ops.snapshot.session import (
    check_source,
)
from regvault.ops.snapshot.take import Run
from regvault.ops.writing import writing
from regvault.vault.cache import discard_database
from regvault.vault.catalog import vault_cache
from regvault.vault.current_keys import require_current_keys
from regvault.vault.keys import OBJECT_PREFIXES, new_run_id
from regvault.vault.needs import needs_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.model.progress import Progress
    from regvault.model.registry import RegistrySource
    from regvault.ops.snapshot.result import SnapshotOptions, SnapshotResult
    from regvault.vault.vault import Vault

__all__ = ["snapshot"]

#: After so many bad objects a snapshot gives up: it is not one that rots, but the whole vault.
_BAD_AT_MOST = 20


def snapshot(
    vault: Vault,
    source: RegistrySource,
    options: SnapshotOptions,
    *,
    progress: Progress,
    cache_base: str | None,
    renew_every_s: float = 240.0,
) -> SnapshotResult:
    """Take one full snapshot.

    Args:
        vault: where to.
        source: the live registry.
        options: what was asked for.
        progress: is told how far it is.
        cache_base: directory of the local caches; None keeps nothing.
        renew_every_s: seconds between renewals of the lease.

    Raises:
        NotFoundError: there is no registry.
        SourceUnavailableError: there is none any more.
        LeaseHeldError: another snapshot of it is at work, or a prune decides.
    """
    chosen = choose_registry(vault, source, options.registry)
    registry = chosen.registry
    check_source(source, chosen.title, known=chosen.known)
    bad: set[str] = set()
    if options.dry_run:
        run = new_run_id()
        return _healing(
            lambda: Run(vault, source, options, chosen, run, progress, cache_base, bad).dry(),
            bad,
            progress,
        )
    with writing(
        vault, registry, wait_s=options.wait_s, say=progress.note, renew_every_s=renew_every_s
    ) as (run, lease):
        require_current_keys(vault)  # after the wait for other writers

        def take() -> SnapshotResult:
            this = Run(vault, source, options, chosen, run, progress, cache_base, bad)
            try:
                return this.take(lease)
            except sqlite3.DatabaseError as error:
                if this.result.root is not None:  # committed: only the local cache lags behind
                    return this.result
                progress.warn(f"the local cache is broken ({error}); beginning again without it")
                discard_database(vault_cache(cache_base, vault.id), needs_file(registry))
            return Run(vault, source, options, chosen, run, progress, cache_base, bad).take(lease)

        return _healing(take, bad, progress)


def _healing(
    take: Callable[[], SnapshotResult], bad: set[str], progress: Progress
) -> SnapshotResult:
    """Take a snapshot; where an object of the vault turns out to be bad, once more without it.

    What it held and the registry still has is stored again. A backup is not refused for what an
    older one lost.
    """
    for tries in itertools.count():
        try:
            return take()
        except VaultDamagedError as error:
            known = error.key is None or error.key in bad or tries >= _BAD_AT_MOST
            if known or not str(error.key).startswith(OBJECT_PREFIXES):
                raise
            progress.warn(
                f"{error.message}; beginning again, to store anew what it held",
                hint="See what it means for older snapshots: regvault verify --read-data",
            )
            bad.add(str(error.key))
    raise AssertionError  # the last try returns or raises
