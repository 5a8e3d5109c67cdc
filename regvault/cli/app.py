"""What every command is given: the global options, the configuration, the console.

Nothing here is imported before it is used: `regvault --help` must start in a moment.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from regvault.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import tzinfo

    from regvault.cli.output import Console
    from regvault.config.model import Config
    from regvault.config.places import RegistryPlace, VaultPlace
    from regvault.config.secrets import SecretRef
    from regvault.model.location import Role
    from regvault.model.progress import Progress
    from regvault.vault.root import Root
    from regvault.vault.vault import Vault

__all__ = ["App"]


@dataclass
class App:
    """One run of regvault. Commands get it by `@click.pass_obj`.

    Attributes:
        config_path: `--config`, or None.
        log_format: `text` or `json`.
        quiet: `-q`.
        verbose: how many `-v`.
        json: `--json`.
        identity: `--identity`, or None.
        follows: the command stays until it is told to end, which is no failure of it.
    """

    config_path: str | None = None
    log_format: str = "text"
    quiet: bool = False
    verbose: int = 0
    json: bool = False
    identity: SecretRef | None = None
    follows: bool = False

    @cached_property
    def config(self) -> Config | None:
        """The configuration; None where there is no file.

        Raises:
            ConfigurationError: the file is wrong, or the one that was named is not there.
        """
        from regvault.config.search import find_config

        path = find_config(self.config_path)
        if path is None:
            return None
        from regvault.config.load import load_config

        return load_config(path)

    @cached_property
    def timezone(self) -> tzinfo:
        """The timezone of the configuration, else UTC."""
        if self.config is None:
            from datetime import UTC

            return UTC
        return self.config.tzinfo

    @cached_property
    def console(self) -> Console:
        """Where results and messages go."""
        from regvault.cli.output import Console

        return Console(self)

    def progress(self) -> AbstractContextManager[Progress]:
        """Return the progress to hand to a verb: `with app.progress() as progress:`."""
        from regvault.cli.progress import open_progress

        return open_progress(self)

    def vault(
        self, text: str | None, *, endpoint_url: str | None = None, at: str | None = None
    ) -> VaultPlace:
        """Return the vault that is meant by `--vault`; None: the configuration's only one.

        Args:
            text: a name or a location.
            endpoint_url: given on the command line.
            at: `--vault-at`, a TIME: as it was then.

        Raises:
            UsageError: none is named, or that is no time.
        """
        from dataclasses import replace

        from regvault.config.places import resolve_vault

        place = resolve_vault(text, self.config, endpoint_url=endpoint_url)
        if self.identity is not None:
            place = replace(place, identity=self.identity)
        return place if at is None else replace(place, as_of_ns=self._moment_ns(at))

    def _moment_ns(self, text: str) -> int:
        from datetime import UTC, datetime

        from regvault.policy.selectors import parse_time

        try:
            moment = parse_time(text, now=datetime.now(UTC), timezone=self.timezone)
        except UsageError as error:
            raise UsageError(f"--vault-at: {error.message}", hint=error.hint) from None
        return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000

    def registry(self, text: str, role: Role, *, endpoint_url: str | None = None) -> RegistryPlace:
        """Return the registry that is meant, to read or to restore into."""
        from regvault.config.places import resolve_registry

        return resolve_registry(text, self.config, role, endpoint_url=endpoint_url)

    def snapshot(self, vault: Vault, text: str) -> Root:
        """Return the root of the SNAPSHOT that is meant, and say which newer ones are not."""
        from datetime import UTC, datetime

        from regvault.ops.selector import resolve

        return resolve(
            vault, text, now=datetime.now(UTC), timezone=self.timezone, warn=self.console.warn
        )

    def cache_base(self) -> str:
        """Return the directory of the local caches: `$REGVAULT_CACHE`, else of the user."""
        named = os.environ.get("REGVAULT_CACHE")
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return named or os.path.join(base, "regvault")

    def confirm(
        self, question: str, *, yes: bool, hint: str = "Look with --dry-run, then give --yes."
    ) -> None:
        """Ask before something that cannot be undone; return if it may go on.

        Args:
            question: that is asked.
            yes: `--yes`; nobody is asked then.
            hint: where nobody can be asked, what to do.

        Raises:
            UsageError: nobody can be asked, and `--yes` is not given.
            RefusedError: the answer is no.
        """
        if yes:
            return
        if self.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(
                "this needs a yes, and nobody can be asked here",
                hint=hint,
            )
        import click

        try:
            agreed = click.confirm(question, default=False, err=True)
        except click.Abort:
            agreed = False
        if not agreed:
            raise RefusedError("not confirmed; nothing was done")
