"""Keeps access statistics in the vault, so that a host without a local cache has them at once.

A document says which links are counted, and names an object with all rows. Both are derived from
the chains: whoever has no use for them counts the events.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from typing import TYPE_CHECKING, Any

import orjson

from regvault.errors import RegvaultError, VaultDamagedError
from regvault.ops.audit.access.tables import COLUMNS
from regvault.vault.age import OVERHEAD
from regvault.vault.audit.keys import access_key, access_object_key, is_chain
from regvault.vault.envelope import SEALED, read_document, to_time, write_document
from regvault.vault.fetch import fetch_document
from regvault.vault.fields import count, mapping, sha256, text
from regvault.vault.frames import compress, decompress
from regvault.vault.keys import FORMAT, new_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.model.store import Stage
    from regvault.ops.audit.access.tables import Tables
    from regvault.vault.sealing import Seal
    from regvault.vault.vault import Vault

__all__ = ["keep", "kept_links", "load_kept"]

_TYPE = "access"
_VERSION = 1
_FRAME_BYTES = 1 << 20
_MAX_FRAME = 4 << 20
_LENGTH = 8
_ROWS = 2000
#: No time of an event is larger, and no count.
_MOST = 253_402_300_800 * 10**6


def keep(vault: Vault, tables: Tables, rules: str) -> None:
    """Write all rows, then the document that names them.

    There are two objects, and that is written which the document does not name: nothing has to be
    deleted, and what is kept stays whole until the new one is.

    Raises:
        RegvaultError: the vault cannot be written, or sealed, or signed.
    """
    links: dict[str, Any] = {}
    keys = _keys(rules, sealed=vault.seal.sealed)
    with contextlib.suppress(RegvaultError):
        if _object_of(_document(vault, rules), keys)[0] == keys[0]:
            keys.reverse()
    stage = vault.store.stage()
    try:
        with tables.transaction(keep=False):
            for name, state in tables.chains().items():
                links[name] = {"sequence": state.number, "sha256": state.sha256}
            size = _write(stage, vault.seal, tables)
        digest = stage.sha256()
        stage.commit(keys[0])
        vault.store.barrier()
    except BaseException:
        stage.abort()
        raise
    body = {
        "type": _TYPE,
        "format": FORMAT,
        "features": [SEALED] if vault.seal.sealed else [],
        "vault": vault.id,
        "run": new_run_id(),
        "written": to_time(time.time_ns()),
        "rules": rules,
        "version": _VERSION,
        "object": {"key": keys[0], "size": size, "sha256": digest},
        "links": links,
    }
    vault.store.put(access_key(rules), write_document(body)[0])
    vault.store.barrier()


def _keys(rules: str, *, sealed: bool) -> list[str]:
    return [access_object_key(rules, number, sealed=sealed) for number in (0, 1)]


def _write(stage: Stage, seal: Seal, tables: Tables) -> int:
    """Write all rows in frames; return the bytes."""
    total = 0
    lines: list[bytes] = []
    nbytes = 0
    for line in _lines(tables):
        lines.append(line)
        nbytes += len(line) + 1
        if nbytes >= _FRAME_BYTES:
            total += _frame(stage, seal, lines)
            lines, nbytes = [], 0
    return total + _frame(stage, seal, lines)


def _frame(stage: Stage, seal: Seal, lines: list[bytes]) -> int:
    data = seal.close_index(compress(b"\n".join(lines)))
    stage.write(b"%08x" % len(data))
    stage.write(data)
    return _LENGTH + len(data)


def _lines(tables: Tables) -> Iterator[bytes]:
    """Yield lines of JSON: the name of a table, and a row of it."""
    for name, columns in COLUMNS.items():
        for row in tables.db.execute(f"SELECT * FROM {name}"):  # noqa: S608 (only ours)
            values = [
                value.hex() if kind in "bB" and value is not None else value
                for kind, value in zip(columns, row, strict=True)
            ]
            yield orjson.dumps([name, *values])


def _document(vault: Vault, rules: str) -> dict[str, Any]:
    key = access_key(rules)
    data = fetch_document(vault.store, key)
    return read_document(data, key, types=(_TYPE,), vault=vault.id).body


def _object_of(body: dict[str, Any], keys: list[str]) -> tuple[str, int, str]:
    """Return key, size and SHA-256 of the object that a document names, one of two."""
    try:
        told = mapping(body["object"])
        key = text(told["key"])
        if key not in keys:
            raise ValueError(key)
        return key, count(told["size"]), sha256(told["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise VaultDamagedError(f"statistics are kept nowhere: {error!r:.200}") from None


def kept_links(vault: Vault, rules: str) -> dict[str, tuple[int, str]]:
    """Return the links up to which statistics are kept: chain -> number, SHA-256; {}: of none.

    Raises:
        VaultDamagedError: what says so cannot be read.
    """
    key = access_key(rules)
    if not any(entry.key == key for entry in vault.store.list(key)):
        return {}
    body = _document(vault, rules)
    if body.get("version") != _VERSION or body.get("rules") != rules:
        return {}
    try:
        links = {
            name: (count(each["sequence"]), sha256(each["sha256"]))
            for name, each in mapping(body["links"]).items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise VaultDamagedError(f"{key} is damaged: {error!r:.200}", key=key) from None
    return {name: link for name, link in links.items() if is_chain(name)}


def load_kept(vault: Vault, tables: Tables, rules: str) -> None:
    """Take what is kept in place of what is in the tables.

    Raises:
        VaultDamagedError: it is not what was written; the tables stay as they were.
        ObjectNotFoundError: it is gone.
    """
    links = kept_links(vault, rules)
    keys = _keys(rules, sealed=vault.seal.sealed)
    key, size, digest = _object_of(_document(vault, rules), keys)
    with tables.transaction():
        tables.clear()
        hasher = hashlib.sha256()
        try:
            for name, rows in _read(vault, key, size, hasher):
                marks = ",".join("?" * len(COLUMNS[name]))
                tables.db.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608
        except (ValueError, TypeError, KeyError, IndexError, tables.db.Error):
            raise VaultDamagedError(f"{key} is damaged: its rows are none", key=key) from None
        if hasher.hexdigest() != digest:
            raise VaultDamagedError(f"{key} is damaged: it is not what was written", key=key)
        found = {name: (state.number, state.sha256) for name, state in tables.chains().items()}
        if found != links:
            raise VaultDamagedError(f"{key} is of other links than it says", key=key)


def _read(vault: Vault, key: str, size: int, hasher: Any) -> Iterator[tuple[str, list[list[Any]]]]:
    """Yield rows, some of one table at a time; feed a hasher with the stored bytes."""
    left = size
    with vault.store.open(key) as reader:
        while left:
            head = _exactly(reader, min(left, _LENGTH), key)
            length = int(head, 16)
            if not 0 <= length <= min(left - _LENGTH, _MAX_FRAME + OVERHEAD):
                raise ValueError(length)
            data = _exactly(reader, length, key)
            hasher.update(head + data)
            left -= _LENGTH + length
            frame = decompress(vault.seal.open_index(data, key), key, _MAX_FRAME)
            yield from _rows(frame)


def _exactly(reader: Any, size: int, key: str) -> bytes:
    parts: list[bytes] = []
    while size and (part := reader.read(size)):
        parts.append(part)
        size -= len(part)
    if size:
        raise VaultDamagedError(f"{key} is damaged: it breaks off", key=key)
    return b"".join(parts)


def _rows(frame: bytes) -> Iterator[tuple[str, list[list[Any]]]]:
    name = ""
    rows: list[list[Any]] = []
    for line in frame.split(b"\n"):
        if not line:
            continue
        table, *values = orjson.loads(line)
        if table != name or len(rows) >= _ROWS:
            if rows:
                yield name, rows
            name, rows = table, []
        columns = COLUMNS[table]
        rows.append([_value(kind, value) for kind, value in zip(columns, values, strict=True)])
    if rows:
        yield name, rows


def _value(kind: str, value: Any) -> Any:
    """Return a value of a row. Raises ValueError, TypeError."""
    if value is None:
        if not kind.isupper():
            raise TypeError(kind)
        return None
    kind = kind.lower()
    if kind == "b":
        return bytes.fromhex(value)
    if kind == "t" and type(value) is str:
        return value
    if kind == "i" and type(value) is int and 0 <= value < _MOST:
        return value
    raise TypeError(value)
