"""The audit stream against its goals and floors: receiver, shipping, archiving, asking.

    python scripts/bench/audit.py --work DIR [receiver] [ship] [archive] [query] [--events 200000]

On a real disk (DIR), with a real Kafka on loopback where one is needed. Each figure stands beside
its floor of the same run: a bare fdatasync, a bare producer loop, a bare consumer that compresses
and writes. The result goes to docs/results/audit.json with --out.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report import machine

from regvault.audit.envelope import message_of
from regvault.audit.intake import bodies_of, body_of
from regvault.audit.spool import Spool
from regvault.model.event import new_event

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("services", "serve", "ops/audit")]
SETTINGS = {"batch_size": 256 << 10, "linger_ms": 5}


def envelope(number: int) -> bytes:
    """A notification of about 1 KiB, as distribution sends it."""
    target = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{number % 5000:064x}",
        "size": 547,
        "repository": f"team/app-{number % 300}",
        "url": f"http://registry:5000/v2/team/app-{number % 300}/manifests/v{number % 50}",
        "tag": f"v{number % 50}",
    }
    event = {
        "id": f"{random.Random(number).getrandbits(32):08x}-0000-7000-8000-{number:012x}",
        "timestamp": "2026-11-23T22:24:21.467634912Z",
        "action": "pull",
        "target": target,
        "request": {
            "id": f"00000000-0000-7000-8000-{number:012x}",
            "addr": f"10.0.{number % 200}.{number % 250}:46626",
            "host": "registry:5000",
            "method": "GET",
            "useragent": "containerd/1.7.20",
        },
        "actor": {"name": f"robot-{number % 90}"},
        "source": {"addr": "vm:5000", "instanceID": "01a20a82-4800-73dc-8f6e-9824c461a9d9"},
    }
    return json.dumps({"events": [event]}).encode()


# The receiver


def sync_floor(work: Path) -> float:
    """The median time of a bare write and fdatasync of one event, milliseconds."""
    fd = os.open(work / "floor", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    took = []
    for _ in range(500):
        began = time.perf_counter()
        os.write(fd, b"x" * 1500)
        os.fdatasync(fd)
        took.append((time.perf_counter() - began) * 1000)
    os.close(fd)
    return statistics.median(took)


class Client(asyncio.Protocol):
    """One connection that posts events, one after the other."""

    def __init__(self, bodies: list[bytes], latencies: list[float], done: Any) -> None:
        self.bodies, self.latencies, self.done = bodies, latencies, done
        self.at = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        if self.at == len(self.bodies):
            self.transport.close()
            self.done()
            return
        body = self.bodies[self.at]
        self.at += 1
        self.began = time.perf_counter()
        self.transport.write(
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 202"), data
        self.latencies.append((time.perf_counter() - self.began) * 1000)
        self.send()


def drive(port: int, clients: int, each: int) -> dict[str, float]:
    """Post events from so many clients at once."""
    import uvloop

    bodies = [[envelope(c * each + n) for n in range(each)] for c in range(clients)]
    latencies: list[float] = []

    async def run() -> float:
        loop = asyncio.get_running_loop()
        left = clients
        finished = loop.create_future()

        def done() -> None:
            nonlocal left
            left -= 1
            if not left:
                finished.set_result(None)

        began = time.perf_counter()
        for mine in bodies:
            await loop.create_connection(
                lambda mine=mine: Client(mine, latencies, done), "127.0.0.1", port
            )
        await finished
        return time.perf_counter() - began

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seconds = runner.run(run())
    latencies.sort()
    return {
        "clients": clients,
        "events_per_s": round(clients * each / seconds),
        "p50_ms": round(latencies[len(latencies) // 2], 3),
        "p99_ms": round(latencies[len(latencies) * 99 // 100], 3),
    }


def bench_receiver(work: Path, rounds: int) -> dict[str, Any]:
    """Latency and throughput of the receiver, its client in another process on the same cores."""
    from receiving import Receiver

    found: dict[str, Any] = {"fdatasync_p50_ms": [], "one": [], "many": []}
    for _ in range(rounds):
        found["fdatasync_p50_ms"].append(round(sync_floor(work), 3))
        shutil.rmtree(work / "spool", ignore_errors=True)
        receiver = Receiver(work / "spool")
        try:
            drive(receiver.port, 8, 200)
            found["one"].append(drive(receiver.port, 1, 2000))
            found["many"].append(drive(receiver.port, 64, 400))
        finally:
            receiver.stop()
    return found


# Kafka


def fill(place: Path, count: int) -> Spool:
    """Return a spool with so many events."""
    shutil.rmtree(place, ignore_errors=True)
    spool = Spool(str(place), limit=64 << 30)
    now = "2026-11-20T03:00:00.000000Z"
    for first in range(0, count, 2000):
        bodies = []
        for number in range(first, min(count, first + 2000)):
            bodies += bodies_of(envelope(number), {}, now)
        spool.append(bodies)
    return spool


def bare_producer(broker: Any, topic: str, place: Path) -> float:
    """Seconds that a bare loop of kafka-python takes for the same records."""
    import kafka

    reader = Spool(str(place)).reader()
    messages = []
    while records := reader.read(5000, 64 << 20):
        messages += [message_of(record.data) for record in records]
    producer = kafka.KafkaProducer(
        bootstrap_servers=broker.address(),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_in_flight_requests_per_connection=5,
        metrics_enabled=False,
        **SETTINGS,
    )
    began = time.perf_counter()
    futures = []
    for at, message in enumerate(messages):
        futures.append(
            producer.send(
                topic,
                value=message.value,
                key=message.key,
                headers=list(message.headers),
                timestamp_ms=message.timestamp_ms,
            )
        )
        if at % 5000 == 4999:  # kafka-python bounds nothing by itself
            futures[-5000].get(60)
    for future in futures:
        future.get(60)
    took = time.perf_counter() - began
    producer.close()
    return took


def command(*arguments: str | Path) -> float:
    """Run regvault; return the seconds that it took."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "regvault", *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def in_process_ship(broker: Any, topic: str, place: Path, client: str) -> float:
    """Seconds that shipping takes, from the first event read to the last one acknowledged."""
    from regvault.audit.kafka.clients import open_sink
    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.audit.ship import Shipper

    settings = KafkaSettings((broker.address(),), client=client)
    sink = open_sink(settings)
    shipper = Shipper(Spool(str(place)), lambda: sink, topic, consumer=f"bench-{topic}")
    began = time.perf_counter()
    shipper.run(threading.Event(), follow=False)
    return time.perf_counter() - began


