"""`regvault config`: check the configuration, print its schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli.group import LazyCommand, command, group
from regvault.errors import ConfigurationError

if TYPE_CHECKING:
    from regvault.cli.app import App

_HERE = "regvault.cli.commands.config"


@group(
    "config",
    {
        "check": LazyCommand(f"{_HERE}:check", "Say whether the configuration is right."),
        "schema": LazyCommand(f"{_HERE}:schema", "Print the JSON Schema of the configuration."),
    },
)
def config() -> None:
    """Check the configuration, or print its schema."""


@command(
    "check",
    examples=[
        ("Check the configuration that would be used", "regvault config check"),
        ("Check another one", "regvault --config new.yaml config check"),
    ],
    exit_codes=(0, 2),
)
@click.pass_obj
def check(app: App) -> None:
    """Say whether the configuration is right.

    Each error is printed with its line and column. Nothing is connected to.
    """
    import json

    from regvault.config.search import SEARCHED

    found = app.config
    if found is None:
        raise ConfigurationError(
            "there is no configuration to check",
            hint=f"Looked for --config, {', '.join(SEARCHED)}. regvault works without one too.",
        )
    app.console.document(
        {
            "file": found.file,
            "valid": True,
            "timezone": found.timezone,
            "registries": sorted(found.registries),
            "vaults": sorted(found.vaults),
            "audit": found.audit.shown(),
            "tier": found.tier.shown(),
        }
    )
    app.console.say(f"{found.file} is right.")
    app.console.say(f"Registries: {', '.join(found.registries) or 'none'}")
    app.console.say(f"Vaults:     {', '.join(found.vaults) or 'none'}")
    app.console.say(f"Timezone:   {found.timezone}")
    for name, section in (("audit", found.audit), ("tier", found.tier)):
        for key, value in section.shown().items():
            told = json.dumps(value, ensure_ascii=False)
            app.console.say(f"{name}.{key}: {told}")


@command(
    "schema",
    examples=[("For editors that check YAML", "regvault config schema > regvault.schema.json")],
    exit_codes=(0,),
)
@click.pass_obj
def schema(app: App) -> None:
    """Print the JSON Schema of the configuration.

    It is printed with and without --json. Editors use it to complete and to check regvault.yaml.
    """
    import json

    from regvault.config.schema import config_schema

    app.console.raw(json.dumps(config_schema(), indent=2))
