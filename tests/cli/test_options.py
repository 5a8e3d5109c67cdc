import json
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner

from regvault.cli import options
from regvault.cli.group import Command


def parsed(decorator: Callable[[Any], Any], *args: str) -> dict[str, Any]:
    @click.command(cls=Command)
    @decorator
    def probe(**values: Any) -> None:
        click.echo(json.dumps(values))

    result = CliRunner().invoke(probe, args)
    return json.loads(result.output) if result.exit_code == 0 else {"error": result.output}


def test_sizes_and_time_spans_are_read() -> None:
    assert parsed(options.transfer_options) == {
        "threads": None,
        "limit_upload": None,
        "limit_download": None,
    }
    values = parsed(
        options.transfer_options, "--limit-upload", "10MiB/s", "--limit-download=1M", "--threads=3"
    )
    assert values == {"threads": 3, "limit_upload": 10 << 20, "limit_download": 1 << 20}
    assert parsed(options.retry_lock_option, "--retry-lock", "5m") == {"retry_lock": 300.0}
    assert parsed(options.retry_lock_option) == {"retry_lock": 0.0}


@pytest.mark.parametrize(
    ("decorator", "args", "message"),
    [
        (options.transfer_options, ["--limit-upload", "fast"], "no size"),
        (options.transfer_options, ["--limit-upload", "0"], "no limit"),
        (options.transfer_options, ["--threads", "0"], "1<=x<=256"),
        (options.retry_lock_option, ["--retry-lock", "5"], "no time span"),
    ],
)
def test_wrong_values_say_how_right_ones_are_written(
    decorator: Callable[[Any], Any], args: list[str], message: str
) -> None:
    assert message in parsed(decorator, *args)["error"]


def test_the_vault_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(options.vault_option)["vault"] is None
    monkeypatch.setenv("REGVAULT_VAULT", "disk")
    assert parsed(options.vault_option)["vault"] == "disk"
    assert parsed(options.vault_option, "--vault", "/other")["vault"] == "/other"


def test_a_share_may_be_left_out_of_an_option() -> None:
    decorator = click.option("--read-data", is_flag=False, flag_value=100.0, type=options.PERCENT)
    assert parsed(decorator) == {"read_data": None}
    assert parsed(decorator, "--read-data") == {"read_data": 100.0}
    assert parsed(decorator, "--read-data=10%") == {"read_data": 10.0}


def test_globs_and_switches() -> None:
    assert parsed(options.repo_option, "--repo", "a/*", "--repo", "b") == {"repos": ["a/*", "b"]}
    assert parsed(options.dry_run_option, "--dry-run") == {"dry_run": True}
    assert parsed(options.yes_option) == {"yes": False}
