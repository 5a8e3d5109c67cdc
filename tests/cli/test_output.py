import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regvault.cli import text as fmt
from regvault.cli.app import App
from regvault.cli.output import Console, dumps
from regvault.errors import RefusedError, UsageError

Captured = pytest.CaptureFixture[str]
Run = Callable[..., int]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10 * 1024 - 1, "10.0 KiB"),
        (1536 << 10, "1.50 MiB"),
        ((1 << 20) - 1, "1.00 MiB"),
        (123 << 30, "123 GiB"),
        (5 << 60, "5.00 EiB"),
        (1 << 75, "32768 EiB"),
    ],
)
def test_sizes_are_iec_with_three_digits(count: int, text: str) -> None:
    assert fmt.size(count) == text


@given(st.integers(0, 1 << 69))
def test_a_size_is_never_wider_than_its_column(count: int) -> None:
    assert len(fmt.size(count)) <= 8


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (9.996, "10.00 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (86400 * 3 + 7200, "3 d 02 h"),
    ],
)
def test_time_spans_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert fmt.duration(seconds) == text


def test_tables_line_up_and_escape_what_a_name_may_hold() -> None:
    lines = fmt.table(
        ["NAME", "SIZE"], [["a", 1], ["日本", 22], ["e\u0301\x1b[2J\n", None]], align="lr"
    )
    assert lines == [
        "NAME        SIZE",
        "a              1",
        "日本          22",
        "e\u0301\\x1b[2J\\n",
    ]
    assert fmt.table([], []) == []


@given(st.text())
def test_nothing_that_steers_a_terminal_is_printable(text: str) -> None:
    shown = fmt.printable(text)
    assert "\x1b" not in shown
    assert "\r" not in shown
    shown.encode()


def test_results_go_to_standard_output_and_messages_do_not(capsys: Captured) -> None:
    console = Console(App())
    console.say("result")
    console.document({"a": 1})
    console.note("note")
    console.detail("detail")
    console.warn("warning", hint="look")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "note\nWarning: warning\nHint: look\n"


def test_the_words_of_something_outside_are_one_line(capsys: Captured) -> None:
    Console(App()).warn_line("Kafka: no\nWarning: all is lost\r\t", hint="Look at it.")
    assert capsys.readouterr().err == (
        "Warning: Kafka: no\\nWarning: all is lost\\x0d\\t\nHint: Look at it.\n"
    )


def test_json_is_alone_on_standard_output(capsys: Captured) -> None:
    console = Console(App(json=True))
    console.say("result")
    console.table(["A"], [["x"]])
    console.note("note")
    console.document({"name": "\udc80é\x1b", "when": datetime(2026, 1, 1, tzinfo=UTC)})
    captured = capsys.readouterr()
    assert captured.out.isascii()
    assert json.loads(captured.out) == {"name": "\udc80é\x1b", "when": "2026-01-01T00:00:00Z"}
    assert captured.err == "note\n"


def test_quiet_leaves_results_and_warnings(capsys: Captured) -> None:
    console = Console(App(quiet=True))
    console.say("result")
    console.note("note")
    console.warn("warning")
    assert capsys.readouterr() == ("result\n", "Warning: warning\n")


def test_the_log_in_json_is_a_line_for_each_message(capsys: Captured) -> None:
    console = Console(App(log_format="json", verbose=1))
    console.note("one\ntwo")
    console.detail("more")
    console.warn("careful", hint="look")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["type"] for line in lines] == ["note", "detail", "warning"]
    assert lines[0]["message"] == "one\ntwo"
    assert lines[2]["hint"] == "look"
    assert all(line["time"].endswith("Z") for line in lines)


def test_times_are_shown_in_the_configured_timezone(tmp_path: Path, capsys: Captured) -> None:
    assert Console(App()).time("2026-07-01T12:00:00.000Z") == "2026-07-01 12:00:00 UTC"
    assert Console(App()).time(0) == "1970-01-01 00:00:00 UTC"
    (tmp_path / "regvault.yaml").write_text("timezone: Asia/Tokyo\n")
    assert Console(App()).time("2026-07-01T12:00:00.000Z") == "2026-07-01 21:00:00 +0900"


def test_a_list_is_json_lines_or_text(capsys: Captured) -> None:
    for app in (App(), App(json=True)):
        count = Console(app).lines(iter("ab"), show=str.upper, to_json=lambda x: {"name": x})
        assert count == 2
    assert capsys.readouterr().out == 'A\nB\n{"name": "a"}\n{"name": "b"}\n'


def test_bytes_are_never_put_into_json_by_chance() -> None:
    with pytest.raises(TypeError):
        dumps({"a": b"x"})


def child(program: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", program], text=True, check=False, timeout=30, **options
    )


ENDLESS = """\
import itertools, sys
from regvault.cli.app import App
console = App().console
count = console.lines(itertools.count(), show=str, to_json=str)
sys.stderr.write("stopped")
"""


def test_an_endless_list_ends_where_its_reader_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = child(ENDLESS, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "stopped")


def test_a_broken_log_does_not_end_the_work() -> None:
    program = (
        "from regvault.cli.app import App\n"
        "console = App().console\n"
        "for i in range(10000): console.note('x' * 100)\n"
        "print('done')\n"
    )
    with open("/dev/full", "wb") as full:
        result = child(program, stdout=subprocess.PIPE, stderr=full)
    assert (result.returncode, result.stdout) == (0, "done\n")


@pytest.mark.parametrize("args", [["config", "schema"], ["--help"], ["config", "x", "--json"]])
def test_a_full_disk_below_a_redirection_is_an_error(args: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "regvault", *args],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    assert result.stderr.startswith("Error: ")


def test_nothing_is_done_unasked_where_nobody_can_be_asked(
    run_command: Run, capsys: Captured
) -> None:
    assert run_command(lambda app: app.confirm("Really?", yes=False)) == UsageError.exit_code
    assert "--yes" in capsys.readouterr().err
    assert run_command(lambda app: app.confirm("Really?", yes=True)) == 0


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", 0), ("n\n", RefusedError.exit_code), ("", 5), ("\n", 5)]
)
def test_only_a_yes_is_a_yes(
    run_command: Run, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    answers = itertools.chain(answer.splitlines(keepends=True), itertools.repeat(""))

    def ask(_prompt: str) -> str:
        line = next(answers)
        if not line:
            raise EOFError
        return line.rstrip("\n")

    monkeypatch.setattr("click.termui.visible_prompt_func", ask)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert run_command(lambda app: app.confirm("Really?", yes=False)) == code
