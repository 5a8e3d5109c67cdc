"""What locks, signatures and sealing cost: a first full with each, against one without.

    python scripts/bench/protection.py --work DIR [--images 5000] [--bytes 2.4G] [--rounds 3]

Plain, signed and sealed to a disk, plain and locked to a MinIO on loopback, taken in turn; of each
round the ratio to the plain one of that round counts, and of the rounds the median. Nothing of a
former run is in a local cache. The result goes to docs/results/protection.json with --out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from corpus import Corpus, cached, size_of
from measure import Cost, measured
from report import machine
from s3server import Server
from shape import Spec
from tools import program_environment

#: The goal: no more than this beyond a plain first full.
GOAL = 1.15


class Way(NamedTuple):
    """One way to protect a vault.

    Attributes:
        name: of it.
        beside: what it is compared with.
        init: options of `regvault init`.
        env: of all commands.
    """

    name: str
    beside: str
    init: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()

    @property
    def on_s3(self) -> bool:
        """Whether the vault is in a bucket."""
        return self.name.endswith("s3")


def ways(home: Path) -> list[Way]:
    """All of them; keys are made below `home`."""
    sign, host, other = (home / name for name in ("sign.pem", "host.txt", "recovery.txt"))
    regvault("key", "generate", sign)
    regvault("key", "generate", "--identity", host)
    recipient = regvault("key", "generate", "--identity", other).split()[0]
    return [
        Way("plain", "plain"),
        Way("signed", "plain", ("--sign-key", f"file:{sign}"), signing(sign)),
        Way("sealed", "plain", ("--recipient", recipient), opening(host)),
        Way("plain-s3", "plain-s3"),
        Way("locked-s3", "plain-s3", ("--lock", "governance", "--lock-for", "30d")),
    ]


def signing(key: Path) -> tuple[tuple[str, str], ...]:
    return (("REGVAULT_SIGN_KEY", f"file:{key}"),)


def opening(identity: Path) -> tuple[tuple[str, str], ...]:
    return (("REGVAULT_IDENTITY", f"file:{identity}"),)


def access(server: Server) -> dict[str, str]:
    """What a client of the server needs in its environment."""
    return {
        "AWS_ACCESS_KEY_ID": server.access,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_REGION": server.region,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def regvault(*argv: object) -> str:
    """Run a command that is not measured; return its output."""
    command = ["regvault", *map(str, argv)]
    env = program_environment()
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def once(way: Way, corpus: Corpus, server: Server | None, home: Path, turn: int) -> Cost:
    """Take a first full into a new vault, and take the vault away."""
    place, cache = home / "vault", home / "cache"
    for left in (place, cache):
        shutil.rmtree(left, ignore_errors=True)
    env = {**program_environment(), "REGVAULT_CACHE": str(cache), **dict(way.env)}
    vault, bucket = str(place), f"{way.name}-{turn}"
    if way.on_s3:
        assert server is not None
        env |= access(server)
        server.create_bucket(bucket, object_lock=way.name.startswith("locked"))
        vault = f"s3://{bucket}/vault"
    init = ["regvault", "-q", "init", vault, *way.init]
    subprocess.run(init, env=env, check=True, capture_output=True)
    take = ["regvault", "-q", "snapshot", f"fs:{corpus.root}", "--vault", vault]
    cost = measured(take, env=env, cwd=home, durable=home, log=home / "log")
    if way.on_s3 and not way.name.startswith("locked"):
        assert server is not None
        server.remove_bucket(bucket)
    return cost


def compare(args: argparse.Namespace, home: Path, server: Server | None) -> dict[str, Any]:
    """Measure all ways in turn; return the document."""
    corpus = cached(args.work / "corpora", Spec(seed=0, images=args.images, bytes=args.bytes))
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    chosen = [way for way in ways(home) if server is not None or not way.on_s3]
    costs: dict[str, list[Cost]] = {way.name: [] for way in chosen}
    for turn in range(args.rounds + 1):
        for way in chosen if turn % 2 else reversed(chosen):
            cost = once(way, corpus, server, home, turn)
            print(f"{turn} {way.name}: {cost.wall:.2f} s, CPU {cost.cpu:.2f} s", file=sys.stderr)
            if turn:  # the first warms the page cache
                costs[way.name].append(cost)
    rows = []
    for way in chosen:
        pairs = list(zip(costs[way.name], costs[way.beside], strict=True))
        ratio = statistics.median(mine.wall / plain.wall for mine, plain in pairs)
        cpu = statistics.median(mine.cpu - plain.cpu for mine, plain in pairs)
        walls = [round(mine.wall, 2) for mine, _ in pairs]
        rows.append(
            {
                "way": way.name,
                "wall_s": walls,
                "ratio": round(ratio, 3),
                "cpu_more_s": round(cpu, 2),
            }
        )
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip(),
        "machine": machine(),
        "corpus": {key: value for key, value in asdict(corpus).items() if key != "root"},
        "goal": GOAL,
        "ways": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--bytes", type=size_of, default=size_of("2.4G"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-s3", action="store_true", help="leave the locks out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    home = args.work / "protection"
    if args.no_s3:
        document = compare(args, home, None)
    else:
        for left in ("minio", "state"):
            shutil.rmtree(args.work / left, ignore_errors=True)
        with Server(args.work / "minio", state=args.work / "state") as server:
            document = compare(args, home, server)
    text = json.dumps(document, indent=2) + "\n"
    print(text, end="")
    if args.out:
        args.out.write_text(text)
    return 0 if all(row["ratio"] <= GOAL for row in document["ways"]) else 1


if __name__ == "__main__":
    sys.exit(main())
