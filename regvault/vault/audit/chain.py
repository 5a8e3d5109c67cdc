"""Chains of archived events: documents in numbered slots, each of which names the one before it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    ObjectNotFoundError,
    PreconditionError,
    UnknownFormatError,
    VaultDamagedError,
)
from regvault.oci.manifest import load_json_object
from regvault.vault.audit.keys import AUDIT, chain_prefix, is_chain, link_key
from regvault.vault.envelope import SEALED, read_document, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count, mapping, sha256, text, time
from regvault.vault.keys import FORMAT
from regvault.vault.slots import filled_after, holds, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.vault.sealing import Seal
    from regvault.vault.vault import Vault

__all__ = ["Chain", "Index", "Link", "MovedError", "chains", "heads"]


class MovedError(Exception):
    """Another archiver has filled the slot.

    Attributes:
        head: what it put there.
    """

    def __init__(self, head: Link) -> None:
        super().__init__(f"link {head.number} was written by another run")
        self.head = head


class Index(NamedTuple):
    """An index over several links: an object of its own, derived from their segments.

    Attributes:
        first, last: the numbers of the links that it is over.
        key, size, sha256: of the object: its key, bytes and hex SHA-256.
        table: hex SHA-256 of its table, which proves each part of it.
    """

    first: int
    last: int
    key: str
    size: int
    sha256: str
    table: str


@dataclass(frozen=True)
class Link:
    """One link of a chain: a segment of events, and where the chain stands with it.

    Attributes:
        chain: the chain's id.
        number: of the slot, from 1.
        previous: hex SHA-256 of the document before, None for the first.
        run: that wrote it.
        closed: when, RFC 3339 UTC.
        key, size, digest: of the segment: its key, bytes and hex SHA-256.
        table: hex SHA-256 of the segment's table, which proves each part of it.
        events: how many are in it.
        repeats: how many were left out, since an event of the same id was archived before.
        received: when the first and the last of them came in at regvault's door.
        times: the first and the last time at which they happened.
        months: whose keys open what they tell of persons.
        positions: of each partition, or spool: the next offset that is not archived.
        gaps: what was gone before it could be archived: partition, first and next offset.
        indexes: over earlier links: see `index.py`.
        stream: what the chain is of; {} where that is sealed, and was not opened.
        sha256: hex, of the document; what the next link names.
        nbytes: of the document.
    """

    chain: str
    number: int
    previous: str | None
    run: str
    closed: str
    key: str
    size: int
    digest: str
    table: str
    events: int
    repeats: int
    received: tuple[str, str]
    times: tuple[str, str]
    months: tuple[str, ...]
    positions: dict[str, int]
    gaps: list[dict[str, Any]] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    stream: dict[str, str] = field(default_factory=dict)
    sha256: str = ""
    nbytes: int = 0

    def to_document(self, vault: str, seal: Seal) -> tuple[bytes, str]:
        """Return the bytes of the document, and the hex SHA-256 of its body."""
        body: dict[str, Any] = {
            "type": "audit",
            "format": FORMAT,
            "features": [SEALED] if seal.sealed else [],
            "vault": vault,
            "chain": self.chain,
            "sequence": self.number,
            "previous": self.previous,
            "run": self.run,
            "closed": self.closed,
            "segment": {
                "key": self.key,
                "size": self.size,
                "sha256": self.digest,
                "table": self.table,
            },
            "events": self.events,
            "repeats": self.repeats,
            "received": list(self.received),
            "times": list(self.times),
            "months": list(self.months),
            "positions": self.positions,
            "gaps": self.gaps,
            "indexes": [index._asdict() for index in self.indexes],
            "stream": self.stream,
        }
        if seal.sealed:
            told = json.dumps(body.pop("stream"), separators=(",", ":")).encode()
            body["sealed"] = base64.b64encode(seal.close_index(told)).decode()
        return write_document(body)


def chains(vault: Vault) -> list[str]:
    """Return the ids of all chains, sorted."""
    return sorted(name for name in vault.store.list_prefixes(AUDIT) if is_chain(name))


def heads(vault: Vault, known: dict[str, Any]) -> dict[str, Any]:
    """Return how far each chain is, as roots and records say it.

    Args:
        vault: whose chains.
        known: the same of an earlier time: only what came after it is looked for.
    """
    found: dict[str, Any] = {}
    for name in chains(vault):
        chain = Chain(vault, name)
        before = known.get(name)
        number = before.get("sequence") if isinstance(before, dict) else None
        try:
            link = chain.head() if type(number) is not int else chain.newest_from(number)
        except (VaultDamagedError, UnknownFormatError):
            link = None  # `audit verify` names it
        if link is not None:
            found[name] = {"sequence": link.number, "sha256": link.sha256}
        elif before is not None:
            found[name] = before
    return found


class Chain:
    """One chain of a vault."""

    def __init__(self, vault: Vault, chain: str) -> None:
        self.id = chain
        self._vault = vault

    def numbers(self) -> list[int]:
        """Return the numbers of all links, ascending."""
        prefix = chain_prefix(self.id)
        return numbers(self._vault.store, prefix, lambda number: link_key(self.id, number))

    def head(self) -> Link | None:
        """Return the newest link, or None where there is none. Raises VaultDamagedError."""
        found = self.numbers()
        return self.read(found[-1]) if found else None

    def newest_from(self, number: int) -> Link | None:
        """Return the newest link, where one of this number was the newest; None: there is none.

        Raises:
            VaultDamagedError: it cannot be read.
        """
        store = self._vault.store
        for _ in filled_after(store, lambda each: link_key(self.id, each), number):
            number += 1
        try:
            return self.read(number)
        except ObjectNotFoundError:
            return None

    def follow(self, link: Link | None) -> Iterator[Link]:
        """Yield the links after one, as they are there now."""
        number = 0 if link is None else link.number
        store = self._vault.store
        for entry in filled_after(store, lambda each: link_key(self.id, each), number):
            number += 1
            assert entry.key == link_key(self.id, number)
            yield self.read(number)

    def read(self, number: int) -> Link:
        """Return a link.

        Raises:
            ObjectNotFoundError: there is none of this number.
            VaultDamagedError: what is there is none.
            UntrustedError: nobody signed it whose key counts.
        """
        key = link_key(self.id, number)
        data = fetch_document(self._vault.store, key)
        document = read_document(data, key, types=("audit",), vault=self._vault.id)
        body = document.body
        try:
            if (body["chain"], body["sequence"]) != (self.id, number):
                raise ValueError("it is the link of another slot")
            segment = mapping(body["segment"])
            return Link(
                chain=self.id,
                number=number,
                previous=None if body["previous"] is None else sha256(body["previous"]),
                run=text(body["run"]),
                closed=time(body["closed"]),
                key=_own_key(segment["key"], self.id),
                size=count(segment["size"]),
                digest=sha256(segment["sha256"]),
                table=sha256(segment["table"]),
                events=count(body["events"]),
                repeats=count(body["repeats"]),
                received=_pair(body["received"]),
                times=_pair(body["times"]),
                months=tuple(map(text, body["months"])),
                positions={k: count(v) for k, v in mapping(body["positions"]).items()},
                gaps=[mapping(item) for item in body["gaps"]],
                indexes=[_index(item, self.id) for item in body["indexes"]],
                stream=self._stream(body, key),
                sha256=document.sha256,
                nbytes=len(data),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise VaultDamagedError(f"{key} is damaged: {error!r}", key=key) from None

    def _stream(self, body: dict[str, Any], key: str) -> dict[str, str]:
        if "sealed" in body:
            if not self._vault.seal.opens_names:
                return {}
            closed = base64.b64decode(text(body["sealed"]), validate=True)
            found = load_json_object(self._vault.seal.open_index(closed, key))
        else:
            found = mapping(body["stream"])
        return {name: text(value) for name, value in found.items()}

    def append(self, link: Link) -> Link:
        """Put a link into its slot; return it with its SHA-256.

        Raises:
            MovedError: another run has filled the slot.
            StoreUnavailableError: nobody knows whether it is there.
        """
        store = self._vault.store
        data, digest = link.to_document(self._vault.id, self._vault.seal)
        key = link_key(self.id, link.number)
        try:
            store.put(key, data, if_none_match=True)
        except PreconditionError:
            if not holds(store, key, data):
                raise MovedError(self.read(link.number)) from None
        store.barrier()
        return Link(**{**link.__dict__, "sha256": digest})


def _own_key(value: Any, chain: str) -> str:
    key = text(value)
    name = key.removeprefix(chain_prefix(chain))
    if name == key or "/" in name or not name.isascii() or not name.isprintable():
        raise ValueError(f"no segment of this chain: {key[:100]!r}")
    return key


def _index(value: Any, chain: str) -> Index:
    return Index(
        count(value["first"]),
        count(value["last"]),
        _own_key(value["key"], chain),
        count(value["size"]),
        sha256(value["sha256"]),
        sha256(value["table"]),
    )


def _pair(value: Any) -> tuple[str, str]:
    first, last = value
    return text(first), text(last)
