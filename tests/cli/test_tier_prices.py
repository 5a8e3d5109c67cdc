"""`regvault tier prices`: a price that has changed is told.

The lists have the shape of what providers publish (AWS: Price List Bulk API v1.0, offer file of
AmazonS3; Azure: Retail Prices API 2023-01-01; GCS: Cloud Billing Catalog API v1), cut down to a few
prices.
"""

from __future__ import annotations

import json

import pytest

from regvault.cli.main import run


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGVAULT_CONFIG", raising=False)
    return tmp_path


def aws(*prices):
    """An offer file: usage type, and USD of one."""
    products, terms = {}, {}
    for number, (name, price) in enumerate(prices):
        sku = f"SKU{number}"
        products[sku] = {
            "sku": sku,
            "productFamily": "Storage",
            "attributes": {"servicecode": "AmazonS3", "usagetype": name, "regionCode": "us-east-1"},
        }
        dimensions = {
            f"{sku}.JRTCKXETXF.PGHJ3S3EYE": {
                "beginRange": "0", "endRange": "51200", "unit": "GB-Mo",
                "pricePerUnit": {"USD": f"{price:.10f}"},
            },
            f"{sku}.JRTCKXETXF.D42MF2PVJS": {
                "beginRange": "51200", "endRange": "512000", "unit": "GB-Mo",
                "pricePerUnit": {"USD": f"{price * 0.9:.10f}"},
            },
        }  # fmt: skip
        terms[sku] = {f"{sku}.JRTCKXETXF": {"sku": sku, "priceDimensions": dimensions}}
    return {
        "formatVersion": "v1.0",
        "offerCode": "AmazonS3",
        "products": products,
        "terms": {"OnDemand": terms},
    }


SAME = [
    ("TimedStorage-ByteHrs", 0.023),
    ("Requests-Tier1", 0.000005),
    ("TimedStorage-GIR-ByteHrs", 0.004),
    ("Retrieval-GIR", 0.03),
    ("Monitoring-Automation-INT", 0.0000025),
    ("DataTransfer-Out-Bytes", 0.09),
]


def compared(capsys, place, document, *options, expect):
    (place / "list.json").write_text(json.dumps(document))
    capsys.readouterr()
    words = ["tier", "prices", "--list", "list.json", *options]
    assert run([*words, "--json"]) == expect
    found = json.loads(capsys.readouterr().out)["compared"]
    return {(each["storage_class"], each["field"]): each for each in found}


def test_what_is_the_same_is_good(capsys, place):
    found = compared(capsys, place, aws(*SAME), expect=0)
    told = {name for name, each in found.items() if each["theirs"] is not None}
    assert told == {
        ("STANDARD", "gb_month"), ("STANDARD", "put_per_1000"), ("GLACIER_IR", "gb_month"),
        ("GLACIER_IR", "retrieval_gb"), ("INTELLIGENT_TIERING", "watched_per_1000_month"),
    }  # fmt: skip


def test_of_another_region_names_have_a_prefix(capsys, place):
    found = compared(capsys, place, aws(*[(f"USE1-{n}", p) for n, p in SAME]), expect=0)
    assert found["GLACIER_IR", "gb_month"]["theirs"] == 0.004


def test_each_price_that_has_changed_is_told(capsys, place):
    changed = [(n, p * 1.5 if n == "Retrieval-GIR" else p) for n, p in SAME]
    found = compared(capsys, place, aws(*changed), expect=3)
    assert [name for name, each in found.items() if each["drifted"]] == [
        ("GLACIER_IR", "retrieval_gb")
    ]
    assert run(["tier", "prices", "--list", "list.json"]) == 3
    told = capsys.readouterr()
    assert "GLACIER_IR retrieval_gb: 0.03 here, 0.045 in the list" in told.err


def test_two_prices_of_one_name_are_none(capsys, place):
    found = compared(capsys, place, aws(*SAME, ("Retrieval-GIR", 0.07)), expect=0)
    assert found["GLACIER_IR", "retrieval_gb"]["theirs"] is None


