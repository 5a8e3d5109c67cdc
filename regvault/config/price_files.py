"""Files of prices: those that come along, and one's own."""

from __future__ import annotations

import os
import tomllib
from datetime import date  # noqa: TC003 (pydantic looks at it)
from importlib import resources
from typing import Annotated, Any

from pydantic import Field, ValidationError

from regvault.config.rules import Settings
from regvault.config.values import Size  # noqa: TC001 (likewise)
from regvault.errors import UsageError
from regvault.policy.prices import ClassPrice, IdleTier, PriceTable, Thaw

__all__ = ["DEFAULT_PRICES", "is_file", "known_prices", "load_prices"]

DEFAULT_PRICES = "aws-us-east-1"

_Price = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
_Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]


class _Idle(Settings):
    days: _Days
    gb_month: _Price


class _Thaw(Settings):
    hours: Annotated[float, Field(gt=0, le=10_000)]
    gb: _Price
    per_1000: _Price


class _Class(Settings):
    gb_month: _Price
    put_per_1000: _Price
    get_per_1000: _Price = 0.0
    transition_per_1000: _Price = 0.0
    retrieval_gb: _Price = 0.0
    min_days: _Days = 0.0
    min_bytes: Size = 0
    overhead_bytes: Size = 0
    hot_overhead_bytes: Size = 0
    watched_per_1000_month: _Price = 0.0
    watched_bytes: Size = 0
    idle: list[_Idle] = Field(default_factory=list)
    thaw: dict[str, _Thaw] = Field(default_factory=dict)
    durable: bool = True


class _File(Settings):
    name: str
    provider: str = ""
    as_of: date
    currency: str
    hot: str
    classes: dict[str, _Class] = Field(min_length=1)


def known_prices() -> list[str]:
    """Return the names of the prices that come along."""
    place = resources.files("regvault.config") / "prices"
    return sorted(each.name.removesuffix(".toml") for each in place.iterdir())


def is_file(name: str) -> bool:
    """Return whether prices are named by the path of a file: it has a `/`, or ends in .toml."""
    return "/" in name or name.endswith(".toml")


def load_prices(name: str) -> PriceTable:
    """Return prices by their name, or by the path of a file (`is_file`).

    Raises:
        UsageError: there are none, or the file is none of prices.
    """
    if is_file(name):
        try:
            with open(name, "rb") as file:
                return _parsed(file.read(), name)
        except OSError as error:
            raise UsageError(
                f"cannot read the prices {name}: {os.strerror(error.errno or 0)}",
                hint=f"Name a file, or one of {', '.join(known_prices())}.",
            ) from error
    if name not in known_prices():
        raise UsageError(
            f"there are no prices {name!r}",
            hint=f"Known are {', '.join(known_prices())}; one's own: the path of a .toml file.",
        )
    place = resources.files("regvault.config") / "prices" / f"{name}.toml"
    return _parsed(place.read_bytes(), name)


def _parsed(data: bytes, name: str) -> PriceTable:
    try:
        found = _File.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"prices {name}: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"prices {name}: {error}") from error
    if found.hot not in found.classes:
        raise UsageError(f"prices {name}: `hot` names no class: {found.hot}")
    if found.classes[found.hot].thaw:
        raise UsageError(f"prices {name}: the hot class {found.hot} does not serve at once")
    hot = found.classes[found.hot]
    if hot.idle or hot.retrieval_gb or hot.min_days:
        raise UsageError(
            f"prices {name}: the hot class {found.hot} must cost nothing to leave, and the same "
            "however long it is idle",
            hint="It has no retrieval_gb, no min_days and no idle.",
        )
    for key, each in found.classes.items():
        steps = [each.gb_month, *(gb for _, gb in sorted((i.days, i.gb_month) for i in each.idle))]
        if steps != sorted(steps, reverse=True):
            raise UsageError(f"prices {name}: what is idle in {key} gets dearer again")
    return PriceTable(
        found.name,
        found.as_of.isoformat(),
        found.currency,
        found.hot,
        {key: _price(each) for key, each in found.classes.items()},
        found.provider,
    )


def _price(found: _Class) -> ClassPrice:
    idle = tuple(IdleTier(*each) for each in sorted((one.days, one.gb_month) for one in found.idle))
    thaw = tuple(
        (key, Thaw(each.hours, each.gb, each.per_1000)) for key, each in found.thaw.items()
    )
    return ClassPrice(**{**dict(found), "idle": idle, "thaw": thaw})
