"""`regvault tier`: what is cold, into cheaper storage."""

from __future__ import annotations

from regvault.cli.group import LazyCommand, group

_HERE = "regvault.cli.commands"


@group(
    "tier",
    {
        "apply": LazyCommand(f"{_HERE}.tier_apply:apply", "Do what was planned, and nothing else."),
        "plan": LazyCommand(
            f"{_HERE}.tier_plan:plan",
            "Plan what of a registry or a vault goes to a cheaper class, and what comes back.",
        ),
        "simulate": LazyCommand(
            f"{_HERE}.tier_simulate:simulate",
            "Replay a history of accesses, and show what ways of tiering would have cost.",
        ),
        "thaw": LazyCommand(
            f"{_HERE}.tier_thaw:thaw", "Have what a restore needs brought back from archives."
        ),
    },
)
def tier() -> None:
    """Find out what belongs into cheaper storage, by what is really pulled."""
