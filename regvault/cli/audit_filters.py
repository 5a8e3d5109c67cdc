"""What an audit command is asked for: what can match nothing is an error, not an empty answer."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from regvault.cli.audit_options import event_time, given
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.cli.app import App

__all__ = ["address_filter", "is_csv", "repo_filter", "status_filter", "time_filter"]

#: What an answer in HTTP can have.
_STATUSES = range(100, 600)


def is_csv(app: App, as_csv: bool) -> bool:
    """Return whether CSV is to be printed: `--json` wins over what is configured.

    Raises:
        UsageError: both are given.
    """
    if app.json and as_csv and given("as_csv"):
        raise UsageError("--csv and --json exclude each other", hint="Give one.")
    return as_csv and not app.json


def repo_filter(repos: Iterable[str], *, hint: str) -> tuple[str, ...]:
    """Return the globs of `--repo`. Raises UsageError where one has a tag or a digest."""
    for repo in repos:
        if ":" in repo or "@" in repo:
            raise UsageError(f"--repo: {repo!r} is more than a repository", hint=hint)
    return tuple(repos)


def address_filter(addresses: Iterable[str]) -> frozenset[str]:
    """Return the addresses of `--address`. Raises UsageError where one is none."""
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise UsageError(
                f"--address: {address!r} is no address",
                hint="One is 10.0.0.7 or 2001:db8::7, without a port.",
            ) from None
    return frozenset(addresses)


def status_filter(text: str) -> range:
    """Return the statuses that a `--status` means. Raises UsageError where there are none."""
    low, dash, high = text.partition("-")
    try:
        if text.lower().endswith("xx") and len(text) == 3:
            found = range(int(text[0]) * 100, int(text[0]) * 100 + 100)
        else:
            found = range(int(low), int(high if dash else low) + 1)
    except ValueError:
        found = range(0)
    if not range(max(found.start, _STATUSES.start), min(found.stop, _STATUSES.stop)):
        raise UsageError(f"--status: {text!r} is no status", hint="401, 4xx or 400-499")
    return found


def time_filter(app: App, since: str | None, until: str | None) -> tuple[str, str]:
    """Return the first time, and the one before which it is, as events have them.

    Raises:
        UsageError: one is no time, or nothing is between them.
    """
    first = "" if not since else event_time(app, "--since", since)
    last = "9999" if not until else event_time(app, "--until", until)
    if first >= last:
        raise UsageError(
            f"--since {since} is not before --until {until}",
            hint="Events from --since on are meant, and before --until.",
        )
    return first, last
