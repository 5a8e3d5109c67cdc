"""Prices come from dated files, which one can replace."""

from __future__ import annotations

import pytest

from regvault.config.price_files import known_prices, load_prices
from regvault.errors import UsageError

OWN = """
name = "cellar"
as_of = 2026-11-01
currency = "EUR"
hot = "ssd"

[classes.ssd]
gb_month = 0.05
put_per_1000 = 0

[classes.disk]
gb_month = 0.01
put_per_1000 = 0
min_bytes = "64 KiB"
idle = [{ days = 90, gb_month = 0.001 }, { days = 30, gb_month = 0.005 }]

[classes.tape]
gb_month = 0.001
put_per_1000 = 0
[classes.tape.thaw]
robot = { hours = 4, gb = 0.01, per_1000 = 1 }
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.toml"

    def write(text):
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("name", known_prices())
def test_prices_that_come_along(name):
    found = load_prices(name)
    assert found.name == name
    assert found.as_of >= "2026-11-26"
    assert found.provider
    hot = found.classes[found.hot]
    assert (hot.retrieval_gb, hot.min_days) == (0, 0)
    # What is colder is cheaper to keep, and no cheaper to have.
    others = [each for key, each in found.classes.items() if key != found.hot]
    assert all(each.gb_month < hot.gb_month or each.idle for each in others)
    assert all(each.put_per_1000 >= hot.put_per_1000 for each in others)
    assert found.instant[0] == found.hot


def test_one_zone_is_never_chosen_by_itself():
    prices = load_prices("aws-us-east-1")
    assert prices.instant == ["STANDARD", "INTELLIGENT_TIERING", "STANDARD_IA", "GLACIER_IR"]


def test_all_classes_of_one_provider_may_serve_at_once():
    assert "ARCHIVE" in load_prices("gcs-us-east1").instant
    assert "Archive" not in load_prices("azure-eastus-lrs").instant


def test_ones_own(own):
    found = load_prices(own(OWN))
    assert (found.name, found.as_of, found.currency) == ("cellar", "2026-11-01", "EUR")
    assert found.instant == ["ssd", "disk"]
    disk = found.price("disk")
    assert disk.min_bytes == 65536
    assert [each.days for each in disk.idle] == [30, 90]
    assert dict(found.price("tape").thaw)["robot"].hours == 4
    with pytest.raises(UsageError, match="no class nvme"):
        found.price("nvme")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "own.toml"),
        (OWN.replace('hot = "ssd"', 'hot = "nvme"'), "names no class: nvme"),
        (OWN.replace('hot = "ssd"', 'hot = "tape"'), "does not serve at once"),
        (
            OWN.replace("= 0\n\n[classes.disk]", "= 0\nmin_days = 3\n\n[classes.disk]"),
            "nothing to leave",
        ),
        (OWN.replace("gb_month = 0.005", "gb_month = 0.05"), "idle in disk gets dearer"),
        (OWN.replace("0.05", "-1"), "classes.ssd.gb_month"),
        (OWN.replace("0.05", "nan"), "classes.ssd.gb_month"),
        (OWN.replace("gb_month = 0.05", ""), "classes.ssd.gb_month"),
        (OWN.replace("64 KiB", "64 kilos"), "classes.disk.min_bytes"),
        (OWN + "[classes.ssd2]\ngb_monht = 1\nput_per_1000 = 0\ngb_month = 1", "gb_monht"),
        (OWN.replace("2026-11-01", '"lately"'), "as_of"),
    ],
)
def test_what_is_no_file_of_prices(own, text, message):
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        load_prices(own(text))


def test_prices_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match="no prices 'aws'") as caught:
        load_prices("aws")
    assert "aws-us-east-1" in caught.value.hint
    with pytest.raises(UsageError, match="No such file"):
        load_prices(str(tmp_path / "none.toml"))
