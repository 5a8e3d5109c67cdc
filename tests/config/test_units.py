import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.config.units import parse_duration, parse_percent, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1024", 1024),
        ("10MiB", 10 << 20),
        ("10M", 10 << 20),
        ("10 MiB", 10 << 20),
        ("10MB", 10_000_000),
        ("1.5GiB", 3 << 29),
        ("2TiB", 2 << 40),
        ("512b", 512),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e9", "10 M i B", "10XiB", "٣MiB", "1.MiB"])
def test_what_is_no_size_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


def test_rates() -> None:
    assert parse_rate("10MiB/s") == parse_rate("10MiB") == 10 << 20
    with pytest.raises(ValueError, match="no limit"):
        parse_rate("0")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("250ms", 0.25)],
)
def test_time_spans(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5m!", "1h 30m"])
def test_what_is_no_time_span_is_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="no time span"):
        parse_duration(text)


def test_percentages() -> None:
    assert parse_percent("10%") == parse_percent("10") == 10
    for text in ("", "101", "-1", "%", "1e1"):
        with pytest.raises(ValueError, match="no percentage"):
            parse_percent(text)


@given(st.integers(0, 10**15 - 1), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB"]))
def test_whole_sizes_are_exact(value: int, unit: str) -> None:
    power = ["B", "KiB", "MiB", "GiB", "TiB"].index(unit)
    assert parse_size(f"{value}{unit}") == value * 1024**power
