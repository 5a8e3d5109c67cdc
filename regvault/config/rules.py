"""The settings that are rules: which snapshots stay, and what `regvault check` asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from regvault.config.units import parse_duration
from regvault.policy.retention import Retention
from regvault.policy.rule321 import Rule

__all__ = ["Check", "RetentionRules", "Settings", "Span", "VerifyAge", "text_of", "wrong"]


def wrong(message: str, hint: str | None = None) -> PydanticCustomError:
    """Return what to raise where a value is wrong."""
    # Braces would be taken for fields of the message.
    return PydanticCustomError("regvault", "{message}", {"message": message, "hint": hint})


def text_of(value: Any) -> str:
    """Return a value that is text; raise where it is none."""
    if not isinstance(value, str):
        raise wrong("text is expected here", "Put it into quotes.")
    return value


def _span(value: Any) -> float:
    try:
        return parse_duration(text_of(value))
    except ValueError as error:
        raise wrong(str(error)) from None


Count = Annotated[int, Field(ge=0, le=100_000)]
Span = Annotated[
    float,
    BeforeValidator(_span),
    WithJsonSchema({"type": "string", "examples": ["30d", "36h"]}),
]


class Settings(BaseModel):
    """Settings with names; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RetentionRules(Settings):
    """Which snapshots `regvault forget` keeps. See docs/retention.md."""

    last: Count = Field(0, description="How many of the newest.")
    hourly: Count = Field(0, description="Of how many hours the newest one.")
    daily: Count = Field(0, description="Of how many days the newest one.")
    weekly: Count = Field(0, description="Of how many ISO weeks the newest one.")
    monthly: Count = Field(0, description="Of how many months the newest one.")
    yearly: Count = Field(0, description="Of how many years the newest one.")
    within: Span | None = Field(
        None, description="All that are not older than that, counted from the newest: 30d."
    )

    def rules(self) -> Retention:
        """Return the rules."""
        within = None if self.within is None else timedelta(seconds=self.within)
        return Retention(
            self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly, within
        )


class VerifyAge(Settings):
    """How long ago a vault may have been verified."""

    metadata: Span | None = Field(
        None, description="All of its metadata (`regvault verify`): 8d where it is left out."
    )
    data: Span | None = Field(
        None,
        description="All of its data (`--read-data`, or all parts of it): 35d where it is left "
        "out.",
    )


class Check(Settings):
    """What `regvault check` asks for. See docs/check.md."""

    copies: Count | None = Field(None, description="How many copies of each registry: 3.")
    media: Count | None = Field(None, description="In how many failure domains: 2.")
    offsite: Count | None = Field(None, description="How many of them offsite: 1.")
    immutable: Count | None = Field(None, description="How many immutable or offline: 1.")
    errors: Count | None = Field(None, description="How many errors are let pass: 0.")
    max_age: Span | None = Field(
        None, description="How old the newest snapshot in a vault may be: 26h."
    )
    max_behind: Span | None = Field(
        None, description="How much older than the newest of all vaults it may be: 26h."
    )
    verify_max_age: VerifyAge = Field(
        default_factory=lambda: VerifyAge.model_validate({}),
        description="How long ago it may have been verified.",
    )

    def rule(self) -> Rule:
        """Return the rule; what is left out is as regvault has it."""
        given: dict[str, Any] = {
            "copies": self.copies,
            "media": self.media,
            "offsite": self.offsite,
            "immutable": self.immutable,
            "errors": self.errors,
            "max_age_s": self.max_age,
            "max_behind_s": self.max_behind,
            "verify_metadata_s": self.verify_max_age.metadata,
            "verify_data_s": self.verify_max_age.data,
        }
        return Rule(**{name: value for name, value in given.items() if value is not None})
