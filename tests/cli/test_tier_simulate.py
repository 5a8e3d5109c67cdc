"""`regvault tier simulate`, as one runs it."""

from __future__ import annotations

import io
import json
import random
import re
import xml.etree.ElementTree as ET

import click
import pytest

from regvault.cli.commands.tier import tier
from regvault.cli.main import run
from regvault.config.load import InvalidConfigurationError, parse_config

DAY = 86_400
#: Options that have their key elsewhere, or none: how one looks at a run.
#: What overrides a refusal has none, either.
ELSEWHERE = {
    "quiet", "verbose", "json", "help", "identity", "endpoint_url", "threads", "source", "plan",
    "dry_run", "yes", "unchecked", "all_hot", "unproven", "allow_fresh", "without_vault",
    # Which snapshot, and what of it, is thawed; retention has a place of its own.
    "snapshot", "repo", "tag", "digest", "no_referrers", "wait",
    "keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly",
    "keep_within",
}  # fmt: skip


#: A section has them even where its command does not take them.
SHARED = {"prices", "ignore"}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def trace(place):
    """Two years of a registry: builds that nobody reads twice, and a base image."""
    chance = random.Random(1)
    rows = []
    for number in range(400):
        digest = f"sha256:{number:064x}"
        born = chance.random() * 600
        size = chance.choice([3_000, 5_000_000, 90_000_000, 400_000_000])
        uri = f"/v2/ci/app-{number % 7}/blobs/{digest}"
        rows.append((born, "PUT", uri, 201, size))
        rows.append((born + 0.1, "GET", uri, 200, size))
    base = "/v2/base/os/blobs/sha256:" + "f" * 64
    rows += [(day, "GET", base, 200, 300_000_000) for day in range(0, 730, 2)]
    path = place / "trace.csv"
    lines = ["time,client,method,uri,status,bytes"]
    lines += [
        f"{1.7e9 + day * DAY:.0f},10.0.0.1,{method},{uri},{status},{size}"
        for day, method, uri, status, size in sorted(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def document(capsys, *options):
    capsys.readouterr()
    assert run(["tier", "simulate", "--json", *map(str, options)]) == 0
    return json.loads(capsys.readouterr().out)


def test_it_says_what_each_way_costs(trace, capsys):
    found = document(capsys, "--trace", trace)
    assert found["prices"]["name"] == "aws-us-east-1"
    whole, year, quarter = found["horizons"]
    assert (round(whole["days"]), round(year["days"]), round(quarter["days"])) == (728, 365, 91)
    ways = {way["name"]: way for way in whole["ways"]}
    hot, ours, best = ways["all STANDARD"], ways["regvault"], ways["optimum"]
    assert best["cost"] <= min(way["cost"] for way in ways.values())
    assert best["cost"] < ours["cost"] < hot["cost"] / 2
    assert ours["regret"] == pytest.approx(ours["cost"] - best["cost"], abs=1e-5)
    assert whole["saved"] == pytest.approx(1 - ours["of_hot"], abs=1e-5)
    parts = ours["storage"] + ours["reads"] + ours["moves"]
    assert parts == pytest.approx(ours["cost"], abs=1e-5)
    assert whole["accesses"] == 400 + 365
    assert whole["calibration"]["brier"] < whole["calibration"]["brier_base"]
    assert document(capsys, "--trace", trace) == found


def test_tables_for_people(trace, capsys):
    assert run(["tier", "simulate", "--trace", str(trace)]) == 0
    told = capsys.readouterr().out
    assert "765 reads of 401 blobs" in told
    assert "How likely a read was within 30 days" in told
    assert re.search(r"^regvault +\d", told, re.MULTILINE)
    assert re.search(r"In 91 days regvault saves [\d.]+ % of [\d.]+ USD", told)


def test_a_page_with_charts(trace, place, capsys):
    assert run(["tier", "simulate", "--trace", str(trace), "--html", "page.html"]) == 0
    assert "page.html" in capsys.readouterr().err
    page = (place / "page.html").read_text()
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 4
    bars = ET.fromstring(pictures[0])
    whole = document(capsys, "--trace", trace)["horizons"][0]
    assert len(bars.findall("rect")) == len(whole["ways"])
    assert "<script" not in page
    assert not list(place.glob("*.tmp"))


def test_the_prices_of_others(trace, place, capsys):
    found = document(capsys, "--trace", trace, "--prices", "gcs-us-east1")
    assert found["horizons"][0]["classes"] == ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"]
    (place / "own.toml").write_text(
        'name = "cellar"\nas_of = 2026-11-01\ncurrency = "EUR"\nhot = "ssd"\n'
        "[classes.ssd]\ngb_month = 0.05\nput_per_1000 = 0\n"
        "[classes.disk]\ngb_month = 0.01\nput_per_1000 = 0\n"
    )
    found = document(capsys, "--trace", trace, "--prices", "own.toml")
    assert found["prices"] == {"name": "cellar", "as_of": "2026-11-01", "currency": "EUR"}
    # What costs nothing to move or to read belongs there at once.
    best = found["horizons"][0]["ways"][-1]
    assert best["of_hot"] == pytest.approx(0.2, abs=0.001)


def test_less_is_looked_at(trace, capsys):
    found = document(capsys, "--trace", trace, "--horizon", "6mo")
    assert [round(each["days"]) for each in found["horizons"]] == [183, 91]


def test_events_over_standard_input(capsys, monkeypatch):
    event = {"action": "pull", "method": "GET", "repository": "a/b", "kind": "blob", "size": 9}
    lines = [
        json.dumps({**event, "digest": f"sha256:{n:064x}", "time": f"2026-11-{n:02d}T00:00:00Z"})
        for n in range(1, 20)
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    found = document(capsys, "--trace", "-")
    assert found["horizons"][0]["accesses"] == 19


@pytest.mark.parametrize(
    "text",
    [
        "uri\nx\n",
        "uri,bytes\nx,0\ny,0\nx,0\n",
        "time,uri\n5,x\n5,y\n",
        "time,uri,method,bytes\n0,x,GET,9\n9e6,x,DELETE,9\n9e6,y,GET,1\n",
        "time,uri\n\xff\x00,x\n1,x\n",
    ],
)
def test_the_smallest_histories(text, place, capsys):
    (place / "small.csv").write_text(text)
    found = document(capsys, "--trace", "small.csv")
    assert found["horizons"][0]["accesses"] >= 1
    assert run(["tier", "simulate", "--trace", "small.csv", "--html", "page.html"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trace", "none.csv"], "cannot read none.csv"),
        (["--trace", "trace.csv", "--prices", "aws"], "no prices 'aws'"),
        (["--trace", "trace.csv", "--horizon", "soon"], "24mo"),
        (["--trace", "trace.csv", "--sizes", "trace.csv"], "no field digest"),
        (["--trace", "trace.csv", "--html", "trace.csv"], "is read from"),
        (["--trace", "trace.csv", "--html", "/dev/full"], "it is no file"),
        (["--trace", "trace.csv", "--horizon", "5000y"], "20 years"),
        (["--trace", "trace.csv", "--html", "no/where.html"], "cannot write"),
        (["--trace", "trace.csv", "--ignore", "me"], "who is to be ignored"),
        ([], "--trace"),
    ],
)
def test_wrong_input(trace, capsys, options, message):
    assert run(["tier", "simulate", *options]) == 2
    assert message in capsys.readouterr().err


def test_each_option_has_a_key(trace, place, capsys):
    (place / "regvault.yaml").write_text(
        "tier:\n  prices: gcs-us-east1\n  ignore: [agent=mirror/*]\n"
        "  simulate: {trace: trace.csv, horizon: 6mo, html: page.html}\n"
    )
    assert run(["config", "check", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["tier"]
    assert shown["prices"] == "gcs-us-east1"
    assert shown["simulate.horizon"] == "6mo"
    found = document(capsys)
    assert found["prices"]["name"] == "gcs-us-east1"
    assert len(found["horizons"]) == 2
    assert (place / "page.html").exists()
    assert document(capsys, "--prices", "aws-us-east-1")["prices"]["name"] == "aws-us-east-1"
    # As people run it, with a configuration and without `--json`.
    assert run(["tier", "simulate"]) == 0
    assert "prices gcs-us-east1" in capsys.readouterr().out
    (place / "regvault.yaml").write_text("audit: {}\n")
    assert run(["tier", "simulate", "--trace", "trace.csv"]) == 0
    context = click.Context(tier)
    names = tier.list_commands(context)
    assert names
    for name in set(names) - {"mount", "unmount", "prices"}:  # those are done once
        command = tier.get_command(context, name)
        assert command is not None
        section = getattr(parse_config(f"tier: {{{name}: {{}}}}", "x").tier, name)
        flags = {max(o.opts, key=len).lstrip("-").replace("-", "_") for o in command.params}
        fields = set(type(section).model_fields)
        assert flags - ELSEWHERE <= fields, name
        assert fields <= flags | SHARED, name


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("tier: {prices: aws}", "tier.prices"),
        ("tier: {simulate: {horizon: soon}}", "tier.simulate.horizon"),
        ("tier: {simulate: {ignore: [me]}}", "tier.simulate.ignore"),
        ("tier: {simulat: {}}", "tier.simulat"),
    ],
)
def test_wrong_keys(text, key):
    with pytest.raises(InvalidConfigurationError) as caught:
        parse_config(text, "regvault.yaml")
    assert key in str(caught.value)
