"""What is fuzzed: each parser of what a vault, a registry or a person says, and what must hold.

A target takes bytes. It returns whether they were accepted; it raises only where a parser broke its
word: another error than it documents, or an answer that it must not give. The tests of this
directory call targets with mutations of valid documents, `make fuzz` with what a fuzzer makes of
them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sealed_targets
import seeds

from regvault.config.load import parse_config
from regvault.errors import ConfigurationError, RegvaultError, UsageError, VaultDamagedError
from regvault.model.location import parse_location
from regvault.model.registry import LinkState
from regvault.model.state import checked_line, decode_field, encode_field
from regvault.oci import grammar, media
from regvault.oci.manifest import InvalidManifestError, parse_manifest
from regvault.oci.verify import matches_manifest
from regvault.ops.images import Images, parse_state
from regvault.ops.snapshot.session import damage_line, parse_damage, parse_entry
from regvault.policy.references import parse_ls_arguments, parse_reference, parse_wanted
from regvault.policy.selectors import parse_selector
from regvault.registry import layout
from regvault.registry.links import LinkBuilder, link_state
from regvault.registry.oci_layout import OciLayoutTarget
from regvault.storage.memory import MemoryStore
from regvault.vault import (
    amendments,
    certain,
    condemned,
    keys,
    lease,
    objectlist,
    records,
    recover,
    segment,
)
from regvault.vault.amendments import brought_along
from regvault.vault.envelope import read_document
from regvault.vault.frames import compress, decompress
from regvault.vault.objectlist import ObjectRef
from regvault.vault.pack import MAX_FRAME_BYTES, iter_members, member_header
from regvault.vault.root import parse_root
from regvault.vault.stub import parse_stub
from regvault.vault.tree import MAX_DECOMPRESSED, ChunkRef, Tree, parse
from regvault.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable

VAULT, RUN, NAME = seeds.VAULT, seeds.RUN, seeds.NAME


class Target(NamedTuple):
    """One parser.

    Attributes:
        run: called with the input; returns whether it was accepted.
        seeds: makes inputs that are.
    """

    run: Callable[[bytes], bool]
    seeds: Callable[[], list[bytes]]


def sealed(data: bytes) -> bytes:
    """Return a document with the checksums that its bodies have: what an attacker writes."""
    lines = data.split(b"\n")
    for at in range(0, len(lines) - 2, 2):
        digest = hashlib.sha256(lines[at]).hexdigest()
        lines[at + 1] = b'{"sha256":"%s","signatures":[]}' % digest.encode()
    return b"\n".join(lines)


def documents(read: Callable[[bytes], Any]) -> Callable[[bytes], bool]:
    """Return a target that reads a document as it is, and with its checksum set right."""

    def run(data: bytes) -> bool:
        good = False
        for each in {data, sealed(data)}:
            try:
                read(each)
                good = True
            except RegvaultError as error:
                _is_said(error)
        return good

    return run


def _is_said(error: RegvaultError) -> None:
    """Assert that an error is fit for people: it says something, and not megabytes of it."""
    assert error.message
    assert len(error.message) < 10_000, len(error.message)


# -- registries -----------------------------------------------------------------------------------


def link(data: bytes) -> bool:
    found = layout.parse_link(data)
    assert found is None or (found.encode() == data and grammar.is_digest(found))
    good = link_state(seeds.digest("x"), data) is LinkState.GOOD
    assert good == (data == seeds.digest("x").encode())
    builder = LinkBuilder("a")
    builder.tag("t", data)
    ((tag,), *_) = builder.build()
    assert tag.current == found
    place = layout.classify(data.decode("utf-8", "surrogateescape"))
    what = layout.What
    if place.what in (what.BLOB, what.LAYER, what.REVISION, what.CURRENT, what.HISTORY):
        assert not place.digest or grammar.is_digest(place.digest)
        assert not place.tag or grammar.is_tag(place.tag)
        assert _key_of(place).encode() == data
    return found is not None or place.what is not what.UNKNOWN


def _key_of(place: layout.Place) -> str:
    what = layout.What
    if place.what is what.BLOB:
        return layout.blob_key(place.digest)
    if place.what is what.LAYER:
        return layout.layer_key(place.repository, place.digest)
    if place.what is what.REVISION:
        return layout.revision_key(place.repository, place.digest)
    if place.what is what.CURRENT:
        return layout.current_key(place.repository, place.tag)
    return layout.history_key(place.repository, place.tag, place.digest)


def manifest(data: bytes) -> bool:
    matches_manifest(data, seeds.digest("x"))
    try:
        found = parse_manifest(data)
    except InvalidManifestError as error:
        _is_said(RegvaultError(str(error)))
        return False
    assert found.media_type in media.MANIFESTS
    others = () if found.subject is None else (found.subject,)
    for each in (*found.children, *found.blobs, *others):
        assert grammar.is_digest(each.digest)
        assert -1 <= each.size < 1 << 63
        assert len(each.media_type) < 256
    return True


def oci_index(data: bytes) -> bool:
    store = MemoryStore()
    store.put("index.json", data)
    store.put("oci-layout", data)
    target = OciLayoutTarget(store)
    try:
        target._read_index()
        target._mark()
    except RegvaultError as error:
        _is_said(error)
        return False
    return True


def text(data: bytes) -> bool:
    """Whatever people, scripts and configurations name things by."""
    words = data[:2000].decode("utf-8", "surrogateescape")
    good = grammar.is_repository(words) or grammar.is_tag(words) or grammar.is_digest(words)
    if good:
        assert words.isascii()
        assert ".." not in words.split("/")
        assert not re.search(r"[\s\\\x00-\x1f]", words)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    for read in (
        parse_reference,
        parse_wanted,
        lambda each: parse_ls_arguments(each.split(" ")),
        lambda each: parse_selector(each, now=now, timezone=UTC),
        parse_location,
    ):
        try:
            read(words)
            good = True
        except UsageError as error:
            _is_said(error)
    try:
        matches = grammar.glob_matcher([words])
    except grammar.InvalidNameError:
        return good
    if words.count("*") < 5:  # they come from who runs it: more of them are slow, as anywhere
        matches("team/app" * 30)
    return True


def configuration(data: bytes) -> bool:
    try:
        parse_config(data.decode("utf-8", "replace"), "/regvault.yaml")
    except ConfigurationError:
        return False
    return True


# -- documents ------------------------------------------------------------------------------------


def _root(data: bytes) -> None:
    root = parse_root(data, NAME, VAULT)
    stub = parse_stub(data, NAME, VAULT)
    assert root is None or stub is None
    if root is not None:
        root.started_at  # noqa: B018 (it must not raise)
        assert grammar.is_digest(root.repositories.top.digest)
        again = parse_root(root.to_document(VAULT)[0], NAME, VAULT)
        assert again is not None
        assert again.objects == root.objects
        brought_along(root)
        certain.copied_by(root)
        if root.amendment is None:
            _root_is_repeated(root)
    for ref in (root or stub).objects[:2] if root or stub else ():  # type: ignore[union-attr]
        if ref is not None:
            keys.check_key(ref.top.key)


def _root_is_repeated(root: Any) -> None:
    stub = parse_stub(seeds.stub_document(VAULT, root, RUN), NAME, VAULT)
    assert stub is not None
    assert stub.objects == root.objects


def _vault(data: bytes) -> None:
    store = MemoryStore()
    store.put("vault.json", data)
    assert re.fullmatch("[0-9a-f]{32}", Vault(store).id)


def _lease(data: bytes) -> None:
    """What a snapshot and a prune make of a lease that lies in the vault."""
    store = MemoryStore()
    store.put(keys.VAULT_JSON, seeds.identities()[0])
    store.put(NAME.key, seeds.roots()[0])
    key = keys.lease_key(RUN)
    before = _everything(store)
    vault = Vault(store)
    for use in (
        lambda: lease.end_dead_writers(store, VAULT, "0" * 24, registry="prod"),
        lambda: list(certain.claimed_lists(vault)),
        lambda: certain.unfinished_since(vault, set()),
        lambda: certain.known_registries(vault),
    ):
        store.put(key, data)
        try:
            use()
        except RegvaultError as error:
            _is_said(error)
        # Ending a lease may fill a slot that was free, never anything else.
        after = _everything(store)
        assert {k: after.get(k) for k in before} == before
        assert all(_is_slot(k) for k in after.keys() - before.keys() - {key}), after.keys()
        for added in after.keys() - before.keys():
            store.delete(added)
    read_document(data, key, types=("lease",), vault=VAULT)


def _everything(store: MemoryStore) -> dict[str, bytes]:
    return {entry.key: store.get(entry.key) for entry in store.list()}


def _is_slot(key: str) -> bool:
    name = r"snapshots/[a-z0-9][a-z0-9._-]*/\d{8,}\.json"
    return bool(
        re.fullmatch(rf"{name}|condemned/\d{{8,}}\.zst|records/amendments/\d{{8,}}.json", key)
    )


def _record(data: bytes) -> None:
    kinds = ("pins", "confirmations", "forgets", "verifications", "copies")
    body = read_document(data, "records/x.json", types=kinds, vault=VAULT).body
    root = seeds.root()
    records.is_held(root, [body])
    records.is_of(body, root)


def _amendment(data: bytes) -> None:
    amended = amendments.parse_amendment(data, keys.amendment_key(1), VAULT)
    for old, new in amended.changes.items():
        keys.check_key(old)
        assert new is None or keys.check_key(new.key)


def condemned_list(data: bytes) -> bool:
    """The text of a condemned list, compressed here; or the stored bytes."""
    good = False
    lines = data[:-1].rpartition(b"\n")[0] + b"\n"
    seal = json.dumps({"sha256": hashlib.sha256(lines).hexdigest()}).encode() + b"\n"
    for stored in (data, compress(data), compress(lines + seal)):
        try:
            found = condemned.parse_condemned(stored, 1, VAULT)
        except RegvaultError as error:
            _is_said(error)
            continue
        good = True
        assert all(re.fullmatch(r"[\x21-\x7e]+", key) for key in found or ()), found
    return good


# -- trees and lists ------------------------------------------------------------------------------


def chunk(data: bytes) -> bool:
    """The text of a chunk, compressed here; or the stored bytes."""
    good = False
    for stored in (data, compress(data)):
        for kind, keyed in (("state", False), ("objects", True), ("objects", False)):
            try:
                node = parse(stored, "trees/x", kind, keyed=keyed)
            except VaultDamagedError as error:
                _is_said(error)
                continue
            good = True
            lines = node.lines or [first for _, _, first in node.children]
            assert all(a < b for a, b in itertools.pairwise(lines))
            for ref, entries, _ in node.children:
                assert grammar.is_digest(ref.digest), ref
                assert entries >= 0
                assert ref.size >= 0 if keyed else ref.size == -1
            try:  # whatever it says, a walk ends
                list(Tree(ChunkRef("x"), lambda _, node=node: node).lines())
            except VaultDamagedError as error:
                _is_said(error)
    return good


def line(data: bytes) -> bool:
    """A line of any tree; where it is accepted, its writer writes it so."""
    readers: list[tuple[Callable[[bytes], Any], Callable[[Any], bytes | None]]] = [
        (checked_line, _state_line),
        (parse_entry, lambda entry: entry.line()),
        (parse_damage, _damage),
        (objectlist._parse, lambda ref: f"{ref.key} {ref.size} {ref.sha256}".encode()),
        (objectlist._parse_delta, _delta_line),
        (segment.parse_line, lambda place: place.line()),
    ]
    good = False
    for read, write in readers:
        try:
            found = read(data)
        except VaultDamagedError as error:
            _is_said(error)
            continue
        written = write(found)
        assert written in (None, data), (written, data)
        good = True
    return good


def _state_line(found: Any) -> bytes | None:
    what, name, value, size = found
    if what == "rev":
        # `%41` is another way to write `A`: media types are shown, never compared by their field.
        again = checked_line(
            f"rev {name} {encode_field(value)} {'-' if size is None else size}".encode()
        )
        assert again == found
        return None
    if what in ("layer", "blob"):
        return f"{what} {name} {'-' if size is None else size}".encode()
    if what in ("tag", "was"):
        return f"{what} {name} {value or '-'}".encode()
    return None


def _damage(fields: tuple[str, str, str, str, int]) -> None:
    # As a media type: what is shown is read back, however it was written.
    assert parse_damage(damage_line(*fields)) == fields


def _delta_line(found: tuple[str, ObjectRef | None]) -> bytes:
    key, ref = found
    return f"{key} -".encode() if ref is None else f"{key} + {ref.size} {ref.sha256}".encode()


def state(data: bytes) -> bool:
    """The lines of a state; what is accepted can be walked."""
    try:
        found = parse_state(data.split(b"\n"))
    except VaultDamagedError as error:
        _is_said(error)
        return False
    images = Images(found, lambda _: seeds.manifests()[2])
    for digest in found.revisions:
        images.blobs_of(images.manifests_of(digest, referrers=True))
    return True


def encoded(data: bytes) -> bool:
    """A field that may hold anything."""
    words = data.decode("utf-8", "surrogateescape")
    field = encode_field(words)
    assert re.fullmatch(r"[\x21-\x7e]+", field)
    assert decode_field(field) == words
    decode_field(data.decode("latin-1"))
    return True


# -- objects --------------------------------------------------------------------------------------


def segment_file(data: bytes) -> bool:
    """A whole segment under the name that its bytes have."""
    good = False
    wanted = [seeds.digest(each) for each in "abc"]
    for stored in (data, _with_table(data)):
        store = MemoryStore()
        sha256 = hashlib.sha256(stored).hexdigest()
        key = keys.segment_key(0, "sha256:" + "0" * 64, "sha512:" + "f" * 128, RUN, sha256)
        store.put(key, stored)
        name = keys.parse_segment_key(key)
        assert name is not None
        read = segment.Segment(store, name)
        try:
            table = read.table()
            lines = list(read.read())
            for each in lines:
                segment.parse_line(each)
            good = True
        except VaultDamagedError as error:
            _is_said(error)
            continue
        finally:
            for each in wanted:
                try:
                    assert {place.digest for place in read.lookup(each)} <= {each}
                except VaultDamagedError as error:
                    _is_said(error)
        assert len(table.firsts) == len(table.frames)
    return good


def _with_table(data: bytes) -> bytes:
    """Return a segment whose one frame, and the table to it, are right: the lines are `data`."""
    frame = compress(data)
    first = data.partition(b" ")[0][:200].replace(b"\n", b"")
    text = b"regvault-segment 1 1\nframe %s 0 %d\n" % (first, len(frame))
    payload = text + b"%08x RVSEGT1" % len(text)
    return frame + b"\x5e\x2a\x4d\x18" + len(payload).to_bytes(4, "little") + payload


def archive(data: bytes) -> bool:
    """A pack, or a frame of a meta object."""
    good = False
    for whole in (True, False):
        try:
            found = list(iter_members(data, "packs/x", whole=whole))
        except VaultDamagedError as error:
            _is_said(error)
            continue
        good = True
        for digest, at, size in found:
            assert grammar.is_digest(digest)
            assert 0 < at <= at + size <= len(data)
            assert member_header(digest, size)
    for prefix, stored in (("packs/", data), ("meta/", data), ("meta/", compress(data))):
        store = MemoryStore()
        store.put(f"{prefix}x", stored)
        try:
            places = recover.members_of(store, ObjectRef(f"{prefix}x", len(stored), ""))
        except VaultDamagedError as error:
            _is_said(error)
            continue
        for place in places:  # they go into a segment
            assert segment.parse_line(place.line()) == place
    return good


def frame(data: bytes) -> bool:
    """A zstd frame of any kind: what comes out is bounded."""
    good = False
    for limit in (1000, MAX_DECOMPRESSED, MAX_FRAME_BYTES):
        try:
            assert len(decompress(data, "x", limit)) <= limit
            good = True
        except VaultDamagedError as error:
            _is_said(error)
    return good


TARGETS: dict[str, Target] = {
    "age-file": Target(sealed_targets.age_file, sealed_targets.age_files),
    "amendment": Target(documents(_amendment), seeds.amendments),
    "archive": Target(archive, lambda: [*seeds.archives().frames]),
    "chunk": Target(chunk, seeds.trees),
    "chunk-text": Target(chunk, lambda: [_content(data) for data in seeds.trees()]),
    "condemned": Target(condemned_list, lambda: [_content(data) for data in seeds.condemned()]),
    "configuration": Target(configuration, seeds.configurations),
    "field": Target(encoded, lambda: [b"text/plain", b"-", b"", b"\xff%"]),
    "frame": Target(frame, lambda: [*seeds.trees()[:3], compress(b"x" * 900)]),
    "key-record": Target(documents(sealed_targets.key_record), sealed_targets.key_records),
    "lease": Target(documents(_lease), seeds.leases),
    "line": Target(line, lambda: [*seeds.states(), *seeds.lists(), *seeds.locations()]),
    "link": Target(link, seeds.links),
    "manifest": Target(manifest, seeds.manifests),
    "meta": Target(archive, lambda: [*seeds.archives().metas, *seeds.archives().packs]),
    "oci-index": Target(oci_index, lambda: [b'{"imageLayoutVersion":"1.0.0","manifests":[]}']),
    "record": Target(documents(_record), seeds.records),
    "root": Target(documents(_root), seeds.roots),
    "sealed-archive": Target(sealed_targets.archive, sealed_targets.archives),
    "sealed-meta-text": Target(
        sealed_targets.meta_text, lambda: [seeds.archives().frames[0] + b"\0" * 1024]
    ),
    "sealed-root": Target(documents(sealed_targets.root), sealed_targets.roots),
    "sealed-root-part": Target(sealed_targets.root_part, sealed_targets.root_parts),
    "sealed-segment": Target(sealed_targets.segment_file, sealed_targets.segments),
    "segment": Target(segment_file, seeds.segments),
    "segment-text": Target(segment_file, lambda: [b"\n".join([*seeds.locations(), b""])]),
    "state": Target(state, lambda: [b"\n".join(seeds.states())]),
    "text": Target(text, seeds.texts),
    "vault": Target(documents(_vault), seeds.identities),
}


def _content(stored: bytes) -> bytes:
    return decompress(stored, "a seed", 1 << 24)
