"""Condemned lists: keys that may be deleted, and that nobody reuses or writes again.

`condemned/<n>.zst` is one zstd frame of text: a JSON header line, the keys in byte order,
and a JSON line with the SHA-256 of all lines before it. Every 100th list repeats all earlier ones.
A slot may hold a void instead. (`docs/vault-format.md`, "Condemned lists".)
"""

from __future__ import annotations

import hashlib
import json
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from regvault.errors import TemporaryError, UnknownFormatError, VaultDamagedError
from regvault.vault.envelope import MAX_DOCUMENT_BYTES, load_object, read_document, to_time
from regvault.vault.fetch import read_at_most
from regvault.vault.frames import HEADER_BYTES, compress, decompress, lines_of
from regvault.vault.keys import (
    CONDEMNED,
    FORMAT,
    check_key,
    condemned_key,
    parse_segment_key,
    sequence_of,
)
from regvault.vault.signing import VaultId, check_signatures, countersigned, signatures_of
from regvault.vault.slots import fill_next, filled_after, numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from regvault.model.store import ByteReader, ObjectStore
    from regvault.vault.prune_lock import PruneLock

__all__ = [
    "MAX_BYTES",
    "REPEAT_EVERY",
    "commit_condemned",
    "condemned_document",
    "countersign_condemned",
    "parse_condemned",
    "read_condemned",
    "read_condemned_to",
    "read_list",
    "refuse_if_condemned_since",
]

REPEAT_EVERY = 100
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_BYTES = 1 << 30
_MAX_LINE = 8 << 10


def read_condemned(store: ObjectStore, vault: str) -> set[str]:
    """Return every key that any condemned list of the vault names; see `read_condemned_to`."""
    return read_condemned_to(store, vault)[0]


def read_condemned_to(store: ObjectStore, vault: str) -> tuple[set[str], int]:
    """Return every key that any condemned list of the vault names, and the newest list's number.

    Raises:
        VaultDamagedError: a list cannot be read, or one is gone: without all of them nothing may
            be reused.
    """
    slots = numbers(store, CONDEMNED, condemned_key)
    if not slots:
        return set(), 0
    there = set(slots)
    condemned: set[str] = set()
    for number in range(slots[-1], 0, -1):
        if number not in there:
            raise VaultDamagedError(
                f"{condemned_key(number)} is gone, though later condemned lists are there",
                hint="Without it, objects that are about to be deleted cannot be told from good "
                "ones.",
            )
        keys = read_list(store, condemned_key(number), number, vault)
        condemned.update(keys or ())
        # A void in the slot of a list that would have repeated the earlier ones repeats nothing.
        if number % REPEAT_EVERY == 0 and keys is not None:
            break
    return condemned, slots[-1]


def read_list(store: ObjectStore, key: str, number: int, vault: str) -> list[str] | None:
    """Return the keys of the list that is under `key`; None for a void.

    Raises:
        ObjectNotFoundError: nothing is there.
        VaultDamagedError: it is not list `number` of this vault.
    """
    with store.open(key) as reader:
        return _parse(reader, number, vault)


def parse_condemned(data: bytes, number: int, vault: str) -> list[str] | None:
    """Return the keys of one list; None for a void. Raises VaultDamagedError."""
    return _parse(BytesIO(data), number, vault)


def countersign_condemned(data: bytes, number: int, vault: VaultId) -> bytes:
    """Return a list with one more signature, that of the vault's key to sign with; a void as it is.

    Raises:
        VaultDamagedError: it is not list `number` of this vault.
        UntrustedError: it is not signed by whom is trusted.
        CredentialError: there is no key to sign with.
    """
    if parse_condemned(data, number, vault) is None:
        return data
    content, _, last = decompress(data, condemned_key(number), MAX_BYTES)[:-1].rpartition(b"\n")
    content += b"\n"
    seal = load_object(last)
    signatures = countersigned(vault, content, _signatures(seal))
    if signatures == _signatures(seal):
        return data
    seal = {**seal, "signatures": signatures}
    return compress(content + json.dumps(seal, separators=(",", ":")).encode() + b"\n")


def _parse(reader: ByteReader | BytesIO, number: int, vault: str) -> list[str] | None:
    key = condemned_key(number)
    head = b""
    while len(head) < HEADER_BYTES and (part := reader.read(HEADER_BYTES - len(head))):
        head += part
    if not head.startswith(_ZSTD_MAGIC):
        data = head + read_at_most(reader, MAX_DOCUMENT_BYTES)
        read_document(data, key, types=("void",), vault=vault)
        return None
    lines = lines_of(reader, head, key, MAX_BYTES, longest=_MAX_LINE)
    header, keys, good = _read_lines(lines, key, vault)
    try:
        kind, version, slot, owner = (header[k] for k in ("type", "format", "slot", "vault"))
    except KeyError:
        raise VaultDamagedError(f"{key} is damaged: it is no condemned list") from None
    if not good:
        raise VaultDamagedError(f"{key} is damaged: its checksum does not match")
    if version != FORMAT or header.get("features"):
        raise UnknownFormatError(
            f"{key} is of format {version!r:.50}, which this regvault does not know",
            hint="Use the regvault that wrote the vault, or a newer one.",
        )
    if (kind, slot, owner) != ("condemned", number, vault):
        raise VaultDamagedError(
            f"{key} is damaged: it is list {slot!r:.50} of vault {owner!r:.100}"
        )
    return keys


