"""A log file into Kafka: `audit tail` with `audit ship`, beside rsyslog with omkafka.

    python scripts/bench/audit_peer.py --work DIR [--lines 200000] [--rounds 3] [--out FILE]

Both begin with a file of an access log that is there already, and are done when all of it is in the
topic. rsyslog (Debian's `rsyslog` and `rsyslog-kafka`) sends the lines as they are, from memory:
what it holds is lost when it is killed. regvault reads each, makes it an event that is durable on
the disk first, and sends that, several times as long. It is measured with both of its libraries.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import machine
from tail_file import write

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("services", "serve")]

RSYSLOG = """
global(workDirectory="{work}" maxMessageSize="64k")
module(load="imfile" mode="inotify")
module(load="omkafka")
main_queue(queue.type="LinkedList" queue.size="200000" queue.dequeueBatchSize="4096"
           queue.timeoutEnqueue="0")
template(name="line" type="string" string="%msg%")
input(type="imfile" file="{file}" tag="x" reopenOnTruncate="on" freshStartTail="off")
action(type="omkafka" broker=["{broker}"] topic="{topic}" template="line"
       confParam=["compression.codec=zstd", "acks=all", "linger.ms=5",
                  "queue.buffering.max.messages=200000"] resubmitOnFailure="on")
"""


def until_all(broker: Any, topic: str, count: int) -> None:
    """Wait until a topic has so many records."""
    import kafka

    consumer = kafka.KafkaConsumer(bootstrap_servers=broker.address())
    parts = [kafka.TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
    deadline = time.monotonic() + 300
    while sum(consumer.end_offsets(parts).values()) < count:
        assert time.monotonic() < deadline, sum(consumer.end_offsets(parts).values())
        time.sleep(0.05)
    consumer.close()


@contextmanager
def running(*commands: list[str]) -> Iterator[None]:
    """Run processes meanwhile."""
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def rsyslog(broker: Any, topic: str, file: Path, work: Path, count: int) -> float:
    """Seconds that rsyslog takes."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    config = work / "rsyslog.conf"
    config.write_text(RSYSLOG.format(work=work, file=file, broker=broker.address(), topic=topic))
    began = time.perf_counter()
    with running(["rsyslogd", "-n", "-f", str(config), "-i", str(work / "pid")]):
        until_all(broker, topic, count)
        return time.perf_counter() - began


def regvault(broker: Any, topic: str, file: Path, work: Path, count: int, client: str) -> float:
    """Seconds that `audit tail` and `audit ship` take, side by side."""
    shutil.rmtree(work, ignore_errors=True)
    base = [sys.executable, "-m", "regvault", "audit"]
    tail = [*base, "tail", "--follow", "--spool", str(work), "--format", "nginx", str(file)]
    ship = [*base, "ship", "--follow", "--spool", str(work), "--kafka", broker.address()]
    began = time.perf_counter()
    with running(tail, [*ship, "--topic", topic, "--kafka-client", client]):
        until_all(broker, topic, count)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="put it into this JSON file, as `peer`")
    options = parser.parse_args()
    if shutil.which("rsyslogd") is None:
        sys.exit("apt-get install rsyslog rsyslog-kafka")
    from kafka_broker import KafkaBroker

    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    file = work / "access.log"
    write(file, "nginx", options.lines)
    found: dict[str, Any] = {
        "lines": options.lines,
        "bytes": file.stat().st_size,
        "rsyslog_s": [],
        "kafka-python_s": [],
        "librdkafka_s": [],
    }
    shutil.rmtree(work / "kafka", ignore_errors=True)
    with KafkaBroker(work / "kafka" / "data", state=work / "kafka") as broker:
        for number in range(options.rounds):
            topic = broker.create_topic(f"rsyslog-{number}")
            found["rsyslog_s"].append(rsyslog(broker, topic, file, work / "rs", options.lines))
            for client in ("kafka-python", "librdkafka"):
                topic = broker.create_topic(f"{client}-{number}")
                took = regvault(broker, topic, file, work / "spool", options.lines, client)
                found[f"{client}_s"].append(took)
    for name in ("rsyslog", "kafka-python", "librdkafka"):
        found[f"{name}_lines_per_s"] = round(options.lines / statistics.median(found[f"{name}_s"]))
    print(json.dumps(found, indent=1))
    if options.out is not None:
        everything = json.loads(options.out.read_text()) if options.out.exists() else {}
        everything |= {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine()}
        options.out.write_text(json.dumps(everything | {"peer": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
