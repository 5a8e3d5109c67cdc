"""Real MinIO and registry servers on free loopback ports, for tests and for trying things by hand.

Standard library only, so that scripts/services/start.sh needs no virtual environment.

    with MinIO(tmp / "minio", state=tmp) as store:
        store.create_bucket("images")
        with Registry("3", storage=store.bucket("images"), state=tmp) as live:
            ...  # live.url, live.stop(), live.start(), live.garbage_collect()

A server is ready when it has answered from its storage, not when its port is open. Its output goes
to a log in the state directory, whose end is part of every error. It is stopped by process id, and
dies with the thread that started it, so that a killed pytest leaves nothing behind.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from programs import program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RegistryVersion = Literal["3", "2.8"]

READY_WITHIN = 60.0
TERM_WITHIN = 10.0
LOG_TAIL = 4_000


class ServerError(RuntimeError):
    """A server could not be started or stopped, or it died; the message has the end of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_status(url: str, method: str = "GET") -> int | None:
    """The status that a URL answers with; None when nothing answers."""
    request = urllib.request.Request(url, method=method, headers={"User-Agent": "readiness"})
    # No proxy of the environment may stand between us and loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


class Server:
    """One server on one port, that can be stopped, killed and started again."""

    running: ClassVar[dict[int, Server]] = {}
    _numbers = itertools.count(1)

    def __init__(self, name: str, *, state: Path, port: int | None, detached: bool) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.port = port or free_port()
        self.state = state
        self.stem = f"{name}-{os.getpid()}-{next(self._numbers)}"
        self.log = state / f"{self.stem}.log"
        self._port_is_given = port is not None
        self._detached = detached
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Host and port, as image references want it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> Self:
        """Start, and return once the server answers from its storage."""
        if self._process is not None:
            raise ServerError(f"{self.name} is running already, as process {self.pid}")
        for attempt in itertools.count(1):
            self._spawn()
            if self._wait_until_ready():
                return self
            # Another process may have taken the port between our look and the server's bind.
            taken = "address already in use" in self.tail().lower()
            if self._port_is_given or attempt == 3 or not taken:
                raise ServerError(f"{self.name} ended while it started{self._log_excerpt()}")
            self.choose_ports()
        raise AssertionError

    def choose_ports(self) -> None:
        """Take other ports for the next start."""
        self.port = free_port()

    def stop(self) -> None:
        """End by SIGTERM, after a while by SIGKILL. A server that died before is an error."""
        process, self._process = self._process, None
        if process is None:
            return
        self.running.pop(process.pid, None)
        if process.poll() is not None:
            raise ServerError(
                f"{self.name} died by itself with status {process.returncode}{self._log_excerpt()}"
            )
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TERM_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.running.pop(self._process.pid, None)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tail(self) -> str:
        """The end of the server's output."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - LOG_TAIL))
            return log.read().decode(errors="replace")

    def _log_excerpt(self) -> str:
        return f"; the end of {self.log}:\n{self.tail()}"

    def _spawn(self) -> None:
        argv = list(self.command())
        if not self._detached and (setpriv := shutil.which("setpriv")):
            argv = [setpriv, "--pdeathsig", "KILL", *argv]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                env={**clean_environment(), **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for pytest; the servers then end in order.
                start_new_session=True,
            )
        self.running[self._process.pid] = self

    def _wait_until_ready(self) -> bool:
        """False when the process has ended."""
        assert self._process is not None
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            ready = self.is_ready()
            if self._process.poll() is not None:
                self.running.pop(self._process.pid, None)
                self._process = None
                return False
            if ready:
                return True
            time.sleep(0.05)
        self.kill()
        raise ServerError(
            f"{self.name} was not ready within {READY_WITHIN:.0f} s{self._log_excerpt()}"
        )


def clean_environment() -> dict[str, str]:
    """Our environment without what would configure a server behind our back."""
    prefixes = ("MINIO_", "REGISTRY_", "OTEL_", "AWS_", "JAVA_TOOL_", "JDK_JAVA_", "_JAVA_")
    return {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}


@dataclass(frozen=True, slots=True)
class S3Storage:
    """Where in an object store a registry keeps its data."""

    endpoint: str
    access: str
    secret: str
    bucket: str
    rootdirectory: str = ""
    region: str = "us-east-1"
    # A blob GET is answered by a redirect to the store, as registries do unless told not to.
    redirect: bool = True


class MinIO(Server):
    """MinIO on one directory."""

    region = "us-east-1"

    def __init__(
        self,
        datadir: Path,
        *,
        state: Path,
        access: str = "minioadmin",
        secret: str = "minioadmin123",
        port: int | None = None,
        detached: bool = False,
    ) -> None:
        super().__init__("minio", state=state, port=port, detached=detached)
        self.datadir = datadir
        self.access = access
        self.secret = secret

    @property
    def endpoint(self) -> str:
        return self.url

    def bucket(self, name: str, rootdirectory: str = "") -> S3Storage:
        """The settings for a registry that keeps its data in this bucket."""
        return S3Storage(self.endpoint, self.access, self.secret, name, rootdirectory, self.region)

    def client(self, credentials: tuple[str, ...] = (), **config: Any) -> Any:
        """A boto3 client, for the owner or with these; keywords go to botocore's Config."""
        import boto3
        from botocore.config import Config

        access, secret, *token = credentials or (self.access, self.secret)
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            aws_session_token=token[0] if token else None,
            region_name=self.region,
            config=Config(**{"s3": {"addressing_style": "path"}, "proxies": {}, **config}),
        )

    def create_bucket(self, name: str, *, object_lock: bool = False) -> None:
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)

    def allow(
        self, bucket: str, *actions: str, also: Mapping[str, Iterable[str]] | None = None
    ) -> tuple[str, str, str]:
        """Access key, secret and session token that may do this in one bucket, and nothing else.

        Else than what is `also` allowed: bucket -> actions.

        """
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": [f"s3:{action}" for action in may],
                    "Resource": [f"arn:aws:s3:::{where}", f"arn:aws:s3:::{where}/*"],
                }
                for where, may in {bucket: actions, **(also or {})}.items()
            ],
        }
        return self.assume(policy)

    def assume(self, policy: Mapping[str, Any]) -> tuple[str, str, str]:
        """Access key, secret and session token that may do what a policy allows.

        They come from STS: MinIO's own API for lasting users wants a library of its own.
        """
        import boto3

        sts = boto3.client(
            "sts",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access,
            aws_secret_access_key=self.secret,
            region_name=self.region,
        )
        given = sts.assume_role(
            RoleArn="arn:aws:iam::000000000000:role/test",
            RoleSessionName="test",
            Policy=json.dumps(policy),
        )["Credentials"]
        return given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]

    def requests(self) -> tuple[dict[str, int], int]:
        """How many S3 requests there were since the start, by name, and bytes received in all."""
        with urllib.request.urlopen(
            f"{self.url}/minio/metrics/v3/api/requests", timeout=10
        ) as page:
            lines = page.read().decode().splitlines()
        counts: dict[str, int] = {}
        received = 0
        for line in lines:
            name, _, value = line.rpartition(" ")
            if name.startswith("minio_api_requests_total{") and 'type="s3"' in name:
                counts[name.partition('name="')[2].partition('"')[0]] = int(float(value))
            if name.startswith("minio_api_requests_traffic_received_bytes{"):
                received += int(float(value)) if 'type="s3"' in name else 0
        return counts, received

    def command(self) -> Sequence[str | Path]:
        return [program("minio"), "server", "--address", self.host, self.datadir.resolve()]

    def environment(self) -> Mapping[str, str]:
        return {
            "MINIO_ROOT_USER": self.access,
            "MINIO_ROOT_PASSWORD": self.secret,
            "MINIO_REGION": self.region,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CI_CD": "1",
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",
        }

    def start(self) -> Self:
        self.datadir.mkdir(parents=True, exist_ok=True)
        return super().start()

    def is_ready(self) -> bool:
        # The health page answers before users are loaded; until then S3 requests get a 503.
        healthy = http_status(f"{self.url}/minio/health/cluster") == 200
        return healthy and http_status(self.url) == 403


