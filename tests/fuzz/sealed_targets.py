"""What is fuzzed of sealed vaults: what a store that knows no key may hand out.

Nothing that such a store makes is taken for what the vault's writers sealed. (A writer, who knows
the keys, may seal anything: two targets seal what they are given first.)
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from functools import cache
from typing import Any

import seeds

from regvault.errors import CredentialError, RegvaultError, VaultDamagedError
from regvault.storage.memory import MemoryStore
from regvault.vault import keys, recover, segment
from regvault.vault.age import Identity, age_header_length, plain_size
from regvault.vault.frames import compress
from regvault.vault.keyring import open_seal, read_key_record, write_key_record
from regvault.vault.objectlist import ObjectRef
from regvault.vault.pack import MetaWriter, PackWriter
from regvault.vault.presence import Presence
from regvault.vault.root import RootName, parse_root
from regvault.vault.sealing import AgeSeal, LockedSeal
from regvault.vault.writer import ObjectWriter

VAULT, RUN = seeds.VAULT, seeds.RUN
#: What the age files of the seeds hold.
SECRETS = (b"", b"a layer", b"\0" * (130 << 10))
_NAMING_KEY = b"K" * 32
#: Slots are named by a registry's id.
_SLOT = RootName(RUN, 2)
_LOCKED = LockedSeal("no identity was given")


@cache
def identities() -> tuple[Identity, Identity]:
    """Those of the host that writes and of a recipient."""
    return Identity.generate(), Identity.generate()


@cache
def seal() -> AgeSeal:
    """That of a vault which both are known of."""
    host, recipient = identities()
    return AgeSeal(
        _NAMING_KEY, [recipient.public], host.public, (host, recipient), opens_contents=True
    )


def _refused(error: RegvaultError) -> None:
    assert isinstance(error, (VaultDamagedError, CredentialError)), error
    assert error.message
    assert len(error.message) < 10_000, len(error.message)


# -- age files ------------------------------------------------------------------------------------


@cache
def age_files() -> list[bytes]:
    return [seal().close_content(secret) for secret in SECRETS]


def age_file(data: bytes) -> bool:
    """An age file, opened whole and as a stream, and measured by its head."""
    length = age_header_length(data)
    assert length is None or 0 < length <= len(data)
    size = plain_size(data[:4096], len(data))
    assert size is None or 0 <= size <= len(data)
    whole, streamed = _opened_whole(data), _opened_as_stream(data)
    assert whole in (None, *SECRETS)
    # A stream gives what comes before the damage, and then an error.
    assert streamed == whole
    assert whole is None or size == len(whole)
    return whole is not None


def _opened_whole(data: bytes) -> bytes | None:
    try:
        return seal().open_content(data, "x")
    except RegvaultError as error:
        _refused(error)
        return None


def _opened_as_stream(data: bytes) -> bytes | None:
    stored = MemoryStore()
    stored.put("x", data)
    found = bytearray()
    stream = seal().open_stream(stored.open("x"), "x")
    try:
        while part := stream.read(1 << 16):
            found += part
            assert len(found) <= len(data)
    except RegvaultError as error:
        _refused(error)
        return None
    finally:
        stream.close()
    return bytes(found)


# -- documents ------------------------------------------------------------------------------------


@cache
def key_records() -> list[bytes]:
    host, recipient = identities()
    store = MemoryStore()
    write_key_record(
        store,
        VAULT,
        RUN,
        naming_key=_NAMING_KEY,
        recipients=[recipient.public],
        writer=host.public,
        generation=1,
    )
    return [store.get(keys.record_key("keys", RUN))]


def key_record(data: bytes) -> None:
    """Whoever knows no K cannot make a record by which anything is sealed to another."""
    key = keys.record_key("keys", RUN)
    store = MemoryStore()
    store.put(key, data)
    record = read_key_record(data, key, VAULT)
    try:
        found = open_seal(store, VAULT, record.key, identities())
    except RegvaultError as error:
        _refused(error)
    else:
        assert isinstance(found, AgeSeal)
        assert found.recipients == seal().recipients
        assert found.writer == seal().writer
        assert found.naming_key == _NAMING_KEY
    assert isinstance(open_seal(store, VAULT, record.key, ()), LockedSeal)


@cache
def roots() -> list[bytes]:
    named = replace(seeds.root(), name=RootName(RUN, 2, "prod"))
    return [named.to_document(VAULT, seal())[0]]


def root(data: bytes) -> None:
    """A sealed root: read by a host that can open it, and by one that cannot."""
    for each in (seal(), _LOCKED):
        found = parse_root(data, _SLOT, VAULT, each)
        if found is not None and found.opened:
            assert (found.source, found.scope) == (seeds.root().source, seeds.root().scope)
            assert found.name.label == "prod"


def root_part(data: bytes) -> bool:
    """What is sealed in a root, as its writer might have sealed it."""
    body: dict[str, Any] = json.loads(roots()[0].split(b"\n", 1)[0])
    body["sealed"] = base64.b64encode(seal().close_index(data)).decode()
    line = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    end = b'{"sha256":"%s","signatures":[]}\n' % hashlib.sha256(line).hexdigest().encode()
    try:
        found = parse_root(line + b"\n" + end, _SLOT, VAULT, seal())
    except RegvaultError as error:
        _refused(error)
        return False
    assert found is not None
    assert found.opened
    return True


def root_parts() -> list[bytes]:
    body = json.loads(roots()[0].split(b"\n", 1)[0])
    return [seal().open_index(base64.b64decode(body["sealed"]), "x")]


# -- objects --------------------------------------------------------------------------------------


@cache
def segments() -> list[bytes]:
    store = MemoryStore()
    lines = sorted(_keyed(line) for line in seeds.locations())
    key = segment.write_segment(
        store, lines, level=1, run=RUN, supersedes=["catalog/x"], seal=seal()
    )
    assert key is not None
    return [store.get(key)]


def _keyed(line: bytes) -> bytes:
    place = segment.parse_line(line)
    return place._replace(digest=seal().name(place.digest)).line()


def segment_file(data: bytes) -> bool:
    """A sealed segment under the name that its bytes have."""
    store = MemoryStore()
    first = "hmac-sha256:" + "0" * 64
    last = "hmac-sha256:" + "f" * 64
    sha256 = hashlib.sha256(data).hexdigest()
    key = keys.segment_key(0, first, last, RUN, sha256, sealed=True)
    store.put(key, data)
    name = keys.parse_segment_key(key)
    assert name is not None
    known = {_keyed(line) for line in seeds.locations()}
    wanted = seal().name(segment.parse_line(seeds.locations()[0]).digest)
    opened, locked = (segment.Segment(store, name, each) for each in (seal(), _LOCKED))
    good = True
    for use in (
        lambda: set(opened.read()),
        lambda: {place.line() for place in opened.lookup(wanted)},
        lambda: locked.prove() or set(),
    ):
        try:
            assert use() <= known
        except RegvaultError as error:
            _refused(error)
            good = False
    return good


@cache
def _archives() -> list[bytes]:
    store = MemoryStore()
    writer = ObjectWriter(store, RUN, Presence(None), frozenset(), seal=seal())
    pack = PackWriter(writer, lambda _: None)
    meta = MetaWriter(writer, lambda _: None)
    for word in ("one", "two"):
        pack.add(seeds.digest(word), word.encode())
        meta.add(seeds.digest(word), word.encode())
    pack.flush()
    meta.flush()
    return [store.get(entry.key) for entry in store.list()]


def archives() -> list[bytes]:
    return list(_archives())


def archive(data: bytes) -> bool:
    """A sealed pack or meta object: whatever it says, a place is one that a segment may hold."""
    good = False
    for prefix in ("packs/", "meta/"):
        store = MemoryStore()
        store.put(f"{prefix}x", data)
        try:
            places = recover.members_of(store, ObjectRef(f"{prefix}x", len(data), ""), seal())
        except RegvaultError as error:
            _refused(error)
            continue
        good = True
        for place in places:
            assert segment.parse_line(place.line()) == place
            assert 0 <= place.offset <= place.offset + place.length <= len(data)
    return good


def meta_text(data: bytes) -> bool:
    """The tar of a meta object, as its writer might have sealed it."""
    return archive(seal().close_content(compress(data)))
