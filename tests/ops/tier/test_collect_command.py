"""The registry's own command: what it says, how it ends, and that it is never left running."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time

import pytest

import regvault.ops.tier.garbage.collect as module
from regvault.errors import UsageError
from regvault.ops.tier.garbage.collect import Ended, parse_command, run_command


def python(text: str) -> list[str]:
    return [sys.executable, "-u", "-c", text]


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_words_are_a_shells_and_no_shell_is_run():
    assert parse_command("sh -c 'echo $HOME; x' \"a b\"") == ["sh", "-c", "echo $HOME; x", "a b"]
    assert parse_command("no-such-program gc", here=False) == ["no-such-program", "gc"]
    for text, words in [
        ("no-such-program gc", "there is no program"),
        ("sh 'x", "quotation"),
        ("  ", "no command"),
    ]:
        with pytest.raises(UsageError, match=words) as caught:
            parse_command(text)
        assert caught.value.hint


def test_what_it_says_is_passed_on_line_by_line_and_its_exit_code_kept():
    said: list[str] = []
    text = "import sys; print('one'); sys.stderr.write('two\\n'); print('\\xff'); sys.exit(7)"
    ended = run_command(python(text), say=said.append)
    assert sorted(said) == ["one", "two", "ÿ"]
    assert (ended.status, ended.timed_out, ended.good) == (7, False, False)
    assert str(ended) == "it ended with exit code 7"
    assert run_command(python("pass"), say=said.append).good


def test_output_without_an_end_of_line_takes_no_memory_and_blocks_nothing():
    longest = 0

    def say(line: str) -> None:
        nonlocal longest
        longest = max(longest, len(line))

    text = "import sys\nfor _ in range(200): sys.stdout.write('x' * 100_000)"
    assert run_command(python(text), say=say).good
    assert 0 < longest <= 4096


def test_a_signal_is_told():
    ended = run_command(["sh", "-c", "kill -9 $$"], say=lambda _: None)
    assert (ended.status, ended.good) == (-9, False)
    assert "SIGKILL" in str(ended)
    assert "longer" in str(Ended(0, 3.0, timed_out=True))


def test_a_file_that_is_no_program(tmp_path):
    path = tmp_path / "collect"
    path.write_text("nothing that can be run")
    path.chmod(0o755)
    with pytest.raises(UsageError, match="cannot run"):
        run_command([str(path)], say=lambda _: None)


def test_it_is_ended_after_its_time_with_all_its_children(monkeypatch):
    """Though it does not heed SIGTERM."""
    monkeypatch.setattr(module, "TERM_WITHIN_S", 0.5)
    monkeypatch.setattr(module, "_OUTPUT_WITHIN_S", 0.5)
    said: list[str] = []
    text = "trap '' TERM; sleep 60 & echo $!; echo $$; wait; wait; sleep 60"
    began = time.monotonic()
    ended = run_command(["sh", "-c", text], say=said.append, timeout_s=1.0)
    assert time.monotonic() - began < 20
    assert (ended.timed_out, ended.good) == (True, False)
    deadline = time.monotonic() + 10
    while any(alive(int(pid)) for pid in said) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [alive(int(pid)) for pid in said] == [False, False]


def test_an_interruption_is_passed_on_and_waited_for(tmp_path, monkeypatch):
    """What it is in the middle of is over before anyone goes on."""
    mark = tmp_path / "ended"
    text = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    time.sleep(0.3); open({str(mark)!r}, 'w').close(); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready')\n"
        "time.sleep(60)\n"
    )
    ready = threading.Event()
    real = module.subprocess.Popen.wait

    def wait(self, timeout=None):
        if timeout is None and not ready.is_set():
            assert ready.wait(20)
            raise KeyboardInterrupt
        return real(self, timeout)

    monkeypatch.setattr(module.subprocess.Popen, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        run_command(python(text), say=lambda _: ready.set())
    assert mark.exists()


def test_a_child_that_keeps_the_output_open_holds_up_nothing(monkeypatch):
    monkeypatch.setattr(module, "_OUTPUT_WITHIN_S", 0.3)
    said: list[str] = []
    text = "import subprocess; print(subprocess.Popen(['sleep', '30'], start_new_session=True).pid)"
    began = time.monotonic()
    assert run_command(python(text), say=said.append).good
    assert time.monotonic() - began < 20
    os.kill(int(said[0]), 9)


def test_a_command_that_is_quoted_comes_back_as_it_was():
    words = ["sh", "-c", "docker exec 'my registry' registry garbage-collect"]
    assert parse_command(shlex.join(words)) == words
