"""Fixtures on real servers. Collected only when asked for by path: `make test-services`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "serve"))

from kafka_broker import KafkaBroker
from programs import program
from regvault_cli import Cli
from servers import MinIO, Registry, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

HERE = Path(__file__).resolve().parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests out of a plain `pytest`: without the servers each of them would fail."""
    asked_for = (
        (config.invocation_params.dir / argument.split("::")[0]).resolve()
        for argument in config.args
    )
    if any(path == HERE or HERE in path.parents for path in asked_for):
        return None
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers said to a test that failed."""
    report = yield
    if report.failed:
        for server in Server.running.values():
            report.sections.append((f"end of {server.log}", server.tail()))
    return report


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Run an installed program by its name of install.sh; returns its standard output."""

    def run(name: str, *arguments: str | Path) -> str:
        done = subprocess.run(
            [program(name), *arguments],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{name} {arguments}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinIO]:
    """One MinIO for all tests: take a bucket of your own by the fixture `bucket`."""
    state = tmp_path_factory.mktemp("minio")
    with MinIO(state / "data", state=state) as server:
        yield server


@pytest.fixture
def make_bucket(minio_server: MinIO, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Make an empty bucket, with Object Lock if that is asked for, and return its name."""

    def make(*, object_lock: bool = False) -> str:
        number = request.config.stash.setdefault(BUCKETS, 0)
        request.config.stash[BUCKETS] = number + 1
        name = f"test-{number}"
        minio_server.create_bucket(name, object_lock=object_lock)
        return name

    return make


@pytest.fixture
def bucket(make_bucket: Callable[..., str]) -> str:
    """The name of an empty bucket for this test alone."""
    return make_bucket()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One Kafka with its plain listener for all tests: take a topic of your own by `topic`.

    A test that kills or pauses a broker, or wants other listeners, makes one of its own.
    """
    state = tmp_path_factory.mktemp("kafka")
    with KafkaBroker(state / "data", state=state) as broker:
        yield broker


@pytest.fixture
def topic(kafka_broker: KafkaBroker, request: pytest.FixtureRequest) -> str:
    """The name of an empty topic of three partitions for this test alone."""
    number = request.config.stash.setdefault(TOPICS, 0)
    request.config.stash[TOPICS] = number + 1
    return kafka_broker.create_topic(f"test-{number}")


BUCKETS = pytest.StashKey[int]()
TOPICS = pytest.StashKey[int]()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, for a user that has neither a configuration nor credentials."""
    home = tmp_path / "home"
    home.mkdir()
    return Cli(home, tmp_path / "cache")


@pytest.fixture
def registry3(tmp_path: Path) -> Iterator[Registry]:
    """An empty distribution 3.x on a directory."""
    with Registry("3", storage=tmp_path / "registry-3", state=tmp_path) as server:
        yield server


@pytest.fixture
def registry28(tmp_path: Path) -> Iterator[Registry]:
    """An empty distribution 2.8 on a directory."""
    with Registry("2.8", storage=tmp_path / "registry-2.8", state=tmp_path) as server:
        yield server
