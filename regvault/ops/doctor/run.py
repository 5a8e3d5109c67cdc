"""Go through vaults and sources, and say what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from regvault.model.doctor import FINDING
from regvault.ops.doctor.source import examine_source
from regvault.ops.doctor.stream import examine_spool, examine_topic
from regvault.ops.doctor.vault import examine_vault
from regvault.policy.doctor.check import CHECKS, State, worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from regvault.model.progress import Progress
    from regvault.ops.doctor.subjects import (
        DoctorOptions,
        SourceSubject,
        SpoolSubject,
        TopicSubject,
        VaultSubject,
    )
    from regvault.policy.doctor.check import Check

__all__ = ["Diagnosis", "Examined", "diagnose"]

#: Of several exit codes the first of these; 10 comes before mere findings, which say less.
_PRECEDENCE = (4, 5, 12, 6, 10, FINDING)


class Examined(NamedTuple):
    """One place that was looked at.

    Attributes:
        subject: `vault`, `source`, `topic` or `spool`.
        location: where it is.
        checks: what was found.
    """

    subject: str
    location: str
    checks: list[Check]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        options: what was asked for.
        places: in the order in which they were looked at, vaults first.
    """

    options: DoctorOptions
    places: list[Examined]

    @property
    def checks(self) -> list[Check]:
        """Those of all places."""
        return [check for place in self.places for check in place.checks]

    def count(self, state: State) -> int:
        """Return how many checks came to this."""
        return sum(check.state is state for check in self.checks)

    def exit_code(self) -> int:
        """Return 0, or that of what is worst."""
        codes = {check.exit_code for check in self.checks if check.state is State.ERROR}
        if self.options.fail_on == "warning" and self.count(State.WARNING):
            codes.add(FINDING)
        return next((code for code in _PRECEDENCE if code in codes), 0)

    def to_json(self) -> dict[str, Any]:
        """Return `status`, `role`, `counts`, and `checks`: one object for each check.

        A check has `subject` (`vault`, `source`, `topic` or `spool`), `location`, `id`, `state`
        (`ok`, `warning`, `error` or `skipped`), `found` and `hint` (null where there is nothing to
        do).
        """
        return {
            "status": str(worst(self.checks)),
            "role": str(self.options.role),
            "counts": {str(state): self.count(state) for state in State},
            "checks": [
                {
                    "subject": place.subject,
                    "location": place.location,
                    "id": check.id,
                    "state": str(check.state),
                    "found": check.found,
                    "hint": check.hint,
                }
                for place in self.places
                for check in place.checks
            ],
        }


def diagnose(
    vaults: Sequence[VaultSubject],
    sources: Sequence[SourceSubject],
    options: DoctorOptions,
    *,
    topics: Sequence[TopicSubject] = (),
    spools: Sequence[SpoolSubject] = (),
    progress: Progress,
) -> Diagnosis:
    """Look at every place; what one of them lacks does not stop the look at the others."""
    places = []
    for vault in vaults:
        progress.phase(f"Probing {vault.location}")
        places.append(Examined("vault", vault.location, _sorted(examine_vault(vault, options))))
    for source in sources:
        progress.phase(f"Probing {source.location}")
        places.append(Examined("source", source.location, _sorted(examine_source(source))))
    for topic in topics:
        progress.phase(f"Probing {topic.location}")
        places.append(Examined("topic", topic.location, _sorted(examine_topic(topic, options))))
    for spool in spools:
        progress.phase(f"Probing {spool.directory}")
        places.append(Examined("spool", spool.directory, _sorted(examine_spool(spool, options))))
    return Diagnosis(options, places)


def _sorted(checks: Iterable[Check]) -> list[Check]:
    return sorted(checks, key=lambda check: CHECKS.index(check.id))
