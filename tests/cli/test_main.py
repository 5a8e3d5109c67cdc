import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from regvault import errors
from regvault.cli.app import App
from regvault.cli.failures import failures_of, worst_exit_code
from regvault.cli.interrupt import Interrupted
from regvault.cli.main import COMMANDS, cli, run

Run = Callable[..., int]
Captured = pytest.CaptureFixture[str]


def raises(error: BaseException) -> Callable[[App], object]:
    def body(_app: App) -> object:
        raise error

    return body


def imported_after(*args: str) -> set[str]:
    program = (
        "import sys\n"
        "from regvault.cli.main import run\n"
        f"code = run({list(args)!r})\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(result.stderr.split())


HEAVY = {"pydantic", "rich", "boto3", "botocore", "zstandard", "yaml", "sqlite3", "asyncio"}


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["config", "check", "--help"]])
def test_help_starts_at_once_since_it_imports_click_and_nothing_else(args: list[str]) -> None:
    modules = imported_after(*args)
    assert not modules & HEAVY
    own = {name for name in modules if name.startswith("regvault.")}
    layers = {name.split(".")[1] for name in own}
    assert layers <= {"cli", "config", "errors", "model"}
    if args == ["--help"]:
        assert not any(name.startswith("regvault.cli.commands") for name in own)


def test_help_lists_every_command_with_its_line(capsys: Captured) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for name, entry in COMMANDS.items():
        assert any(
            line.split() == [name, *entry.help.split()]
            for line in out.replace("\n" + " " * 10, " ").splitlines()
        ), name


def test_the_one_line_help_in_the_table_is_that_of_the_command() -> None:
    def check(group: click.Group) -> None:
        context = click.Context(group)
        for name, entry in group.lazy.items():  # type: ignore[attr-defined]
            found = group.get_command(context, name)
            assert found is not None
            assert found.name == name
            assert (found.help or "").partition("\n")[0] == entry.help
            if isinstance(found, click.Group):
                check(found)

    check(cli)


def test_the_version_is_printed(capsys: Captured) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("regvault ")


def test_no_command_is_a_usage_error_that_shows_the_help(capsys: Captured) -> None:
    assert run([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Commands:" in captured.err
    assert run(["config"]) == 2


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["confg"], "no such command: 'confg'", "Did you mean 'regvault config'?"),
        (["config", "chek"], "no such command: 'chek'", "Did you mean 'regvault config check'?"),
        (["zzz"], "no such command: 'zzz'", "Try 'regvault --help'"),
        (["config", "check", "--jsn"], "no such option: --jsn", "Did you mean --json?"),
        (["--log-format", "xml", "config"], "invalid value for '--log-format'", "Try 'regvault"),
        (["config", "check", "more"], "got unexpected extra argument", "Try 'regvault config"),
        (["-q", "-v", "config", "check"], "-q and -v exclude each other", "Leave one"),
        (["-q", "config", "check", "-v"], "-q and -v exclude each other", "Leave one"),
        (["--config"], "option '--config' requires an argument", "Try 'regvault --help'"),
    ],
)
def test_wrong_command_lines_say_what_is_wrong_and_what_to_do(
    args: list[str], message: str, hint: str, capsys: Captured
) -> None:
    assert run(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.lower().startswith(f"error: {message}")
    assert f"Hint: {hint}" in captured.err
    for where in (["--json", *args], [*args, "--json"]):
        if args[-1:] == ["--config"]:
            continue  # `--json` would be its value
        assert run(where) == 2
        captured = capsys.readouterr()
        error = json.loads(captured.out)["error"]
        assert (error["code"], captured.err) == ("usage", "")
        assert error["message"].startswith(message)
        assert hint in error["hint"]


def test_an_option_of_a_command_is_not_taken_for_one_after_the_double_dash(
    capsys: Captured,
) -> None:
    assert run(["config", "check", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("where", ["before", "after"])
def test_common_options_work_before_and_after_the_command(run_command: Run, where: str) -> None:
    seen: list[App] = []
    for flag in ("-q", "-v", "--json"):
        args = [flag, "probe"] if where == "before" else ["probe", flag]
        assert run_command(seen.append, *args) == 0
    assert [app.quiet for app in seen] == [True, False, False]
    assert [app.verbose for app in seen] == [0, 1, 0]
    assert [app.json for app in seen] == [False, False, True]


def test_a_command_ends_with_the_code_that_it_returns(run_command: Run) -> None:
    assert run_command(lambda _app: 3) == 3
    assert run_command(lambda _app: None) == 0


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFoundError("no such snapshot: 9", hint="See 'regvault snapshots'."),
        errors.VaultDamagedError("a pack is damaged"),
        errors.VaultDamagedError("vault.json is damaged", hint="Put it back."),
        errors.StoreFullError("no space"),
        errors.LeaseHeldError("held"),
    ],
)
def test_errors_have_message_hint_and_exit_code(
    run_command: Run, error: errors.RegvaultError, capsys: Captured
) -> None:
    assert run_command(raises(error)) == error.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == f"Error: {error.message}"
    assert lines[1:] == ([f"Hint: {error.hint}"] if error.hint else [])
    assert run_command(raises(error), "--json") == error.exit_code
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "error": {"code": error.code, "message": error.message, "hint": error.hint}
    }


