"""What `info` says of locks: until when they hold, and a warning before they lapse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.ops.info_facts import Issue
from regvault.ops.locking import lock_state
from regvault.vault.envelope import time_or_none, to_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["locks_of"]

#: A warning is due once less than this share of the time is left: something did not run.
_LATE_SHARE = 0.4
_HINT = "They are extended by each snapshot and each prune: regvault prune"


def locks_of(
    vault: Vault, roots: Mapping[str, Sequence[Root]]
) -> tuple[dict[str, Any] | None, Issue | None]:
    """Return how a vault is locked and until when, and what is wrong with that.

    Args:
        vault: to look at.
        roots: of each registry, all that can be read.

    Raises:
        VaultDamagedError: how it is to be locked cannot be read.
    """
    state = lock_state(vault)
    if state is None:
        return None, None
    keys = [root.name.key for each in roots.values() for root in each]
    until = state.until_ns(keys)
    found = {**state.policy._asdict(), "until": time_or_none(until)}
    if not keys:
        return found, None
    if until is None:
        unknown = sum(key not in state.known for key in keys)
        message = f"nothing says that all of {unknown} snapshots is locked"
        return found, Issue("warning", "not-locked", message, _HINT)
    if until < state.now_ns:
        message = f"the locks of the vault may have lapsed on {to_time(until)}"
        return found, Issue("error", "locks-lapsed", message, _HINT)
    if until < state.now_ns + int(state.policy.seconds * _LATE_SHARE * 1e9):
        message = f"the locks of the vault lapse on {to_time(until)}"
        return found, Issue("warning", "locks-lapse", message, _HINT)
    return found, None
