"""What a check found, and how it is written down."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from regvault.ops.check.vaults import UNKNOWN_PLACE
from regvault.vault.envelope import to_time

if TYPE_CHECKING:
    from datetime import datetime

    from regvault.model.whereabouts import Lock, Whereabouts
    from regvault.ops.check.vaults import SeenChain, SeenVault
    from regvault.policy.rule321 import Copy, Flaw, Rule, Verdict

__all__ = ["CheckResult", "CheckedCopy", "CheckedRegistry"]


@dataclass(slots=True)
class CheckedCopy:
    """One copy, as it was judged, and what else was seen of it.

    Attributes:
        facts: that the rule was held against.
        location: where it is.
        where: as its store shows it.
        lock: as its store shows it.
        vault: that it is; None for the live registry.
        chain: its snapshots there; None for the live registry, and where they cannot be read.
        repositories: that the live registry has.
    """

    facts: Copy
    location: str
    where: Whereabouts = UNKNOWN_PLACE
    lock: Lock | None = None
    vault: SeenVault | None = None
    chain: SeenChain | None = None
    repositories: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document."""
        facts, declared = self.facts, self.facts.declared
        opened = self.vault.vault if self.vault else None
        counted = facts.not_counted
        return {
            "copy": facts.name,
            "kind": "registry" if facts.live else "vault",
            "location": self.location,
            "vault": opened.id if opened else None,
            "counts": counted is None,
            "reason": None if counted is None else counted.message,
            "domain": {"seen": self.where.domain or None, "declared": declared.domain},
            "medium": {"seen": self.where.medium or None, "declared": declared.medium},
            "offsite": {"declared": declared.offsite},
            "offline": {"declared": declared.offline},
            "immutable": {
                "seen": None if self.lock is None else self.lock.held,
                "detail": None if self.lock is None else self.lock.detail,
            },
            "remark": self.where.remark or None,
            "repositories": self.repositories,
            "newest": self._newest(),
            "restorable": self._restorable(),
            "verified": self._verified(),
            "flaws": [_flaw(f) for f in ((facts.unusable,) if facts.unusable else facts.flaws)],
        }

    def _newest(self) -> dict[str, Any] | None:
        root = self.chain.newest if self.chain else None
        if self.chain is None or root is None:
            return None
        return {
            "sequence": root.name.sequence,
            "started": root.started,
            "complete": root.complete,
            "held": root.name.sequence in self.chain.chain.held,
            "root": root.sha256,
            "origin": None if root.amendment is None else root.amendment.get("origin"),
        }

    def _restorable(self) -> dict[str, Any] | None:
        root = self.chain.latest if self.chain else None
        if self.chain is None or root is None:
            return None
        return {
            "registry": root.name.title,
            "registry_id": root.registry_id,
            "snapshots": len(self.chain.chain.restorable()),
            "sequence": root.name.sequence,
            "started": root.started,
            "root": root.sha256,
            "age_seconds": self.facts.age_s,
            "behind_seconds": self.facts.behind_s,
        }

    def _verified(self) -> dict[str, Any] | None:
        if self.chain is None:
            return None
        found = self.chain.verified
        return {
            "newest": found.newest.to_json() if found.newest else None,
            "metadata_at": _time(found.metadata_at),
            "data_at": _time(found.data_at),
        }


@dataclass(slots=True)
class CheckedRegistry:
    """One registry.

    Attributes:
        name: for people.
        ids: permanent ids, one for each vault that is fed by snapshots.
        copies: of it.
        verdicts: on them.
        notes: what people should know besides.
    """

    name: str
    ids: list[str]
    copies: list[CheckedCopy]
    verdicts: list[Verdict]
    notes: list[str]

    @property
    def met(self) -> bool:
        """Whether all of the rule is."""
        return all(verdict.met for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return its part of the document."""
        return {
            "registry": self.name,
            "ids": self.ids,
            "met": self.met,
            "copies": [copy.to_json() for copy in self.copies],
            "verdicts": [
                {
                    **verdict._asdict(),
                    "reasons": [reason._asdict() for reason in verdict.reasons],
                }
                for verdict in self.verdicts
            ],
            "notes": self.notes,
        }


@dataclass(slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        now: when.
        rule: that was asked for.
        registries: that were judged.
        vaults: that were looked at.
        notes: what people should know besides.
        records: location of a vault -> key of the report in it.
    """

    now: datetime
    rule: Rule
    registries: list[CheckedRegistry] = field(default_factory=list)
    vaults: list[SeenVault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: dict[str, str] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether each registry meets all of the rule."""
        return all(registry.met for registry in self.registries)

    def exit_code(self) -> int:
        """Return 4 where a vault is damaged, 3 where the rule is missed, else 0."""
        flaws = [vault.flaw for vault in self.vaults if vault.flaw is not None]
        for registry in self.registries:
            flaws += [flaw for copy in registry.copies for flaw in copy.facts.flaws]
        if any(flaw.damaged for flaw in flaws):
            return 4
        return 0 if self.met else 3

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints, and that a record holds.

        `at`; `met`: all of it; `rule`: what was asked for: `copies`, `media`, `offsite`,
        `immutable`, `errors`, `max_age_s`, `max_behind_s`, `verify_metadata_s`, `verify_data_s`;
        `notes`; `records`: location of a vault -> key of this report in it. `registries`, each
        with `registry`, `ids` (permanent ones), `met`, `notes`, `copies` and `verdicts`.

        A verdict has `part` (`copies`, `media`, `offsite`, `immutable`, `errors`, `rpo`), `wanted`
        and `found` (numbers; of `rpo` seconds, null where there is no snapshot), `met`, `summary`,
        and `reasons` where it is missed: `copy` ("" for all of them), `code`, `message`, `hint`.

        A copy has `copy` (its name), `kind` (`registry`, `vault`), `location`, `vault` (the id);
        `counts`, and the `reason` where it does not; `domain`, `medium`, `offsite`, `offline`: what
        is `seen` and what is `declared`; `immutable`: `seen` and `detail`; `remark`;
        `repositories` of the live registry; `newest`: `sequence`, `started`, `complete`, `held`,
        `root` (SHA-256 of its body), `origin` (the vault that it was copied from, or null);
        `restorable`, the newest that is complete and not held: `registry`, `registry_id`,
        `snapshots` (how many such there are), `sequence`, `started`, `root`, `age_seconds`,
        `behind_seconds` (than the newest of all vaults); `verified`: the `newest` verification as
        in `info`, `metadata_at` and `data_at` (since when all of it is proven, null for never);
        `flaws`: `code`, `message`, `hint`, `damaged`.
        """
        return {
            "at": _time(self.now),
            "met": self.met,
            "rule": asdict(self.rule),
            "registries": [registry.to_json() for registry in self.registries],
            "notes": self.notes,
            "records": self.records,
        }


def _flaw(flaw: Flaw) -> dict[str, Any]:
    return flaw._asdict()


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else to_time(round(moment.timestamp() * 1000) * 1_000_000)
