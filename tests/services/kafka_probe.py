"""Whether a Kafka broker can be used, asked in its own protocol with the standard library alone."""

from __future__ import annotations

import socket
import struct
from typing import BinaryIO

METADATA, VERSION = 3, 1


def leads_all(port: int, node: int) -> bool:
    """Whether the broker has joined its cluster, and leads every partition of every topic.

    A broker that starts has its port open long before it takes records, and after a crash its
    partitions have no leader until the controller has forgotten its former self.
    """
    request = struct.pack(">hhihi", METADATA, VERSION, 0, -1, -1)  # no client name; all topics
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                answer = Answer(stream)
                answer.skip(">ii")  # size, correlation
                return _leads_all(answer, node)
    except OSError:
        return False


class Answer:
    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def skip(self, form: str) -> None:
        self._raw(struct.calcsize(form))

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self._raw(struct.calcsize(form)))[0])

    def skip_text(self) -> None:
        self._raw(max(0, self.number(">h")))

    def skip_numbers(self) -> None:
        self._raw(4 * max(0, self.number(">i")))

    def _raw(self, size: int) -> bytes:
        raw = self.stream.read(size)
        if len(raw) != size:
            raise ConnectionError("the broker hung up")
        return raw


def _leads_all(answer: Answer, node: int) -> bool:
    brokers = answer.number(">i")
    for _ in range(brokers):
        answer.skip(">i")  # node
        answer.skip_text()  # host
        answer.skip(">i")  # port
        answer.skip_text()  # rack
    answer.skip(">i")  # controller
    led = brokers > 0
    for _ in range(answer.number(">i")):
        led &= answer.number(">h") == 0  # error
        answer.skip_text()  # topic
        answer.skip(">b")  # whether internal
        for _ in range(answer.number(">i")):
            led &= answer.number(">h") == 0  # error
            answer.skip(">i")  # partition
            led &= answer.number(">i") == node  # leader
            answer.skip_numbers()  # replicas
            answer.skip_numbers()  # those in sync
    return led
