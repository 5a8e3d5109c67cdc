"""Behind scripts/services/start.sh and stop.sh: servers that stay in the background.

A state directory has one `<name>.pid` for each server: its process id, and when that process
started, so that a number that the system has given to another one since is never signalled.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from kafka_broker import KafkaBroker
from programs import MissingProgramError
from servers import TERM_WITHIN, MinIO, Registry, S3Storage, ServerError

NAMES = ("minio", "kafka", "registry-3", "registry-2.8")


def started_at(pid: int) -> str | None:
    """The start time of a live process in clock ticks since boot; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else fields[18]


def live_pid(pid_file: Path) -> int | None:
    """The process that a pid file names, if it still is that process."""
    try:
        pid, started = pid_file.read_text().split()
    except FileNotFoundError:
        return None
    return int(pid) if started_at(int(pid)) == started else None


def start(options: argparse.Namespace) -> None:
    pid_file = options.state / f"{options.name}.pid"
    if (pid := live_pid(pid_file)) is not None:
        raise ServerError(f"{options.name} runs already, as process {pid} ({pid_file})")
    server: MinIO | KafkaBroker | Registry
    if options.name == "minio":
        server = MinIO(options.data, state=options.state, port=options.port, detached=True)
    elif options.name == "kafka":
        server = KafkaBroker(options.data, state=options.state, port=options.port, detached=True)
    else:
        server = Registry(
            "3" if options.name == "registry-3" else "2.8",
            storage=registry_storage(options),
            state=options.state,
            port=options.port,
            readonly=options.readonly,
            delete=not options.no_delete,
            detached=True,
        )
    server.start()
    pid_file.write_text(f"{server.pid} {started_at(server.pid)}\n")
    # Lines for eval.
    if isinstance(server, KafkaBroker):
        print(f"BOOTSTRAP_SERVERS={server.address()}")
    else:
        print(f"URL={server.url}")
    print(f"LOG={server.log}")
    if isinstance(server, MinIO):
        print(f"AWS_ACCESS_KEY_ID={server.access}")
        print(f"AWS_SECRET_ACCESS_KEY={server.secret}")
        print(f"AWS_REGION={server.region}")
    else:
        print(f"CONFIG={server.config}")


def registry_storage(options: argparse.Namespace) -> Path | S3Storage:
    if options.bucket is None:
        return Path(options.data)
    try:
        return S3Storage(
            endpoint=options.endpoint,
            access=os.environ["AWS_ACCESS_KEY_ID"],
            secret=os.environ["AWS_SECRET_ACCESS_KEY"],
            bucket=options.bucket,
        )
    except KeyError as missing:
        raise ServerError(f"--bucket needs {missing.args[0]} in the environment") from None


def stop(options: argparse.Namespace) -> None:
    for name in options.names or NAMES:
        pid_file = options.state / f"{name}.pid"
        pid = live_pid(pid_file)
        if pid is not None:
            end(pid, pid_file)
            print(f"stopped {name}, process {pid}", file=sys.stderr)
        elif options.names or pid_file.exists():
            print(f"{name} does not run", file=sys.stderr)
        pid_file.unlink(missing_ok=True)


def end(pid: int, pid_file: Path) -> None:
    for number, patience in ((signal.SIGTERM, TERM_WITHIN), (signal.SIGKILL, TERM_WITHIN)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if live_pid(pid_file) is None:
                return
            time.sleep(0.05)
    raise ServerError(f"process {pid} did not end")


def main() -> int:
    parser = argparse.ArgumentParser(prog="services")
    verbs = parser.add_subparsers(required=True)

    starting = verbs.add_parser("start", help="start one server and print where it is")
    starting.add_argument("name", choices=NAMES)
    starting.add_argument("--state", type=Path, required=True, help="for the pid file and the log")
    starting.add_argument("--port", type=int, help="a free one by default")
    starting.add_argument("--readonly", action="store_true", help="refuse writes")
    starting.add_argument("--no-delete", action="store_true", help="refuse deletes")
    where = starting.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, help="the directory that holds the data")
    where.add_argument("--bucket", help="an S3 bucket that holds a registry's data")
    starting.add_argument("--endpoint", help="the URL of the bucket's S3 server")
    starting.set_defaults(run=start)

    stopping = verbs.add_parser("stop", help="stop servers that were started here")
    stopping.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}")
    stopping.add_argument("--state", type=Path, required=True, help="as given to start")
    stopping.set_defaults(run=stop)

    options = parser.parse_args()
    registry = getattr(options, "name", "").startswith("registry-")
    if getattr(options, "bucket", None) and (not registry or not options.endpoint):
        parser.error("--bucket is for a registry, and needs --endpoint")
    if unknown := set(getattr(options, "names", ())) - set(NAMES):
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    try:
        options.run(options)
    except (ServerError, MissingProgramError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