def _read_lines(
    lines: Iterator[bytes], key: str, vault: str
) -> tuple[dict[str, Any], list[str], bool]:
    """Return the header, the keys, and whether the checksum is right; check the signature.

    A frame of a few kilobytes may hold a billion lines; the first that is no key ends it.
    """
    hasher = hashlib.sha256()
    header: dict[str, Any] | None = None
    good: bool | None = None
    keys: list[str] = []
    last = ""
    trusted = isinstance(vault, VaultId) and vault.keys.trusted
    signed: list[bytes] = []
    try:
        for line in lines:
            if good is not None:
                raise ValueError("more lines follow its checksum")
            if header is None:
                header = load_object(line)
            elif line.startswith(b"{"):
                seal = load_object(line)
                good = seal["sha256"] == hasher.hexdigest()
                if good and trusted:
                    check_signatures(vault, key, b"".join(signed), _signatures(seal))
            else:
                this = _check_key(line.decode("ascii"))
                if this <= last:
                    raise ValueError("its keys are out of order")
                keys.append(this)
                last = this
            hasher.update(line + b"\n")
            if trusted:
                signed.append(line + b"\n")
    except (ValueError, KeyError) as error:
        raise VaultDamagedError(
            f"{key} is damaged: it is no condemned list ({str(error)[:300]})"
        ) from None
    if header is None or good is None:
        raise VaultDamagedError(f"{key} is damaged: it is cut off")
    return header, keys, good


def _check_key(key: str) -> str:
    return key if parse_segment_key(key) is not None else check_key(key)


def _signatures(seal: dict[str, Any]) -> list[dict[str, Any]]:
    found = seal.get("signatures", [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("its signatures are none")
    return found


def refuse_if_condemned_since(store: ObjectStore, number: int) -> None:
    """Refuse to commit beside a prune that did not see this run's lease.

    Args:
        store: the vault's store.
        number: of the newest condemned list when this run began to look.

    Raises:
        TemporaryError: there is a newer one; this run may have reused what it names.
    """
    newer = next(filled_after(store, condemned_key, number), None)
    if newer is not None:
        raise TemporaryError(
            f"a prune has written {newer.key} beside this run, whose lease it did not see",
            hint="Nothing was committed. Run the same command again; if that goes on, the store's "
            "LIST does not show what was just written, and it cannot hold a vault.",
        )


def newest_slot(store: ObjectStore) -> int:
    """Return the highest number of a condemned list, 0 where there is none."""
    numbers = (sequence_of(entry.key) for entry in store.list(CONDEMNED))
    return max((number for number in numbers if number is not None), default=0)


def condemned_document(vault: str, number: int, run: str, keys: Iterable[str]) -> bytes:
    """Return the bytes of one list.

    Args:
        vault: the vault's id.
        number: of its slot; where it is divisible by 100, `keys` must hold those of all earlier
            lists too.
        run: who condemns.
        keys: in byte order, each once.
    """
    header = {
        "type": "condemned",
        "format": FORMAT,
        "features": [],
        "vault": vault,
        "slot": number,
        "run": run,
        "at": to_time(time.time_ns()),
    }
    lines = [json.dumps(header, separators=(",", ":")), *keys]
    content = "".join(f"{line}\n" for line in lines).encode("ascii")
    seal = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "signatures": signatures_of(vault, content),
    }
    return compress(content + json.dumps(seal, separators=(",", ":")).encode() + b"\n")


def commit_condemned(
    store: ObjectStore,
    vault: str,
    lock: PruneLock,
    run: str,
    keys: Sequence[str],
    condemned: set[str],
) -> str:
    """Fill the next slot with a condemned list; return its key.

    Args:
        store: the vault's store.
        vault: its id.
        lock: held; it names the slot.
        run: who condemns.
        keys: in byte order, each once.
        condemned: what earlier lists condemn; what another party condemned meanwhile is added.

    Raises:
        LeaseLostError: another party took the lock.
    """

    def document(number: int) -> bytes:
        every = sorted({*keys, *condemned}) if number % REPEAT_EVERY == 0 else keys
        return condemned_document(vault, number, run, every)

    def taken(number: int) -> None:
        condemned.update(read_list(store, condemned_key(number), number, vault) or ())

    return fill_next(store, condemned_key, newest_slot(store) + 1, document, lock, taken)
