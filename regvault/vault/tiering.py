"""What tierings say of the objects that they move, so that no snapshot relies on one by mistake.

`locks/tiering/<plan>.zst` is written before the first object leaves the hot class, and after that
its tiering waits for all writers that may not have seen it. Whoever begins to write later reads it,
and does not reuse what it names. When all is done it names what lies in colder classes since then:
`promised` is what the newest snapshots need, who may be inherited from, since they come back as
fast and for as little as was promised. Nothing else may be relied on anew while it is not hot.

It is one zstd frame of text: a JSON header line, `<key>` or `<key> promised` lines in byte order,
and a JSON line with the SHA-256 of all lines before it. (`docs/vault-format.md`, "Tierings".)
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, UnknownFormatError, VaultDamagedError
from regvault.model.classes import ClassedStore
from regvault.vault.envelope import load_object, to_time
from regvault.vault.frames import HEADER_BYTES, compress, lines_of
from regvault.vault.keys import FORMAT, TIERINGS, check_key, tiering_key
from regvault.vault.presence import Archived

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.model.store import Entry, ObjectStore

__all__ = [
    "Announced",
    "Announcement",
    "announce",
    "read_announced",
    "read_announcement",
    "read_archived",
    "read_moving",
]

MAX_BYTES = 1 << 30
_MAX_LINE = 8 << 10
_PROMISED = " promised"
#: A tiering that has said nothing for so long is over, whatever became of it. It goes on only with
#: a new plan: see `ops.tier.vault.apply`.
FORGOTTEN_AFTER_S = 30 * 86_400


@dataclass(slots=True)
class Announced:
    """What all tierings say.

    Attributes:
        moving: keys that go, or may be gone, to a colder class.
        cold: keys that are in one -> the class that is the hot one; what lies there is back.
        promised: those of both that come back as was promised, by who said it last.
        unread: something could not be read: then anything may be moving.
    """

    moving: Container[str] = frozenset()
    cold: dict[str, str] = field(default_factory=dict)
    promised: set[str] = field(default_factory=set)
    unread: bool = False


class _Everything:
    """What is moving where that cannot be read: any data."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.startswith(("blobs/", "packs/"))


@dataclass(slots=True)
class Announcement:
    """What one tiering says.

    Attributes:
        done: nothing moves any more.
        hot: the class of what is not tiered.
        promise: what was promised: `hours`, `cost`, `newest`; {} where nothing was.
        keys: that move.
        promised: those that come back as was promised.
    """

    done: bool
    hot: str
    promise: dict[str, Any]
    keys: set[str] = field(default_factory=set)
    promised: set[str] = field(default_factory=set)


def announce(
    store: ObjectStore,
    vault: str,
    plan: str,
    keys: Iterable[tuple[str, bool]],
    *,
    hot: str,
    promise: dict[str, Any],
    done: bool = False,
) -> str:
    """Write what a tiering moves, in place of what it said before; return the etag of that.

    Args:
        store: the vault's.
        vault: its id.
        plan: id of the plan.
        keys: in byte order, each with whether it comes back as was promised.
        hot: the class of what is not tiered.
        promise: what was promised.
        done: all is moved.
    """
    header = {
        "type": "tiering",
        "format": FORMAT,
        "features": [],
        "vault": str(vault),
        "plan": plan,
        "done": done,
        "hot": hot,
        "promise": promise,
        "at": to_time(time.time_ns()),
    }
    lines = [json.dumps(header, separators=(",", ":"))]
    lines += [f"{key}{_PROMISED if promised else ''}" for key, promised in keys]
    content = "".join(f"{line}\n" for line in lines).encode("ascii")
    seal = {"sha256": hashlib.sha256(content).hexdigest()}
    data = compress(content + json.dumps(seal, separators=(",", ":")).encode() + b"\n")
    stored = store.put(tiering_key(plan), data)
    store.barrier()
    return stored.etag


