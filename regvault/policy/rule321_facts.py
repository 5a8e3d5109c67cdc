"""The facts that 3-2-1-1-0 is held against, and the verdicts on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Copy", "Declared", "Flaw", "Reason", "Rule", "Verdict", "span"]

_HOUR = 3600.0
_DAY = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked for.

    Attributes:
        copies, media, offsite, immutable: how many there are to be at least; 0 asks for none.
        errors: how many there may be.
        max_age_s: of the newest snapshot in a vault.
        max_behind_s: how much older than the newest of all vaults it may be.
        verify_metadata_s: since all metadata of a vault was last proven.
        verify_data_s: since all data of a vault was last proven.
    """

    copies: int = 3
    media: int = 2
    offsite: int = 1
    immutable: int = 1
    errors: int = 0
    max_age_s: float = 26 * _HOUR
    max_behind_s: float = 26 * _HOUR
    verify_metadata_s: float = 8 * _DAY
    verify_data_s: float = 35 * _DAY


@dataclass(frozen=True, slots=True)
class Declared:
    """What the configuration says of a place, and no store can say.

    Attributes:
        domain: name of its failure domain.
        offsite: it is somewhere else than the registry.
        medium: `disk`, `object`, `tape`, ...
        offline: it is not reachable except while it is written.
        max_age_s: of the newest snapshot there, instead of the rule's.
    """

    domain: str | None = None
    offsite: bool | None = None
    medium: str | None = None
    offline: bool | None = None
    max_age_s: float | None = None


class Flaw(NamedTuple):
    """Something that is wrong with a copy.

    Attributes:
        code: a stable word for machines.
        message: for people.
        hint: what to do next.
        damaged: bytes of the vault are not what they should be, or are gone.
    """

    code: str
    message: str
    hint: str
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Copy:
    """What is known of one copy of a registry.

    Attributes:
        name: as one writes it on the command line.
        live: it is the registry itself, else a vault.
        place, domain, bound: as in `regvault.model.whereabouts.Whereabouts`.
        declared: what the configuration says of it.
        lock: why it cannot be deleted; "" where it can.
        lock_detail: why it can.
        unusable: why it is no copy at all, or None.
        newest: the newest snapshot there that is complete and not held; "" for none.
        age_s: of that, in seconds; None for none, and of the live registry.
        behind_s: how much older than the newest of all vaults that is.
        metadata_age_s, data_age_s: since all metadata, all data was proven; None for never.
        flaws: what is wrong with it besides.
    """

    name: str
    live: bool = False
    place: str = ""
    domain: str = ""
    bound: str = ""
    declared: Declared = field(default_factory=Declared)
    lock: str = ""
    lock_detail: str = ""
    unusable: Flaw | None = None
    newest: str = ""
    age_s: float | None = None
    behind_s: float = 0.0
    metadata_age_s: float | None = None
    data_age_s: float | None = None
    flaws: tuple[Flaw, ...] = ()

    @property
    def where(self) -> str:
        """Its failure domain for people: as declared, else as seen."""
        return self.declared.domain or self.domain

    @property
    def not_counted(self) -> Flaw | None:
        """Why it is no copy that one may rely on; None where it is one."""
        if self.unusable is not None:
            return self.unusable
        damage = next((flaw for flaw in self.flaws if flaw.damaged), None)
        if damage is not None:
            return damage
        if not self.live and self.age_s is None:
            return Flaw(
                "nothing-restorable",
                "no snapshot there is complete and not held",
                f"See: regvault snapshots --vault {self.name}",
            )
        return None


class Reason(NamedTuple):
    """Why something is missed.

    Attributes:
        copy: name of the copy; "" where it is about all of them.
        code: a stable word for machines.
        message: for people.
        hint: what to do next.
    """

    copy: str
    code: str
    message: str
    hint: str


class Verdict(NamedTuple):
    """What became of one part of the rule.

    Attributes:
        part: `copies`, `media`, `offsite`, `immutable`, `errors`, `rpo`.
        wanted: as the rule has it; seconds for `rpo`.
        found: likewise; None where nothing is there to be measured.
        met: whether that is enough.
        summary: what was found, for people.
        reasons: why it is missed; () where it is met.
    """

    part: str
    wanted: float
    found: float | None
    met: bool
    summary: str
    reasons: tuple[Reason, ...] = ()


def span(seconds: float) -> str:
    """Return a time span in at most two units, for people: `26 h`, `3 d 4 h`, `5 min`."""
    minutes = max(0, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(round(minutes / 60), 24)
    return f"{days} d {rest} h" if rest else f"{days} d"
