"""What `doctor` finds out about a place, before anyone judges it.

Probes (`regvault.storage.s3_probe`, `local_probe`, `regvault.ops.doctor`) make these facts;
`regvault.policy.doctor` judges them. Neither knows the other.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from regvault.errors import RegvaultError, StoreAccessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "FINDING",
    "Above",
    "Archived",
    "Asked",
    "BucketFacts",
    "BucketTrials",
    "Credentials",
    "DiskFacts",
    "LifecycleRule",
    "Lock",
    "Openings",
    "Sample",
    "Signing",
    "Spool",
    "SpoolFacts",
    "StoreProbe",
    "StreamRole",
    "TopicFacts",
    "Trials",
    "ask",
    "unasked",
]

T = TypeVar("T")

#: Exit codes that say more about what is wrong than "a finding" does.
_TELLING = frozenset({4, 5, 6, 10, 12})
FINDING = 3


class Credentials(enum.StrEnum):
    """What the credentials that doctor runs with are for."""

    ANY = "any"
    WRITER = "writer"
    READER = "reader"
    PRUNER = "pruner"


class Asked(NamedTuple, Generic[T]):
    """The answer to one question.

    Attributes:
        value: the answer; None: there is none.
        why: there is none, for people.
        hint: what may help, or None.
        denied: these rights, or the mount, do not allow what was tried.
        exit_code: of a command that fails for the same reason.
        tried: it was asked at all.
    """

    value: T | None
    why: str = ""
    hint: str | None = None
    denied: bool = False
    exit_code: int = FINDING
    tried: bool = True


def unasked(why: str) -> Asked[Any]:
    """Return what there is of an answer where something before it failed."""
    return Asked(None, why, tried=False)


def ask(call: Callable[[], T]) -> Asked[T]:
    """Return what `call` returns, or why it fails."""
    try:
        return Asked(call())
    except RegvaultError as error:
        code = error.exit_code if error.exit_code in _TELLING else FINDING
        denied = isinstance(error, StoreAccessError)
        return Asked(None, error.message, error.hint, denied, code)


class LifecycleRule(NamedTuple):
    """One rule of a bucket's lifecycle configuration.

    Attributes:
        name: its ID, or its number.
        enabled: whether it is applied.
        prefix: that keys must have; "" means all.
        tagged: only objects with certain tags are meant; regvault gives none.
        sized: only objects above or below some size are meant.
        expires: when current versions are deleted, for people; "": never.
        transitions: (storage class, when) of current versions.
        noncurrent: when old versions are deleted, for people; "": never.
        aborts: when unfinished uploads are deleted, for people; "": never.
    """

    name: str
    enabled: bool = True
    prefix: str = ""
    tagged: bool = False
    sized: bool = False
    expires: str = ""
    transitions: tuple[tuple[str, str], ...] = ()
    noncurrent: str = ""
    aborts: str = ""


class Lock(NamedTuple):
    """Object Lock of a bucket.

    Attributes:
        enabled: whether objects can be locked.
        mode: that new objects get by default; "": none.
        period: for how long, for people.
    """

    enabled: bool
    mode: str = ""
    period: str = ""


class Spool(NamedTuple):
    """Where objects are kept on the local disk until they are uploaded.

    Attributes:
        path: the directory.
        free_bytes: in its file system.
    """

    path: str
    free_bytes: int


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What a bucket and its server say of themselves.

    Attributes:
        prefix: of the vault, "" or ending in a slash.
        server: its name for itself, such as `MinIO`; "" where it has none.
        versioning: `Enabled`, `Suspended`, or "": never was.
        lock: Object Lock.
        lifecycle: the rules.
        spool: of this machine.
    """

    prefix: str
    server: str
    versioning: Asked[str]
    lock: Asked[Lock]
    lifecycle: Asked[tuple[LifecycleRule, ...]]
    spool: Asked[Spool]


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What a file system says of the directory of a store.

    Attributes:
        free_bytes, total_bytes: for users that are not root.
        free_inodes, total_inodes: None where it makes them as it needs them.
        kind: its type, such as `ext4`; "" where that is not known.
        mode: permissions of the directory.
        closed_above: a directory above lets nobody else through.
        read_only: it is mounted so.
    """

    free_bytes: int
    total_bytes: int
    free_inodes: int | None
    total_inodes: int | None
    kind: str
    mode: int
    closed_above: bool
    read_only: bool


class Above(NamedTuple):
    """The nearest directory that exists above one that is to be made.

    Attributes:
        path: of it.
        disk: what its file system says of it.
        writable: a directory can be made in it.
    """

    path: str
    disk: DiskFacts
    writable: bool


@dataclass(frozen=True, slots=True)
class BucketTrials:
    """What became of writes that only a bucket knows.

    Attributes:
        checksums: a body that is not its checksum is refused.
        multipart: "" where an upload was begun, got a part and was aborted; else what is wrong.
        aborted: whether it could be aborted.
        delete_versions: a version of an own object can be deleted for good; None of a bucket that
            keeps none.
    """

    checksums: Asked[bool]
    multipart: Asked[bool]
    aborted: Asked[bool]
    delete_versions: Asked[bool]


@dataclass(frozen=True, slots=True)
class Trials:
    """What became of the writes of probes.

    Attributes:
        written: an object can be created.
        read_back: it can be read, and has its bytes.
        listed: LIST shows it at once.
        ranged: a part of it can be read.
        swapped: it is overwritten where its etag is the one given, and only there.
        winners: of `writers` creates of one key at once, so many succeeded.
        writers: how many were tried.
        deleted: it can be deleted.
        durable: seconds that the barrier took.
        bucket: what only a bucket knows.
    """

    written: Asked[bool]
    read_back: Asked[bool]
    listed: Asked[bool]
    ranged: Asked[bool]
    swapped: Asked[bool]
    winners: Asked[int]
    writers: int
    deleted: Asked[bool]
    durable: Asked[float]
    bucket: BucketTrials | None = None


class Openings(NamedTuple):
    """What the identities that are given open of a sealed vault.

    Attributes:
        given: how many they are.
        vault: one of them opens the vault itself: the key that names are made with.
        snapshot: whose objects were tried; "": there is none yet.
        names: of each list that was tried, whether it was opened.
        contents: likewise of manifests and configs.
        reads_contents: one of them is, or was, a recipient, as the vault says.
        writes: what is written from now on is sealed to one of them.
        host_reads: the host that takes snapshots is a recipient itself, as the vault says.
    """

    given: int
    vault: bool
    snapshot: str = ""
    names: tuple[bool, ...] = ()
    contents: tuple[bool, ...] = ()
    reads_contents: bool = False
    writes: bool = False
    host_reads: bool = False


class Signing(NamedTuple):
    """Whether a vault is signed, and with which keys it is looked at.

    Attributes:
        signed: it takes signed documents only.
        signer: id of the key to sign with; "": there is none.
        trusts: whose signatures count: so many; 0: everyone's.
        trusts_itself: the key to sign with is among these.
        refused: what is not signed by a key that counts, for people; "": nothing.
    """

    signed: bool
    signer: str
    trusts: int
    trusts_itself: bool
    refused: str


class Sample(NamedTuple):
    """A part of a source that was looked at.

    Attributes:
        directories, files: that were read, or tried.
        unreadable: (key, why) of the first few that cannot be read.
        failed: how many those are.
        whole: nothing was left out.
    """

    directories: int
    files: int
    unreadable: tuple[tuple[str, str], ...]
    failed: int
    whole: bool


class StreamRole(enum.StrEnum):
    """What the credentials for a topic of audit events are for."""

    ANY = "any"
    SHIP = "ship"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What a cluster says of a topic that this user may see.

    Attributes:
        partitions: how many there are.
        leaderless: so many of them have no leader.
        replication: replicas of the partition that has the fewest.
        behind: so many partitions have replicas that are not in sync.
        rights: what this user may do (`READ`, `WRITE`, ...); None of a cluster that does not say.
        settings: by name; None: this user may not read them.
    """

    partitions: int
    leaderless: int
    replication: int
    behind: int
    rights: frozenset[str] | None
    settings: Mapping[str, str] | None


