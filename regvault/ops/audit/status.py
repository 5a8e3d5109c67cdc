"""How far events are: what a spool holds for whom, how far the chains of a vault are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.audit.spool.cursor import cursors
from regvault.errors import VaultDamagedError
from regvault.vault.audit.chain import Chain, chains
from regvault.vault.audit.months import Months

if TYPE_CHECKING:
    from regvault.audit.spool import Spool
    from regvault.vault.vault import Vault

__all__ = ["ChainStatus", "SpoolStatus", "chain_statuses", "spool_status"]


@dataclass
class SpoolStatus:
    """What is in a spool.

    Attributes:
        directory: where.
        spool: its id.
        nbytes: of segments.
        limit: bytes that they may have.
        first, next: number of the oldest event, and the one that the next gets.
        consumers: each with the next number that it wants, and how many events it lacks.
        damage: places that are no events, with the number before each.
    """

    directory: str
    spool: str
    nbytes: int
    limit: int
    first: int
    next: int
    consumers: list[dict[str, Any]] = field(default_factory=list)
    damage: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "directory": self.directory,
            "spool": self.spool,
            "bytes": self.nbytes,
            "limit": self.limit,
            "first": self.first,
            "next": self.next,
            "consumers": self.consumers,
            "damage": self.damage,
        }


@dataclass
class ChainStatus:
    """How far a chain is.

    Attributes:
        chain: its id.
        stream: what it is of; {} where that is sealed.
        links: how many there are.
        closed: when the newest was, or None.
        received: when its newest event came in, or None.
        positions: the next offset of each partition, or spool.
        problem: why it cannot be read, or None.
    """

    chain: str
    stream: dict[str, str] = field(default_factory=dict)
    links: int = 0
    closed: str | None = None
    received: str | None = None
    positions: dict[str, int] = field(default_factory=dict)
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return dict(self.__dict__)


def spool_status(spool: Spool) -> SpoolStatus:
    """Return what is in a spool, all of which is read."""
    usage = spool.usage()
    status = SpoolStatus(
        spool.directory, spool.id, usage.nbytes, usage.limit, usage.first, usage.next
    )
    for cursor in cursors(spool.directory):
        wanted = max(cursor.next, usage.first)
        status.consumers.append(
            {"name": cursor.name, "next": cursor.next, "lag": max(0, usage.next - wanted)}
        )
    reader = spool.reader()
    while reader.read(5000):
        pass
    reader.close()
    status.damage = [found._asdict() for found in reader.damage]
    return status


def chain_statuses(vault: Vault) -> tuple[list[ChainStatus], dict[str, str | None]]:
    """Return how far the chains of a vault are, and its months: when each was erased, or None."""
    found = []
    for name in chains(vault):
        status = ChainStatus(name)
        found.append(status)
        try:
            head = Chain(vault, name).head()
        except VaultDamagedError as error:
            status.problem = error.message
            continue
        if head is not None:
            status.stream = head.stream
            status.links = head.number
            status.closed = head.closed
            status.received = head.received[1]
            status.positions = head.positions
    return found, Months(vault).known()
