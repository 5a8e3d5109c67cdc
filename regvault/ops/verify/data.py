"""The deepest depth: packs and raw blobs are read, all of them or a share."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

from regvault.errors import ObjectNotFoundError, UsageError, VaultDamagedError
from regvault.oci.verify import new_hash
from regvault.vault.blobs import is_digest_of
from regvault.vault.keys import digest_of_key
from regvault.vault.pack import iter_members

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.model.progress import Progress
    from regvault.ops.verify.report import Report
    from regvault.vault.vault import Vault

__all__ = ["Sample", "check_data", "parse_sample"]

#: A pack larger than this is proven by its own name alone, in pieces.
_MEMBERS_BELOW = 96 << 20


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
    sample: Sample,
    report: Report,
    progress: Progress,
    threads: int,
) -> None:
    """Read and hash packs and raw blobs; each member of a pack too."""
    progress.phase("Reading data")
    dice = random.Random()  # noqa: S311 - which objects are read is no secret
    pending: set[Future[None]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        try:
            for key in keys:
                if not sample.chooses(key, dice):
                    continue
                pending.add(pool.submit(_read_object, vault, key, report, progress))
                if len(pending) >= 2 * threads:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in pending:
                future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_object(vault: Vault, key: str, report: Report, progress: Progress) -> None:
    digest = digest_of_key(key)
    if digest is None:
        return
    try:
        nbytes = _read_pack(vault, key, digest, report) if key.startswith("packs/") else 0
        nbytes = nbytes or _read_stream(vault, key, digest, report)
    except ObjectNotFoundError:
        report.add(key, "missing", "the object is not there")
        return
    report.read(nbytes)
    progress.advance(1, nbytes)


def _read_stream(vault: Vault, key: str, digest: str, report: Report) -> int:
    hasher = new_hash(digest.partition(":")[0])
    nbytes = 0
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with vault.store.open(key) as reader:
        while count := reader.readinto(buffer):
            hasher.update(view[:count])
            nbytes += count
    if hasher.hexdigest() != digest.partition(":")[2]:
        report.add(key, "damaged", "its bytes are not what its name says")
    return nbytes


def _read_pack(vault: Vault, key: str, digest: str, report: Report) -> int:
    """Hash a pack and each of its members; 0 for one that is too large to hold in memory."""
    if vault.store.head(key).size > _MEMBERS_BELOW:
        return 0
    data = vault.store.get(key)
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        report.add(key, "damaged", "its bytes are not what its name says")
    view = memoryview(data)
    try:
        for member, at, size in iter_members(data, key):
            if not is_digest_of(member, view[at : at + size]):
                report.add(key, "damaged", f"{member} in it has other bytes")
    except VaultDamagedError as error:
        report.add(key, "damaged", error.message)
    return len(data)
