"""The deepest depth: packs and raw blobs are read, all of them or a share."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError, UsageError, VaultDamagedError
from regvault.oci.verify import new_hash
from regvault.ops.bounded import in_order
from regvault.vault.blobs import is_digest_of
from regvault.vault.keys import digest_of_key
from regvault.vault.pack import MAX_MEMBERS, iter_members

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from regvault.model.progress import Progress
    from regvault.ops.verify.report import Report
    from regvault.vault.catalog import Catalog
    from regvault.vault.root import Root
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
        digest = digest_of_key(key) or "sha256:0"
        return int(digest.partition(":")[2][:8], 16) % self.parts == self.part - 1


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
    keys: Iterable[str],
    catalog: Catalog,
    sample: Sample,
    report: Report,
    progress: Progress,
    threads: int,
) -> None:
    """Read and hash packs and raw blobs; each member of a pack too.

    What the catalog says of a pack is compared with what lies in it: a snapshot that found a blob
    by a line that is not true has not got it.
    """
    dice = random.Random()  # noqa: S311 - which objects are read is no secret
    chosen = _chosen(keys, sample, dice)

    buffers: list[bytearray] = []  # of threads that have none of their own just now

    def one(key: str) -> None:
        buffer = buffers.pop() if buffers else bytearray(2 * _PIECE)
        _read_object(vault, key, catalog, buffer, report, progress)
        buffers.append(buffer)

    try:
        for _ in in_order(chosen, one, threads=threads, name="verify"):
            pass
    finally:
        buffers.clear()  # not when the collector comes by: they are megabytes


#: Problems that say that an object's bytes are not what they should be, or not there.
_WRONG_BYTES = ("damaged", "missing", "size")


def check_known(vault: Vault, roots: Iterable[Root], report: Report) -> None:
    """Read again what an earlier verification found damaged, and this one has not read.

    What no snapshot needs any more is dropped from the record.
    """
    again = report.carried - {p.key for p in report.problems if p.what in _WRONG_BYTES}
    report.carried = set()
    for key in sorted(again):
        if any(_needs(vault, root, key) for root in roots):
            _prove(vault, key, report)


def _needs(vault: Vault, root: Root, key: str) -> bool:
    try:
        objects = vault.object_list(root)
        return objects.has(key) or key in {ref.key for ref in objects.own_chunks()}
    except VaultDamagedError:
        return True  # what it needs is not known


def _prove(vault: Vault, key: str, report: Report) -> None:
    """Report an object whose bytes are not what its name says."""
    digest = digest_of_key(key)
    if digest is None:
        return
    hasher = new_hash(digest.partition(":")[0])
    try:
        with vault.store.open(key) as reader:
            while data := reader.read(_PIECE):
                hasher.update(data)
    except ObjectNotFoundError:
        return  # which LIST has told
    if hasher.hexdigest() != digest.partition(":")[2]:
        report.add(key, "damaged", "its bytes are not what its name says")


def _chosen(keys: Iterable[str], sample: Sample, dice: random.Random) -> Iterator[str]:
    """Yield the keys of a sample; of a share that came out empty, one."""
    count = 0
    spare = ""
    for seen, key in enumerate(keys, start=1):
        if sample.chooses(key, dice):
            count += 1
            yield key
        elif sample.percent is not None and dice.random() * seen < 1:
            spare = key
    if sample.percent is not None and not count and spare:
        yield spare


def _read_object(
    vault: Vault,
    key: str,
    catalog: Catalog,
    buffer: bytearray,
    report: Report,
    progress: Progress,
) -> None:
    digest = digest_of_key(key)
    if digest is None:
        return
    members = _Members(key, report) if key.startswith("packs/") else None
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
        report.add(key, "damaged", "its bytes are not what its name says")
    elif members is not None and not members.broken:
        for place in catalog.members(key):
            if (place.digest, place.offset, place.length) not in members.found:
                report.add_untrue(key, place.digest)
    report.read(nbytes)
    progress.advance(1, nbytes)


class _Members:
    """Proves the members of a pack while it streams by; holds one piece and one member.

    Attributes:
        found: (digest, offset, size) of each.
        broken: whether the pack could not be read to its end as what it is.
    """

    def __init__(self, key: str, report: Report) -> None:
        self._key = key
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
                if not is_digest_of(member, view[at : at + size]):
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
