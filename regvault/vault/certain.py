"""The vault as whoever destroys must see it: all of it, or an error (invariant 5)."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError, RefusedError, VaultDamagedError
from regvault.vault.envelope import from_time, read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import LEASES, REGISTRY_NAME, SNAPSHOTS, root_key, sequence_of
from regvault.vault.parties import end, idle_s, seen_dead
from regvault.vault.root import RootName
from regvault.vault.slots import filled
from regvault.vault.stub import parse_slot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from regvault.model.store import Entry, ObjectStore
    from regvault.vault.objectlist import ObjectList
    from regvault.vault.root import Root
    from regvault.vault.stub import Stub
    from regvault.vault.vault import Vault

__all__ = [
    "MAX_SKEW_S",
    "Filled",
    "check_clock",
    "claimed_lists",
    "known_registries",
    "read_chain",
    "unfinished_since",
]

MAX_SKEW_S = 5 * 60
#: A claim that was not renewed for so long is ended.
CLAIM_DEAD_AFTER_S = 24 * 3600
#: What an unfinished run stored is kept for so long, for the next one to go on from.
RESUME_S = 7 * 86400


class Filled(NamedTuple):
    """One slot of a chain, and when the store says that it was filled.

    Attributes:
        name: registry and sequence.
        modified_ns: nanoseconds since the epoch, by the store's clock.
        root: what is in it, or None.
        stub: of a forgotten one, or None. With neither it is a void.
    """

    name: RootName
    modified_ns: int
    root: Root | None
    stub: Stub | None


def check_clock(store: ObjectStore) -> None:
    """Refuse to destroy by a clock that is not the store's.

    Raises:
        RefusedError: they differ by more than 5 minutes.
    """
    skew_s = (time.time_ns() - store.now_ns()) / 1e9
    if abs(skew_s) > MAX_SKEW_S:
        way = "ahead of" if skew_s > 0 else "behind"
        raise RefusedError(
            f"the clock of this machine is {abs(skew_s) / 60:.0f} minutes {way} that of"
            f" {store.location}",
            hint="Set the clock (NTP); nothing was deleted.",
        )


def read_chain(vault: Vault, registry: str) -> Iterator[Filled]:
    """Yield every slot of a registry's chain, oldest first.

    Raises:
        VaultDamagedError: a slot is empty though later ones are filled, or cannot be read.
        UnknownFormatError: a newer regvault wrote one.
    """
    expected = 1
    prefix = f"{SNAPSHOTS}{registry}/"
    for entry in filled(vault.store, prefix, lambda number: root_key(registry, number)):
        number = sequence_of(entry.key)
        if number is None:
            continue
        if number != expected:
            raise VaultDamagedError(
                f"the chain of {registry} has a gap: {RootName(registry, expected).key} is gone",
                hint="Someone deleted it, or the store's LIST lies. Nothing was deleted. Back from "
                "a copy, or given up: regvault repair --dry-run",
            )
        expected += 1
        name = RootName(registry, number)
        try:
            data = fetch_document(vault.store, name.key)
            # A root may have been forgotten since; else an old version, or another's bytes, came.
            if len(data) != entry.size and len(data) != vault.store.head(name.key).size:
                raise VaultDamagedError(
                    f"{name.key} has {len(data)} bytes, and is said to have {entry.size}",
                    hint="The store shows something else than it lists. Nothing was deleted.",
                )
        except ObjectNotFoundError:
            raise VaultDamagedError(f"{name.key} is gone since it was listed") from None
        yield Filled(name, entry.modified_ns, *parse_slot(data, name, vault.id))


def _leases(
    vault: Vault, touched_within_s: float = math.inf
) -> Iterator[tuple[Entry, dict[str, Any]]]:
    for entry in vault.store.list(LEASES):
        if (vault.store.now_ns() - entry.modified_ns) / 1e9 > touched_within_s:
            continue
        try:
            data = fetch_document(vault.store, entry.key)
        except ObjectNotFoundError:
            continue
        yield entry, read_document(data, entry.key, types=("lease",), vault=vault.id).body


def claimed_lists(vault: Vault, *, but: str = "") -> Iterator[ObjectList]:
    """Yield the object lists of the snapshots that readers claim; end the claims of the dead.

    Read it after the roots: a reader writes its claim and then looks whether the roots are there.

    Args:
        vault: where.
        but: the run of one's own claim, which does not count.

    Raises:
        VaultDamagedError: a claim, or what it names, cannot be read.
    """
    for listed, read in _leases(vault):
        entry, body = listed, read
        if but and body.get("run") == but:
            continue
        while body.get("role") == "reader" and body.get("state") == "live":
            idle = idle_s(vault.store, entry.modified_ns, body)
            if idle < CLAIM_DEAD_AFTER_S and not seen_dead(body.get("holder")):
                yield from _claimed(vault, entry.key, body)
                break
            if end(vault.store, vault.id, entry.key, body, entry.etag):
                break
            try:  # renewed since: it lives
                entry = vault.store.head(entry.key)
                data = fetch_document(vault.store, entry.key)
            except ObjectNotFoundError:
                break
            body = read_document(data, entry.key, types=("lease",), vault=vault.id).body


def _claimed(vault: Vault, key: str, body: dict[str, Any]) -> Iterator[ObjectList]:
    claims = body.get("roots")
    if not isinstance(claims, list):
        raise VaultDamagedError(f"{key} is damaged: it does not say what it claims")
    for claim in claims:
        try:
            _, registry, _ = claim["key"].split("/")
            sequence = sequence_of(claim["key"])
            assert sequence is not None
            name = RootName(registry, sequence)
            assert name.key == claim["key"]
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError):
            raise VaultDamagedError(f"{key} is damaged: it claims no snapshot: {claim!r}") from None
        try:
            data = fetch_document(vault.store, name.key)
        except ObjectNotFoundError:
            continue  # its reader finds that too, and stops
        root, stub = parse_slot(data, name, vault.id)
        if root is not None:
            yield vault.object_list(root)
        elif stub is not None:
            yield vault.list_of(stub.objects, {**vault.amendments, **stub.changes})


def unfinished_since(vault: Vault, committed: set[str]) -> int | None:
    """Return when the first of the runs began that lately stored something and committed nothing.

    Args:
        vault: where.
        committed: ids of the runs that committed a root.

    Returns:
        nanoseconds since the epoch, less what clocks may differ; None where there is none.
    """
    since: int | None = None
    for entry, body in _leases(vault, RESUME_S):
        if body.get("role") != "writer" or body.get("run") in committed:
            continue
        try:
            created = int(from_time(body["created"]).timestamp() * 1e9)
        except (KeyError, TypeError, ValueError):
            raise VaultDamagedError(f"{entry.key} is damaged: it does not say when") from None
        began = created - MAX_SKEW_S * 1_000_000_000
        since = began if since is None else min(since, began)
    return since


def copied_by(root: Root) -> str:
    """Return the run that copied a root into this vault; "" where it was made here."""
    return str(root.amendment.get("run", "")) if root.amendment is not None else ""


def known_registries(vault: Vault) -> list[str]:
    """Return the names of all registries, also of those that only the leases of writers tell."""
    names = set(vault.registries())
    for _, body in _leases(vault):
        if body.get("role") == "writer" and isinstance(body.get("registry"), str):
            names.add(body["registry"])
    return sorted(name for name in names if REGISTRY_NAME.fullmatch(name))
