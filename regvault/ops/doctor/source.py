"""Look at a registry that is to be backed up: is it there, can it be read, is it apart?"""

from __future__ import annotations

import random
import time
from itertools import islice
from typing import TYPE_CHECKING

from regvault.errors import CredentialError, ObjectNotFoundError, RegvaultError, StoreError
from regvault.model.doctor import FINDING, Sample
from regvault.model.store import HierarchicalStore
from regvault.policy.doctor import contents
from regvault.policy.doctor.check import error, ok, skipped
from regvault.registry.layout import BASE, BLOBS, REPOSITORIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.store import ObjectStore
    from regvault.ops.doctor.subjects import SourceSubject
    from regvault.policy.doctor.check import Check

__all__ = ["examine_source", "sample_flat", "sample_tree"]

#: Directories and files that are tried at most, and for how long. Another run tries others.
_AT_MOST = 20_000
_SECONDS = 5.0
#: Of one directory.
_FILES = 50
_NAMED = 3
_KEYS_LISTED = 2_000
_KEYS_READ = 16


def examine_source(subject: SourceSubject) -> Iterator[Check]:
    """Yield the checks of one source."""
    if subject.vaults:
        yield contents.judge_overlap(subject.overlapping)
        yield contents.judge_apart(subject.shared)
    try:
        store, source = subject.open()
    except RegvaultError as problem:
        yield from _unreadable(problem)
        return
    try:
        source.check()
    except RegvaultError as problem:
        yield from _unreadable(problem)
    else:
        yield ok("source-layout", f"a registry's storage: {BASE}/ is there")
        yield contents.judge_sample(
            sample_tree(store) if isinstance(store, HierarchicalStore) else sample_flat(store)
        )
    finally:
        source.close()


def _unreadable(problem: RegvaultError) -> Iterator[Check]:
    # A store's refusal is told as an error of the source, without its exit code.
    cause = problem.__cause__
    code = cause.exit_code if isinstance(cause, StoreError) else problem.exit_code
    code = FINDING if code in (1, 2) else code
    hint = problem.hint or ""
    if code == CredentialError.exit_code:
        hint = f"{hint}; a source needs the rights to list and to read".removeprefix("; ")
    yield error("source-layout", problem.message, hint or None, code)
    yield skipped("source-readable", "the registry was not found")


class _Notes:
    """What was tried, and what cannot be read."""

    def __init__(self) -> None:
        self.directories = self.files = self.failed = 0
        self.whole = True
        self._named: list[tuple[str, str]] = []

    def failure(self, key: str, problem: StoreError) -> None:
        self.failed += 1
        if len(self._named) < _NAMED:
            self._named.append((key, problem.message))

    def sample(self) -> Sample:
        return Sample(self.directories, self.files, tuple(self._named), self.failed, self.whole)


def sample_tree(
    store: HierarchicalStore, *, at_most: int = _AT_MOST, seconds: float = _SECONDS
) -> Sample:
    """Read directories and the first byte of files, in random order, within bounds."""
    notes = _Notes()
    deadline = time.monotonic() + seconds
    pending = [BASE]
    while pending:
        if notes.directories + notes.files >= at_most or time.monotonic() > deadline:
            notes.whole = False
            break
        at = random.randrange(len(pending))  # noqa: S311 (a sample, not a secret)
        pending[at], pending[-1] = pending[-1], pending[at]
        path = pending.pop()
        notes.directories += 1
        try:
            rows = store.scandir(path)
        except ObjectNotFoundError:
            continue  # a registry that lives
        except StoreError as problem:
            notes.failure(path, problem)
            continue
        # Uploads in flight are not backed up.
        pending += [f"{path}/{name}" for name, is_dir in rows if is_dir and name != "_uploads"]
        files = [name for name, is_dir in rows if not is_dir]
        if len(files) > _FILES:
            files = random.sample(files, _FILES)
            notes.whole = False
        for name in files:
            _read(store, f"{path}/{name}", notes)
    return notes.sample()


def sample_flat(store: ObjectStore) -> Sample:
    """List the first keys of repositories and of blobs, and read a byte of some."""
    notes = _Notes()
    for prefix in (REPOSITORIES, BLOBS):
        try:
            keys = [entry.key for entry in islice(store.list(prefix), _KEYS_LISTED)]
        except StoreError as problem:
            notes.failure(prefix, problem)
            continue
        notes.whole = notes.whole and len(keys) <= _KEYS_READ
        for key in random.sample(keys, min(len(keys), _KEYS_READ)):
            _read(store, key, notes)
    return notes.sample()


def _read(store: ObjectStore, key: str, notes: _Notes) -> None:
    notes.files += 1
    try:
        store.get(key, start=0, length=1)
    except ObjectNotFoundError:
        return
    except StoreError as problem:
        notes.failure(key, problem)
