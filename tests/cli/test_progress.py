import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from regvault.cli.app import App
from regvault.cli.progress import Report, Tracker, open_progress, stats

Captured = pytest.CaptureFixture[str]


class Recorder:
    seconds = 3600.0

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.closed = False

    def show(self, report: Report) -> None:
        self.reports.append(report)

    def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(recorder: Recorder, clock: Clock) -> Iterator[Tracker]:
    tracker = Tracker(App().console, recorder, clock)
    yield tracker
    tracker.close()


def test_no_count_is_lost_between_threads(tracker: Tracker, recorder: Recorder) -> None:
    tracker.phase("Storing")

    def work() -> None:
        for _ in range(20_000):
            tracker.advance(1, 3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracker.close()
    last = recorder.reports[-1]
    assert (last.items, last.nbytes, last.done) == (160_000, 480_000, True)
    assert recorder.closed


def test_each_phase_counts_from_nothing_and_ends_once(tracker: Tracker, recorder: Recorder) -> None:
    tracker.advance(5)
    tracker.phase("One", total_items=2)
    tracker.advance(2)
    tracker.phase("Two")
    tracker.total(items=7, nbytes=70)
    tracker.advance(1, 10)
    tracker.close()
    tracker.close()
    ends = [(r.phase, r.items, r.total_items, r.total_bytes) for r in recorder.reports if r.done]
    assert ends == [("One", 2, 2, None), ("Two", 1, 7, 70)]


def test_the_rate_is_that_of_late_and_gives_the_time_left(
    tracker: Tracker, recorder: Recorder, clock: Clock
) -> None:
    tracker.phase("Storing", total_bytes=10_000)
    for _ in range(60):
        clock.now += 1
        tracker.advance(1, 10)
        tracker._show(tracker._phase.report(clock.now, done=False))  # type: ignore[union-attr]
    for _ in range(20):
        clock.now += 1
        tracker.advance(1, 100)
        tracker._show(tracker._phase.report(clock.now, done=False))  # type: ignore[union-attr]
    last = recorder.reports[-1]
    assert last.rate == pytest.approx(100)
    assert last.left == pytest.approx((10_000 - 600 - 2000) / 100)


def test_a_count_is_cheap() -> None:
    tracker = Tracker(App().console, Recorder())
    tracker.phase("Storing")
    begin = time.process_time()
    for _ in range(100_000):
        tracker.advance(1, 1)
    spent = time.process_time() - begin
    tracker.close()
    # A hundred thousand a second must cost little of one core; measured: 0.03 s.
    assert spent < 0.5


def test_a_terminal_that_has_gone_does_not_end_the_work() -> None:
    class Broken(Recorder):
        def show(self, report: Report) -> None:
            raise OSError(5, "gone")

    tracker = Tracker(App().console, Broken())
    tracker.phase("Storing")
    tracker.phase("More")
    tracker.close()


def test_numbers_for_people() -> None:
    report = Report("Storing", 1200, 3 << 20, 5000, 12 << 20, 10.0, 1 << 20, 9.0, done=False)
    assert stats(report) == (
        "25.0 %, 1,200 of 5,000, 3.00 MiB of 12.0 MiB, 1.00 MiB/s, 9.00 s left"
    )
    assert stats(report._replace(done=True)) == ("1,200 of 5,000, 3.00 MiB of 12.0 MiB, 307 KiB/s")
    empty = Report("Waiting", 0, 0, None, None, 0.0, 0.0, None, done=False)
    assert stats(empty) == "at work"


def test_quiet_shows_warnings_only(capsys: Captured) -> None:
    with open_progress(App(quiet=True)) as progress:
        progress.phase("Storing", total_items=3)
        progress.advance(1)
        progress.note("note")
        progress.warn("careful", hint="look")
    assert capsys.readouterr() == ("", "Warning: careful\nHint: look\n")


def test_the_log_in_json_has_progress_lines(capsys: Captured) -> None:
    with open_progress(App(log_format="json")) as progress:
        progress.phase("Storing", total_items=3)
        progress.advance(2, 10)
        progress.note("note")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["type"] for line in lines] == ["progress", "note", "progress"]
    assert (lines[2]["items"], lines[2]["bytes"], lines[2]["done"]) == (2, 10, True)


def test_a_short_run_without_a_terminal_has_no_progress_lines(capsys: Captured) -> None:
    with open_progress(App()) as progress:
        progress.phase("Storing", total_items=3)
        progress.advance(3)
        progress.note("note")
    assert capsys.readouterr() == ("", "note\n")


def test_without_a_terminal_there_is_a_line_at_intervals(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regvault.cli.progress._Lines.__init__.__defaults__", (0.05,))
    with open_progress(App()) as progress:
        progress.phase("Storing", total_bytes=100)
        progress.advance(1, 50)
        time.sleep(0.3)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) >= 2
    assert lines[0].startswith("Storing: 50.0 %, 1, 50 B of 100 B")
    assert ", done in " in lines[-1]


ON_A_TERMINAL = """\
import time
from regvault.cli.app import App
app = App()
with app.progress() as progress:
    progress.phase("Storing [blobs]", total_bytes=1 << 20)
    for _ in range(8):
        progress.advance(1, 1 << 16)
        time.sleep(0.1)
    progress.note("a note \\x1b[2J [red]")
    app.console.warn("careful")
print("result")
"""


def test_on_a_terminal_there_is_a_bar_and_the_messages_are_above_it() -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL],
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment,
    ) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            if not data:
                break
            seen += data
        assert process.stdout is not None
        assert process.stdout.read() == b"result\n"
    os.close(master)
    assert process.returncode == 0
    text = seen.decode()
    assert "Storing [blobs]" in text
    assert "MiB" in text
    assert "left" in text
    assert "a note \\x1b[2J [red]" in text
    assert "Warning: careful" in text
    assert "\x1b[2J" not in text
    assert text.rstrip().rsplit("\n", 1)[-1] != ""