CLIENTS = {"ship_s": "kafka-python", "fast_s": "librdkafka"}


def bench_ship(work: Path, rounds: int, count: int) -> dict[str, Any]:
    """Spool to Kafka by both libraries, beside a bare kafka-python loop of the same records."""
    from kafka_broker import KafkaBroker

    found: dict[str, Any] = {"events": count, "bare_s": [], "ship_s": [], "fast_s": []}
    place = work / "ship"
    fill(place, count)
    shutil.rmtree(work / "kafka", ignore_errors=True)
    with KafkaBroker(work / "kafka" / "data", state=work / "kafka") as broker:
        for number in range(rounds):
            found["bare_s"].append(bare_producer(broker, broker.create_topic(f"b{number}"), place))
            for name, client in CLIENTS.items():
                once = work / "once"  # what is delivered goes
                shutil.rmtree(once, ignore_errors=True)
                shutil.copytree(place, once)
                topic = broker.create_topic(f"{client}-{number}")
                found[name].append(in_process_ship(broker, topic, once, client))
    return found | ratios(found, count, "ship_s")


def ratios(found: dict[str, Any], count: int, name: str) -> dict[str, Any]:
    """What both libraries reach, as medians: of the bare loop, of each other, events a second."""
    rounds = list(zip(found["bare_s"], found[name], found["fast_s"], strict=True))
    return {
        "of_bare": round(statistics.median(bare / ours for bare, ours, _ in rounds), 3),
        "fast_of_ours": round(statistics.median(ours / fast for _, ours, fast in rounds), 2),
        "events_per_s": round(count / statistics.median(found[name])),
        "fast_events_per_s": round(count / statistics.median(found["fast_s"])),
    }


