"""The tools that are compared: how each does each scenario, with settings a user would have.

Every tool has its defaults, a home of its own (caches, configuration) and, where it insists on one,
a password. Making an empty vault is not measured, for none of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import trash
from s3server import SOURCE_BUCKET, SOURCE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from s3server import Server

# regvault is beside the interpreter that runs this; the peers are where the user has them.
SEARCH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


@dataclass(frozen=True)
class Command:
    argv: Sequence[str]
    cwd: Path | None = None


@dataclass(frozen=True)
class One:
    """One image: its name, and its files below the root of the registry's storage."""

    repository: str
    tag: str
    files: Sequence[str]


def shell(script: str, *arguments: object) -> Sequence[str]:
    """A command line for several commands; `$1` and so on are the arguments."""
    return ["sh", "-euc", script, "sh", *map(str, arguments)]


def program_environment() -> dict[str, str]:
    """Ours, without what would reconfigure a tool or lead it off loopback."""
    prefixes = ("AWS_", "RESTIC_", "KOPIA_", "BORG_", "RCLONE_", "REGVAULT_", "XDG_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        kept.pop(name, None)
        kept.pop(name.upper(), None)
    return {**kept, "PATH": SEARCH, "LC_ALL": "C.UTF-8"}


@dataclass
class Tool:
    """One tool with one vault, on disk or on S3.

    Attributes:
        on_s3: whether it can keep its vault there.
        from_s3: whether it can read a registry there.
        skips: scenarios that mean nothing to it.
        home: a directory of its own; the vault on disk is below it.
        source: the root of the registry's storage.
        server: where the vault is on S3; None: on disk.
        source_on_s3: read the registry there too, from the server's bucket with a copy of it.
    """

    name: ClassVar[str] = ""
    program: ClassVar[str] = ""
    asks_version: ClassVar[Sequence[str]] = ("--version",)
    on_s3: ClassVar[bool] = True
    from_s3: ClassVar[bool] = False
    skips: ClassVar[frozenset[str]] = frozenset()

    home: Path
    source: Path
    server: Server | None = None
    source_on_s3: bool = False
    fills: int = field(default=0, init=False)
    runs: int = field(default=0, init=False)
    old_buckets: list[str] = field(default_factory=list, init=False)

    @classmethod
    def version(cls) -> str | None:
        """What it says of itself; None where it is missing or does not start."""
        found = shutil.which(cls.program, path=SEARCH)
        if found is None:
            return None
        said = subprocess.run(
            [found, *cls.asks_version],
            env=program_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode != 0:
            return None
        return (said.stdout.strip().splitlines() or ["?"])[0]

    @property
    def vault(self) -> Path:
        return self.home / "vault"

    @property
    def bucket(self) -> str:
        return f"{self.name}-{self.fills}"

    def environment(self) -> dict[str, str]:
        env = {
            **program_environment(),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
        }
        if self.server is not None:
            env |= {
                "AWS_ACCESS_KEY_ID": self.server.access,
                "AWS_SECRET_ACCESS_KEY": self.server.secret,
                "AWS_REGION": self.server.region,
                "AWS_DEFAULT_REGION": self.server.region,
                "AWS_ENDPOINT_URL": self.server.url,
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        return env

    def empty(self) -> None:
        """Throw the old vault and all caches away, make an empty vault."""
        self.drop()
        self.home.mkdir(parents=True)
        self.fills += 1
        if self.server is not None:
            self.server.create_bucket(self.bucket)
        self.make()

    def drop(self) -> None:
        """Put everything aside; a bucket stays until `make_room`."""
        if self.server is not None and self.fills:
            self.old_buckets.append(self.bucket)
        trash.aside(self.home)

    def make_room(self) -> None:
        """Remove the buckets that are not used any more."""
        assert self.server is not None or not self.old_buckets
        while self.old_buckets and self.server is not None:
            self.server.remove_bucket(self.old_buckets.pop())

    def make(self) -> None:
        """Make an empty vault."""

    def before_reading(self) -> None:
        """Get ready to restore or verify; not measured."""

    def snapshot(self) -> Command:
        raise NotImplementedError

    def restore_all(self, out: Path) -> Command:
        raise NotImplementedError

    def restore_one(self, out: Path, one: One) -> Command:
        raise NotImplementedError

    def verify(self) -> Command:
        raise NotImplementedError

    def quietly(self, *argv: object, cwd: Path | None = None) -> str:
        """Run something that is not measured; returns what it printed."""
        done = subprocess.run(
            list(map(str, argv)),
            env=self.environment(),
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


class Regvault(Tool):
    name = program = "regvault"
    from_s3 = True

    @property
    def where(self) -> str:
        return str(self.vault) if self.server is None else f"s3://{self.bucket}/vault"

    def make(self) -> None:
        self.quietly("regvault", "-q", "init", self.where)

    def snapshot(self) -> Command:
        on_s3 = f"s3://{SOURCE_BUCKET}/{SOURCE_PREFIX}"
        return self._on_vault("snapshot", on_s3 if self.source_on_s3 else f"fs:{self.source}")

    def restore_all(self, out: Path) -> Command:
        return self._on_vault("restore", "latest", "--to", f"fs:{out}")

    def restore_one(self, out: Path, one: One) -> Command:
        which = ("--repo", one.repository, "--tag", one.tag)
        return self._on_vault("restore", "latest", "--to", f"fs:{out}", *which)

    def verify(self) -> Command:
        return self._on_vault("verify", "--read-data")

    def _on_vault(self, *argv: str) -> Command:
        return Command(["regvault", "-q", *argv, "--vault", self.where])


class Floor(Tool):
    """Not a backup: what the disk and one pass of SHA-256 cost."""

    name, program, on_s3 = "cp+sha256sum", "cp", False
    skips = frozenset({"unchanged", "changed", "one"})

    @property
    def sums(self) -> Path:
        return self.home / "sums"

    def snapshot(self) -> Command:
        script = """
            cp -r --reflink=never "$1" "$2"; cd "$2"
            find . -type f -print0 | xargs -0 sha256sum >"$3" """
        return Command(shell(script, self.source, self.vault, self.sums))

    def restore_all(self, out: Path) -> Command:
        return Command(["cp", "-r", "--reflink=never", f"{self.vault}/.", str(out)])

    def verify(self) -> Command:
        return Command(["sha256sum", "--quiet", "-c", str(self.sums)], self.vault)


class Restic(Tool):
    name = program = "restic"
    asks_version = ("version",)

    def environment(self) -> dict[str, str]:
        where = str(self.vault)
        if self.server is not None:
            where = f"s3:{self.server.url}/{self.bucket}/restic"
        return {
            **super().environment(),
            "RESTIC_REPOSITORY": where,
            "RESTIC_PASSWORD_FILE": str(self.home / "password"),
        }

    def make(self) -> None:
        (self.home / "password").write_text("benchmark\n")
        self.quietly("restic", "-q", "init")

    def snapshot(self) -> Command:
        return Command(["restic", "-q", "backup", "."], self.source)

    def restore_all(self, out: Path) -> Command:
        return Command(["restic", "-q", "restore", "latest", "--target", str(out)])

    def restore_one(self, out: Path, one: One) -> Command:
        wanted = self.home / "wanted"
        wanted.write_text("".join(f"/{path}\n" for path in one.files))
        which = ["--target", str(out), "--include-file", str(wanted)]
        return Command(["restic", "-q", "restore", "latest", *which])

    def verify(self) -> Command:
        return Command(["restic", "-q", "check", "--read-data"])


class Kopia(Tool):
    name = program = "kopia"
    newest: str = ""

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "KOPIA_PASSWORD": "benchmark",
            "KOPIA_CONFIG_PATH": str(self.home / "kopia.config"),
            "KOPIA_CACHE_DIRECTORY": str(self.home / "cache" / "kopia"),
            "KOPIA_LOG_DIR": str(self.home / "logs"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
            "KOPIA_USE_KEYRING": "false",
        }

    def make(self) -> None:
        where: Sequence[object] = ("filesystem", "--path", self.vault)
        if self.server is not None:
            where = ("s3", "--bucket", self.bucket, "--endpoint", self.server.host)
            where = (*where, "--disable-tls", "--region", self.server.region)
            where = (*where, "--access-key", self.server.access)
            where = (*where, "--secret-access-key", self.server.secret)
        else:
            self.vault.mkdir()
        self.quietly("kopia", "repository", "create", *where)

    def snapshot(self) -> Command:
        return Command(["kopia", "--no-progress", "snapshot", "create", str(self.source)])

    def before_reading(self) -> None:
        # It caches contents, gigabytes of them: it would restore, and verify, its own cache.
        self.quietly("kopia", "cache", "clear")
        listed = json.loads(self.quietly("kopia", "snapshot", "list", "--json", self.source))
        self.newest = max(listed, key=lambda each: each["startTime"])["rootEntry"]["obj"]

    def restore_all(self, out: Path) -> Command:
        return Command(["kopia", "--no-progress", "restore", self.newest, str(out)])

    def restore_one(self, out: Path, one: One) -> Command:
        # It restores one path at a time.
        script = """
            from=$1 to=$2; shift 2
            for path; do mkdir -p "$to/${path%/*}"
            kopia --no-progress restore "$from/$path" "$to/$path"; done"""
        return Command(shell(script, self.newest, out, *one.files))

    def verify(self) -> Command:
        return Command(
            ["kopia", "--no-progress", "snapshot", "verify", "--verify-files-percent=100"]
        )


class Borg(Tool):
    name = program = "borg"
    on_s3 = False

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "BORG_REPO": str(self.vault),
            "BORG_BASE_DIR": str(self.home),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def make(self) -> None:
        self.quietly("borg", "init", "--encryption", "none")

    def snapshot(self) -> Command:
        self.runs += 1
        return Command(["borg", "create", f"::{self.runs}", "."], self.source)

    def restore_all(self, out: Path) -> Command:
        return Command(["borg", "extract", f"::{self.runs}"], out)

    def restore_one(self, out: Path, one: One) -> Command:
        return Command(["borg", "extract", f"::{self.runs}", *one.files], out)

    def verify(self) -> Command:
        return Command(["borg", "check", "--verify-data"])


class Rclone(Tool):
    """A mirror: it keeps one state, not one for each day."""

    name = program = "rclone"
    asks_version = ("version",)
    from_s3 = True

    def environment(self) -> dict[str, str]:
        env = {**super().environment(), "RCLONE_CONFIG": str(self.home / "rclone.conf")}
        if self.server is not None:
            env |= {
                "RCLONE_CONFIG_VAULT_TYPE": "s3",
                "RCLONE_CONFIG_VAULT_PROVIDER": "Minio",
                "RCLONE_CONFIG_VAULT_ENV_AUTH": "true",
                "RCLONE_CONFIG_VAULT_ENDPOINT": self.server.url,
                "RCLONE_CONFIG_VAULT_REGION": self.server.region,
            }
        return env

    @property
    def where(self) -> str:
        return str(self.vault) if self.server is None else f"vault:{self.bucket}/mirror"

    def make(self) -> None:
        (self.home / "rclone.conf").touch()

    def snapshot(self) -> Command:
        on_s3 = f"vault:{SOURCE_BUCKET}/{SOURCE_PREFIX}"
        source = on_s3 if self.source_on_s3 else str(self.source)
        return Command(["rclone", "-q", "sync", source, self.where])

    def restore_all(self, out: Path) -> Command:
        return Command(["rclone", "-q", "sync", self.where, str(out)])

    def restore_one(self, out: Path, one: One) -> Command:
        wanted = self.home / "wanted"
        wanted.write_text("".join(f"{path}\n" for path in one.files))
        return Command(["rclone", "-q", "copy", "--files-from", str(wanted), self.where, str(out)])

    def verify(self) -> Command:
        # Against the live registry: a mirror knows no digests of its own.
        return Command(["rclone", "-q", "check", "--download", str(self.source), self.where])


class BareList(Tool):
    """Not a backup: what it costs to LIST the links of a registry on S3, in parallel."""

    name, program, on_s3, from_s3 = "bare LIST", "python3", False, True
    skips = frozenset({"first", "changed", "restore", "one", "verify"})

    def snapshot(self) -> Command:
        assert self.server is not None
        script = str(Path(__file__).with_name("barelist.py"))
        links = f"{SOURCE_PREFIX}/docker/registry/v2/repositories/"
        return Command([sys.executable, script, self.server.url, SOURCE_BUCKET, links])


TOOLS: dict[str, type[Tool]] = {
    each.name: each for each in (Regvault, Floor, BareList, Restic, Kopia, Borg, Rclone)
}
