"""A disk that is full: what was answered is kept."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from mounts import enlarge, small
from receiving import Receiver, event, wait_for

from regvault.audit.spool import Reader

if TYPE_CHECKING:
    from pathlib import Path


def large(number: int) -> dict[str, Any]:
    made = event(number)
    made["events"][0]["filler"] = os.urandom(30_000).hex()
    return made


def kept(spool: Path) -> list[str]:
    reader = Reader(str(spool))
    found: list[str] = []
    while records := reader.read(1000):
        found += [json.loads(record.data)["id"] for record in records]
    reader.close()
    return found


def id_of(number: int) -> str:
    return str(event(number)["events"][0]["id"])


def test_a_disk_that_is_full_is_not_now_and_nothing_that_was_answered_is_lost(
    tmp_path: Path,
) -> None:
    with small(tmp_path / "disk", "70m") as disk:
        receiver = Receiver(disk / "spool")
        try:
            answered = []
            answers = []
            for number in range(1400):
                answers.append(receiver.post(large(number)))
                if answers[-1] == 202:
                    answered.append(id_of(number))
            assert set(answers) == {202, 503}
            assert answers[-1] == 503
            assert receiver.request("GET", "/readyz")[0] == 503
            assert receiver.request("GET", "/healthz")[0] == 200
            enlarge(disk, "400m")
            wait_for(lambda: receiver.post(large(5000)) == 202, 30)
            assert receiver.request("GET", "/readyz")[0] == 200
        finally:
            receiver.stop()
        assert set(kept(disk / "spool")) >= {*answered, id_of(5000)}
        assert len(answered) > 500
