"""Price lists as providers publish them, to hold a price file against: prices drift.

- AWS: the offer file of AmazonS3 for one region, of the Price List Bulk API
  (`https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonS3/current/REGION/index.json`).
  Usage types are those of "Understanding your AWS billing and usage reports for Amazon S3".
- Azure: an answer of the Retail Prices API (`https://prices.azure.com/api/retail/prices`), all
  pages of it in one list `Items`.
- GCS: an answer of the Cloud Billing Catalog API for Cloud Storage
  (`https://cloudbilling.googleapis.com/v1/services/95FF-2EF5-5EA1/skus`), all pages of it in one
  list `skus`. They are told apart by their descriptions, such as "Nearline Storage Iowa" and
  "Regional Nearline Class A Operations".

A list has more than a price file, and not all that is in one: what it does not tell is said.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from regvault.errors import UsageError

if TYPE_CHECKING:
    from regvault.policy.prices import ClassPrice, PriceTable

__all__ = ["Compared", "compare_prices"]

_MOST_BYTES: Final = 512 << 20
_SAME: Final = 1e-6
_OF_REGION: Final = re.compile(r"(?:^|-)([a-z]{2}-[a-z]+(?:-[a-z]+)?-\d)$")
_OF_GCS_REGION: Final = re.compile(r"(?:^|-)([a-z]+-[a-z]+\d{1,2})$")
#: `USE1-`, `EU-`, `APN1-`; none in US East (N. Virginia).
_REGION: Final = re.compile(r"(?:[A-Z]{2,4}\d{1,2}|EU)-")


class Compared(NamedTuple):
    """One price, in a price file and in a list.

    Attributes:
        storage_class, field: which.
        ours: of the price file.
        theirs: of the list; None: it does not tell.
    """

    storage_class: str
    field: str
    ours: float
    theirs: float | None

    @property
    def drifted(self) -> bool:
        """Whether they differ."""
        return self.theirs is not None and abs(self.theirs - self.ours) > _SAME


class _Asked(NamedTuple):
    storage_class: str
    field: str
    name: str
    scale: float = 1.0


def _aws(
    storage_class: str, infix: str, storage: str, *more: tuple[str, str, float]
) -> list[_Asked]:
    found = [
        _Asked(storage_class, "gb_month", storage),
        _Asked(storage_class, "put_per_1000", f"Requests-{infix}Tier1", 1000),
        _Asked(storage_class, "get_per_1000", f"Requests-{infix}Tier2", 1000),
    ]
    return [*found, *(_Asked(storage_class, *each) for each in more)]


_AWS: Final = [
    *_aws("STANDARD", "", "TimedStorage-ByteHrs"),
    *_aws("STANDARD_IA", "SIA-", "TimedStorage-SIA-ByteHrs", ("retrieval_gb", "Retrieval-SIA", 1)),
    *_aws("ONEZONE_IA", "ZIA-", "TimedStorage-ZIA-ByteHrs", ("retrieval_gb", "Retrieval-ZIA", 1)),
    *_aws("GLACIER_IR", "GIR-", "TimedStorage-GIR-ByteHrs", ("retrieval_gb", "Retrieval-GIR", 1)),
    _Asked("INTELLIGENT_TIERING", "gb_month", "TimedStorage-INT-FA-ByteHrs"),
    _Asked("INTELLIGENT_TIERING", "idle.0", "TimedStorage-INT-IA-ByteHrs"),
    _Asked("INTELLIGENT_TIERING", "idle.1", "TimedStorage-INT-AIA-ByteHrs"),
    _Asked("INTELLIGENT_TIERING", "watched_per_1000_month", "Monitoring-Automation-INT", 1000),
    _Asked("GLACIER", "gb_month", "TimedStorage-GlacierByteHrs"),
    _Asked("DEEP_ARCHIVE", "gb_month", "TimedStorage-GDA-ByteHrs"),
]
_AZURE: Final = [
    asked
    for name in ("Hot", "Cool", "Cold", "Archive")
    for asked in (
        _Asked(name, "gb_month", f"{name} LRS Data Stored"),
        _Asked(name, "put_per_1000", f"{name} LRS Write Operations", 1000),
        _Asked(name, "get_per_1000", f"{name} Read Operations", 1000),
        _Asked(name, "retrieval_gb", f"{name} Data Retrieval"),
    )
]
_GCS: Final = [
    asked
    for name in ("Standard", "Nearline", "Coldline", "Archive")
    for asked in (
        _Asked(name.upper(), "gb_month", f"{name} Storage"),
        _Asked(name.upper(), "put_per_1000", f"{name} Class A Operations", 1000),
        _Asked(name.upper(), "get_per_1000", f"{name} Class B Operations", 1000),
        _Asked(name.upper(), "retrieval_gb", f"{name} Data Retrieval"),
    )
]
_OF_GCS: Final = (
    re.compile(r"(?P<name>\w+ Storage) (?!.*(?:Early Delete|-region\b))", re.IGNORECASE),
    re.compile(r"Regional (?P<name>\w+ Class [AB] Operations)"),
    re.compile(r"(?P<name>\w+ Data Retrieval)"),
)


def compare_prices(table: PriceTable, path: str) -> list[Compared]:
    """Hold prices against a list of their provider.

    Args:
        table: the prices.
        path: of the list.

    Returns:
        Of each price that lists of this provider may tell, both.

    Raises:
        UsageError: it is no list of this provider, or tells nothing.
    """
    reader, asked = _READERS.get(table.provider, (None, []))
    if reader is None:
        raise UsageError(
            f"no list of the provider {table.provider or 'of ' + table.name} can be read",
            hint=f"Lists of {', '.join(_READERS)} can.",
        )
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(_MOST_BYTES))
        prices = reader(document, table.name)
        region = _region_of(document)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"{path} is no price list of {table.provider}",
            hint="docs/tiering.md says where providers publish them.",
        ) from None
    ours = _OF_REGION.search(table.name)
    if region and ours is not None and ours[1] not in region:
        raise UsageError(
            f"{path} is of {', '.join(sorted(region))}, and {table.name} of {ours[1]}",
            hint="Take the list of the same region.",
        )
    found = [
        Compared(each.storage_class, each.field, price, _theirs(prices, each))
        for each in asked
        if each.storage_class in table.classes
        and (price := _ours(table.classes[each.storage_class], each.field)) is not None
    ]
    if all(each.theirs is None for each in found):
        raise UsageError(
            f"{path} tells no price that {table.name} has",
            hint="Is it that of another service, or of another region?",
        )
    return found


def _region_of(document: Any) -> set[str]:
    """Return the regions that a list is of, as far as it says so."""
    found = set()
    for product in document.get("products", {}).values():
        found.add(str(product.get("attributes", {}).get("regionCode") or ""))
    for item in document.get("Items", ()):
        found.add(str(item.get("armRegionName") or ""))
    return found - {""}


def _ours(price: ClassPrice, field: str) -> float | None:
    name, _, place = field.partition(".")
    if name == "idle":
        return price.idle[int(place)].gb_month if int(place) < len(price.idle) else None
    return float(getattr(price, name))


def _theirs(prices: dict[str, set[float]], asked: _Asked) -> float | None:
    """Return the price of a name, if there is one alone."""
    found = prices.get(asked.name, set())
    return next(iter(found)) * asked.scale if len(found) == 1 else None


def _price(value: Any) -> float:
    """Return a price. Raises ValueError where it is none."""
    found = float(value)
    if not 0 <= found < 1e6:
        raise ValueError(value)
    return found


def _of_aws(document: Any, _: str) -> dict[str, set[float]]:
    """Return usage type -> what the first of it costs, in USD."""
    found: dict[str, set[float]] = defaultdict(set)
    terms = document["terms"]["OnDemand"]
    for sku, product in document["products"].items():
        name = str(product.get("attributes", {}).get("usagetype", ""))
        match = _REGION.match(name)
        name = name if match is None else name[match.end() :]
        for term in terms.get(sku, {}).values():
            for dimension in term["priceDimensions"].values():
                if dimension.get("beginRange", "0") in ("0", "Inf"):
                    found[name].add(_price(dimension["pricePerUnit"]["USD"]))
    return found


def _of_azure(document: Any, _: str) -> dict[str, set[float]]:
    """Return meter -> what the first of it costs, in the currency of the list; 10,000 make one."""
    found: dict[str, set[float]] = defaultdict(set)
    for item in document["Items"]:
        if item.get("type", "Consumption") != "Consumption" or item.get("tierMinimumUnits", 0):
            continue
        if item.get("productName") not in (None, "Blob Storage", "General Block Blob v2"):
            continue
        unit = str(item.get("unitOfMeasure", ""))
        many = re.match(r"(\d+)K\b", unit)
        price = _price(item["retailPrice"])
        found[str(item["meterName"])].add(price / (int(many[1]) * 1000) if many else price)
    return found


def _of_gcs(document: Any, name: str) -> dict[str, set[float]]:
    """Return what is paid for -> what it costs in one region, in USD: a list has all regions.

    A region that the name of the price file does not tell is any: then only what has the same
    price everywhere is known. What is free at first counts with its price after that.
    """
    region = _OF_GCS_REGION.search(name)
    found: dict[str, set[float]] = defaultdict(set)
    for sku in document["skus"]:
        regions = sku.get("serviceRegions") or ["global"]
        if region is not None and not {region[1], "global"} & set(regions):
            continue
        said = str(sku["description"])
        match = next((match for each in _OF_GCS if (match := each.match(said))), None)
        if match is None or sku.get("category", {}).get("usageType", "OnDemand") != "OnDemand":
            continue
        rates = sku["pricingInfo"][-1]["pricingExpression"]["tieredRates"]
        price = max(rates, key=lambda rate: float(rate.get("startUsageAmount", 0)))["unitPrice"]
        units = _price(price.get("units") or 0) + float(price.get("nanos", 0)) / 1e9
        found[match["name"]].add(_price(units))
    return found


_Reader = Callable[[Any, str], dict[str, set[float]]]
_READERS: Final[dict[str, tuple[_Reader, list[_Asked]]]] = {
    "aws": (_of_aws, _AWS),
    "azure": (_of_azure, _AZURE),
    "gcs": (_of_gcs, _GCS),
}
