"""Judged: the file system and the directory of a vault on a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.policy.doctor.check import Check, error, ok, size, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.doctor import Above, DiskFacts

__all__ = ["judge_above", "judge_disk"]

#: Less than this and not even one more object is sure to fit.
FULL_BYTES = 256 << 20
LOW_BYTES = 1 << 30
FULL_INODES = 1_000
LOW_INODES = 10_000
#: Room for this share of the newest full: a registry seldom grows by more between two snapshots.
GROWTH = 0.10

_MEMORY = frozenset({"tmpfs", "ramfs"})
_CONTAINER = frozenset({"overlay", "aufs"})


def judge_disk(facts: DiskFacts, *, newest_bytes: int | None) -> Iterator[Check]:
    """Judge a directory.

    Args:
        facts: what its file system says.
        newest_bytes: of the largest newest snapshot; None: there is none.
    """
    yield _judge_space(facts, newest_bytes)
    yield _judge_inodes(facts)
    yield _judge_kind(facts)
    yield _judge_modes(facts)


def judge_above(above: Above) -> Iterator[Check]:
    """Judge where the directory of a new vault is to be made."""
    if above.writable:
        yield ok("permission-write", f"{above.path} can be written: the directory is made there")
    else:
        why = "it is mounted read-only" if above.disk.read_only else "its mode or owner forbids it"
        yield error(
            "permission-write",
            f"no directory can be made in {above.path}: {why}",
            "Make the directory as a user who may, and give it to the one who runs the backup "
            "(chown, mode 0700); or name another place.",
            12,
        )
    yield _judge_space(above.disk, None)
    yield _judge_inodes(above.disk)
    yield _judge_kind(above.disk)
    yield ok("file-modes", "regvault init makes the directory with mode 0700")


def _judge_space(facts: DiskFacts, newest_bytes: int | None) -> Check:
    check = "space"
    found = f"{size(facts.free_bytes)} free of {size(facts.total_bytes)}"
    if facts.free_bytes < FULL_BYTES:
        return error(check, found, f"Free some space. {_PRUNE}", 6)
    if facts.free_bytes < LOW_BYTES:
        return warning(check, found, f"Free some space soon. {_PRUNE}")
    if newest_bytes is not None and facts.free_bytes < newest_bytes * GROWTH:
        return warning(
            check,
            f"{found}; the newest snapshot alone is {size(newest_bytes)}",
            f"That is room for less than a tenth of it to change. {_PRUNE}",
        )
    return ok(check, found)


_PRUNE = "`regvault forget` and `regvault prune` free what old snapshots alone need."


def _judge_inodes(facts: DiskFacts) -> Check:
    check = "inodes"
    if facts.free_inodes is None:
        return ok(check, "made as they are needed")
    found = f"{facts.free_inodes:,} free of {facts.total_inodes or 0:,}"
    hint = "Each layer of 1 MiB or more is a file. Free some, or make the file system with more."
    if facts.free_inodes < FULL_INODES:
        return error(check, found, hint, 6)
    if facts.free_inodes < LOW_INODES:
        return warning(check, found, hint)
    return ok(check, found)


def _judge_kind(facts: DiskFacts) -> Check:
    check = "file-system"
    name = facts.kind or "of a type that is not known"
    if facts.kind in _MEMORY:
        return warning(
            check,
            f"{name}: it is in memory, and gone with the next restart",
            "Keep the vault on a disk, or in a bucket.",
        )
    if facts.kind in _CONTAINER:
        return warning(
            check,
            f"{name}: it is the container's own, and gone with it",
            "Mount a volume for the vault.",
        )
    return ok(check, f"{name}, mounted read-only" if facts.read_only else name)


def _judge_modes(facts: DiskFacts) -> Check:
    check = "file-modes"
    found = f"the directory has mode {facts.mode & 0o7777:04o}"
    if facts.closed_above or not facts.mode & 0o001:
        return ok(check, f"{found}: other users cannot get at it")
    if facts.mode & 0o002 and not facts.mode & 0o1000:
        return error(
            check,
            f"{found}: every user of this machine can delete the vault",
            "chmod o-rwx the directory.",
        )
    return warning(
        check,
        f"{found}: every user of this machine can read all images of all registries",
        "chmod o-rwx the directory, unless everybody may pull everything anyway.",
    )
