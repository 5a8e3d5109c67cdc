"""What `info` counts: the last verifications, and the bytes that snapshots need together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.errors import ObjectNotFoundError, VaultDamagedError
from regvault.ops.selector import look
from regvault.vault.envelope import from_time, read_document
from regvault.vault.fetch import fetch_document
from regvault.vault.presence import KeySizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["DEPTHS", "Verification", "last_verifications", "read_verifications", "stored_bytes"]

_PREFIX = "records/verifications/"
#: Of more records than this the older ones are not read.
_RECORDS_READ = 100
#: What was read in less than this says nothing about a rate.
_MIN_RATE_BYTES = 1 << 20
#: From the shallowest to the deepest.
DEPTHS = ("quick", "metadata", "data")
#: What `sample` says of a verification that left nothing out.
_ALL = (None, [None, 1, 1])


class Issue(NamedTuple):
    """Something that is not healthy.

    Attributes:
        severity: `warning`, or `error`: something cannot be restored, or the vault is damaged.
        code: a stable word for machines.
        message: for people.
        hint: what to do next, or None.
    """

    severity: str
    code: str
    message: str
    hint: str | None = None


class Verification(NamedTuple):
    """One verification of a registry.

    Attributes:
        depth: `quick`, `metadata` or `data`.
        sample: which part of the data was read, as recorded; None for all, or none.
        at: when it ended, RFC 3339 UTC.
        problems: found in the vault, in all registries.
        seconds, bytes_read: it took and read.
        through: the newest sequence of this registry that could be read then, or 0.
        record: the record's key.
        archived_bytes: of what lies in archives and was not read.
    """

    depth: str
    sample: Any
    at: str
    problems: int
    seconds: float
    bytes_read: int
    through: int
    record: str
    archived_bytes: int = 0

    @property
    def of_all(self) -> bool:
        """Whether nothing was left out of what is looked at in this depth."""
        return self.sample in _ALL

    @property
    def rate(self) -> float | None:
        """Bytes read and hashed per second, or None where that says nothing."""
        if self.bytes_read < _MIN_RATE_BYTES or self.seconds <= 0:
            return None
        return self.bytes_read / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Return the fields as they are."""
        return self._asdict()


def last_verifications(
    vault: Vault,
) -> tuple[dict[tuple[str, str], Verification], dict[str, Verification], list[str]]:
    """Return what the records of verifications say.

    Returns:
        (registry, depth) -> the newest verification; registry -> the newest that found problems
        and that no later one has cleared; what could not be read. Only a verification of all, at
        least as deep, clears what another one found.
    """
    found: dict[tuple[str, str], Verification] = {}
    failed: dict[str, Verification] = {}
    cleared: dict[str, int] = {}
    problems: list[str] = []
    for records in read_verifications(vault, most=_RECORDS_READ):
        if isinstance(records, str):
            problems.append(records)
            continue
        for registry, each in records:
            found.setdefault((registry, each.depth), each)
            depth = DEPTHS.index(each.depth)
            if each.problems and depth > cleared.get(registry, -1):
                failed.setdefault(registry, each)
            elif not each.problems and each.of_all:
                cleared[registry] = max(depth, cleared.get(registry, -1))
    return found, failed, problems


def read_verifications(
    vault: Vault, *, most: int
) -> Iterator[list[tuple[str, Verification]] | str]:
    """Yield what each record of a verification says of each registry; the newest record first.

    What is no record that can be read is a message instead.

    Args:
        vault: whose.
        most: older ones than so many are not read.
    """
    keys = sorted((entry.key for entry in vault.store.list(_PREFIX)), reverse=True)

    def read(key: str) -> list[tuple[str, Verification]] | str:
        try:
            data = fetch_document(vault.store, key)
            body = read_document(data, key, types=("verifications",), vault=vault.id).body
            return list(_parse(key, body))
        except ObjectNotFoundError:
            return []
        except VaultDamagedError as error:
            return error.message
        except (KeyError, TypeError, ValueError, AttributeError):
            return f"{key} is damaged: it is no record of a verification"

    yield from look(keys[:most], read, vault)


def _parse(key: str, body: dict[str, Any]) -> Iterator[tuple[str, Verification]]:
    from_time(body["at"])
    if body["depth"] not in DEPTHS:
        raise ValueError(f"no depth: {body['depth']!r}")
    for registry, sequence in body["snapshots"].items():
        yield (
            registry,
            Verification(
                depth=str(body["depth"]),
                sample=body.get("sample"),
                at=body["at"],
                problems=int(body["problems"]),
                seconds=float(body["seconds"]),
                bytes_read=int(body["bytes_read"]),
                through=int(sequence),
                record=key,
                archived_bytes=int(body.get("archived_bytes", 0)),
            ),
        )


def stored_bytes(
    vault: Vault, roots: dict[str, list[Root]]
) -> tuple[dict[str, int], int | None, dict[str, list[str]]]:
    """Return the bytes of the objects that each registry's snapshots need, and all together.

    Object lists share chunks, and each chunk is read once; the lists' own chunks count too.

    Returns:
        registry -> bytes, of those whose lists can be read; the bytes of all, None where one
        cannot; registry -> what cannot be read.
    """
    total: int | None = 0
    everything = KeySizes()
    sizes: dict[str, int] = {}
    problems: dict[str, list[str]] = {}
    try:
        for registry, chain in roots.items():
            here = KeySizes()
            nbytes = 0
            try:
                for key, size in _objects(vault, chain):
                    if here.get(key) is None:
                        here[key] = size
                        nbytes += size
                    if everything.get(key) is None:
                        everything[key] = size
                        total = None if total is None else total + size
                sizes[registry] = nbytes
            except VaultDamagedError as error:
                problems[registry] = [error.message]
                total = None
            finally:
                here.close()
    finally:
        everything.close()
    return sizes, total, problems


def _objects(vault: Vault, chain: list[Root]) -> Iterator[tuple[str, int]]:
    """Yield (key, size) of what the snapshots of a chain need, as amended; some more than once."""
    bases: set[str] = set()
    leaves: set[str] = set()
    for root in chain:
        objects = vault.object_list(root)
        yield from ((chunk.key, chunk.size) for chunk in objects.own_chunks())
        if vault.amendments or root.amendment:
            yield from ((ref.key, ref.size) for ref in objects)
            continue
        yield from ((ref.key, ref.size) for ref in objects.delta().values() if ref is not None)
        if root.objects.base.top.digest in bases:
            continue
        bases.add(root.objects.base.top.digest)
        wanted = [leaf for leaf in objects.base.leaves() if leaf.digest not in leaves]
        leaves.update(leaf.digest for leaf in wanted)
        for lines in look(wanted, objects.base.leaf_lines, vault):
            for line in lines:
                yield _parse_line(line)


def _parse_line(line: bytes) -> tuple[str, int]:
    try:
        key, size, _ = line.decode("ascii").split(" ")
        return key, int(size)
    except ValueError:
        raise VaultDamagedError(f"an object list has a line that is none: {line!r}") from None