def test_several_errors_are_all_told_and_the_worst_decides(
    run_command: Run, capsys: Captured
) -> None:
    group = ExceptionGroup("", [errors.SourceError("one"), errors.VaultDamagedError("two")])
    assert run_command(raises(group)) == 4
    hint = f"Hint: {errors.VaultDamagedError.HINT}"
    assert capsys.readouterr().err.splitlines() == ["Error: two", hint, "Error: one"]
    assert run_command(raises(group), "--json") == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert [error["message"], error["others"][0]["message"]] == ["two", "one"]


def test_an_unexpected_error_is_short_and_has_its_traceback_with_v_only(
    run_command: Run, capsys: Captured
) -> None:
    assert run_command(raises(KeyError("x"))) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == "Error: unexpected KeyError: 'x'"
    assert "Traceback" not in captured.err
    assert run_command(raises(KeyError("x")), "-v") == 1
    assert "Traceback" in capsys.readouterr().err
    assert run_command(raises(KeyError("x")), "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unexpected"


@pytest.mark.parametrize("flags", [[], ["-v"], ["--json"], ["--log-format", "json"]])
def test_secrets_are_in_no_message(run_command: Run, capsys: Captured, flags: list[str]) -> None:
    url = "https://me:hunter2@host/x?X-Amz-Signature=hunter2"
    for error in (ValueError(url), errors.StoreUnavailableError(url, hint=url)):
        run_command(raises(error), *flags)
        captured = capsys.readouterr()
        assert "hunter2" not in captured.out + captured.err


def test_hostile_names_do_not_reach_the_terminal_as_they_are(
    run_command: Run, capsys: Captured
) -> None:
    assert run_command(raises(errors.NotFoundError("\x1b[2Jname\u202e\udc80\r"))) == 10
    assert capsys.readouterr().err == "Error: \\x1b[2Jname\\u202e\\udc80\\x0d\n"


def test_the_log_in_json_has_the_error_too(run_command: Run, capsys: Captured) -> None:
    error = errors.LeaseHeldError("held", hint="wait")
    assert run_command(raises(error), "--log-format", "json") == 11
    line = json.loads(capsys.readouterr().err)
    assert (line["type"], line["code"], line["message"]) == ("error", "lease-held", "held")


def test_the_worst_exit_code_has_its_fixed_order() -> None:
    assert worst_exit_code([]) == 0
    assert worst_exit_code([0, 0]) == 0
    order = [4, 5, 12, 11, 6, 3, 1]
    for at, code in enumerate(order):
        assert worst_exit_code([0, *reversed(order[at:])]) == code
    assert worst_exit_code([0, 10]) == 10
    assert worst_exit_code([4, 130]) == 130


def test_every_error_class_is_a_failure_with_a_documented_exit_code() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type):
            [failure] = failures_of(kind("what"))
            assert failure.exit_code in errors.EXIT_CODES
    assert failures_of(Interrupted(signal.SIGTERM))[0].exit_code == 143


