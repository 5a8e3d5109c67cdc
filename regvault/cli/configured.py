"""Commands whose options may stand in the configuration, in a section of their group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import click

from regvault.cli.app import App
from regvault.cli.group import Command

__all__ = ["ConfiguredCommand"]


class _Configured(Mapping[str, Any]):
    """What the configuration has for the parameters of a command; it is read when asked for."""

    def __init__(self, app: App, command: ConfiguredCommand) -> None:
        self._app = app
        self._command = command

    def __getitem__(self, name: str) -> Any:
        flag = self._command.flags().get(name)
        config = None if flag is None else self._app.config
        if config is None:
            raise KeyError(name)
        section = getattr(config, self._command.section)
        value = section.value(str(self._command.name), str(flag))
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._command.flags())

    def __len__(self) -> int:
        return len(self._command.flags())


class ConfiguredCommand(Command):
    """A command that takes what it is not told from a section of the configuration.

    Attributes:
        section: its name.
    """

    section: ClassVar[str]

    def flags(self) -> dict[str, str]:
        """Return the names of the flags, with `_` for `-`, by those of the parameters."""
        return {
            str(param.name): max(param.opts, key=len).lstrip("-").replace("-", "_")
            if isinstance(param, click.Option)
            else str(param.name)
            for param in self.params
        }

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Make a context whose defaults are those of the configuration."""
        app = None if parent is None else parent.find_object(App)
        if app is not None and not extra.get("resilient_parsing"):
            extra.setdefault("default_map", _Configured(app, self))
        return super().make_context(info_name, args, parent, **extra)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, which is the same whatever is configured."""
        ctx.default_map = None
        super().format_help(ctx, formatter)
