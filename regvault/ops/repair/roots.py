"""Slots of chains that are damaged or empty: their roots from a copy of the vault, or given up.

A root of a copy has the same bytes. What the vault had forgotten gets its stub again, not its root:
what that needed may be gone by now. What nobody has is given up where a person says so: a stub
keeps the chain whole (`docs/vault-format.md`, "Forgetting a snapshot").
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    RegvaultError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.vault.envelope import read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import name_of_slot, new_run_id
from regvault.vault.records import forgotten
from regvault.vault.root import RootName, parse_root
from regvault.vault.stub import lost_stub, parse_slot, stub_document

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from regvault.ops.repair.spares import VaultSpare
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["LostRoot", "find_roots", "give_up", "put_back", "suspects"]


#: No more slots in a row are given up.
_WIDEST = 100


class LostRoot(NamedTuple):
    """A slot of a chain, and what belongs into it.

    Attributes:
        name: the slot.
        data: a root as this vault committed it, or a stub.
        source: where it was found, for people; "" where nobody has it, and it is given up.
        stub: the snapshot was forgotten, or is given up.
    """

    name: RootName
    data: bytes
    source: str
    stub: bool = False


def suspects(
    vault: Vault, problems: Mapping[str, tuple[str, str, str]]
) -> dict[str, tuple[str, str, str]]:
    """Return the slots that may have lost their roots, for what a verification says of slots.

    A root that does not follow the one before it is whole itself. What it followed is gone: where
    that slot is empty, that is said of it already; where it is a void, somebody put that there.
    """
    found: dict[str, tuple[str, str, str]] = {}
    for key, problem in problems.items():
        name = _name(key)
        if name is None or problem[1] != "chain":
            found[key] = problem
            continue
        voids = list(_voids_before(vault, name))
        if not voids and RootName(name.registry, name.sequence - 1).key not in problems:
            found[key] = problem
        for void in voids:
            found[void.key] = (void.key, "void", f"a void is in the place of what {name} follows")
    return found


def _voids_before(vault: Vault, name: RootName) -> Iterator[RootName]:
    for sequence in range(name.sequence - 1, 0, -1):
        before = RootName(name.registry, sequence)
        if not _is_void(vault, before):
            return
        yield before


def _is_void(vault: Vault, name: RootName) -> bool:
    with suppress(RegvaultError):
        data = fetch_document(vault.store, name.key)
        read_document(data, name.key, types=("void",), vault=vault.id)
        return True
    return False


def find_roots(
    vault: Vault, keys: Iterable[str], spares: Sequence[VaultSpare], condemned: Collection[str]
) -> tuple[list[LostRoot], list[str]]:
    """Return what can be put back into some slots, and the keys of those of which nobody can tell.

    A root or stub of a copy is taken only where it is of this vault, of this slot, and a neighbour
    in the chain says by its digest that it belongs there. Of a snapshot that was forgotten, or
    whose objects are condemned, it is its stub that comes back.

    Args:
        vault: that is mended.
        keys: of the slots.
        spares: where to look, the best first.
        condemned: keys that nobody may use again.

    Raises:
        CredentialError: a stub is to be signed, and the vault was opened without its key.
    """
    found: list[LostRoot] = []
    lost: list[str] = []
    # In a signed vault what says so must be signed: condemned lists are, and records are not.
    forgets = set() if vault.id.signed else forgotten(vault.store, vault.id)
    for key in sorted(set(keys)):
        name = _name(key)
        good = None if name is None else _found(vault, name, spares, forgets, condemned)
        if good is None:
            lost.append(key)
        else:
            found.append(good)
    return found, lost


def _name(key: str) -> RootName | None:
    name = name_of_slot(key)
    return None if name is None else RootName(*name)


def _found(
    vault: Vault,
    name: RootName,
    spares: Iterable[VaultSpare],
    forgets: Collection[tuple[str, int, str]],
    condemned: Collection[str],
) -> LostRoot | None:
    """Return what belongs into a slot, from the first place that has it."""
    for spare in spares:
        good = _of(vault, name, spare)
        if good is None:
            continue
        root = parse_root(good.data, name, vault.id)
        if root is not None and (
            (name.registry, name.sequence, root.sha256) in forgets
            or _is_condemned(vault, root, condemned)
        ):
            return good._replace(data=stub_document(vault.id, root, new_run_id()), stub=True)
        return good._replace(stub=root is None)
    known = {root for registry, number, root in forgets if (registry, number) == name.slot}
    before, after = _neighbours(vault, name)
    digest = after if len(known) > 1 else next(iter(known), None)
    if digest in known and after in (None, digest, before):
        data = lost_stub(vault, name, _registry_id(vault, name), before, digest, new_run_id())
        return LostRoot(name, data, "the record of who forgot it", stub=True)
    return None


def _of(vault: Vault, name: RootName, spare: VaultSpare) -> LostRoot | None:
    try:
        lines = fetch_document(spare.vault.store, name.key).split(b"\n")[:2]
        data = b"%s\n%s\n" % (lines[0], lines[1])
        links = _links(vault, name, data)
    except (RegvaultError, IndexError):
        return None
    if links is None:
        return None
    digest, before = links
    last, after = _neighbours(vault, name)
    if after is not None:
        return LostRoot(name, data, spare.name) if after == digest else None
    if name.sequence == 1 or before == last:
        return LostRoot(name, data, spare.name)
    return None


def _is_condemned(vault: Vault, root: Root, condemned: Collection[str]) -> bool:
    """Return whether something that a snapshot needs may be deleted: nothing can bring it back."""
    if not condemned:
        return False
    objects = vault.object_list(root)
    try:
        if any(chunk.key in condemned for chunk in objects.own_chunks()):
            return True
        return any(ref.key in condemned for ref in objects)
    except RegvaultError:
        # What its list names cannot be told here. What it begins with can.
        tops = [root.objects.base, *([root.objects.delta] if root.objects.delta else [])]
        return any(tree.top.key in condemned for tree in tops)


def _links(vault: Vault, name: RootName, data: bytes) -> tuple[str, str | None] | None:
    """Return the digests of the root that is, or was, in a slot, and of the one before it."""
    root, stub = parse_slot(data, name, vault.id)
    if root is not None:
        return root.sha256, root.previous
    return None if stub is None else (stub.root, stub.previous)


def _neighbours(vault: Vault, name: RootName) -> tuple[str | None, str | None]:
    """Return the digest of the root before a slot, and the one that the root after it follows.

    None for what cannot be told. Voids between do not count.
    """
    slots = vault.slots(name.registry)
    before = _next_to(vault, name, [n for n in reversed(slots) if n < name.sequence], -1)
    after = _next_to(vault, name, [n for n in slots if n > name.sequence], 1)
    return before[0], after[1]


def _next_to(
    vault: Vault, name: RootName, numbers: Iterable[int], step: int
) -> tuple[str | None, str | None]:
    """Return the links of the first root or stub in a row of slots without a gap."""
    expected = name.sequence
    for number in numbers:
        expected += step
        if number != expected:
            break
        with suppress(RegvaultError):
            slot = RootName(name.registry, number)
            links = _links(vault, slot, fetch_document(vault.store, slot.key))
            if links is None:
                continue
            return links
        break
    return None, None


def give_up(vault: Vault, keys: Iterable[str]) -> list[LostRoot]:
    """Return the stubs of roots that nobody has, for the slots of which that is certain.

    Not of a root that can be read, and only its keys or its vault are not what is expected; not
    where no root of the registry would be left: then nothing at all of it would be needed; and not
    far beyond all others, where only a hostile key or lease says that there is a slot.

    Args:
        vault: that is mended.
        keys: of slots that nobody can tell what was in.

    Raises:
        CredentialError: they are to be signed, and the vault was opened without its key.
    """
    found = []
    for key in keys:
        name = _name(key)
        if name is None or name.sequence > _reach(vault, name) or not _is_beyond(vault, name):
            continue
        ids = _registry_id(vault, name)
        if ids is None:
            continue
        before, after = _neighbours(vault, name)
        # One that was taken while this one was unreadable follows the one before it.
        root = None if after == before else after
        data = lost_stub(vault, name, ids, before, root, new_run_id())
        found.append(LostRoot(name, data, "", stub=True))
    return found


def _reach(vault: Vault, name: RootName) -> int:
    """Return the slot after the last one of a chain that is reached without a gap too wide."""
    last = 0
    for number in vault.slots(name.registry):
        if number - last > _WIDEST:
            break
        last = number
    return last + 1


def _registry_id(vault: Vault, name: RootName) -> str | None:
    """Return the id of a registry, as any root of it says; None where none can be read."""
    for root in vault.roots(name.registry, damaged=lambda _: None):
        return root.registry_id
    return None


def _is_beyond(vault: Vault, name: RootName) -> bool:
    """Return whether what is in a slot is nothing that anybody could read."""
    key = name.key
    try:
        data = fetch_document(vault.store, key)
        body = read_document(data, key, types=("root", "stub", "void"), vault=None).body
    except UnknownFormatError:
        return False
    except (ObjectNotFoundError, VaultDamagedError):
        return True
    if body["type"] == "void":
        return True
    try:
        parse_root(data, name, str.__str__(vault.id))
    except VaultDamagedError:
        return bool(body.get("vault") == vault.id)
    return False


def put_back(vault: Vault, lost: LostRoot) -> bool:
    """Fill a slot; False where it is good, or was filled, meanwhile."""
    store, key = vault.store, lost.name.key
    try:
        entry = store.head(key)
    except ObjectNotFoundError:
        etag = None
    else:
        if _is_told(vault, lost.name):
            return False  # it can be read after all
        etag = entry.etag
    try:
        if etag is None:
            store.put(key, lost.data, if_none_match=True)
        else:
            store.put(key, lost.data, if_match=etag)
    except PreconditionError:
        return False
    return True


def _is_told(vault: Vault, name: RootName) -> bool:
    """Return whether a slot has what must not be replaced: a void, or what is damaged, may be."""
    try:
        return _links(vault, name, fetch_document(vault.store, name.key)) is not None
    except UnknownFormatError:
        return True
    except (ObjectNotFoundError, VaultDamagedError):
        return False
