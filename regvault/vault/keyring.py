"""The key records of a sealed vault: to whom it is sealed, and the key that its names are made of.

`records/keys/<run>.json`, each created once; that of the highest generation counts. The next one is
called by the run after that, so that of two changes at once one is made on top of the other.

Recipients are public, the naming key K is sealed to them and to the writer. A record is
authenticated by K itself (and signed where the vault is), so that whoever can write to the store,
and knows no K, cannot add a recipient. (`docs/vault-format.md`, "Key records".)
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import (
    CredentialError,
    ObjectNotFoundError,
    PreconditionError,
    UsageError,
    VaultDamagedError,
)
from regvault.vault.age import MAX_RECIPIENTS, open_sealed, parse_recipient, seal_to
from regvault.vault.envelope import read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count, text
from regvault.vault.keys import FORMAT, KEY_RECORDS, record_key
from regvault.vault.sealing import NAMING_KEY_BYTES, AgeSeal, LockedSeal, Seal
from regvault.vault.signing import check_signatures

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from regvault.model.store import ObjectStore
    from regvault.vault.age import Identity

__all__ = [
    "KIND",
    "KeyRecord",
    "Records",
    "copy_key_records",
    "key_id",
    "key_records",
    "look_at_records",
    "new_naming_key",
    "open_seal",
    "opens_everything",
    "read_key_record",
    "write_key_record",
]

#: Of the records, and their documents' type.
KIND = "keys"


class KeyRecord(NamedTuple):
    """One record.

    Attributes:
        generation: the highest counts.
        run: that wrote it; of two of one generation the later run's counts.
        recipients: age recipients who can open everything that was written under it.
        writer: the recipient who can open trees and the catalog too.
        key: id of the naming key.
        sealed_key: the naming key, as an age file for all of them.
        at: when, RFC 3339 UTC.
        mac: hex HMAC-SHA-256 by the naming key over what the others say.
    """

    generation: int
    run: str
    recipients: tuple[str, ...]
    writer: str
    key: str
    sealed_key: bytes
    at: str
    mac: str

    def expected_mac(self, naming_key: bytes) -> str:
        """Return what `mac` must be."""
        said = [self.generation, self.run, list(self.recipients), self.writer, self.key]
        line = b"keys " + json.dumps(said, separators=(",", ":")).encode()
        return hmac.new(naming_key, line, hashlib.sha256).hexdigest()


def new_naming_key() -> bytes:
    """Return a new K."""
    return secrets.token_bytes(NAMING_KEY_BYTES)


def key_id(naming_key: bytes) -> str:
    """Return the id of a naming key, which tells nothing of it: 32 hex digits."""
    return hashlib.sha256(b"regvault naming key " + naming_key).hexdigest()[:32]


def write_key_record(
    store: ObjectStore,
    vault: str,
    run: str,
    *,
    naming_key: bytes,
    recipients: Sequence[str],
    writer: str,
    generation: int,
) -> KeyRecord:
    """Create a record: what is written from now on is sealed to these.

    Raises:
        PreconditionError: there is one of this run.
        UsageError: there are too many recipients.
    """
    if len(recipients) > MAX_RECIPIENTS:
        raise UsageError(
            f"a vault is sealed to {MAX_RECIPIENTS} recipients at most, not to {len(recipients)}",
            hint="Let some of them share an identity.",
        )
    sealed = seal_to(dict.fromkeys((*recipients, writer)), naming_key)
    record = KeyRecord(
        generation, run, tuple(recipients), writer, key_id(naming_key), sealed, "", ""
    )
    body = {
        "type": KIND,
        "format": FORMAT,
        "features": [],
        "vault": vault,
        "run": run,
        "at": to_time(time.time_ns()),
        "generation": generation,
        "recipients": list(recipients),
        "writer": writer,
        "key": record.key,
        "k": base64.b64encode(sealed).decode(),
        "mac": record.expected_mac(naming_key),
    }
    store.put(record_key(KIND, run), write_document(body)[0], if_none_match=True)
    return record._replace(at=str(body["at"]), mac=str(body["mac"]))


def key_records(store: ObjectStore, vault: str) -> list[KeyRecord]:
    """Return all records that can be read, the one that counts last.

    A damaged one is left out, and `verify` names it.
    """
    return look_at_records(store, vault).records


class Records(NamedTuple):
    """The key records as they were seen.

    Attributes:
        records: all that can be read, the one that counts last.
        keys: of all that are there.
        bad: key of one that cannot be read -> why.
    """

    records: list[KeyRecord]
    keys: set[str]
    bad: dict[str, str]

    def genuine(self, naming_key: bytes) -> list[KeyRecord]:
        """Return those that someone made who has the naming key, the one that counts last."""
        key = key_id(naming_key)
        made = (r for r in self.records if r.key == key)
        return [r for r in made if hmac.compare_digest(r.mac, r.expected_mac(naming_key))]

    def stale(self, newest: KeyRecord) -> str:
        """Return why a record may not be the one that counts; "" where it is.

        A later one is called by a higher run (`free_run`), also where it cannot be read.
        """
        mine = record_key(KIND, newest.run)
        return next((why for key, why in sorted(self.bad.items()) if key > mine), "")

    def free_run(self, newest: KeyRecord) -> str:
        """Return what the record after one is called: of two changes at once one begins again."""
        number = int(newest.run, 16) + 1
        while record_key(KIND, f"{number:024x}") in self.keys:
            number += 1
        return f"{number:024x}"


def look_at_records(store: ObjectStore, vault: str) -> Records:
    """Return the key records of a vault."""
    seen = Records([], set(), {})
    for entry in store.list(KEY_RECORDS):
        try:
            record = read_key_record(fetch_document(store, entry.key), entry.key, vault)
        except ObjectNotFoundError:
            continue
        except VaultDamagedError as error:
            seen.bad[entry.key] = error.message
        else:
            seen.records.append(record)
        seen.keys.add(entry.key)
    seen.records.sort(key=lambda record: (record.generation, record.run))
    return seen


def opens_everything(store: ObjectStore, vault: str, recipients: Collection[str]) -> bool:
    """Return whether all that was ever sealed was sealed to one of some recipients too.

    Only where every record is there, from the first generation on: then what none of their
    identities opens is damaged, not sealed to others.
    """
    records = key_records(store, vault)
    generations = {record.generation for record in records}
    return (
        len(records) == sum(1 for _ in store.list(KEY_RECORDS))
        and generations == set(range(1, len(generations) + 1))
        and all(not set(recipients).isdisjoint(record.recipients) for record in records)
    )


def read_key_record(data: bytes, key: str, vault: str) -> KeyRecord:
    """Parse a record. It may be of the vault that this one is a copy of: K binds it.

    Raises:
        VaultDamagedError: it is none.
        UntrustedError: it is not signed by whom is trusted.
    """
    document = read_document(data, key, types=(KIND,), vault=None)
    check_signatures(vault, key, data.split(b"\n", 1)[0], document.signatures)
    record = _parse(document.body)
    if record is None:
        raise VaultDamagedError(f"{key} is damaged: it is no key record")
    return record


def copy_key_records(source: ObjectStore, vault: str, target: ObjectStore) -> list[str]:
    """Copy the key records that another vault lacks; return their keys.

    Raises:
        VaultDamagedError: one cannot be read.
    """
    there = {entry.key for entry in target.list(KEY_RECORDS)}
    copied: list[str] = []
    for entry in source.list(KEY_RECORDS):
        if entry.key not in there:
            data = fetch_document(source, entry.key)
            read_key_record(data, entry.key, vault)
            with contextlib.suppress(PreconditionError):
                target.put(entry.key, data, if_none_match=True)
                copied.append(entry.key)
    return copied


def _parse(body: dict[str, Any]) -> KeyRecord | None:
    try:
        return KeyRecord(
            count(body["generation"]),
            text(body["run"]),
            tuple(text(each) for each in body["recipients"]),
            text(body["writer"]),
            text(body["key"]),
            base64.b64decode(text(body["k"]), validate=True),
            text(body["at"]),
            text(body["mac"]),
        )
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None


def open_seal(store: ObjectStore, vault: str, key: str, identities: tuple[Identity, ...]) -> Seal:
    """Return the seal of a sealed vault.

    Args:
        store: the vault's store.
        vault: its id.
        key: id of its naming key, as `vault.json` has it.
        identities: to open with; with none, only lists can be read.

    Raises:
        CredentialError: none of the identities opens a record.
        VaultDamagedError: the records are gone.
    """
    if not identities:
        return LockedSeal(f"vault {vault} is sealed, and no identity was given")
    seen = look_at_records(store, vault)
    records = [record for record in seen.records if record.key == key]
    if not records:
        raise VaultDamagedError(
            f"the key records of the sealed vault at {store.location} are gone",
            hint="Bring records/keys/ back, from a copy of the vault. Nothing can be opened "
            "without them.",
        )
    naming_key = _naming_key(records, identities)
    if naming_key is None:
        raise CredentialError(
            f"no identity that was given opens vault {vault}",
            hint="See to whom it is sealed: regvault key list",
        )
    good = seen.genuine(naming_key)
    if not good:
        raise VaultDamagedError(f"no key record of the vault at {store.location} is genuine")
    public = {identity.public for identity in identities}
    newest = good[-1]
    return AgeSeal(
        naming_key,
        [parse_recipient(each) for each in newest.recipients],
        parse_recipient(newest.writer),
        identities,
        opens_contents=any(public.intersection(record.recipients) for record in good),
        generation=newest.generation,
        stale=seen.stale(newest),
    )


def _naming_key(records: Iterable[KeyRecord], identities: tuple[Identity, ...]) -> bytes | None:
    """Return the key that a record holds for one of the identities, the newest first."""
    for record in reversed(list(records)):
        try:
            found = open_sealed(record.sealed_key, identities)
        except ValueError:
            continue
        if (
            found is not None
            and len(found) == NAMING_KEY_BYTES
            and hmac.compare_digest(key_id(found), record.key)
        ):
            return found
    return None