# Below, as a process of its own.

HANG = """\
import os, sys, threading, time
import click
from concurrent.futures import ThreadPoolExecutor
from regvault.cli import main
from regvault.cli.group import LazyCommand, command

class InDestructor:
    def __del__(self):
        sys.stderr.write("ready\\n"); sys.stderr.flush()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.01)

@command("hang")
@click.option("--how")
@click.pass_obj
def hang(app, how):
    "Hang."
    stop = threading.Event()
    try:
        if how == "threads":
            with ThreadPoolExecutor(2) as pool:
                try:
                    futures = [pool.submit(stop.wait, 30) for _ in range(2)]
                    sys.stderr.write("ready\\n"); sys.stderr.flush()
                    futures[0].result()
                finally:
                    stop.set()
        elif how == "destructor":
            InDestructor()
            for _ in range(300):
                time.sleep(0.1)
        elif how == "deaf":
            try:
                sys.stderr.write("ready\\n"); sys.stderr.flush()
                time.sleep(30)
            finally:
                sys.stderr.write("ending\\n"); sys.stderr.flush()
                time.sleep(30)
        elif how == "progress":
            with app.progress() as progress:
                progress.phase("Waiting", total_bytes=100)
                sys.stderr.write("ready\\n"); sys.stderr.flush()
                while True:
                    progress.advance(1, 1)
        else:
            sys.stderr.write("ready\\n"); sys.stderr.flush()
            time.sleep(30)
    finally:
        sys.stderr.write("cleaned up\\n"); sys.stderr.flush()

main.HANG = hang
main.cli.lazy["hang"] = LazyCommand("regvault.cli.main:HANG", "Hang.")
sys.exit(main.main())
"""


def hear_signals() -> None:
    """Whoever runs these tests in the background of a script had SIGINT ignored for them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*args: str, **options: object) -> subprocess.Popen[str]:
    options.setdefault("preexec_fn", hear_signals)
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", HANG, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stderr is not None
    for found in process.stderr:
        if found.strip() == line:
            return
    pytest.fail(f"no {line!r}")


@pytest.mark.parametrize("how", ["sleep", "threads", "destructor", "progress"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly_wherever_it_comes(how: str, signum: signal.Signals) -> None:
    with start("hang", "--how", how) as process:
        wait_for(process, "ready")
        process.send_signal(signum)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 128 + signum
    assert "cleaned up" in err
    assert f"Error: interrupted by {signum.name}" in err
    assert "Traceback" not in err
    assert out == ""


def test_an_interruption_is_an_error_object_with_json() -> None:
    with start("hang", "--json") as process:
        wait_for(process, "ready")
        process.terminate()
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert json.loads(out)["error"]["code"] == "interrupted"


def test_the_second_signal_kills_what_does_not_end() -> None:
    with start("hang", "--how", "deaf") as process:
        wait_for(process, "ready")
        process.terminate()
        wait_for(process, "ending")
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with start("hang", preexec_fn=ignore) as process:
        wait_for(process, "ready")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 143


def regvault(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "regvault", *args],
        capture_output="stdout" not in options,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize("args", [["--help"], ["config", "schema"]])
def test_a_reader_that_goes_away_is_no_error_to_talk_about(args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = regvault(*args, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert result.stderr == ""


def test_the_module_runs_like_the_program() -> None:
    result = regvault("config", "chek", "--json")
    assert result.returncode == 2
    assert json.loads(result.stdout)["error"]["code"] == "usage"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_imports_nothing_heavy(shell: str) -> None:
    environment = {
        **os.environ,
        "_REGVAULT_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "regvault con",
        "COMP_CWORD": "con" if shell == "fish" else "1",
    }
    program = (
        "import sys, atexit\n"
        "from regvault.cli.main import main\n"
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr))\n"
        "sys.exit(main())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "config" in result.stdout
    assert not set(result.stderr.split()) & HEAVY


def test_a_page_of_the_documentation_is_what_the_program_says() -> None:
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, str(root / "scripts" / "gen_docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "40"},
    )
    assert result.returncode == 0, result.stderr
