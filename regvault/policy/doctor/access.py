"""Judged: clock, permissions, and what every store of a vault must do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.model.doctor import Credentials
from regvault.policy.doctor.check import Check, error, failed, ok, skipped, warning

if TYPE_CHECKING:
    from regvault.model.doctor import Asked

__all__ = [
    "judge_clock",
    "judge_creates",
    "judge_deleting",
    "judge_deleting_versions",
    "judge_durable",
    "judge_listing",
    "judge_ranges",
    "judge_read_after_write",
    "judge_reading",
    "judge_swap",
    "judge_writing",
]


#: More than this is worth a look; more than what destructive verbs bear is an error.
SKEW_WARNING_S = 60


def judge_clock(skew_s: float, *, limit_s: float) -> Check:
    """Judge how far the store's clock is ahead of this machine's.

    Args:
        skew_s: seconds; negative: it is behind.
        limit_s: beyond which destructive verbs refuse.
    """
    side = "ahead of" if skew_s > 0 else "behind"
    found = f"the store's clock is {abs(skew_s):.0f} s {side} this machine's"
    hint = "Set the clock of this machine, or of the server, by NTP."
    if abs(skew_s) > limit_s:
        return error("clock", f"{found}: prune refuses beyond {limit_s:.0f} s", hint)
    if abs(skew_s) > SKEW_WARNING_S:
        return warning("clock", found, hint)
    return ok("clock", "this machine and the store agree")


# Permissions


def judge_listing(asked: Asked[bool]) -> Check:
    """Judge whether keys can be listed."""
    if asked.value:
        return ok("permission-list", "keys can be listed")
    hint = "Allow s3:ListBucket on the bucket: every command needs it."
    return error("permission-list", asked.why, hint, asked.exit_code)


def judge_reading(asked: Asked[bool]) -> Check:
    """Judge whether objects can be read."""
    if asked.value:
        return ok("permission-read", "objects can be read")
    if asked.denied:
        hint = asked.hint or "Allow s3:GetObject: backups and restores read the vault."
        return error("permission-read", asked.why, hint, asked.exit_code)
    return failed("permission-read", asked)


def judge_writing(asked: Asked[bool], role: Credentials) -> Check:
    """Judge whether the vault can be written, and may be."""
    check = "permission-write"
    if asked.value:
        if role is Credentials.READER:
            return warning(
                check,
                "objects can be written, which a reader does not need",
                "Take away s3:PutObject, or mount it read-only: who only restores should not be "
                "able to overwrite a vault.",
            )
        return ok(check, "objects can be written")
    if not asked.denied:
        return failed(check, asked)
    if role is Credentials.READER:
        return ok(check, "cannot be written, as it should be for a reader")
    if role is Credentials.ANY:
        return warning(
            check,
            f"cannot be written from here, so a backup fails; a restore works ({asked.why})",
            "If this place only restores, say so: --role reader. "
            f"Else: {asked.hint or 'allow s3:PutObject'}.",
        )
    return failed(check, asked)


def judge_deleting(asked: Asked[bool], role: Credentials, *, bucket: bool) -> Check:
    """Judge whether objects can be deleted, and may be."""
    check = "permission-delete"
    if asked.value is None and not asked.denied:
        return failed(check, asked)
    if asked.value is False:
        hint = "Something between here and the store keeps old answers: a cache, or a replica."
        return error(check, "what was deleted is still listed", hint)
    if asked.denied:
        if role is Credentials.PRUNER or not bucket:
            right = "Allow s3:DeleteObject: prune deletes objects."
            return error(check, asked.why, right if bucket else asked.hint, asked.exit_code)
        return ok(check, "objects cannot be deleted; `regvault prune` needs other credentials")
    if not bucket:
        return ok(check, "objects can be deleted, by whoever may write")
    if role in (Credentials.WRITER, Credentials.READER):
        return warning(
            check,
            f"objects can be deleted, which a {role} does not need",
            "Take away s3:DeleteObject: who takes over the backup's host could delete the vault. "
            "Prune runs elsewhere, with credentials of its own.",
        )
    return ok(check, "objects can be deleted")


def judge_deleting_versions(asked: Asked[bool], role: Credentials, *, locked: bool) -> Check:
    """Judge whether old versions can be deleted for good.

    Args:
        asked: whether that of a probe could be.
        role: what the credentials are for.
        locked: the bucket locks what is new, so a probe cannot be deleted whatever is allowed.
    """
    check = "permission-delete-versions"
    if locked and not asked.value:
        return skipped(check, "the bucket's default retention locks probes too")
    if asked.denied:
        return ok(check, "versions cannot be deleted with these credentials")
    if asked.value is None:
        return failed(check, asked)
    if role is Credentials.ANY:
        return ok(check, "versions can be deleted with these credentials")
    return warning(
        check,
        "versions can be deleted, so they protect from nobody who has these credentials",
        "Take away s3:DeleteObjectVersion: no command needs it; a lifecycle rule deletes old "
        "versions.",
    )


# What a store must do


def judge_creates(winners: Asked[int], writers: int) -> Check:
    """Judge whether exactly one of many creates of one key succeeds."""
    check = "create-only"
    if winners.value is None:
        return failed(check, winners)
    if winners.value == 1:
        return ok(check, f"of {writers} creates of one key at once exactly one succeeds")
    return error(
        check,
        f"of {writers} creates of one key at once {winners.value} succeeded: two runs could "
        "overwrite each other's snapshots",
        "Keep the vault on a store with atomic conditional writes (If-None-Match), such as AWS "
        "S3, MinIO or a local disk.",
    )


def judge_swap(asked: Asked[bool]) -> Check:
    """Judge compare-and-swap."""
    return _yes_or_no(
        "compare-and-swap",
        asked,
        "an object is overwritten only while it is the one that was read",
        "an object was overwritten though it had changed: a run that was ended could go on",
        "Keep the vault on a store with atomic conditional writes (If-Match).",
    )


def judge_read_after_write(listed: Asked[bool], read_back: Asked[bool]) -> Check:
    """Judge whether what was just written is there, by LIST and by GET."""
    check = "read-after-write"
    hint = "Something between here and the store keeps old answers: a cache, or a replica."
    if read_back.value is False:
        return error(check, "what was just written is read with other bytes", hint)
    found = "LIST does not show what was just written: a run would not see others at work"
    return _yes_or_no(check, listed, "what was just written is listed and read", found, hint)


def judge_ranges(asked: Asked[bool]) -> Check:
    """Judge reading a part of an object."""
    return _yes_or_no(
        "range-read",
        asked,
        "a part of an object can be read",
        "a part of an object is read with other bytes",
        "Blobs in packs are read by range: no restore works without. Look for a proxy in between.",
    )


def judge_durable(asked: Asked[float]) -> Check:
    """Judge the barrier."""
    if asked.value is None:
        return failed("durable", asked)
    return ok("durable", f"what is written is durable after {asked.value:.2f} s")


def _yes_or_no(check: str, asked: Asked[bool], good: str, bad: str, hint: str) -> Check:
    if asked.value is None:
        return failed(check, asked)
    return ok(check, good) if asked.value else error(check, bad, hint)
