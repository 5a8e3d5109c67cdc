from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from itertools import islice, pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from vault_build import contents, digest_of, new_writer

from regvault.errors import VaultDamagedError
from regvault.storage.memory import MemoryStore
from regvault.vault import frames
from regvault.vault.frames import decompress
from regvault.vault.pack import (
    MAX_FRAME_BYTES,
    MetaWriter,
    PackWriter,
    iter_members,
    member_header,
)

ALGORITHMS = ("sha256", "sha384", "sha512")
BLOBS = st.lists(st.tuples(st.sampled_from(ALGORITHMS), st.binary(max_size=1500)), min_size=1).map(
    lambda pairs: {digest_of(data, algorithm): data for algorithm, data in pairs}
)


def pack(blobs, kind=PackWriter, **options):
    """Return the store, and where each blob came to lie."""
    store, placed = MemoryStore(), []
    writer = kind(new_writer(store), placed.extend, **options)
    for digest, data in blobs.items():
        writer.add(digest, data)
    writer.flush()
    assert len(placed) == len(blobs)
    return store, {place.digest: place for place in placed}


@given(BLOBS)
def test_a_pack_gives_back_what_it_was_given(blobs):
    store, placed = pack(blobs, limit=4000)
    for digest, data in blobs.items():
        place = placed[digest]
        assert place.size == place.length == len(data)
        assert store.get(place.ref.key, start=place.offset, length=place.length) == data
    listed = {}
    for key, data in contents(store).items():
        assert key == f"packs/{digest_of(data).partition(':')[2]}.tar"
        assert len(data) % 512 == 0
        for digest, at, size in iter_members(data, key):
            listed[digest] = data[at : at + size]
    assert listed == blobs
    assert {place.ref for place in placed.values()} == {
        (key, len(data), digest_of(data).partition(":")[2]) for key, data in contents(store).items()
    }


@given(BLOBS)
def test_a_meta_object_gives_back_what_it_was_given_frame_by_frame(blobs):
    store, placed = pack(blobs, MetaWriter, limit=600)
    for digest, data in blobs.items():
        place = placed[digest]
        frame = store.get(place.ref.key, start=place.offset, length=place.length)
        text = decompress(frame, place.ref.key, MAX_FRAME_BYTES)
        held = {d: text[at : at + size] for d, at, size in iter_members(text, "")}
        assert held[digest] == data
        assert place.size == len(data)


@settings(max_examples=20)
@given(BLOBS)
def test_python_and_any_other_tar_reads_them(blobs):
    store, _ = pack(blobs)
    meta, _ = pack(blobs, MetaWriter)
    (key,) = contents(store)
    (meta_key,) = contents(meta)
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(meta.get(meta_key)), read_across_frames=True
    )
    for data in (store.get(key), reader.read()):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = {
                member.name: tar.extractfile(member).read() for member in tar if member.isreg()
            }
        assert members == {f"blobs/{d.replace(':', '/')}": data for d, data in blobs.items()}


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_the_real_tar_reads_a_pack_with_every_kind_of_digest(tmp_path):
    blobs = {digest_of(data, a): data for a in ALGORITHMS for data in (b"", b"x" * 512, b"y" * 700)}
    store, _ = pack(blobs)
    ((key, data),) = contents(store).items()
    (tmp_path / "pack.tar").write_bytes(data)
    names = {f"blobs/{digest.replace(':', '/')}" for digest in blobs}
    tar = shutil.which("tar")
    listed = subprocess.run(
        [tar, "-tf", tmp_path / "pack.tar"], check=True, capture_output=True, text=True
    )
    assert set(listed.stdout.split()) == names
    assert listed.stderr == ""
    for digest, blob in blobs.items():
        name = f"blobs/{digest.replace(':', '/')}"
        found = subprocess.run(
            [tar, "-xOf", tmp_path / "pack.tar", name], check=True, capture_output=True
        )
        assert found.stdout == blob
    assert key.startswith("packs/")


def test_full_packs_are_closed_and_the_rest_is_flushed():
    blobs = {digest_of(bytes([n]) * 1000): bytes([n]) * 1000 for n in range(20)}
    store, placed = pack(blobs, limit=5000)
    assert len(contents(store)) == 5
    assert all(store.head(place.ref.key).size == place.ref.size for place in placed.values())


def test_a_frame_is_closed_at_a_quarter_mebibyte():
    blobs = {digest_of(b"%d" % n * 20_000): b"%d" % n * 20_000 for n in range(10, 60)}
    _, placed = pack(blobs, MetaWriter)
    offsets = {place.offset for place in placed.values()}
    assert 3 <= len(offsets) <= 9


