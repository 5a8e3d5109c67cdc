"""What doctor is given to look at. Opening a place is part of looking: it may fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regvault.model.doctor import Credentials, StreamRole

if TYPE_CHECKING:
    from collections.abc import Callable

    from regvault.audit.kafka.topics import Topics
    from regvault.model.doctor import Above, Asked, StoreProbe
    from regvault.model.registry import RegistrySource
    from regvault.model.store import ObjectStore
    from regvault.vault.age import Identity
    from regvault.vault.signing import Keys
    from regvault.vault.vault import Vault

__all__ = [
    "DoctorOptions",
    "SourceSubject",
    "SpoolSubject",
    "TopicSubject",
    "VaultSubject",
]


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What was asked for.

    Attributes:
        role: what the credentials are for.
        write: whether probes may be written to vaults.
        new: there is no vault yet; one is to be made there.
        fail_on: `warning` or `error`: what makes the exit code 3.
        stream_role: what the credentials for a topic are for.
        every_s: seconds between two runs of `audit archive`.
    """

    role: Credentials = Credentials.ANY
    write: bool = True
    new: bool = False
    fail_on: str = "warning"
    stream_role: StreamRole = StreamRole.ANY
    every_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class VaultSubject:
    """A place where a vault is, or is to be.

    Attributes:
        location: where, without secrets.
        open: opens it, whatever is there, to be written or not; raises RegvaultError.
        threads: that a snapshot has.
        identities: reads what a sealed vault is opened with; raises CredentialError.
        signing: reads the key to sign with, and whose signatures count; raises likewise.
        above: looks at where its directory, which is missing, would be made; raises StoreError.
    """

    location: str
    open: Callable[[bool], tuple[ObjectStore, StoreProbe]]
    threads: int
    identities: Callable[[], tuple[Identity, ...]]
    signing: Callable[[], Keys]
    above: Callable[[], Above]


@dataclass(frozen=True, slots=True)
class SourceSubject:
    """A registry that is read.

    Attributes:
        location: where, without secrets.
        open: opens it; raises RegvaultError.
        vaults: locations of the vaults that are looked at too.
        overlapping: those that lie inside it, or it inside them.
        shared: (vault, the file system or bucket that it is lost together with; "": none).
    """

    location: str
    open: Callable[[], tuple[ObjectStore, RegistrySource]]
    vaults: tuple[str, ...] = ()
    overlapping: tuple[str, ...] = ()
    shared: tuple[tuple[str, Asked[str]], ...] = ()


@dataclass(frozen=True, slots=True)
class TopicSubject:
    """A topic of audit events.

    Attributes:
        location: brokers and topic, for people.
        topic: its name.
        dead_letters: name of the topic that takes what this one does not.
        open: connects to the cluster; raises RegvaultError.
        vault: opens the vault of the archive; None: none is named.
    """

    location: str
    topic: str
    dead_letters: str
    open: Callable[[], Topics]
    vault: Callable[[], Vault] | None = None


@dataclass(frozen=True, slots=True)
class SpoolSubject:
    """A spool of audit events.

    Attributes:
        directory: where.
        limit: bytes that it may have; None: as regvault has it.
        look: what its disk says; raises StoreError.
    """

    directory: str
    limit: int | None
    look: Callable[[], Above]
