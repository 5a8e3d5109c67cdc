"""What commands that write say of locks, and do for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regvault.cli import text as fmt
from regvault.errors import StoreError

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.vault.vault import Vault

__all__ = ["keep_locked", "say_delayed"]


def keep_locked(app: App, vault: Vault, *, threads: int) -> tuple[dict[str, Any] | None, int]:
    """Extend the locks that are due, and say what went wrong.

    What the command was asked for is done by now, so a failure here is one in part.

    Returns:
        the member `locks` of the command's document, null of a vault without locks; and 3 where
        something that a snapshot needs may not be locked, else 0.
    """
    from regvault.ops.locking import extend_locks

    hint = "Locks that are not extended lapse. See until when all is locked: regvault info"
    try:
        with app.progress() as progress:
            found = extend_locks(vault, progress=progress, threads=threads)
    except StoreError as error:
        app.console.warn(f"locks could not be extended: {error.message}", hint=error.hint or hint)
        return {"error": error.message}, 3
    if found is None:
        return None, 0
    if found.gone:
        app.console.warn(
            f"{fmt.count(len(found.gone), 'object')} that should be locked are gone: "
            f"{', '.join(found.gone[:5])}",
            hint="See what is lost: regvault verify. A bucket that keeps versions has them still: "
            "regvault repair --vault-at TIME",
        )
    if found.extended and found.until_ns is not None:
        until = app.console.time(found.to_json()["until"])
        app.console.note(f"{fmt.count(found.extended, 'lock')} extended; all is locked to {until}.")
    return found.to_json(), 3 if found.gone else 0


def say_delayed(app: App, count: int, until: str | None) -> None:
    """Say which condemned objects the store does not let go yet, and why."""
    if until is None:
        app.console.warn(
            f"{fmt.count(count, 'object')} could not be deleted: not allowed",
            hint="They are condemned: the next prune tries again. The role lacks the right to "
            "delete, or to see locks (s3:GetObjectRetention).",
        )
        return
    app.console.warn(
        f"{fmt.count(count, 'object')} could not be deleted yet: locked, the last until "
        f"{app.console.time(until)}",
        hint="They are condemned, and no snapshot uses them: a prune after that deletes them.",
    )
