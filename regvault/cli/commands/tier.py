"""`regvault tier`: what is cold, into cheaper storage."""

from __future__ import annotations

from regvault.cli.group import LazyCommand, group

_HERE = "regvault.cli.commands"


@group(
    "tier",
    {
        "apply": LazyCommand(
            f"{_HERE}.tier_apply:apply",
            "Move what PLAN says, as regvault tier plan has written it, and nothing else.",
        ),
        "gc": LazyCommand(
            f"{_HERE}.tier_gc:gc",
            "Have the registry at SOURCE collect its garbage; prove that no image lost anything.",
        ),
        "mount": LazyCommand(
            f"{_HERE}.tier_mount:mount",
            "Give a registry on disks a cold mount, or list those that it has.",
        ),
        "plan": LazyCommand(
            f"{_HERE}.tier_plan:plan",
            "Plan what of SOURCE, a registry or a vault, goes to a cheaper class, and what back.",
        ),
        "prices": LazyCommand(
            f"{_HERE}.tier_prices:prices",
            "Show what storage costs by a price file; hold it against the provider's price list.",
        ),
        "simulate": LazyCommand(
            f"{_HERE}.tier_simulate:simulate",
            "Replay a history of accesses, and show what ways of tiering would have cost.",
        ),
        "thaw": LazyCommand(
            f"{_HERE}.tier_thaw:thaw",
            "Have brought back what a restore of SNAPSHOT needs, and what lies in an archive.",
        ),
        "unmount": LazyCommand(
            f"{_HERE}.tier_mount:unmount",
            "Take a cold mount away from a registry, once nothing lies there.",
        ),
    },
)
def tier() -> None:
    """Find out what belongs into cheaper storage, by what is really pulled."""