def read_announced(store: ObjectStore, vault: str, progress: Progress | None = None) -> Announced:
    """Return what all tierings of a vault say.

    Where one cannot be read, everything may be moving: then nothing is reused but what the newest
    snapshot relies on already.
    """
    moving: set[str] = set()
    found = Announced(moving)
    for entry in sorted(store.list(TIERINGS), key=lambda each: each.modified_ns):
        try:
            one = read_announcement(store, entry.key, vault)
        except ObjectNotFoundError:
            continue
        except (VaultDamagedError, UnknownFormatError) as error:
            if _is_forgotten(store, entry):
                continue
            if progress is not None:
                progress.warn(
                    f"{error.message}; nothing is reused that may have gone to an archive",
                    hint="A new `regvault tier plan` and `tier apply` say anew what lies where; "
                    f"then {entry.key} may be deleted.",
                )
            found.moving, found.unread = _Everything(), True
            continue
        found.promised -= one.keys
        found.promised |= one.promised
        if one.done:
            found.cold |= dict.fromkeys(one.keys, one.hot)
        elif not _is_forgotten(store, entry):
            moving |= one.keys
    return found


def read_moving(store: ObjectStore, vault: str, *, besides: str = "") -> list[str]:
    """Return the keys that tierings say they move, in byte order.

    Args:
        store: the vault's.
        vault: its id.
        besides: id of a plan that is not looked at.
    """
    found: set[str] = set()
    for entry in store.list(TIERINGS):
        if entry.key == tiering_key(besides) or _is_forgotten(store, entry):
            continue
        try:
            one = read_announcement(store, entry.key, vault)
        except (ObjectNotFoundError, VaultDamagedError, UnknownFormatError):
            continue  # whoever writes to the vault is told
        if not one.done:
            found |= one.keys
    return sorted(found)


def _is_forgotten(store: ObjectStore, entry: Entry) -> bool:
    return (store.now_ns() - entry.modified_ns) / 1e9 >= FORGOTTEN_AFTER_S


def read_announcement(store: ObjectStore, key: str, vault: str) -> Announcement:
    """Return what lies under the key of a tiering.

    Raises:
        ObjectNotFoundError: nothing.
        VaultDamagedError: it is not what a tiering of this vault says.
        UnknownFormatError: a newer regvault wrote it.
    """
    with store.open(key) as reader:
        head = b""
        while len(head) < HEADER_BYTES and (part := reader.read(HEADER_BYTES - len(head))):
            head += part
        return _parsed(lines_of(reader, head, key, MAX_BYTES, longest=_MAX_LINE), key, vault)


def _parsed(lines: Iterator[bytes], key: str, vault: str) -> Announcement:
    hasher = hashlib.sha256()
    found: Announcement | None = None
    good: bool | None = None
    try:
        for line in lines:
            if good is not None:
                raise ValueError("more lines follow its checksum")
            if found is None:
                found = _begun(load_object(line), key, vault)
            elif line.startswith(b"{"):
                good = load_object(line)["sha256"] == hasher.hexdigest()
            else:
                text = line.decode("ascii")
                name = check_key(text.removesuffix(_PROMISED))
                found.keys.add(name)
                if text.endswith(_PROMISED):
                    found.promised.add(name)
            hasher.update(line + b"\n")
    except (ValueError, KeyError, TypeError) as error:
        raise VaultDamagedError(f"{key} is damaged: {str(error)[:300]}") from None
    if found is None or not good:
        raise VaultDamagedError(f"{key} is damaged: its checksum does not match")
    return found


def _begun(header: dict[str, Any], key: str, vault: str) -> Announcement:
    if header["format"] != FORMAT or header.get("features"):
        raise UnknownFormatError(
            f"{key} is of format {header['format']!r:.50}, which this regvault does not know",
            hint="Use the regvault that wrote the vault, or a newer one.",
        )
    if (header["type"], header["vault"]) != ("tiering", str(vault)):
        raise VaultDamagedError(f"{key} is damaged: it is of vault {header['vault']!r:.100}")
    promise = header["promise"]
    if not isinstance(promise, dict):
        raise TypeError("its promise is none")
    return Announcement(bool(header["done"]), str(header["hot"]), promise)


def read_archived(
    store: ObjectStore, vault: str, progress: Progress | None = None
) -> Archived | None:
    """Return what is not to be reused since it is, or gets, cold; None: the store has no classes.

    It is read after the lease was taken: a tiering waits for the writers that may not have seen
    what it says.
    """
    if not isinstance(store, ClassedStore):
        return None
    return Archived(store, read_announced(store, vault, progress))