def bare_consumer(broker: Any, topic: str, count: int, out: Path) -> float:
    """Seconds that a bare consumer takes that compresses and writes the values."""
    import kafka
    import zstandard

    consumer = kafka.KafkaConsumer(
        bootstrap_servers=broker.address(),
        enable_auto_commit=False,
        metrics_enabled=False,
        max_poll_records=2000,
        fetch_max_bytes=16 << 20,
        max_partition_fetch_bytes=4 << 20,
    )
    parts = [kafka.TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
    consumer.assign(parts)
    consumer.seek_to_beginning(*parts)
    began = time.perf_counter()
    seen = 0
    with out.open("wb") as file, zstandard.ZstdCompressor(3).stream_writer(file) as writer:
        while seen < count:
            for records in consumer.poll(500).values():
                for record in records:
                    writer.write(record.value + b"\n")
                    seen += 1
    took = time.perf_counter() - began
    consumer.close()
    return took


def in_process_archive(broker: Any, topic: str, work: Path, client: str) -> float:
    """Seconds that archiving takes, from joining to the last link."""
    from regvault.audit.kafka.clients import open_source
    from regvault.audit.kafka.settings import KafkaSettings
    from regvault.ops.audit.archive import Archiver
    from regvault.storage.local import LocalStore
    from regvault.vault.create import create_vault
    from regvault.vault.signing import NO_KEYS
    from regvault.vault.vault import Vault

    shutil.rmtree(work / "vault", ignore_errors=True)
    store = LocalStore(str(work / "vault"), create=True)
    create_vault(store, NO_KEYS)
    shutil.rmtree(work / "cache", ignore_errors=True)
    settings = KafkaSettings((broker.address(),), client=client)
    source = open_source(settings, topic, group=f"g-{topic}", shared=False)
    archiver = Archiver(Vault(store), source, cache=str(work / "cache"))
    began = time.perf_counter()
    archiver.run(threading.Event(), follow=False)
    return time.perf_counter() - began


def bench_archive(work: Path, rounds: int, count: int) -> dict[str, Any]:
    """Kafka to the vault by both libraries, beside a bare kafka-python consumer."""
    from kafka_broker import KafkaBroker

    found: dict[str, Any] = {"events": count, "bare_s": [], "archive_s": [], "fast_s": []}
    place = work / "archive"
    fill(place, count)
    shutil.rmtree(work / "kafka", ignore_errors=True)
    with KafkaBroker(work / "kafka" / "data", state=work / "kafka") as broker:
        topic = broker.create_topic("archive")
        in_process_ship(broker, topic, place, "librdkafka")
        for number in range(rounds):
            found["bare_s"].append(bare_consumer(broker, topic, count, work / f"bare-{number}"))
            for name, client in zip(("archive_s", "fast_s"), CLIENTS.values(), strict=True):
                found[name].append(in_process_archive(broker, topic, work, client))
    return found | ratios(found, count, "archive_s")


# Asking


def bench_query(work: Path, count: int) -> dict[str, Any]:
    """One digest with 20 events over a year: which share of the bytes is read for it."""
    from regvault.model.stream import Arrived
    from regvault.ops.audit.archive import Archiver
    from regvault.ops.audit.archived import ArchivedEvents
    from regvault.ops.audit.select import Wanted
    from regvault.storage.local import LocalStore
    from regvault.vault.create import create_vault
    from regvault.vault.signing import NO_KEYS
    from regvault.vault.vault import Vault

    hours = 8760
    rare = f"sha256:{'ab' * 32}"
    places = set(random.Random(1).sample(range(count), 20))

    class Year:
        """A stream of a year, an hour a read."""

        stream = {"kind": "bench"}  # noqa: RUF012

        def start(self, positions: Any, yielding: Any) -> None:  # noqa: ARG002
            self.at = positions().get("0", 0)

        def read(self, timeout_s: float) -> list[Arrived]:  # noqa: ARG002
            end = min(count, self.at + max(1, count // hours))
            found = [Arrived("0", n, message_of(self.event(n))) for n in range(self.at, end)]
            self.at = end
            return found

        @staticmethod
        def event(number: int) -> bytes:
            second = number * 365 * 86400 // count
            moment = datetime.fromtimestamp(1_764_000_000 + second, UTC)
            when = moment.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
            dice = random.Random(number)
            made = new_event(
                when,
                "pull",
                "distribution",
                f'{{"id":"{dice.getrandbits(64):x}","useragent":"containerd/1.7","method":"GET"}}',
                method="GET",
                repository=f"team/app-{dice.randrange(2000)}",
                tag=f"v{dice.randrange(100)}",
                digest=rare if number in places else f"sha256:{dice.randrange(200_000):064x}",
                actor=f"robot-{dice.randrange(500)}",
                address=f"10.1.{dice.randrange(200)}.{dice.randrange(250)}",
                useragent="containerd/1.7.20",
            )
            body = body_of({**made, "id": f"{dice.getrandbits(128):032x}"})
            head = b'{"seq":%d,"spool":"0123456789abcdef","received":"%b",' % (
                number + 1,
                when.encode(),
            )
            return head + body[1:]

        def gone(self) -> list[Any]:
            return []

        def caught_up(self) -> bool:
            return self.at >= count

        def settle(self, positions: Any) -> None:
            pass

        def close(self) -> None:
            pass

    shutil.rmtree(work / "year", ignore_errors=True)
    store = LocalStore(str(work / "year"), create=True)
    create_vault(store, NO_KEYS)
    began = time.perf_counter()
    Archiver(Vault(store), Year(), cache=None, segment_s=0.0).run(threading.Event(), follow=False)
    took = time.perf_counter() - began
    entries = list(store.list("audit/"))
    size = sum(entry.size for entry in entries)
    events = ArchivedEvents(Vault(store))
    began = time.perf_counter()
    found = list(events.find(Wanted(digests=frozenset({rare}))))
    seconds = time.perf_counter() - began
    assert len(found) == 20, len(found)
    return {
        "events": count,
        "segments": sum(entry.key.endswith(".jsonl.zst") for entry in entries),
        "bytes": size,
        "of_indexes": sum(entry.size for entry in entries if "/index-" in entry.key),
        "read": events.read_bytes,
        "share": round(events.read_bytes / size, 5),
        "query_s": round(seconds, 3),
        "archive_events_per_s": round(count / took),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["receiver", "ship", "archive", "query"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--year", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    gc.set_threshold(50_000, 20, 100)  # as the command line does
    found: dict[str, Any] = {}
    if options.out is not None and options.out.exists():
        found = json.loads(options.out.read_text())
    found |= {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine()}
    for what in options.what:
        if what == "receiver":
            found[what] = bench_receiver(options.work, options.rounds)
        elif what == "ship":
            found[what] = bench_ship(options.work, options.rounds, options.events)
        elif what == "archive":
            found[what] = bench_archive(options.work, options.rounds, options.events)
        else:
            found[what] = bench_query(options.work, options.year)
        print(json.dumps({what: found[what]}, indent=1), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