def test_the_same_blobs_make_the_same_pack():
    blobs = {digest_of(data, "sha512"): data for data in (b"a", b"b")}
    assert contents(pack(blobs)[0]) == contents(pack(blobs)[0])


def test_what_is_aborted_is_not_there():
    store = MemoryStore()
    for kind in (PackWriter, MetaWriter):
        writer = kind(new_writer(store), pytest.fail)
        writer.add(digest_of(b"x"), b"x")
        writer.abort()
    assert contents(store) == {}


def tar_of(name="blobs/sha256/" + "a" * 64, data=b"x", kind=tarfile.REGTYPE, size=None):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data) if size is None else size
    header = info.tobuf(tarfile.GNU_FORMAT)
    return header + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    "data",
    [
        tar_of("etc/passwd"),
        tar_of("../blobs/sha256/aa"),
        tar_of("blobs/sha256/a/b"),
        tar_of(size=5000),
        tar_of(size=-1),
        tar_of(kind=tarfile.XHDTYPE, size=-512),
        tar_of(kind=tarfile.XHDTYPE, size=1 << 40),
        tar_of(kind=tarfile.XHDTYPE, data=b"no record"),
        tar_of(kind=tarfile.XHDTYPE, data=b"9 path=x\n"),
        b"x" * 512,
        tar_of()[:200] + b"!" + tar_of()[201:],
    ],
)
def test_a_hostile_tar_is_refused(data):
    with pytest.raises(VaultDamagedError):
        list(iter_members(data, "packs/x.tar"))


def test_a_header_that_goes_backwards_does_not_loop_for_ever():
    # An extended header of a negative size would lead back to a member before it.
    first = member_header("sha256:" + "a" * 64, 0)
    record = b"20 path=blobs/sha256/a\n"
    extended = tar_of(kind=tarfile.XHDTYPE, size=-1024, data=record)
    members = iter_members(first + extended, "packs/x.tar")
    with pytest.raises(VaultDamagedError):
        list(islice(members, 10))


@given(BLOBS, st.data())
def test_no_flipped_byte_of_a_pack_makes_a_proven_blob_of_other_bytes(blobs, data):
    store, _ = pack(blobs)
    ((key, whole),) = contents(store).items()
    wrong = bytearray(whole)
    wrong[data.draw(st.integers(0, len(wrong) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        members = [(d, bytes(wrong[at : at + n])) for d, at, n in iter_members(bytes(wrong), key)]
    except VaultDamagedError:
        return
    for digest, part in members:
        if digest in blobs and part != blobs[digest]:
            assert digest_of(part, digest.partition(":")[0]) != digest


@pytest.mark.parametrize("size", [0, 1, 511, 512, 1 << 20, (8 << 20) + 1])
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_header_is_what_tar_itself_would_write(algorithm: str, size: int) -> None:
    hexed = hashlib.new(algorithm, b"x").hexdigest()
    info = tarfile.TarInfo(f"blobs/{algorithm}/{hexed}")
    info.size, info.mode = size, 0o444
    form = tarfile.USTAR_FORMAT if len(info.name) <= 100 else tarfile.PAX_FORMAT
    header = member_header(f"{algorithm}:{hexed}", size)
    assert header == info.tobuf(form, "ascii", "strict")


@settings(max_examples=60)
@given(BLOBS, st.data())
def test_a_pack_that_is_read_in_pieces_has_the_same_members(blobs, data):
    store, _ = pack(blobs)
    for key, whole in contents(store).items():
        expected = [(d, whole[at : at + size]) for d, at, size in iter_members(whole, key)]
        cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))
        found, held = [], b""
        for start, end in pairwise([0, *sorted(cuts), len(whole)]):
            held += whole[start:end]
            done = 0
            for digest, at, size in iter_members(memoryview(held), key, whole=False):
                found.append((digest, held[at : at + size]))
                done = at + size + -size % tarfile.BLOCKSIZE
            assert done <= len(held)  # or the next piece would begin within the padding
            held = held[done:]
        assert found == expected


def test_a_compressor_that_errs_stores_nothing(monkeypatch):
    """Rule 7: what was compressed is decompressed again, and compared."""
    compressor, decompressor = frames._tools()

    class Erring:
        def compress(self, data):
            return compressor.compress(data[:-1] + b"!")

    monkeypatch.setattr(frames, "_tools", lambda: (Erring(), decompressor))
    with pytest.raises(RuntimeError, match="did not give back"):
        frames.compress(b"a manifest")
