"""The keys of months, that open what archived events tell of persons, and can be thrown away."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Any

from regvault.errors import ObjectNotFoundError, PreconditionError, UsageError, VaultDamagedError
from regvault.vault.audit.keys import MONTHS, is_month, month_key
from regvault.vault.envelope import SEALED, read_document, to_time, write_document
from regvault.vault.extra import not_installed
from regvault.vault.fetch import fetch_document
from regvault.vault.keys import FORMAT
from regvault.vault.signing import UntrustedError

if TYPE_CHECKING:
    from regvault.vault.vault import Vault

__all__ = ["Months"]

_KEY_BYTES = 32
_NONCE_BYTES = 12
_TYPE = "month-key"
#: Signed where roots are: whoever can only write must not make others forget a month.
_ERASED = "month-erased"


class Months:
    """The keys of the months of one vault; each read once. Not thread-safe."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._ciphers: dict[str, Any] = {}
        self._raw: dict[str, bytes] = {}

    def close(self, month: str, data: bytes, bound: bytes) -> bytes:
        """Encrypt what tells of persons in a month: a nonce, then AES-256-GCM's output.

        Args:
            month: such as `2026-11`; its key is made where there is none.
            data: anything.
            bound: what the result belongs to; needed to open it.

        Raises:
            UsageError: the month was erased: nothing is added to it.
            CredentialError: the vault is sealed, and no identity opens its names.
        """
        cipher = self._cipher(month, make=True)
        if cipher is None:
            raise UsageError(
                f"{month} was erased, and an event of that month is to be archived",
                hint="Is the clock of some host wrong?",
            )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + bytes(cipher.encrypt(nonce, data, bound))

    def open(self, month: str, data: bytes, bound: bytes, key: str) -> bytes | None:
        """Undo `close`; None where the month was erased, or its key is not here.

        Args:
            month: such as `2026-11`.
            data: what `close` returned.
            bound: as it was.
            key: of the object that it is in, for messages.

        Raises:
            VaultDamagedError: it is not what was stored.
        """
        from cryptography.exceptions import InvalidTag

        cipher = self._cipher(month, make=False)
        if cipher is None:
            return None
        try:
            return bytes(cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound))
        except (InvalidTag, ValueError):
            raise VaultDamagedError(
                f"{key} is damaged: what it tells of persons in {month} is not what was stored",
                key=key,
            ) from None

    def derived(self, month: str, purpose: str) -> bytes | None:
        """Return 32 bytes that follow from the key of a month; None where that is not here.

        Who has no key of the month can neither compute them, nor tell what was made with them.

        Args:
            month: such as `2026-11`.
            purpose: what they are for; of another one they are others.
        """
        if self._cipher(month, make=False) is None:
            return None
        return hmac.digest(self._raw[month], f"regvault {purpose}".encode(), "sha256")

    def known(self) -> dict[str, str | None]:
        """Return all months that have, or had, a key: month -> when it was erased, or None."""
        found: dict[str, str | None] = {}
        for entry in self._vault.store.list(MONTHS):
            month = entry.key.removeprefix(MONTHS).removesuffix(".json")
            if is_month(month):
                erased = self._read(month).get("erased")
                found[month] = None if erased is None else str(erased)
        return found

    def erase(self, month: str) -> bool:
        """Throw a month's key away; return whether there was one. What is left says when.

        Older versions of the object, where the store keeps some, are not its business.
        """
        body = {**self._body(month, erased=to_time(time.time_ns())), "type": _ERASED}
        try:
            if self._read(month).get("erased") is not None:
                return False
            found = True
        except ObjectNotFoundError:
            found = False
        self._vault.store.put(month_key(month), write_document(body)[0])
        self._vault.store.barrier()
        self._ciphers.pop(month, None)
        self._raw.pop(month, None)
        return found

    def take(self, month: str, other: Months) -> None:
        """Take the key of a month over from another vault, sealed as it is there."""
        body = other._read(month)
        data, _ = write_document(self._body(month, key=body["key"]))
        with contextlib.suppress(PreconditionError):
            self._vault.store.put(month_key(month), data, if_none_match=True)

    def _cipher(self, month: str, *, make: bool) -> Any:
        if month not in self._ciphers:
            try:
                body = self._read(month)
            except ObjectNotFoundError:
                if not make:
                    return None
                body = self._make(month)
            self._ciphers[month] = self._open_key(month, body)
        return self._ciphers[month]

    def _body(self, month: str, **fields: Any) -> dict[str, Any]:
        sealed = self._vault.seal.sealed
        return {
            "type": _TYPE,
            "format": FORMAT,
            "features": [SEALED] if sealed else [],
            "vault": self._vault.id,
            "month": month,
            **fields,
        }

    def _make(self, month: str) -> dict[str, Any]:
        raw = secrets.token_bytes(_KEY_BYTES)
        closed = base64.b64encode(self._vault.seal.close_index(raw)).decode()
        data, _ = write_document(self._body(month, key=closed))
        with contextlib.suppress(PreconditionError):  # another archiver made it at the same moment
            self._vault.store.put(month_key(month), data, if_none_match=True)
        self._vault.store.barrier()
        return self._read(month)

    def _read(self, month: str) -> dict[str, Any]:
        key = month_key(month)
        data = fetch_document(self._vault.store, key)
        vault = self._vault.id
        body = read_document(data, key, types=(_TYPE, _ERASED), vault=vault).body
        if body["type"] == _TYPE and body.get("erased") is not None and vault.keys.trusted:
            raise UntrustedError(
                f"{key} says that the month was erased, and nobody signed it",
                hint=f"If it is right: delete it, and regvault audit erase {month}",
            )
        if body.get("month") != month:
            raise VaultDamagedError(f"{key} is the key of another month", key=key)
        return body

    def _open_key(self, month: str, body: dict[str, Any]) -> Any:
        if body.get("erased") is not None:
            return None
        key = month_key(month)
        try:
            closed = base64.b64decode(str(body["key"]), validate=True)
        except (KeyError, binascii.Error, ValueError):
            raise VaultDamagedError(f"{key} is damaged: there is no key in it", key=key) from None
        raw = self._vault.seal.open_index(closed, key)
        if len(raw) != _KEY_BYTES:
            raise VaultDamagedError(f"{key} is damaged: its key is none", key=key)
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise not_installed("archived audit events", "audit") from None
        self._raw[month] = raw
        return AESGCM(raw)
