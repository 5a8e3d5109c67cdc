"""Keeps access statistics up to date beside archiving, which they never hold up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.ops.audit.access.statistics import AccessStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.policy.access import AccessRules
    from regvault.vault.vault import Vault

__all__ = ["beside_archiving"]

_LINKS = 16
"""So many links are counted at once, at most: a member of a consumer group has to go on reading."""

_WAIT_S = 1.0


def beside_archiving(
    vault: Vault, rules: AccessRules, *, cache: str | None, say: Callable[[str], None]
) -> Callable[[], None]:
    """Return what is to be called after links were written: it counts some, and never fails.

    Args:
        vault: which.
        rules: who is no real client.
        cache: directory of the vault's local cache.
        say: tells people.
    """

    def count() -> None:
        try:
            statistics = AccessStatistics(vault, rules, cache=cache, say=say, wait_s=_WAIT_S)
            try:
                statistics.bring_up_to_date(_LINKS)
                statistics.keep()
            finally:
                statistics.close()
        except Exception as error:  # noqa: BLE001 (whatever it is: events are archived all the same)
            say(f"the access statistics are not up to date: {error}")

    return count
