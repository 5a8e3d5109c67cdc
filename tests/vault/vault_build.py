"""What the tests of the vault layer share."""

from __future__ import annotations

import hashlib

from regvault.storage.memory import MemoryStore
from regvault.vault.presence import Presence
from regvault.vault.writer import ObjectWriter

RUN = "019b75e8f400a1b2c3d4e5f6"
VAULT = "0123456789abcdef" * 2


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def new_writer(store=None, presence=None, condemned=frozenset(), run=RUN) -> ObjectWriter:
    return ObjectWriter(store or MemoryStore(), run, presence or Presence(None), condemned)


def contents(store) -> dict[str, bytes]:
    return {entry.key: store.get(entry.key) for entry in store.list()}
