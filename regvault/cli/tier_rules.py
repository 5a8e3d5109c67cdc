"""Where a bucket keeps versions, its lifecycle rules move objects: they are shown, or added."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from regvault.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.cli.app import App
    from regvault.model.store import ObjectStore
    from regvault.ops.tier.planned import Header

__all__ = ["rules_move"]


def rules_move(
    app: App, store: ObjectStore, header: Header, prefixes: Iterable[str], *, add: bool
) -> bool:
    """Return whether rules of the store move objects; they are there then.

    Args:
        app: of this run.
        store: where.
        header: of the plan.
        prefixes: that its keys have.
        add: the rules that are missing.

    Raises:
        RefusedError: some are missing, and are not to be added.
    """
    from regvault.model.classes import RuledStore

    if not isinstance(store, RuledStore) or not store.moves_by_rules():
        return False
    classes = {flow["to"] for flow in header.flows}
    missing = [rule for prefix in prefixes for rule in store.missing_rules(prefix, classes)]
    if not missing:
        return True
    told = json.dumps({"Rules": missing}, indent=2)
    if not add:
        raise RefusedError(
            f"{store.location} keeps versions, and lacks the lifecycle rules that would move "
            f"objects:\n{told}",
            hint="Add them beside those that are there, or let regvault do so: --add-rules",
        )
    for prefix in prefixes:
        store.add_rules(prefix, classes)
    app.console.note(f"Lifecycle rules were added to {store.location}:\n{told}")
    return True
