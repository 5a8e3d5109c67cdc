"""Where scripts/services/install.sh has put the programs that the service tests run."""

import os
import shutil
from pathlib import Path

_REPO = Path(__file__).resolve().parents[2]
_INSTALL = "run scripts/services/install.sh (make services)"


class MissingProgramError(RuntimeError):
    """A program is not installed."""


def versions() -> dict[str, str]:
    """The pinned versions, from scripts/versions.env."""
    lines = (_REPO / "scripts" / "versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def program(name: str) -> Path:
    """The program behind a name of install.sh. Missing is an error, never a reason to skip."""
    if name in ("skopeo", "docker-registry", "jq", "zstd", "java", "nginx", "haproxy"):
        # Debian keeps servers in a directory that not every user has on the path.
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        if found is None:
            raise MissingProgramError(f"{name} is not installed: {_INSTALL}")
        return Path(found)
    version = versions()[f"{name.upper()}_VERSION"]
    path = _tools() / f"{name}-{version}" / ("registry" if name == "registry3" else name)
    if not os.access(path, os.X_OK):
        raise MissingProgramError(f"{name} {version} is not installed at {path}: {_INSTALL}")
    return path


def kafka_jars() -> Path:
    """The directory with the jars of Kafka's broker, which `java` runs."""
    version = versions()["KAFKA_VERSION"]
    path = _tools() / f"kafka-{version}"
    if not path.is_dir():
        raise MissingProgramError(f"kafka {version} is not installed at {path}: {_INSTALL}")
    return path


def _tools() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regvault-tools"
    return Path(os.environ.get("REGVAULT_TOOLS") or cache)