class Moto(Server):
    """moto: an S3 server in memory that does not check what it is given."""

    access = secret = "anything"

    def __init__(self, *, state: Path, port: int | None = None, age_days: float = 0) -> None:
        super().__init__("moto", state=state, port=port, detached=False)
        self._age_days = age_days

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
        )

    def create_bucket(self, name: str) -> None:
        self.client().create_bucket(Bucket=name)

    def keys(self, bucket: str) -> list[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def command(self) -> Sequence[str | Path]:
        app = Path(__file__).with_name("moto_app.py")
        return [sys.executable, app, str(self.port), str(self._age_days)]

    def environment(self) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret}

    def is_ready(self) -> bool:
        return http_status(f"{self.url}/moto-api/") == 200


class Registry(Server):
    """A distribution registry, 3.x or 2.8, on a directory or on S3."""

    def __init__(
        self,
        version: RegistryVersion,
        *,
        storage: Path | S3Storage,
        state: Path,
        readonly: bool = False,
        delete: bool = True,
        settings: Mapping[str, Any] | None = None,
        port: int | None = None,
        detached: bool = False,
    ) -> None:
        super().__init__(f"registry-{version}", state=state, port=port, detached=detached)
        self.version = version
        self.storage = storage
        # May be changed while the server is stopped: the configuration is written at each start.
        self.readonly = readonly
        self.delete = delete
        self.settings = dict(settings or {})
        self.config = state / f"{self.stem}.yml"

    def command(self) -> Sequence[str | Path]:
        self.write_config()
        return [self._program(), "serve", self.config]

    def environment(self) -> Mapping[str, str]:
        # Else 3.x logs a failed trace export every few seconds.
        return {"OTEL_TRACES_EXPORTER": "none"}

    def is_ready(self) -> bool:
        # 404 proves that the storage was asked; where users log in, 401 is all that we can get.
        probe = f"{self.url}/v2/readiness/probe/manifests/none"
        return http_status(probe, "HEAD") in (401, 404)

    def write_config(self) -> None:
        # JSON is YAML: no library needed.
        config = _merged(self._base_config(), self.settings)
        self.config.write_text(json.dumps(config, indent=2) + "\n")

    def garbage_collect(self, *, delete_untagged: bool = False, dry_run: bool = False) -> str:
        """Run the registry's own garbage collection; returns what it printed.

        As for any such registry: only while it is stopped or read-only.
        """
        self.write_config()
        argv: list[str | Path] = [self._program(), "garbage-collect"]
        argv += ["--delete-untagged"] if delete_untagged else []
        argv += ["--dry-run"] if dry_run else []
        done = subprocess.run(
            [*argv, self.config],
            env={**clean_environment(), **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(f"garbage-collect ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def _program(self) -> Path:
        return program("registry3" if self.version == "3" else "docker-registry")

    def _base_config(self) -> dict[str, Any]:
        storage: dict[str, Any] = {
            "delete": {"enabled": self.delete},
            "maintenance": {
                "uploadpurging": {"enabled": False},
                "readonly": {"enabled": self.readonly},
            },
        }
        if isinstance(self.storage, S3Storage):
            storage["redirect"] = {"disable": not self.storage.redirect}
            storage["s3"] = {
                "accesskey": self.storage.access,
                "secretkey": self.storage.secret,
                "region": self.storage.region,
                "regionendpoint": self.storage.endpoint,
                "forcepathstyle": True,
                "secure": False,
                "v4auth": True,
                "bucket": self.storage.bucket,
                "rootdirectory": self.storage.rootdirectory,
            }
        else:
            self.storage.mkdir(parents=True, exist_ok=True)
            storage["filesystem"] = {"rootdirectory": str(self.storage.resolve())}
        return {
            "version": "0.1",
            "log": {"level": "info", "formatter": "json"},
            "storage": storage,
            "http": {"addr": self.host, "secret": "for tests only"},
        }


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
