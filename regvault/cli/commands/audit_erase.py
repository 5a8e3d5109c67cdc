"""`regvault audit erase`: a month tells of nobody any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from regvault.cli.audit_options import audit_command, needs_extra
from regvault.cli.options import vault_option, yes_option
from regvault.errors import NotFoundError, RefusedError, UsageError

if TYPE_CHECKING:
    from regvault.cli.app import App


@audit_command(
    "erase",
    examples=[("Whoever is in what came in last November", "regvault audit erase 2025-11")],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@click.argument("month")
@vault_option
@yes_option
@click.pass_obj
def erase(app: App, month: str, vault: str | None, endpoint_url: str | None, yes: bool) -> int:
    """Throw away the key of MONTH: its archived events tell of nobody any more.

    Users, addresses, user agents and the original records of what came in that month can be read by
    nobody then, in no copy of the vault that has no such key either: `regvault copy` erases it in
    others. The events stay, with repositories, tags, digests and times, and the chain proves them
    as before. It cannot be undone.
    """
    needs_extra("cryptography")
    from regvault.assemble import open_vault
    from regvault.model.event import time_text
    from regvault.model.store import VersionedStore
    from regvault.vault.audit.keys import is_month, month_key
    from regvault.vault.audit.months import Months

    if not is_month(month):
        raise UsageError(f"{month!r} is no month", hint="One is 2026-11.")
    opened = open_vault(app.vault(vault, endpoint_url=endpoint_url))
    if month >= time_text(time.time_ns())[:7]:
        raise RefusedError(
            f"{month} is not over: events that come in still need its key",
            hint="Erase it once it is over. To keep less: regvault audit forget.",
        )
    months = Months(opened)
    known = months.known()
    if month not in known:
        raise NotFoundError(
            f"nothing of {month} is archived here",
            hint=f"There is: {', '.join(sorted(known)) or 'nothing'}",
        )
    if known[month] is None:
        app.confirm(
            f"Erase whom the events of {month} tell of, for ever?", yes=yes, hint="Give --yes."
        )
        months.erase(month)
    app.console.document({"month": month, "erased": Months(opened).known()[month]})
    app.console.say(f"{month} tells of nobody any more.")
    store = opened.store
    if isinstance(store, VersionedStore) and store.versioned():
        app.console.warn(
            f"the bucket keeps older versions of {month_key(month)}",
            hint="Delete these too, in each copy: who can read them can undo it.",
        )
    app.console.note("Other copies: regvault copy --from here, or the same command there.")
    app.console.note("Kafka and spools have it still, until they let go of that month.")
    return 0
