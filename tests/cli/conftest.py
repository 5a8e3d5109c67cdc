from collections.abc import Callable
from pathlib import Path

import click
import pytest

from regvault.cli import main as main_module
from regvault.cli.app import App
from regvault.cli.group import LazyCommand, command


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("REGVAULT_CONFIG", "REGVAULT_VAULT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `regvault ARGS... probe`, where probe does what the test wants."""

    def run(body: Callable[[App], object], *args: str) -> int:
        @command("probe", help="Do what the test wants.")
        @click.pass_obj
        def probe(app: App) -> object:
            return body(app)

        monkeypatch.setattr(main_module, "PROBE", probe, raising=False)
        entry = LazyCommand("regvault.cli.main:PROBE", "Do what the test wants.")
        monkeypatch.setitem(main_module.cli.lazy, "probe", entry)
        return main_module.run(list(args) if "probe" in args else [*args, "probe"])

    return run
