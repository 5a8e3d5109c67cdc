"""The command line as a user runs it: a process of its own, `--json`, a cache of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from servers import MinIO


@dataclass(frozen=True, slots=True)
class Done:
    """What one run printed, and how it ended."""

    command: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document of a command that has one."""
        (line,) = self.stdout.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of a command that lists."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The error object; each has a message and says what to do next."""
        error: dict[str, Any] = self.document["error"]
        assert error["message"]
        assert error["hint"], f"an error without a next step: {error}"
        return error


@dataclass(slots=True)
class Cli:
    """Runs regvault in one directory with one environment."""

    directory: Path
    cache: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def at(self, **env: str) -> Cli:
        """The same user with more in the environment, such as credentials."""
        return Cli(self.directory, self.cache, {**self.env, **env})

    def on(self, store: MinIO) -> Cli:
        """The same user with the root credentials of an object store."""
        return self.at(**aws(store.url, store.access, store.secret))

    def elsewhere(self, cache: Path) -> Cli:
        """The same user on a host that has cached nothing yet."""
        return Cli(self.directory, cache, self.env)

    def __call__(self, *arguments: str | Path, expect: int | None = 0, timeout: float = 90) -> Done:
        """Run a command to its end; any other exit code than `expect` fails the test."""
        done = self.finish(self.start(*arguments), timeout=timeout)
        assert expect is None or done.code == expect, (
            f"regvault {' '.join(done.command)} ended with {done.code}, not {expect}:\n"
            f"{done.stdout[:4000]}\n{done.stderr[-4000:]}"
        )
        return done

    def text(self, *arguments: str | Path) -> str:
        """Run a command without `--json`; return what it prints."""
        command = [sys.executable, "-m", "regvault", *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=90,
            check=True,
        ).stdout

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "regvault", *map(str, arguments), "--json"],
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def finish(process: subprocess.Popen[str], timeout: float = 90) -> Done:
        """Wait for the end of a command."""
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            _, stderr = process.communicate()
            raise AssertionError(f"still running after {timeout} s:\n{stderr[-4000:]}") from None
        arguments = process.args if isinstance(process.args, list) else [str(process.args)]
        return Done(tuple(map(str, arguments[3:-1])), process.returncode, stdout, stderr)

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name == "REGVAULT_KAFKA_CLIENT" or not name.startswith(("AWS_", "REGVAULT_"))
        }
        # Neither this user's AWS profile nor a cloud's metadata service is part of the test.
        own = {
            "HOME": str(self.directory),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-east-1",
            "REGVAULT_CACHE": str(self.cache),
            "NO_PROXY": "127.0.0.1",
        }
        return {**kept, **own, **self.env}


def aws(url: str, access: str, secret: str, token: str | None = None) -> dict[str, str]:
    """The environment that a user of an S3 server sets."""
    env = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    return env if token is None else {**env, "AWS_SESSION_TOKEN": token}
