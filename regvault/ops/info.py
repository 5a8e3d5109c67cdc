"""The verb `info`: what can be restored, how large it is, what is healthy and what is not."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from regvault.errors import VaultDamagedError
from regvault.ops.chains import read_chain
from regvault.ops.info_archives import look_into_archives
from regvault.ops.info_facts import Issue, last_verifications, stored_bytes
from regvault.ops.info_locks import locks_of
from regvault.ops.selector import registry_names
from regvault.vault.envelope import from_time
from regvault.vault.keys import FORMAT
from regvault.vault.records import read_records

if TYPE_CHECKING:
    from datetime import datetime

    from regvault.ops.info_facts import Verification
    from regvault.ops.tier.outside import InArchive
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["Info", "Issue", "RegistryInfo", "info"]

#: A verification older than this many days is worth another.
STALE_DAYS = 30
#: A newest snapshot older than this many usual intervals is late.
LATE_FACTOR = 3
_USUAL_OF = 30
#: Codes of issues which say that the vault is damaged.
_DAMAGE = ("damaged", "verification-failed")


@dataclass(slots=True)
class RegistryInfo:
    """One registry of a vault.

    Attributes:
        name: permanent name.
        snapshots: that can be read.
        restorable: of those, complete and not held.
        held, incomplete: numbers of the others.
        forgotten: slots without a snapshot: forgotten ones and voids.
        first, latest: the oldest and the newest restorable root.
        newest: the newest root, restorable or not.
        longest_gap_s: the longest time between two restorable snapshots, None of fewer than two.
        usual_gap_s: the median of the last 30 such times.
        stored_bytes: of all objects that its snapshots need, each counted once.
        verified: depth -> the newest verification that saw this registry.
        restore_rate: bytes per second at which a verification read data, or None.
        archive: what the latest snapshot needs of archives; None where that is not looked at.
        issues: what is not healthy.
    """

    name: str
    snapshots: int = 0
    restorable: int = 0
    held: int = 0
    incomplete: int = 0
    forgotten: int = 0
    first: Root | None = None
    latest: Root | None = None
    newest: Root | None = None
    longest_gap_s: float | None = None
    usual_gap_s: float | None = None
    stored_bytes: int | None = None
    verified: dict[str, Verification] = field(default_factory=dict)
    restore_rate: float | None = None
    archive: InArchive | None = None
    issues: list[Issue] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The registry, for people."""
        return self.newest.name.title if self.newest else self.name

    @property
    def status(self) -> str:
        """`ok`, `warning` or `error`: the worst of the issues."""
        return _worst(self.issues)

    @property
    def restore_seconds(self) -> float | None:
        """How long restoring the latest snapshot takes at the measured rate."""
        if self.latest is None or not self.restore_rate:
            return None
        return self.latest.counts.nbytes / self.restore_rate

    @property
    def last_verified(self) -> Verification | None:
        """The newest verification of any depth."""
        return max(self.verified.values(), key=lambda each: each.at, default=None)

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Return its part of the document; see `Info.to_json`."""
        newest, latest = self.newest, self.latest
        verified = self.last_verified
        age = None if newest is None else (now - newest.started_at).total_seconds()
        return {
            "registry": self.title,
            "status": self.status,
            "snapshots": self.snapshots,
            "restorable": {
                "count": self.restorable,
                "first": self.first.started if self.first else None,
                "first_sequence": self.first.name.sequence if self.first else None,
                "last": latest.started if latest else None,
                "last_sequence": latest.name.sequence if latest else None,
                "longest_gap_seconds": self.longest_gap_s,
                "usual_gap_seconds": self.usual_gap_s,
            },
            "held": self.held,
            "incomplete": self.incomplete,
            "forgotten": self.forgotten,
            "newest": None
            if newest is None
            else {
                "sequence": newest.name.sequence,
                "started": newest.started,
                "age_seconds": age,
                "complete": newest.complete,
                "held": any(issue.code == "held" for issue in self.issues),
                "source": newest.source,
                **newest.counts.to_json(),
                "stored_bytes": newest.objects.nbytes,
                "damage": newest.damage.entries if newest.damage else 0,
            },
            "stored_bytes": self.stored_bytes,
            "verified": verified.to_json() if verified else None,
            "verified_by_depth": {k: v.to_json() for k, v in sorted(self.verified.items())},
            "restore": {
                "bytes": latest.counts.nbytes if latest else None,
                "bytes_per_second": self.restore_rate,
                "seconds": self.restore_seconds,
            },
            "archived": None if self.archive is None else self.archive._asdict(),
            "issues": [issue._asdict() for issue in self.issues],
        }


@dataclass(slots=True)
class Info:
    """A vault.

    Attributes:
        id, location, created: of the vault.
        now: when this was looked at.
        registries: by name.
        stored_bytes: of all objects that any snapshot needs, each counted once.
        issues: of the vault as a whole.
        locks: how its objects are locked, and until when; None of a vault without locks.
    """

    id: str
    location: str
    created: str
    now: datetime
    registries: list[RegistryInfo] = field(default_factory=list)
    stored_bytes: int | None = None
    issues: list[Issue] = field(default_factory=list)
    locks: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        """The worst of the vault's and of its registries'."""
        return _worst([*self.issues, *(i for each in self.registries for i in each.issues)])

    def exit_code(self) -> int:
        """Return 4 where the vault is damaged, 3 where it has another error, else 0."""
        found = [*self.issues, *(i for each in self.registries for i in each.issues)]
        if any(issue.code in _DAMAGE for issue in found):
            return 4
        return 3 if self.status == "error" else 0

    def to_json(self) -> dict[str, Any]:
        """Return the document of `info`.

        `status`: `ok`, `warning` or `error`, the worst of all. `vault`: `id`, `location`,
        `created`, `format`. `stored_bytes`: of all objects that any snapshot needs, each counted
        once; null where a list cannot be read. `locks`: `mode`, `seconds` (how long what is written
        is locked) and `until` (to when all that snapshots need is known to be locked, or null);
        null of a vault without locks. `issues`: of the vault as a whole. `registries`,
        each with: `registry`; `status`; `snapshots`: that can be read; `restorable`: of those that
        are complete and not held the `count`, the `first` and the `last` time and sequence, the
        `longest_gap_seconds` between two of them and the `usual_gap_seconds` (median of the last
        30); `held`, `incomplete`, `forgotten`: numbers of the others; `newest`: the newest snapshot
        whatever its state: `sequence`, `started`, `age_seconds`, `complete`, `held`, `source`,
        `repositories`, `tags`, `revisions`, `blobs`, `bytes` (what it holds, each blob once),
        `stored_bytes` (of the objects that it needs), `damage` (things damaged at the source);
        `stored_bytes`: of all its snapshots; `verified`: the newest verification that saw it, null
        for never: `depth` (`quick`, `metadata`, `data`), `sample`, `at`, `problems`, `seconds`,
        `bytes_read`, `through` (the newest sequence that could be read, or 0), `record`;
        `verified_by_depth`: the newest of each; `restore`: `bytes` of the latest snapshot,
        `bytes_per_second` as measured by a verification that read data, and `seconds` at that rate,
        null where it is not known; `archived`: of a vault that was tiered, what the latest snapshot
        needs of archives: `objects` and `nbytes` that are outside the promise until they are
        thawed, `promised` and `promised_bytes`;
        `issues`: `severity` (`warning`, `error`), `code`, `message`, `hint`.
        """
        return {
            "status": self.status,
            "vault": {
                "id": self.id,
                "location": self.location,
                "created": self.created,
                "format": FORMAT,
            },
            "stored_bytes": self.stored_bytes,
            "locks": self.locks,
            "issues": [issue._asdict() for issue in self.issues],
            "registries": [each.to_json(self.now) for each in self.registries],
        }


def info(vault: Vault, *, now: datetime) -> Info:
    """Look at a vault. What is damaged is in the result, not raised.

    Args:
        vault: to look at.
        now: aware; what ages are counted to.
    """
    result = Info(vault.id, vault.store.location, vault.created, now)
    confirmations = vault.confirmations
    try:
        read_records(vault.store, vault.id, "confirmations")
    except VaultDamagedError as error:
        result.issues.append(_damaged(f"{error.message}; held snapshots count as not confirmed"))
    verifications, failed, unreadable = last_verifications(vault)
    result.issues += [_damaged(message) for message in unreadable]
    roots: dict[str, list[Root]] = {}
    for name in registry_names(vault):
        each = RegistryInfo(name)
        result.registries.append(each)
        roots[name] = _chain(vault, each, confirmations, now)
        each.verified = {
            depth: found for (registry, depth), found in verifications.items() if registry == name
        }
        data = each.verified.get("data")
        each.restore_rate = data.rate if data else None
        _verification(each, failed.get(name), now)
    sizes, total, problems = stored_bytes(vault, roots)
    for each in result.registries:
        _purged(vault, each)
        each.stored_bytes = sizes.get(each.name)
        each.issues += [_damaged(message) for message in problems.get(each.name, ())]
    result.stored_bytes = total
    look_into_archives(vault, result.registries)
    try:
        result.locks, issue = locks_of(vault, roots)
    except VaultDamagedError as error:
        issue = _damaged(error.message)
    result.issues += [issue] if issue else []
    if not result.registries:
        result.issues.append(
            Issue(
                "warning",
                "empty",
                "there is no snapshot yet",
                "Take one with: regvault snapshot SOURCE --vault VAULT",
            )
        )
    return result


def _worst(issues: list[Issue]) -> str:
    found = {issue.severity for issue in issues}
    return "error" if "error" in found else "warning" if found else "ok"


def _damaged(message: str) -> Issue:
    return Issue("error", "damaged", message, "See all that is wrong with: regvault verify")


def _chain(
    vault: Vault, each: RegistryInfo, confirmations: list[dict[str, Any]], now: datetime
) -> list[Root]:
    """Read a chain of roots, and count."""
    chain = read_chain(vault, each.name, confirmations)
    each.issues += [Issue("error", "damaged", *damage) for damage in chain.damage]
    roots, restorable = chain.roots, chain.restorable()
    each.snapshots, each.restorable = len(roots), len(restorable)
    each.held, each.forgotten = len(chain.held), chain.empty
    each.incomplete = len(roots) - len(restorable) - len(chain.held)
    each.first = restorable[0] if restorable else None
    each.latest = restorable[-1] if restorable else None
    each.newest = roots[-1] if roots else None
    times = [root.started_at for root in restorable]
    gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
    if gaps:
        each.longest_gap_s = max(gaps)
        each.usual_gap_s = statistics.median(gaps[-_USUAL_OF:])
    waiting = each.newest is not None and each.newest.name.sequence in chain.held
    _newest(each, now, waiting=waiting)
    return roots


def _newest(each: RegistryInfo, now: datetime, *, waiting: bool) -> None:
    """Note what is wrong with the newest snapshot."""
    root = each.newest
    if each.latest is None:
        each.issues.append(
            Issue(
                "error",
                "nothing-restorable",
                "no snapshot is complete and not held",
                f"Look at one with: regvault ls {root.name}" if root else None,
            )
        )
    if root is None:
        return
    if waiting:
        reason = str((root.held or {}).get("reason", ""))
        each.issues.append(
            Issue(
                "warning",
                "held",
                f"the newest snapshot {root.name} is held: {reason}",
                f"If that is right: regvault confirm {root.name}",
            )
        )
    elif not root.complete:
        each.issues.append(
            Issue(
                "warning",
                "incomplete",
                f"the newest snapshot {root.name} is incomplete: something was unreadable",
                "Mend what could not be read, and take another.",
            )
        )
    damage = root.damage.entries if root.damage else 0
    if damage:
        each.issues.append(
            Issue(
                "warning",
                "source-damage",
                f"the source was damaged when {root.name} was taken, in {damage} places"
                if damage > 1
                else f"the source was damaged when {root.name} was taken, in one place",
                "See it with: regvault scan SOURCE --read-data",
            )
        )
    age = (now - root.started_at).total_seconds()
    if each.usual_gap_s and age > LATE_FACTOR * each.usual_gap_s and age > 3600:
        each.issues.append(
            Issue(
                "warning",
                "late",
                f"the newest snapshot {root.name} is older than {LATE_FACTOR} usual intervals",
                "Is the schedule running? Take one now: regvault snapshot SOURCE --vault VAULT",
            )
        )


def _purged(vault: Vault, each: RegistryInfo) -> None:
    """Note where the newest snapshot is older than a purge: perhaps images do not come back."""
    root = each.newest
    if root is None:
        return
    try:
        purged = vault.purged(root) if vault.object_list(root).changes() else ()
    except VaultDamagedError:
        return  # it is said already that the list cannot be read
    if purged:
        contents = "1 content was" if len(purged) == 1 else f"{len(purged)} contents were"
        each.issues.append(
            Issue(
                "warning",
                "purged",
                f"{contents} purged from the vault since {root.name}: images that need them do not "
                "come back",
                f"See which: regvault restore {root.name} --to oci:./new --dry-run",
            )
        )


def _verification(each: RegistryInfo, failed: Verification | None, now: datetime) -> None:
    last = each.last_verified
    if last is None:
        each.issues.append(
            Issue("warning", "never-verified", "never verified", "Run: regvault verify")
        )
        return
    if failed is not None:
        option = {"quick": " --quick", "data": " --read-data"}.get(failed.depth, "")
        each.issues.append(
            Issue(
                "error",
                "verification-failed",
                f"a verification ({failed.depth}) found the vault damaged ({failed.problems}), "
                "and none as deep has found it whole since",
                f"See them again with: regvault verify{option}",
            )
        )
    days = (now - from_time(last.at)).days
    if days >= STALE_DAYS:
        each.issues.append(
            Issue("warning", "stale", f"last verified {days} days ago", "Run: regvault verify")
        )
