"""The entry point, and the table of commands."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from regvault import __version__
from regvault.cli.app import App
from regvault.cli.failures import report, worst_exit_code
from regvault.cli.group import LazyCommand, LazyGroup
from regvault.cli.interrupt import Interrupted, interruptible
from regvault.errors import RegvaultError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "cli", "entry", "main", "run"]

_COMPLETE = "_REGVAULT_COMPLETE"

#: In the order of `regvault --help`. The help is the first line of the command's own.
COMMANDS: dict[str, LazyCommand] = {
    "init": LazyCommand(
        "regvault.cli.commands.init:init",
        "Make a vault, after probing what the store really supports.",
    ),
    "snapshot": LazyCommand(
        "regvault.cli.commands.snapshot:snapshot",
        "Take one full snapshot of the registry at SOURCE.",
    ),
    "restore": LazyCommand(
        "regvault.cli.commands.restore:restore",
        "Bring images of SNAPSHOT back into a registry's own storage.",
    ),
    "verify": LazyCommand(
        "regvault.cli.commands.verify:verify",
        "Prove what is in the vault, for all snapshots of all registries.",
    ),
    "scan": LazyCommand(
        "regvault.cli.commands.scan:scan",
        "Find what is damaged in the registry at SOURCE, and what is only untidy.",
    ),
    "snapshots": LazyCommand(
        "regvault.cli.commands.snapshots:snapshots",
        "List the snapshots in the vault, the newest of each registry last.",
    ),
    "ls": LazyCommand(
        "regvault.cli.commands.ls:ls",
        "List what is in a snapshot: repositories, tags of one, or one image.",
    ),
    "diff": LazyCommand(
        "regvault.cli.commands.diff:diff",
        "Show how B differs from A: repositories, tags, revisions, bytes.",
    ),
    "find": LazyCommand(
        "regvault.cli.commands.find:find",
        "Find a digest in all snapshots, or where a tag pointed over time.",
    ),
    "info": LazyCommand(
        "regvault.cli.commands.info:info",
        "Show what can be restored, how large it is, what is healthy and what is not.",
    ),
    "check": LazyCommand(
        "regvault.cli.commands.check:check",
        "Check that enough copies exist, apart, young and proven: 3-2-1-1-0, and RPO.",
    ),
    "doctor": LazyCommand(
        "regvault.cli.commands.doctor:doctor",
        "Find what would make a backup or a restore fail, before it does.",
    ),
    "estimate": LazyCommand(
        "regvault.cli.commands.estimate:estimate",
        "Estimate what a first full of the registry at SOURCE stores, takes and costs.",
    ),
    "confirm": LazyCommand(
        "regvault.cli.commands.confirm:confirm",
        "Accept SNAPSHOT, which is held because the source had shrunk.",
    ),
    "pin": LazyCommand(
        "regvault.cli.commands.pin:pin",
        "Keep SNAPSHOT, whatever `forget` is told, until the pin is taken away.",
    ),
    "forget": LazyCommand(
        "regvault.cli.commands.forget:forget",
        "Drop snapshots, by rules or by name.",
    ),
    "prune": LazyCommand(
        "regvault.cli.commands.prune:prune",
        "Delete what no snapshot needs, after `forget` has dropped some.",
    ),
    "purge": LazyCommand(
        "regvault.cli.commands.purge:purge",
        "Remove the content of each DIGEST, a layer, a config or a manifest, from every snapshot.",
    ),
    "copy": LazyCommand(
        "regvault.cli.commands.copy:copy",
        "Copy what other vaults lack of this vault's snapshots; each byte is proven.",
    ),
    "repair": LazyCommand(
        "regvault.cli.commands.repair:repair",
        "Mend what is damaged or missing in the vault, and prove it.",
    ),
    "unlock": LazyCommand(
        "regvault.cli.commands.unlock:unlock",
        "End the leases of runs that are dead, and a prune lock that one left.",
    ),
    "key": LazyCommand(
        "regvault.cli.commands.key:key",
        "Keys that sign a vault's snapshots, and keys that a sealed vault is opened with.",
    ),
    "audit": LazyCommand(
        "regvault.cli.commands.audit:audit",
        "Take events and logs of registries, stream them to Kafka, keep them, and ask them.",
    ),
    "tier": LazyCommand(
        "regvault.cli.commands.tier:tier",
        "Find out what belongs into cheaper storage, by what is really pulled.",
    ),
    "demo": LazyCommand(
        "regvault.cli.commands.demo:demo",
        "Show what regvault does, on a throw-away registry with real images.",
    ),
    "config": LazyCommand(
        "regvault.cli.commands.config:config", "Check the configuration, or print its schema."
    ),
}


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"regvault {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    type=click.Path(),
    help="The configuration; else $REGVAULT_CONFIG, ./regvault.yaml, /etc/regvault/regvault.yaml.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How messages and progress are written to standard error.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_obj
def cli(app: App, config_path: str | None, log_format: str) -> None:
    """Back up container registries, and get any image of any day back.

    Nothing needs a configuration file: wherever a name from it is taken, a location is taken too.
    """
    app.config_path = config_path
    app.log_format = log_format


def entry() -> NoReturn:
    """Run regvault as this process, and end it."""
    # What a command loads at its start stays, and is looked through for garbage in vain.
    gc.set_threshold(50_000, 20, 100)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # All is closed and said. To take the interpreter apart would take as long again as to start it.
    os._exit(code)


def main() -> int:
    """Run regvault; return the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the caller closed it: what is said goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if _COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {"obj": App()}, "regvault", _COMPLETE, os.environ[_COMPLETE])
    app = App()
    try:
        with interruptible():
            return run(sys.argv[1:], app)
    except Interrupted as interrupted:  # while the last line was printed
        return interrupted.exit_code


def run(args: Sequence[str], app: App | None = None) -> int:
    """Run one command in this process, without touching signals; return the exit code."""
    app = app or App()
    # An error of the command line itself may come before its `--json` was reached.
    before = list(args)[: list(args).index("--")] if "--" in args else args
    app.json = "--json" in before
    code = 0
    try:
        try:
            code = _invoke(list(args), app)
        except (Exception, Interrupted, KeyboardInterrupt) as error:  # noqa: BLE001 (all end here)
            code = 1 if _nobody_reads(error) else report(app, error)
        _flush(app)
    except RegvaultError as error:  # standard output cannot be written
        return worst_exit_code([code, report(app, error)])
    return code


def _nobody_reads(error: BaseException) -> bool:
    """Return whether this is click that wrote its help into a pipe which nobody reads."""
    if not isinstance(error, BrokenPipeError):
        return False
    import select

    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _flush(app: App) -> None:
    # The console is not loaded for `--help`.
    if sys.stdout is None:  # closed before we began
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        app.console.lost(error)


def _invoke(args: list[str], app: App) -> int:
    try:
        with cli.make_context("regvault", args, obj=app) as ctx:
            result: Any = cli.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    return result if isinstance(result, int) else 0
