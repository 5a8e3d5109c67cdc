"""What the commands of `regvault tier` take from a configuration.

Each option of a command has a key here, called as its flag: in the section of the command, else
beside the sections, where several commands share it.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo

from regvault.config.price_files import is_file, load_prices
from regvault.config.rules import Settings, Span, text_of, wrong
from regvault.config.secrets import SecretRef
from regvault.config.units import parse_days, parse_duration
from regvault.config.values import File, Ignored, Secret, SourceText, VaultText, given
from regvault.errors import UsageError

__all__ = ["Tier"]


def _prices(value: Any, info: ValidationInfo) -> str:
    name = text_of(value)
    if is_file(name):
        name = os.path.join((info.context or {}).get("base", ""), name)
    try:
        load_prices(name)
    except UsageError as error:
        raise wrong(error.message, error.hint) from None
    return name


def _teller(value: Any, info: ValidationInfo) -> str:
    """Take a vault by its name or location, or a file, whose path counts from this one."""
    text = text_of(value)
    path = os.path.join((info.context or {}).get("base", ""), text)
    if "://" not in text and ("/" in text or os.path.isfile(path)):
        return path
    return text


def _long(value: Any) -> str:
    try:
        parse_days(text_of(value))
    except ValueError as error:
        raise wrong(str(error)) from None
    return str(value)


def _span(value: Any) -> str:
    try:
        parse_duration(text_of(value))
    except ValueError as error:
        raise wrong(str(error)) from None
    return str(value)


Duration = Annotated[str, BeforeValidator(_span)]


class _Shared(Settings):
    prices: Annotated[str, BeforeValidator(_prices)] | None = Field(
        None,
        description="What storage costs: aws-us-east-1, azure-eastus-lrs, gcs-us-east1, or the "
        "path of one's own file, from this one.",
    )
    ignore: list[Ignored] | None = Field(
        None,
        description="Who is no client whose pulls count, beside scanners, replication and probes "
        "that are known: agent=GLOB, actor=GLOB or address=NETWORK.",
    )


class _Used(_Shared):
    access: Annotated[str, BeforeValidator(_teller)] | None = Field(
        None,
        description="Who tells what was pulled: a vault, by name or location, or a file.",
    )
    max_lag: Duration | None = Field(
        None,
        description="Where what is known of accesses ends so long ago, nothing goes to a colder "
        "class, such as 2d.",
    )


_Way = Literal["bulk", "standard", "expedited"]


class Apply(_Used):
    """Of `regvault tier apply`."""

    max_cost: float | None = Field(
        None, ge=0, description="What the moves of one run may cost, by the prices of the plan."
    )
    rate: float | None = Field(None, gt=0, description="Moves a second, at most.")
    journal: File | None = Field(None, description="Where what is done is written.")
    retry_lock: Span | None = Field(
        None, description="Of a vault: how long to wait for snapshots that are at work."
    )
    url: str | None = Field(
        None,
        description="Where the registry itself answers: the first blob that goes to a cold mount "
        "is pulled from it.",
    )
    login: Secret | None = Field(None, description="Where USER:PASSWORD for that pull is.")
    add_rules: bool | None = Field(
        None,
        description="Add the lifecycle rules that a bucket with versions needs; those of others "
        "stay.",
    )


class Plan(_Used):
    """Of `regvault tier plan`."""

    horizon: Annotated[str, BeforeValidator(_long)] | None = Field(
        None, description="Over how long costs are expected, such as 12mo."
    )
    min_idle: Duration | None = Field(
        None, description="How long what goes to a colder class is known to be idle, such as 7d."
    )
    out: File | None = Field(None, description="Where the plan is written.")
    max_restore_hours: float | None = Field(
        None,
        ge=0,
        description="Of a vault: within how many hours all of one of the newest snapshots can be "
        "read.",
    )
    max_restore_cost: float | None = Field(
        None, ge=0, description="Of a vault: what bringing back all of one of them may cost."
    )
    newest: int | None = Field(
        None, ge=1, description="Of a vault: how many snapshots of each registry that is said of."
    )
    prewarm: File | None = Field(
        None, description="Where the images are written that are likely to be pulled soon."
    )
    prewarm_for: Annotated[str, BeforeValidator(_long)] | None = Field(
        None, description="How soon, such as 3d."
    )
    inventory: SourceText | None = Field(
        None, description="The manifest.json of an S3 Inventory to take the blobs from."
    )


class Simulate(_Shared):
    """Of `regvault tier simulate`."""

    trace: File | None = Field(None, description="The history: CSV or JSON lines.")
    sizes: File | None = Field(None, description="Sizes of blobs: CSV or JSON lines.")
    horizon: Annotated[str, BeforeValidator(_long)] | None = Field(
        None, description="How much of it is looked at, such as 24mo."
    )
    min_idle: Duration | None = Field(
        None, description="How long a blob is idle before regvault moves it, such as 7d."
    )
    html: File | None = Field(None, description="A page with charts is written there.")


class Thaw(Settings):
    """Of `regvault tier thaw`."""

    vault: VaultText | None = Field(
        None, description="Where from: a name, or a location; else the only vault."
    )
    prices: Annotated[str, BeforeValidator(_prices)] | None = Field(
        None, description="What a thaw costs, if not `tier.prices`."
    )
    way: _Way | None = Field(
        None, description="How fast, whatever it costs: bulk, standard or expedited."
    )
    deadline: Span | None = Field(
        None, description="Else the cheapest way that takes no longer, such as 12h."
    )
    days: int | None = Field(None, ge=1, description="For how many days it can be read then.")
    poll: Span | None = Field(
        None, description="After how long it is looked for the first time whether it is there."
    )


class Gc(Settings):
    """Of `regvault tier gc`. What overrides a refusal has no key: it is never agreed beforehand."""

    source: SourceText | None = Field(
        None, description="The registry: a name of this file, or a location."
    )
    collect: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The registry's own garbage collection, with its arguments."
    )
    untagged: bool | None = Field(
        None, description="Whether it deletes manifests that no tag reaches, too."
    )
    vault: VaultText | None = Field(
        None, description="That could bring back what is taken wrongly: a name, or a location."
    )
    registry: str | None = Field(None, description="The name of the registry in the vault.")
    still_for: Span | None = Field(
        None, description="How long nothing may change before it begins: 10s."
    )
    timeout: Span | None = Field(None, description="How long it may take.")
    repair: bool | None = Field(None, description="Whether what was lost is brought back at once.")
    prices: Annotated[str, BeforeValidator(_prices)] | None = Field(
        None, description="What storage costs, where not as beside it."
    )
    retry_lock: Span | None = Field(
        None, description="How long to wait for a snapshot that is at work."
    )
    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None, description="How many threads work at once."
    )


class Tier(_Used):
    """Of tiering: sections of commands, and what they share. See docs/tiering.md."""

    apply: Apply | None = Field(None, description="Of `regvault tier apply`.")
    gc: Gc | None = Field(None, description="Of `regvault tier gc`.")
    plan: Plan | None = Field(None, description="Of `regvault tier plan`.")
    simulate: Simulate | None = Field(None, description="Of `regvault tier simulate`.")
    thaw: Thaw | None = Field(None, description="Of `regvault tier thaw`.")

    def shown(self) -> dict[str, Any]:
        """Return what is given, by key with dots between."""
        return dict(given(self))

    def value(self, command: str, flag: str) -> Any:
        """Return what is configured for a flag of a command; None: nothing.

        Args:
            command: such as `simulate`.
            flag: its name with `_` for `-`.
        """
        for section in (getattr(self, command, None), self):
            # `prices` is a command, and a setting; and not every attribute is a setting.
            if isinstance(section, Settings) and flag in type(section).model_fields:
                found = getattr(section, flag)
                if found is not None:
                    return str(found) if isinstance(found, SecretRef) else found
        return None