class Archived(NamedTuple):
    """How much of a topic is in the archive of a vault.

    Attributes:
        begun: something of it is.
        gone: records that the topic has no more, and the archive never had.
        waiting: records that are in the topic alone.
        age_s: seconds since the newest archived event came in; 0 where there is none.
    """

    begun: bool
    gone: int
    waiting: int
    age_s: float


@dataclass(frozen=True, slots=True)
class SpoolFacts:
    """What there is of a spool of audit events.

    Attributes:
        nbytes, limit: of its segments, and how much they may have.
        free_bytes: of its disk.
        kind: of its file system, such as `ext4`; "" where that is not known.
        consumers: (name, how many events it lacks, seconds that the oldest of these waits).
        damage: how many places are no events.
    """

    nbytes: int
    limit: int
    free_bytes: int
    kind: str
    consumers: tuple[tuple[str, int, float], ...]
    damage: int


class StoreProbe(Protocol):
    """What only the adapter of a store can find out."""

    def reach(self) -> Asked[bool]:
        """Ask for the first key. Denied: the credentials are known, but may not list.

        Raises:
            StoreError: it cannot be reached, or does not know these credentials.
        """

    def look(self) -> BucketFacts | DiskFacts:
        """Ask for all that can be known without writing."""

    def try_writes(self, key: Callable[[], str]) -> BucketTrials | None:
        """Try what only this kind of store knows; None where there is nothing.

        Args:
            key: makes the key of a probe, which may be written and deleted.
        """

    def sweep(self, keys: Iterable[str]) -> None:
        """Delete what deleted probes left behind, such as their versions, where that is allowed."""
