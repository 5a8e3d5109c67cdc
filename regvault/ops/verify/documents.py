"""What documents say: roots and their chains, amendments, condemned lists, records, leases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regvault.errors import (
    ObjectNotFoundError,
    RegvaultError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.vault.amendments import parse_amendment
from regvault.vault.condemned import read_list
from regvault.vault.current_keys import hidden_generation
from regvault.vault.downgrade import SEALED_ROOT, first_sealed
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keyring import KIND, read_key_record
from regvault.vault.keys import (
    AMENDMENTS,
    CONDEMNED,
    KEY_RECORDS,
    LEASES,
    PRUNE_LOCK,
    RECORDS,
    REGISTRY_NAME,
    SNAPSHOTS,
    VAULT_JSON,
    amendment_key,
    condemned_key,
    root_key,
    sequence_of,
)
from regvault.vault.parties import is_slot
from regvault.vault.root import RootName
from regvault.vault.sealing import AgeSeal
from regvault.vault.signing import UntrustedError
from regvault.vault.stub import parse_slot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from regvault.ops.verify.report import Report
    from regvault.vault.root import Root
    from regvault.vault.stub import Stub
    from regvault.vault.vault import Vault

__all__ = ["check_chains", "check_documents", "check_generations"]


def check_chains(vault: Vault, registry: str, report: Report) -> list[Root]:
    """Read every root of a chain, oldest first; report gaps and broken links between them."""
    roots: list[Root] = []
    slots = vault.slots(registry)
    report.add_gaps(slots, lambda number: root_key(registry, number), "snapshots")
    previous: Root | None = None
    broken = False
    for sequence in slots:
        name = RootName(registry, sequence)
        try:
            root, stub = _read(vault, name, report)
        except UnknownFormatError:
            raise
        except RegvaultError as error:
            report.add(name.key, _what(error), error.message, (str(name),))
            broken = True
            continue
        if root is None:
            # A stub does not tell its predecessor's digest again; in a copy a void may be one too.
            broken = broken or bool(stub) or previous is None or bool(previous.amendment)
            continue
        if not broken and previous is not None and root.previous != previous.sha256:
            report.add(
                name.key, "chain", f"it does not follow {previous.name} as it is", (str(name),)
            )
        roots.append(root)
        previous, broken = root, False
    return roots


def _read(vault: Vault, name: RootName, report: Report) -> tuple[Root | None, Stub | None]:
    """Return what is in a slot; a root that is sealed to others unopened, since it is proven."""
    data = fetch_document(vault.store, name.key)
    root, stub = parse_slot(data, name, vault.id, vault.seal)
    if root is not None and not root.opened and vault.seal.opens_names:
        report.add_unopened()
    return root, stub


def _what(error: RegvaultError) -> str:
    """Return how a report calls what is wrong with a document."""
    return "untrusted" if isinstance(error, UntrustedError) else "damaged"


def check_documents(vault: Vault, report: Report) -> None:
    """Read amendments, condemned lists, records, leases and the prune lock."""
    store = vault.store
    slots = {entry.key for entry in store.list(SNAPSHOTS)}
    slots |= _check_slots(
        vault,
        CONDEMNED,
        condemned_key,
        lambda key, number: read_list(store, key, number, vault.id),
        report,
    )
    slots |= _check_slots(
        vault,
        AMENDMENTS,
        amendment_key,
        lambda key, number: parse_amendment(
            fetch_document(store, key), amendment_key(number), vault.id
        ),
        report,
    )
    named: dict[RootName, str] = {}
    for kind in store.list_prefixes(RECORDS):
        if f"{RECORDS}{kind}/" != AMENDMENTS:
            for entry in store.list(f"{RECORDS}{kind}/"):
                if kind == KIND:
                    _check_key_record(vault, entry.key, report)
                    continue
                body = _check_document(vault, entry.key, kind, report)
                named |= dict.fromkeys(_named_by(body), entry.key)
    _check_named(vault, named, report)
    for entry in store.list(LEASES):
        _check_slot_of(vault, _check_document(vault, entry.key, "lease", report), slots, report)
    _check_slot_of(vault, _check_document(vault, PRUNE_LOCK, "lock", report), slots, report)


def _check_key_record(vault: Vault, key: str, report: Report) -> None:
    """Report a key record that is damaged, or was made by someone without the vault's key."""
    try:
        record = read_key_record(fetch_document(vault.store, key), key, vault.id)
    except ObjectNotFoundError:
        return
    except VaultDamagedError as error:
        report.add(key, _what(error), error.message)
        return
    report.read(0)
    seal = vault.seal
    if isinstance(seal, AgeSeal) and record.mac != record.expected_mac(seal.naming_key):
        report.add(key, "untrusted", "nobody who has the vault's key made it; it does not count")


