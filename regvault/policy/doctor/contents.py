"""Judged: what is in a vault, and what is in a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.policy.doctor.check import Check, error, ok, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regvault.model.doctor import Asked, Sample

__all__ = [
    "judge_apart",
    "judge_archived",
    "judge_leases",
    "judge_overlap",
    "judge_prune_lock",
    "judge_sample",
]


def judge_leases(*, alive: int, dead: Sequence[str], looked_at: str) -> Check:
    """Judge who is at work in a vault.

    Args:
        alive: how many are.
        dead: (role and run) of those that ended without giving their lease back.
        looked_at: how much was looked at, for people.
    """
    check = "leases"
    if dead:
        return warning(
            check,
            f"left by runs that died: {', '.join(dead[:5])}" + (", ..." if len(dead) > 5 else ""),
            "See why they died; the next snapshot ends the lease of a dead one, a dead reader's "
            "holds off prune for a day. At once: regvault unlock",
        )
    if alive:
        return ok(check, f"{alive} at work, none dead, {looked_at}")
    return ok(check, f"nobody is at work, none dead, {looked_at}")


def judge_archived(found: Mapping[str, int], promised: int) -> Check:
    """Judge whether the newest snapshots need what lies in an archive.

    Args:
        found: snapshot -> how many objects it needs that nothing promises to bring back in time.
        promised: how many others there are.
    """
    check = "archived"
    outside = {name: count for name, count in found.items() if count}
    if outside:
        worst = "; ".join(f"{name} needs {count}" for name, count in sorted(outside.items())[:5])
        return warning(
            check,
            f"a restore would wait for objects that lie in an archive: {worst}",
            "The next snapshot stores them again, as far as the registry has them. What it takes "
            f"to thaw them: regvault tier thaw {min(outside)} --dry-run",
        )
    if promised:
        return ok(check, f"{promised} objects in archives, which come back as was promised")
    return ok(check, "the newest snapshots need nothing that lies in an archive")


def judge_prune_lock(
    *, state: str, run: str, dead: bool, idle_s: float, patience_s: float
) -> Check:
    """Judge the prune lock.

    Args:
        state: `held`, `requested`, or "": free.
        run: whose.
        dead: that run is known to be.
        idle_s: seconds since it said something.
        patience_s: seconds for which a request is honoured.
    """
    check = "prune-lock"
    minutes = f"{idle_s / 60:.0f} minutes ago"
    if state == "held" and dead:
        return warning(
            check,
            f"held by prune {run}, which died {minutes}",
            "The next snapshot ends it. At once: regvault unlock",
        )
    if state == "held":
        return ok(check, f"held by prune {run}: it decides what may be deleted, for minutes")
    if state == "requested" and not dead and idle_s < patience_s:
        return warning(
            check,
            f"prune {run} waits for its turn since {minutes}: snapshots that begin now wait up to "
            "an hour",
            "A snapshot that runs for hours keeps it waiting. See who: regvault unlock --dry-run",
        )
    return ok(check, "free")


def judge_sample(sample: Sample) -> Check:
    """Judge whether a part of a source that was looked at can be read."""
    check = "source-readable"
    extent = "all" if sample.whole else "a sample"
    looked = f"{extent} of it: {sample.directories:,} directories, {sample.files:,} files"
    if not sample.directories:
        looked = f"{extent} of it: {sample.files:,} objects"
    if not sample.failed:
        return ok(check, f"readable ({looked})")
    which = "; ".join(why for _, why in sample.unreadable)
    return error(
        check,
        f"{sample.failed:,} cannot be read ({looked}): {which}",
        "Run the backup as the user that owns the registry's storage, or give its user the right "
        "to read. For a bucket, allow s3:GetObject and s3:ListBucket.",
    )


def judge_overlap(vaults: Sequence[str]) -> Check:
    """Judge whether a source and a vault lie one inside the other.

    Args:
        vaults: those that do.
    """
    check = "source-overlap"
    if vaults:
        return error(
            check,
            f"it and {', '.join(vaults)} lie one inside the other",
            "A vault and a registry each need a place of their own, beside each other.",
        )
    return ok(check, "it and the vault lie beside each other")


def judge_apart(shared: Sequence[tuple[str, Asked[str]]]) -> Check:
    """Judge whether a vault is a second copy of a source, or lost together with it.

    Args:
        shared: (vault, what it shares with the source; "": nothing).
    """
    check = "second-copy"
    what = ", ".join(f"the {asked.value} of {vault}" for vault, asked in shared if asked.value)
    if what:
        return warning(
            check,
            f"it is in {what}: what destroys the one destroys the other",
            "Keep the vault elsewhere, or a copy of it: regvault copy --from VAULT --to VAULT",
        )
    unknown = next((asked.why for _, asked in shared if asked.value is None), "")
    if unknown:
        return skipped(check, unknown)
    return ok(check, "no file system and no bucket is shared with the vault")
