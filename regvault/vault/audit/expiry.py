"""What says that the first segments of a chain were deleted because their time was over."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, UnknownFormatError, VaultDamagedError
from regvault.vault.audit.keys import chain_prefix, expiry_key
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count, sha256, text
from regvault.vault.fields import time as time_of
from regvault.vault.keys import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.vault.audit.chain import Link
    from regvault.vault.vault import Vault

__all__ = ["EXPIRY", "NOTHING", "Expiry", "expired", "not_believed", "superseded", "write_expiry"]

EXPIRY = "audit-expiry"
"""The type of such a document."""

_NAME = "expired-"


class Expiry(NamedTuple):
    """Links whose segments are not kept any more.

    Attributes:
        through: the number of the last one; 0: all are kept.
        sha256: hex, of that link's document.
        received: when the last of their events came in.
        at: when it was decided, RFC 3339 UTC.
        key: of the document.
    """

    through: int
    sha256: str
    received: str
    at: str
    key: str


NOTHING = Expiry(0, "", "", "", "")
"""Where all segments are kept."""


def expired(vault: Vault, chain: str) -> Expiry:
    """Return which links of a chain have no segment any more.

    What nobody signed whose key counts says nothing, and neither does what cannot be read.

    Args:
        vault: whose chain.
        chain: its id.
    """
    found = NOTHING
    for key in _keys(vault, chain):
        with contextlib.suppress(ObjectNotFoundError, VaultDamagedError, UnknownFormatError):
            found = max(found, _read(vault, chain, key))
    return found


def not_believed(vault: Vault, chain: str) -> Iterator[tuple[str, str, str]]:
    """Yield such documents that say nothing: the key, `damaged`, and why."""
    for key in _keys(vault, chain):
        try:
            _read(vault, chain, key)
        except ObjectNotFoundError:
            continue
        except (VaultDamagedError, UnknownFormatError) as error:
            yield key, "damaged", error.message


def superseded(vault: Vault, chain: str, through: int) -> list[str]:
    """Return the keys of those that say less than that segments up to a link are gone."""
    found = []
    for key in _keys(vault, chain):
        with contextlib.suppress(ObjectNotFoundError, VaultDamagedError, UnknownFormatError):
            if _read(vault, chain, key).through < through:
                found.append(key)
    return found


def _keys(vault: Vault, chain: str) -> list[str]:
    """Return the keys of all such documents of a chain: only what says most counts."""
    return [entry.key for entry in vault.store.list(chain_prefix(chain) + _NAME)]


def _read(vault: Vault, chain: str, key: str) -> Expiry:
    data = fetch_document(vault.store, key)
    body = read_document(data, key, types=(EXPIRY,), vault=vault.id).body
    try:
        if body["chain"] != chain:
            raise ValueError("it is of another chain")
        return Expiry(
            count(body["through"]),
            sha256(body["link"]),
            text(body["received"]),
            time_of(body["at"]),
            key,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VaultDamagedError(f"{key} is damaged: {error!r}", key=key) from None


def write_expiry(vault: Vault, link: Link, run: str, keep_s: float) -> str:
    """Say that the segments of a link and of those before it may go; return the key.

    Args:
        vault: whose chain.
        link: the last one.
        run: this run's id.
        keep_s: seconds for which events are kept, for people.
    """
    body: dict[str, Any] = {
        "type": EXPIRY,
        "format": FORMAT,
        "features": [],
        "vault": vault.id,
        "chain": link.chain,
        "through": link.number,
        "link": link.sha256,
        "received": link.received[1],
        "keep_seconds": int(keep_s),
        "at": to_time(time.time_ns()),
    }
    key = expiry_key(link.chain, run)
    vault.store.put(key, write_document(body)[0], if_none_match=True)
    vault.store.barrier()
    return key