def check_generations(vault: Vault, roots: list[Root], report: Report) -> None:
    """Report where a root was sealed under a later key record than is there, or under any at all.

    In a vault that says that it is plain there is none.
    """
    if vault.sealing_key is None and (sealed := first_sealed(roots)):
        report.add(VAULT_JSON, "damaged", f"{SEALED_ROOT}, {sealed.name}")
    seal = vault.seal
    if isinstance(seal, AgeSeal) and (hidden := hidden_generation(seal, roots)):
        report.add(KEY_RECORDS, "gap", hidden)


def _named_by(body: dict[str, Any]) -> Iterator[RootName]:
    """Yield the snapshots that a record says were there: whoever wrote it had read them."""
    kind = body.get("type")
    pairs: list[tuple[Any, Any]] = []
    if kind == "verifications" and isinstance(body.get("snapshots"), dict):
        pairs = list(body["snapshots"].items())
    elif kind == "copies":
        pairs = [(body.get("registry"), body.get("newest"))]
    elif kind in ("confirmations", "pins"):
        pairs = [(body.get("registry"), body.get("sequence"))]
    for registry, sequence in pairs:
        if (
            isinstance(registry, str)
            and REGISTRY_NAME.fullmatch(registry)
            and type(sequence) is int
            and sequence > 0
        ):
            yield RootName(registry, sequence)


def _check_named(vault: Vault, named: dict[RootName, str], report: Report) -> None:
    """See that the newest snapshot of each registry that a record names was not taken away.

    One that was forgotten left a stub. (Older ones are missed by the chain itself.)
    """
    newest: dict[str, RootName] = {}
    for name in named:
        if name.registry not in newest or newest[name.registry].sequence < name.sequence:
            newest[name.registry] = name
    for name in newest.values():
        try:
            data = fetch_document(vault.store, name.key)
            gone = parse_slot(data, name, vault.id) == (None, None)
        except ObjectNotFoundError:
            gone = True
        except VaultDamagedError:
            continue  # which the look at the chain has named
        if gone:
            report.add(name.key, "gap", f"{named[name]} names this snapshot, and it is gone")


def _check_slots(
    vault: Vault,
    prefix: str,
    key_of: Callable[[int], str],
    read: Callable[[str, int], object],
    report: Report,
) -> set[str]:
    """Read everything in numbered slots, each under its own name; return their keys."""
    found: dict[int, str] = {}
    for entry in vault.store.list(prefix):
        number = sequence_of(entry.key)
        if number is None:
            continue
        found[number] = entry.key
        try:
            read(entry.key, number)
        except ObjectNotFoundError:
            report.add(entry.key, "missing", "it is gone since it was listed")
        except VaultDamagedError as error:
            report.add(entry.key, _what(error), error.message)
    report.add_gaps(sorted(found), key_of, "ones")
    return set(found.values())


def _check_document(vault: Vault, key: str, kind: str, report: Report) -> dict[str, Any]:
    """Read one document; return its body, or nothing where there is none that is right."""
    try:
        data = fetch_document(vault.store, key)
        body = read_document(data, key, types=(kind,), vault=vault.id).body
    except ObjectNotFoundError:
        return {}
    except VaultDamagedError as error:
        report.add(key, "damaged", error.message)
        return {}
    if key != PRUNE_LOCK and key.rpartition("/")[2] != f"{body.get('run')}.json":
        report.add(key, "damaged", f"it is that of run {body.get('run')!r:.100}")
        return {}
    return body


def _check_slot_of(vault: Vault, body: dict[str, Any], slots: set[str], report: Report) -> None:
    """See that the slot is filled which a lease or the lock named before it was given back.

    So the newest root, or condemned list, cannot go without a trace.
    """
    slot = body.get("slot")
    if body.get("state") not in ("released", "ended") or not isinstance(slot, str):
        return
    if is_slot(slot) and slot not in slots:
        try:
            vault.store.head(slot)
        except ObjectNotFoundError:
            report.add(slot, "gap", f"run {body.get('run')} filled this slot, and it is empty")
