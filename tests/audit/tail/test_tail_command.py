"""`regvault audit tail` as a process: exit codes, signals, standard input."""

import json
import os
import signal

import pytest
from tailing import once, stop, wait_for

from regvault.audit.formats.detect import FORMATS
from regvault.audit.spool import Spool
from regvault.cli.commands import audit_tail
from regvault.cli.main import run

LINES = [f"line {n} {'x' * 100}" for n in range(300)]


def test_every_format_can_be_named():
    assert set(audit_tail._FORMATS) == set(FORMATS)


def test_one_document_says_what_was_done(site, capsys):
    site.write(*LINES[:5])
    site.write("rest", end="")
    assert run(["audit", "tail", "--json", "--spool", site.spool, str(site.log)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "files": 1,
        "lines": 5,
        "events": 5,
        "bytes": site.log.stat().st_size - 4,
        "unreadable": [],
        "lag": 4,
    }


def test_no_file_a_directory_and_one_that_cannot_be_read_each_say_so(site, capsys):
    command = ["audit", "tail", "--spool", site.spool]
    assert run([*command, str(site.logs / "*.log")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert run([*command, str(site.logs)]) == 2
    assert "/*.log'" in capsys.readouterr().err
    (site.logs / "loop").symlink_to("loop")
    site.write(*LINES)
    assert run([*command, str(site.log), str(site.logs / "loop")]) == 3
    assert "cannot read" in capsys.readouterr().err
    once(site.events(), LINES)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_all_that_was_read_durable_and_remembered(site, number, code):
    process = site.process("--follow", site.logs / "*.log")
    site.write(*LINES)
    wait_for(lambda: os.path.exists(site.spool) and site.stored() == len(LINES))
    found, _, told = stop(process, number)
    assert found == code
    assert told.endswith(f"Stopped by {number.name}.\n")
    assert site.tail(site.logs / "*.log").events == 0


def test_standard_input_is_read_to_its_end(site):
    process = site.process("--json", "-", stdin=-1)
    data = "".join(f"{line}\n" for line in LINES) + "no end"
    out, _ = process.communicate(data.encode(), timeout=20)
    assert process.returncode == 0
    assert json.loads(out)["events"] == len(LINES) + 1
    assert site.raws() == [*LINES, "no end"]
    process = site.process("-", stdin=-1)
    process.communicate(data.encode(), timeout=20)
    assert len(site.events()) == 2 * len(LINES) + 2  # nobody can know that these are repeats


def test_a_signal_loses_nothing_that_was_taken_from_standard_input(site):
    process = site.process("--follow", "-", site.log, stdin=-1)
    process.stdin.write("".join(f"{line}\n" for line in LINES).encode())
    process.stdin.flush()
    wait_for(lambda: os.path.exists(site.spool) and site.stored() >= 1)
    assert stop(process)[0] == 143
    assert site.raws() == LINES


def test_a_full_spool_is_waited_for_and_nothing_is_skipped(site):
    lines = [f"line {n} {'x' * 3000}" for n in range(900)]
    site.write(*lines)
    ended = site.process("--spool-size", "1MiB", site.log)
    ended.communicate(timeout=20)
    assert ended.returncode == 6
    before = site.stored()
    found = set()
    process = site.process("--follow", "--spool-size", "1MiB", site.log)

    def taken():
        spool = Spool(site.spool)
        cursor = spool.cursor("ship")
        reader = spool.reader(cursor.next)
        while records := reader.read():
            found.update(json.loads(record.data)["raw"] for record in records)
        cursor.advance(reader.next)
        spool.collect()
        return len(found) == len(lines)

    wait_for(taken)
    code, _, said = stop(process)
    assert code == 143
    assert "is full" in said
    assert before < len(lines)
    assert site.stored() == len(lines)
