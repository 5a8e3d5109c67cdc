"""`audit status --drop-consumer`: who will never come back holds nothing any more."""

import json

import pytest

from regvault.audit.intake import body_of
from regvault.audit.spool import Spool
from regvault.audit.spool.cursor import cursors
from regvault.cli.main import run
from regvault.model.event import new_event

NOW = "2026-11-20T03:00:00.000000Z"


@pytest.fixture
def spool(tmp_path):
    made = Spool(str(tmp_path / "spool"), segment_bytes=1)
    for number in range(3):
        made.append([body_of({**new_event(NOW, "pull", "test", ""), "id": str(number)})])
    made.cursor("ship-old").register()
    made.cursor("ship-new").advance(4)
    return made


def names(spool):
    return [cursor.name for cursor in cursors(spool.directory)]


def test_a_consumer_is_dropped_and_what_was_kept_for_it_goes(spool, capsys):
    assert spool.collect() == 0
    asked = ["audit", "status", "--json", "--spool", spool.directory, "--drop-consumer"]
    assert run([*asked, "ship-old", "--yes"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["spools"]
    assert [each["name"] for each in found["consumers"]] == ["ship-new"]
    assert found["first"] == 3
    assert names(spool) == ["ship-new"]


def test_nobody_is_dropped_without_a_yes_or_by_another_name(spool, capsys):
    asked = ["audit", "status", "--spool", spool.directory, "--drop-consumer"]
    assert run([*asked, "ship-old"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run([*asked, "ship-older", "--yes"]) == 10
    assert "ship-new, ship-old" in capsys.readouterr().err
    assert run(["audit", "status", "--drop-consumer", "ship-old", "--yes"]) == 2
    assert names(spool) == ["ship-new", "ship-old"]
    assert spool.usage().first == 1
