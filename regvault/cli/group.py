"""Commands and groups of click as regvault wants them.

A `LazyGroup` knows its commands by name and one-line help, and imports one only when it runs, so
`regvault --help` and shell completion load click and nothing else. A `Command` has `-q`, `-v` and
`--json`, so that they work before and after its name, and says its examples and exit codes.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from regvault.cli.app import App
from regvault.errors import EXIT_CODES, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from click.shell_completion import CompletionItem

__all__ = ["Command", "Example", "LazyCommand", "LazyGroup", "command", "group"]

_COMMON = ("quiet", "verbose", "json")


class LazyCommand(NamedTuple):
    """A command that is not imported yet.

    Attributes:
        target: `module:attribute`.
        help: the first line of its help.
    """

    target: str
    help: str


class Example(NamedTuple):
    """One use of a command.

    Attributes:
        what: it does.
        line: to type.
    """

    what: str
    line: str


def _set(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    app = ctx.find_object(App)
    if app is None or not value:
        return
    if param.name == "quiet":
        app.quiet = True
    elif param.name == "verbose":
        app.verbose = max(app.verbose, value)
    else:
        app.json = True
    if app.quiet and app.verbose:
        raise UsageError("-q and -v exclude each other", hint="Leave one of them out.")


def common_options() -> list[click.Option]:
    """Return new options `-q`, `-v` and `--json`, which set them on the `App`."""
    return [
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_set,
            help="Print results, warnings and errors only.",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_set,
            help="Say more; show where an unexpected error comes from.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_set,
            help="Print JSON on standard output, and nothing else there.",
        ),
    ]


class Command(click.Command):
    """A command with the options that all have, with examples and exit codes.

    Attributes:
        examples: for the help and the reference.
        exit_codes: those that it can end with, besides 130 and 143.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[tuple[str, str]] = (),
        exit_codes: Sequence[int] = (0, 1, 2),
        **kwargs: Any,
    ) -> None:
        """Take click's arguments, and examples as (what it does, line to type)."""
        super().__init__(*args, **kwargs)
        self.examples = [Example(*example) for example in examples]
        self.exit_codes = tuple(sorted(exit_codes))
        self.params.extend(common_options())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples and exit codes below the options."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write_text(f"{example.what}:")
                    with formatter.indentation():
                        # Not wrapped: one copies it.
                        formatter.write(f"{'':{formatter.current_indent}}{example.line}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), EXIT_CODES[code]) for code in self.exit_codes])
        super().format_epilog(ctx, formatter)


command = partial(click.command, cls=Command)
"""Decorator: `@command("verify", examples=[...], exit_codes=(0, 2, 4))`."""


class LazyGroup(click.Group):
    """A group that imports a command when it is run, and not before.

    Attributes:
        lazy: the commands by name.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        """Take click's arguments, and the commands."""
        kwargs.setdefault("invoke_without_command", True)
        kwargs.setdefault("subcommand_metavar", "COMMAND [ARGS]...")
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy)
        self.params.extend(common_options())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        entry = self.lazy.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names."""
        name = args[0]
        if name in self.lazy or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        close = get_close_matches(name, self.lazy, n=1)
        hint = f"Try '{ctx.command_path} --help' for all commands."
        raise UsageError(
            f"no such command: {name!r}",
            hint=f"Did you mean '{ctx.command_path} {close[0]}'? {hint}" if close else hint,
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; without one, show the help as an error."""
        # click has the command's name in one of these, by its version.
        named = getattr(ctx, "_protected_args", None) or vars(ctx).get("protected_args")
        if not named and not ctx.args:
            app = ctx.find_object(App)
            if app is None or app.json:
                raise UsageError(
                    "no command is given", hint=f"Try '{ctx.command_path} --help' for all commands."
                )
            click.echo(ctx.get_help(), err=True)
            return UsageError.exit_code
        return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands with their one-line help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command without importing it."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=entry.help)
            for name, entry in self.lazy.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def group(name: str, lazy: Mapping[str, LazyCommand]) -> Callable[[Callable[..., Any]], LazyGroup]:
    """Return a decorator that makes a group of commands below one of regvault's."""
    return click.group(name, cls=LazyGroup, lazy=lazy)