def test_azure(capsys, place):
    items = [
        {"meterName": "Hot LRS Data Stored", "retailPrice": 0.018, "unitOfMeasure": "1 GB/Month",
         "tierMinimumUnits": 0.0, "productName": "General Block Blob v2", "type": "Consumption"},
        {"meterName": "Hot LRS Data Stored", "retailPrice": 0.0173, "unitOfMeasure": "1 GB/Month",
         "tierMinimumUnits": 51200.0, "productName": "General Block Blob v2"},
        {"meterName": "Hot LRS Write Operations", "retailPrice": 0.055, "unitOfMeasure": "10K",
         "tierMinimumUnits": 0.0, "productName": "General Block Blob v2"},
        {"meterName": "Cool Data Retrieval", "retailPrice": 0.02, "unitOfMeasure": "1 GB",
         "tierMinimumUnits": 0.0, "productName": "General Block Blob v2"},
        {"meterName": "Hot LRS Data Stored", "retailPrice": 0.9, "unitOfMeasure": "1 GB/Month",
         "tierMinimumUnits": 0.0, "productName": "Azure Data Lake Storage Gen2"},
    ]  # fmt: skip
    found = compared(capsys, place, {"Items": items}, "--prices", "azure-eastus-lrs", expect=3)
    assert found["Hot", "gb_month"]["theirs"] == 0.018
    assert found["Hot", "put_per_1000"]["theirs"] == pytest.approx(0.0055)
    assert [name for name, each in found.items() if each["drifted"]] == [("Cool", "retrieval_gb")]


def sku(said, price, *regions, group="RegionalStorage", free=0.0):
    rate = {"currencyCode": "USD", "units": str(int(price)), "nanos": round(price % 1 * 1e9)}
    zero = {"currencyCode": "USD", "units": "0", "nanos": 0}
    rates = [{"startUsageAmount": free, "unitPrice": rate}]
    return {
        "description": said,
        "category": {"resourceFamily": "Storage", "resourceGroup": group, "usageType": "OnDemand"},
        "serviceRegions": list(regions),
        "pricingInfo": [
            {
                "pricingExpression": {
                    "usageUnit": "GiBy.mo",
                    "tieredRates": [{"startUsageAmount": 0, "unitPrice": zero}] * bool(free)
                    + rates,
                }
            }
        ],
    }


def test_gcs_has_all_regions_in_one_list(capsys, place):
    skus = [
        sku("Standard Storage US Regional", 0.020, "us-central1", "us-east1", free=5),
        sku("Standard Storage Frankfurt", 0.023, "europe-west3"),
        sku("Nearline Storage US Regional", 0.012, "us-east1"),
        sku("Nearline Storage US Regional (Early Delete)", 0.99, "us-east1"),
        sku("Nearline Storage US Dual-region", 0.99, "us-east1"),
        sku("Regional Coldline Class A Operations", 0.00002, "global", group="ColdlineOps"),
        sku("Multi-Region Coldline Class A Operations", 0.00004, "global", group="ColdlineOps"),
        sku("Archive Data Retrieval", 0.05, "global", group="ArchiveOps"),
        sku("Network Data Transfer", 1.12, "global"),
    ]
    found = compared(capsys, place, {"skus": skus}, "--prices", "gcs-us-east1", expect=3)
    told = {name: each["theirs"] for name, each in found.items() if each["theirs"] is not None}
    assert told == {
        ("STANDARD", "gb_month"): 0.020,
        ("NEARLINE", "gb_month"): 0.012,
        ("COLDLINE", "put_per_1000"): pytest.approx(0.02),
        ("ARCHIVE", "retrieval_gb"): 0.05,
    }
    assert [name for name, each in found.items() if each["drifted"]] == [("NEARLINE", "gb_month")]


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"products": {}, "terms": {"OnDemand": {}}},
        {"Items": []},
        {"skus": []},
        {"skus": [{"description": "Nearline Storage X", "pricingInfo": []}]},
        "x",
    ],
)
def test_what_is_no_list_is_refused(capsys, place, document):
    (place / "list.json").write_text(json.dumps(document))
    assert run(["tier", "prices", "--list", "list.json"]) == 2
    assert "list.json" in capsys.readouterr().err
    assert run(["tier", "prices", "--list", "none.json"]) == 2
    assert run(["tier", "prices", "--list", "list.json", "--prices", "gcs-us-east1"]) == 2


def test_prices_are_shown(capsys):
    assert run(["tier", "prices"]) == 0
    assert "GLACIER_IR" in capsys.readouterr().out
    assert run(["tier", "prices", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"]["GLACIER"]["thaw"]["bulk"]["hours"] == 12
    assert found["compared"] == []
