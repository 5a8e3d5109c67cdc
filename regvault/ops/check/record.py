"""Leaves the report of a check in the vaults, as evidence (`docs/vault-format.md`, "Evidence")."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from regvault.errors import RegvaultError
from regvault.vault.envelope import SEALED, write_document
from regvault.vault.keys import FORMAT, evidence_key, new_run_id

if TYPE_CHECKING:
    from regvault.model.progress import Progress
    from regvault.ops.check.report import CheckResult
    from regvault.vault.vault import Vault

__all__ = ["record"]


def _body(head: dict[str, Any], report: dict[str, Any], vault: Vault) -> dict[str, Any]:
    """Return the document; in a sealed vault the report, which has names, is sealed.

    Raises:
        CredentialError: it is sealed, and no identity was given.
    """
    seal = vault.seal
    if not seal.sealed:
        return {**head, **report}
    closed = seal.close_index(json.dumps(report, separators=(",", ":")).encode())
    return {**head, "features": [SEALED], "sealed": base64.b64encode(closed).decode()}


def record(result: CheckResult, *, progress: Progress) -> None:
    """Write the report into each vault that can be written, under one key in all of them.

    A vault that cannot be written is named, and is no failure of the check.
    """
    key = evidence_key("checks", run := new_run_id())
    report = result.to_json()
    del report["records"]  # where else it is, no vault can promise
    for vault in (seen.vault for seen in result.vaults):
        if vault is None:
            continue
        head = {"type": "check", "format": FORMAT, "features": [], "vault": vault.id, "run": run}
        try:
            document, _ = write_document(_body(head, report, vault))
            vault.store.put(key, document, if_none_match=True)
        except RegvaultError as error:
            progress.warn(f"the check is not recorded in {vault.store.location}: {error.message}")
        else:
            result.records[vault.store.location] = key
