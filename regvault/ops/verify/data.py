"""The deepest depth: packs and raw blobs are read, all of them or a share."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple, Self

from regvault.errors import (
    ObjectArchivedError,
    ObjectNotFoundError,
    UsageError,
    VaultDamagedError,
)
from regvault.oci.verify import ALGORITHMS, digest_of, new_hash
from regvault.ops.bounded import in_order
from regvault.ops.verify.metadata import WRONG_BYTES, expected_digest
from regvault.vault.blobs import is_digest_of
from regvault.vault.keys import digest_of_key, is_keyed, name_of_key
from regvault.vault.objectlist import ObjectRef
from regvault.vault.pack import MAX_MEMBERS, iter_members
from regvault.vault.sealing import SealedToOthersError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from regvault.model.progress import Progress
    from regvault.model.store import ByteReader
    from regvault.ops.verify.report import Report
    from regvault.vault.catalog import Catalog
    from regvault.vault.root import Root
    from regvault.vault.sealing import Seal
    from regvault.vault.vault import Vault

__all__ = ["Sample", "check_data", "check_known", "parse_sample"]

#: Bytes that are read at once; no member of a pack is larger.
_PIECE = 2 << 20


class Sample(NamedTuple):
    """Which share of the data is read.

    Attributes:
        percent: of the objects, chosen at random; None with `part`.
        part, parts: the part-th of so many, by digest, so that parts together cover all.
    """

    percent: float | None = None
    part: int = 1
    parts: int = 1

    def chooses(self, key: str, dice: random.Random) -> bool:
        """Return whether an object is read."""
        if self.percent is not None:
            return dice.random() * 100 < self.percent
        if self.parts == 1:
            return True
        name = name_of_key(key) or digest_of_key(key) or "sha256:0"
        return int(name.partition(":")[2][:8], 16) % self.parts == self.part - 1


def parse_sample(text: str) -> Sample:
    """Parse `N%` or `n/t` of `--read-data`; "" or `all` means everything.

    Raises:
        UsageError: it is neither.
    """
    try:
        if text in ("", "all"):
            return Sample()
        if text.endswith("%"):
            percent = float(text[:-1])
            if 0 < percent <= 100:
                return Sample(percent)
        else:
            part, _, parts = text.partition("/")
            if 1 <= int(part) <= int(parts):
                return Sample(None, int(part), int(parts))
    except ValueError:
        pass
    raise UsageError(
        f"--read-data={text} is neither a share nor a part",
        hint="For example --read-data, --read-data=5% or --read-data=2/7 (on the second day of "
        "seven).",
    )


def check_data(
    vault: Vault,
    refs: Iterable[ObjectRef],
    catalog: Catalog,
    sample: Sample,
    report: Report,
    progress: Progress,
    threads: int,
) -> None:
    """Read and hash packs and raw blobs; each member of a pack too.

    What the catalog says of a pack is compared with what lies in it: a snapshot that found a blob
    by a line that is not true has not got it. What is sealed is opened too, where it can be.
    """
    dice = random.Random()  # noqa: S311 - which objects are read is no secret
    chosen = _chosen(refs, sample, dice)
    if vault.seal.opens_names:
        catalog.prepare(1 << 30)

    buffers: list[bytearray] = []  # of threads that have none of their own just now

    def one(ref: ObjectRef) -> None:
        buffer = buffers.pop() if buffers else bytearray(2 * _PIECE)
        try:
            _read_object(vault, ref, catalog, buffer, report, progress)
        except ObjectArchivedError:
            report.add_archived(ref.size)
            progress.advance(1, ref.size)
        buffers.append(buffer)

    try:
        for _ in in_order(chosen, one, threads=threads, name="verify"):
            pass
    finally:
        buffers.clear()  # not when the collector comes by: they are megabytes


#: Problems that say that an object's bytes are not what they should be, or not there.
_BAD_BYTES = ("damaged", "missing", "size")


def check_known(vault: Vault, roots: Iterable[Root], report: Report) -> None:
    """Read again what an earlier verification found damaged, and this one has not read.

    What no snapshot needs any more is dropped from the record.
    """
    again = report.carried - {p.key for p in report.problems if p.what in _BAD_BYTES}
    report.carried = set()
    for key in sorted(again):
        needed = [ref for ref in (_needs(vault, root, key) for root in roots) if ref is not None]
        if needed:
            _prove(vault, needed[0], report)


def _needs(vault: Vault, root: Root, key: str) -> ObjectRef | None:
    """Return what a snapshot says of an object; None where it does not need it."""
    try:
        objects = vault.object_list(root)
        if objects.has(key):
            return objects.get(key)
        return next((ref for ref in objects.own_objects() if ref.key == key), None)
    except VaultDamagedError:
        return ObjectRef(key, -1, "")  # what it needs is not known


def _prove(vault: Vault, ref: ObjectRef, report: Report) -> None:
    """Report an object whose bytes are not what its name says."""
    key, digest = ref.key, expected_digest(ref)
    hasher = new_hash(digest.partition(":")[0])
    try:
        with vault.store.open(key) as reader:
            while data := reader.read(_PIECE):
                hasher.update(data)
    except ObjectNotFoundError:
        return  # which LIST has told
    except ObjectArchivedError:
        report.carried.add(key)  # nobody can say that it was mended
        return
    if hasher.hexdigest() != digest.partition(":")[2]:
        report.add(key, "damaged", WRONG_BYTES)


def _chosen(refs: Iterable[ObjectRef], sample: Sample, dice: random.Random) -> Iterator[ObjectRef]:
    """Yield the objects of a sample; of a share that came out empty, one."""
    count = 0
    spare = None
    for seen, ref in enumerate(refs, start=1):
        if sample.chooses(ref.key, dice):
            count += 1
            yield ref
        elif sample.percent is not None and dice.random() * seen < 1:
            spare = ref
    if sample.percent is not None and not count and spare is not None:
        yield spare


def _read_object(
    vault: Vault,
    ref: ObjectRef,
    catalog: Catalog,
    buffer: bytearray,
    report: Report,
    progress: Progress,
) -> None:
    key, digest = ref.key, expected_digest(ref)
    if is_keyed(key) and vault.seal.opens_contents:
        _open_sealed(vault, ref, report, progress)
        return
    members = _Members(key, report, vault.seal) if key.startswith("packs/") else None
    hasher = new_hash(digest.partition(":")[0])
    nbytes = 0
    kept = 0  # the beginning of a member, which the next piece goes on with
    try:
        with vault.store.open(key) as reader, memoryview(buffer) as view:
            while count := reader.readinto(view[kept : kept + _PIECE]):
                hasher.update(view[kept : kept + count])
                nbytes += count
                if members is not None:
                    kept = members.feed(view, kept + count)
    except ObjectNotFoundError:
        report.add(key, "missing", "the object is not there")
        return
    if hasher.hexdigest() != digest.partition(":")[2]:
        report.add(key, "damaged", WRONG_BYTES)
    elif members is not None and not members.broken and vault.seal.opens_names:
        for place in catalog.members(key):
            if (place.digest, place.offset, place.length) not in members.found:
                report.add_untrue(key, place.digest)
    report.read(nbytes)
    progress.advance(1, nbytes)


def _open_sealed(vault: Vault, ref: ObjectRef, report: Report, progress: Progress) -> None:
    """Prove a sealed raw blob: its stored bytes by the list, and what they hold by its name."""
    nbytes, problem = 0, ""
    try:
        # Its name does not tell the algorithm, and nearly all are of the first.
        for algorithms in (ALGORITHMS[:1], ALGORITHMS[1:]):
            stored, names = _names_of(vault, ref, algorithms)
            nbytes += stored.nbytes
            if stored.sha256.hexdigest() != ref.sha256:
                problem = WRONG_BYTES
                break
            if name_of_key(ref.key) in names:
                break
        else:
            problem = "it seals another content than its name says"
    except ObjectNotFoundError:
        report.add(ref.key, "missing", "the object is not there")
        return
    except SealedToOthersError:
        report.add_unopened()
        _prove(vault, ref, report)
        report.read(ref.size)
        progress.advance(1, ref.size)
        return
    except VaultDamagedError as error:
        problem = error.message
    if problem:
        report.add(ref.key, "damaged", problem)
    report.read(nbytes)
    progress.advance(1, nbytes)


def _names_of(vault: Vault, ref: ObjectRef, algorithms: Sequence[str]) -> tuple[_Hashed, set[str]]:
    """Read a sealed raw blob; return its stream, and the names that its content may have."""
    stored = _Hashed(vault.store.open(ref.key))
    hashers = {algorithm: new_hash(algorithm) for algorithm in algorithms}
    with vault.seal.open_stream(stored, ref.key) as reader:
        while data := reader.read(_PIECE):
            for hasher in hashers.values():
                hasher.update(data)
    named = {vault.seal.name(f"{name}:{each.hexdigest()}") for name, each in hashers.items()}
    return stored, named


class _Hashed:
    """A stream that is hashed as it is read."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self.sha256 = new_hash("sha256")
        self.nbytes = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(size)
        self.sha256.update(data)
        self.nbytes += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Members:
    """Proves the members of a pack while it streams by; holds one piece and one member.

    Attributes:
        found: (digest, offset, size) of each.
        broken: whether the pack could not be read to its end as what it is.
    """

    def __init__(self, key: str, report: Report, seal: Seal) -> None:
        self._key = key
        self._seal = seal
        self._report = report
        self._at = 0
        self.found: set[tuple[str, int, int]] = set()
        self.broken = False

    def feed(self, view: memoryview, filled: int) -> int:
        """Look at the members that are whole in the first bytes of a buffer.

        Returns:
            How many bytes are left of one that is not; they are at the buffer's beginning now.
        """
        if self.broken:
            return 0
        done = 0
        try:
            for member, at, size in iter_members(view[:filled], self._key, whole=False):
                if not self._is_right(member, view[at : at + size]):
                    self._report.add_member(self._key, member)
                self.found.add((member, self._at + at, size))
                if len(self.found) > MAX_MEMBERS:
                    raise VaultDamagedError(f"it has more than {MAX_MEMBERS} members")
                done = min(at + size + -size % 512, filled)
        except VaultDamagedError as error:
            self.broken = True
            self._report.add(self._key, "damaged", error.message)
        self._at += done
        left = filled - done
        if self.broken or left > _PIECE:
            self.broken = True  # no member is so large; its own name still proves the pack
            return 0
        view[:left] = view[done:filled]
        return left

    def _is_right(self, member: str, data: memoryview) -> bool:
        """Return whether a member is what its name says, as far as it can be opened."""
        if not self._seal.sealed:
            return is_digest_of(member, data)
        if not self._seal.opens_contents:
            return True  # the pack's own name proves its stored bytes
        try:
            content = self._seal.open_content(bytes(data), self._key)
        except SealedToOthersError:
            self._report.add_unopened()
            return True  # as above
        except VaultDamagedError:
            return False
        return any(self._seal.name(digest_of(content, each)) == member for each in ALGORITHMS)
