"""Leads a verification through its depths."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import RegvaultError
from regvault.model.progress import NO_PROGRESS
from regvault.ops.claim import Claim, claim
from regvault.ops.verify.closures import check_closures
from regvault.ops.verify.data import Sample, check_data, check_known
from regvault.ops.verify.documents import check_chains, check_documents, check_generations
from regvault.ops.verify.images import name_images, name_snapshots
from regvault.ops.verify.metadata import (
    Proven,
    check_meta,
    check_segments,
    check_trees,
    list_chunks,
    named_objects,
)
from regvault.ops.verify.presence import check_presence
from regvault.ops.verify.report import Report
from regvault.storage.read_only import is_past
from regvault.vault.catalog import Catalog, current_catalog
from regvault.vault.envelope import to_time
from regvault.vault.keys import new_run_id
from regvault.vault.records import known_damage, write_record

if TYPE_CHECKING:
    from regvault.model.progress import Progress
    from regvault.ops.verify.metadata import Manifests
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["VerifyOptions", "VerifyResult", "examine", "verify"]


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What was asked for.

    Attributes:
        quick: only that every object that is needed is there, with its size.
        read_data: which share of packs and raw blobs is read; None reads none.
        threads: at work at once.
    """

    quick: bool = False
    read_data: Sample | None = None
    threads: int = 4


@dataclass(slots=True)
class VerifyResult:
    """What came of it.

    Attributes:
        depth: `quick`, `metadata` or `data`.
        snapshots: how many were verified.
        report: what was found.
        seconds: it took.
        recorded: whether a record of it was written into the vault.
    """

    depth: str
    snapshots: int = 0
    report: Report = field(default_factory=Report)
    seconds: float = 0.0
    recorded: bool = False

    def exit_code(self) -> int:
        """Return 0, or 4 where the vault is damaged."""
        return 4 if self.report.count else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        return {
            "depth": self.depth,
            "snapshots": self.snapshots,
            "ok": self.report.count == 0,
            **self.report.to_json(),
            "seconds": round(self.seconds, 3),
            "recorded": self.recorded,
        }


def verify(vault: Vault, options: VerifyOptions, *, progress: Progress) -> VerifyResult:
    """Verify all snapshots of a vault; what is wrong is in the result, not raised."""
    started = time.time_ns()
    data = options.read_data
    depth = "quick" if options.quick else ("metadata" if data is None else "data")
    result = VerifyResult(depth)
    report = result.report
    roots, held = _examine(vault, options, report, progress)
    result.snapshots = len(roots)
    result.seconds = (time.time_ns() - started) / 1e9
    if is_past(vault.store):
        return result  # nobody can write there what was found
    if held.lost and report.count:
        return result  # what was pruned meanwhile is not to be told others as damage
    try:
        write_record(
            vault.store,
            vault.id,
            "verifications",
            new_run_id(),
            {
                "depth": depth,
                "sample": None if data is None else list(data),
                "started": to_time(started),
                "snapshots": _newest(vault, roots),
                "problems": report.count,
                "damaged": report.damaged_objects(),
                "objects_read": report.objects,
                "bytes_read": report.nbytes,
                "archived_bytes": report.archived_bytes,
                "seconds": round(result.seconds, 3),
            },
        )
        result.recorded = True
    except RegvaultError as error:
        progress.warn(f"the verification is not recorded in the vault: {error.message}")
    return result


def _newest(vault: Vault, roots: list[Root]) -> dict[str, int]:
    """Return registry -> its newest sequence that can be read; 0 where none can."""
    newest = dict.fromkeys(vault.registries(), 0)
    for root in roots:
        name = root.name
        newest[name.registry] = max(name.sequence, newest.get(name.registry, 0))
    return newest


def examine(
    vault: Vault, options: VerifyOptions, *, progress: Progress
) -> tuple[list[Root], Report]:
    """Look for what is wrong as `verify` does; return the roots that can be read, and the report.

    Nothing is recorded.
    """
    report = Report()
    roots, _ = _examine(vault, options, report, progress)
    return roots, report


def _examine(
    vault: Vault, options: VerifyOptions, report: Report, progress: Progress
) -> tuple[list[Root], Claim]:
    registries = vault.registries()
    progress.phase("Reading roots", total_items=len(registries))
    roots: list[Root] = []
    for registry in registries:
        roots += check_chains(vault, registry, report)
        progress.advance(1)
    # The local cache could be wrong too: all segments are read here anyway.
    catalog = current_catalog(vault)
    try:
        with claim(vault, roots, progress) as held:
            _check(vault, roots, catalog, options, report, progress)
    finally:
        catalog.close()
    return roots, held


def _check(
    vault: Vault,
    roots: list[Root],
    catalog: Catalog,
    options: VerifyOptions,
    report: Report,
    progress: Progress,
) -> None:
    known = known_damage(vault.store, vault.id)
    seen = check_presence(vault, roots, report, progress, options.threads)
    try:
        report.carried = {key for key in known if seen.get(key) is not None}
        if options.quick:
            return
        check_documents(vault, report)
        check_generations(vault, roots, report)
        walked = roots if check_segments(vault, roots, catalog, report) else []
        meta = [ref.key for ref in named_objects(roots, vault, "meta/")]
        manifests = check_meta(vault, catalog, meta, report, progress, options.threads)
        proven = Proven()
        vault.on_proof = proven.add
        try:
            _walk_and_read(vault, roots, walked, catalog, manifests, options, report, progress)
            trees = itertools.chain(
                named_objects(roots, vault, "trees/"), list_chunks(roots, vault)
            )
            check_trees(vault, trees, proven, report, options.threads)
            check_known(vault, roots, report)
        finally:
            vault.on_proof = None
            proven.close()
            manifests.close()
    finally:
        seen.close()
        if report.count:
            name_snapshots(vault, roots, report)
        if report.count and vault.seal.opens_contents:
            name_images(vault, roots, catalog, report)


def _walk_and_read(
    vault: Vault,
    roots: list[Root],
    walked: list[Root],
    catalog: Catalog,
    manifests: Manifests,
    options: VerifyOptions,
    report: Report,
    progress: Progress,
) -> None:
    """Walk the snapshots; read data at the same time, if it is to be read.

    The walk keeps the interpreter busy, reading and hashing the machine.
    """
    if options.read_data is None:
        check_closures(vault, walked, catalog, manifests, report, progress)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="walk") as pool:
        walk = pool.submit(check_closures, vault, walked, catalog, manifests, report, NO_PROGRESS)
        progress.phase("Reading data")
        for prefix in ("packs/", "blobs/"):
            refs = named_objects(roots, vault, prefix)
            check_data(vault, refs, catalog, options.read_data, report, progress, options.threads)
        walk.result()
