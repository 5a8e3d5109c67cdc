"""Writes a snapshot's root, after everything that it needs (invariants 1 and 2)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from regvault.errors import (
    PreconditionError,
    StoreUnavailableError,
    TemporaryError,
)
from regvault.vault.condemned import refuse_if_condemned_since
from regvault.vault.envelope import to_time
from regvault.vault.keys import tree_key
from regvault.vault.objectlist import REBASE_SHARE, ListRef, build_base, build_delta
from regvault.vault.root import MAX_ROOT_BYTES
from regvault.vault.slots import holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.ops.snapshot.session import Session
    from regvault.vault.lease import Lease
    from regvault.vault.needs import NeedIndex
    from regvault.vault.objectlist import ObjectList, ObjectRef
    from regvault.vault.root import Root

__all__ = ["commit_root", "write_object_list"]

_MAX_SLOTS = 16


def write_object_list(session: Session, needs: NeedIndex, *, incremental: bool) -> ListRef:
    """Write the object list: a delta against the newest root's base, or a new base."""
    put = session.writer.chunk_putter(tree_key)
    previous, objects = session.previous, session.objects
    if previous is not None and objects is not None:
        before = previous.objects
        limit = before.base.entries * REBASE_SHARE
        changes = needs.changes() if incremental else _compare(objects, needs, limit)
        if changes is not None and not changes:
            return before
        delta = dict(objects.delta())
        count, nbytes = before.entries, before.nbytes
        for key, ref in (changes or {}).items():
            had = objects.line(key)
            count += (ref is not None) - (had is not None)
            nbytes += (ref.size if ref else 0) - (had.size if had else 0)
            delta[key] = ref
        # Lines that say what the base says already are not needed; there are few to look up.
        delta = {k: v for k, v in delta.items() if objects.base_line(k) != v}
        if changes is not None and len(delta) <= limit:
            tree = build_delta(delta, put) if delta else None
            return ListRef(before.base, tree, count, nbytes)
    base, count, nbytes = build_base(needs.objects(), put)
    return ListRef(base, None, count, nbytes)


def _compare(
    objects: ObjectList, needs: NeedIndex, limit: float
) -> dict[str, ObjectRef | None] | None:
    """Return how the objects needed now differ from a list; None where they differ too much."""
    changes: dict[str, ObjectRef | None] = {}
    before, now = objects.original(), needs.objects()
    left, right = next(before, None), next(now, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            assert left is not None
            changes[left.key] = None
            left = next(before, None)
        elif left is None or right.key < left.key:
            changes[right.key] = right
            right = next(now, None)
        else:
            if left != right:
                changes[right.key] = right
            left, right = next(before, None), next(now, None)
        if len(changes) > limit:
            return None
    return changes


def commit_root(
    session: Session,
    lease: Lease,
    root: Root,
    *,
    narrowed: bool,
    say: Callable[[str], None],
) -> Root:
    """Fill the next free slot of the chain with a root; return it as it was committed.

    Args:
        session: of this run.
        lease: of this run; it names each slot before the PUT.
        root: everything but the sequence, `previous` and `finished`.
        narrowed: some repositories were inherited from the newest root that this run read.
        say: tells people.

    Raises:
        LeaseLostError: this run was declared dead.
        TemporaryError: another run committed while this narrowed one was at work, or a prune
            that did not see this run.
    """
    vault = session.vault
    sequence = session.next_sequence()
    previous = session.previous
    for _ in range(_MAX_SLOTS):
        name = session.root_name(sequence)
        candidate = replace(
            root,
            name=name,
            previous=previous.sha256 if previous else None,
            finished=to_time(time.time_ns()),
        )
        data, sha256 = candidate.to_document(vault.id, vault.seal)
        assert len(data) <= MAX_ROOT_BYTES
        lease.renew(slot=name.key)
        refuse_if_condemned_since(vault.store, session.condemned_to)
        try:
            vault.store.put(name.key, data, if_none_match=True)
        except StoreUnavailableError:
            # Its outcome is not known. (The lease fills the slot before it is let go.)
            if not holds(vault.store, name.key, data):
                raise
        except PreconditionError:
            if not holds(vault.store, name.key, data):
                found = vault.read_slot(name)
                if found is not None and narrowed:
                    raise TemporaryError(
                        f"another run committed {name} meanwhile, and this one inherits from an "
                        "older snapshot",
                        hint="Run the same command again.",
                    ) from None
                say(f"The slot {name} was filled by someone else; taking the next one.")
                previous = found or previous
                sequence += 1
                continue
        vault.store.barrier()
        return replace(candidate, sha256=sha256)
    raise TemporaryError(
        f"{_MAX_SLOTS} slots of {session.title} in a row were filled by others",
        hint="Several hosts snapshot this registry at once; let one of them do it.",
    )
