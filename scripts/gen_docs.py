"""Write docs/cli.md and docs/exit-codes.md from what the program itself knows.

`--check` writes nothing, and fails where a page is not what it would be.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from regvault import errors
from regvault.cli.group import Command, LazyGroup
from regvault.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parent.parent / "docs"
GENERATED = "<!-- Written by scripts/gen_docs.py from the program itself: change it there. -->"

COMMON = {"quiet", "verbose", "json", "help"}

INTRODUCTION = """\
Nothing needs a [configuration file](configuration.md). Wherever a name from it is taken, a
location is taken too:

| Location | Means |
|---|---|
| `fs:/var/lib/registry` | a registry's storage on a file system: the driver's root directory, the \
one that holds `docker/` |
| `s3://bucket/prefix` | a registry's storage or a vault on S3, told apart by its `vault.json` |
| `/path`, `./path`, `file:/path` | a vault on a file system |
| `oci:/path` | an OCI image layout, to restore into |

A word without `/` and `:` is a name of the configuration. A registry and a vault never lie one
inside the other.

- Results go to standard output; messages, warnings, errors and progress go to standard error.
- With `--json` standard output holds one JSON document, or JSON lines for lists, and nothing else.
  Its fields are only ever added to. An error is one object there:
  `{"error": {"code": ..., "message": ..., "hint": ...}}`.
- Progress is a bar on a terminal, a line every 10 seconds elsewhere, a JSON line with
  `--log-format json`, and nothing with `-q`.
- SIGINT and SIGTERM end a command cleanly, with what is committed committed; a second one kills.
- Sizes are IEC: `10MiB` (also `10M`) is 10 times 1024 times 1024 bytes, `10MB` is 10,000,000.
  Time spans are written `90s`, `5m`, `1h30m`, `2d`.
- [Exit codes](exit-codes.md) are the same for every command.

| Variable | Means |
|---|---|
| `REGVAULT_CONFIG` | the configuration file |
| `REGVAULT_VAULT` | the vault, where `--vault` is not given |
| `REGVAULT_CACHE` | the directory of the local caches, else `$XDG_CACHE_HOME/regvault` or \
`~/.cache/regvault`; deleting it costs only time |
| `AWS_...` | as for any program that uses AWS: credentials, `AWS_PROFILE`, `AWS_REGION`, \
`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` |
"""

COMPLETION = """\
## Shell completion

| Shell | Put this line | Into |
|---|---|---|
| bash (4.4 or newer) | `eval "$(_REGVAULT_COMPLETE=bash_source regvault)"` | `~/.bashrc` |
| zsh | `eval "$(_REGVAULT_COMPLETE=zsh_source regvault)"` | `~/.zshrc` |
| fish | `_REGVAULT_COMPLETE=fish_source regvault \\| source` | \
`~/.config/fish/completions/regvault.fish` |

Commands and options are completed without reading a configuration or a vault.
"""

EXIT_CODES = """\
Where several fit, the command ends with the first of 4, 5, 12, 11, 6, 3, 1.
"""

ERRORS = """\
## Errors

With `--json` an error is one object on standard output. `code` is a stable word, one for each kind
of error; `message` says what failed, on what; `hint` says what to do next, or is null. A wrong
configuration has `problems` too: a list with `file`, `line`, `column`, `path`, `message` and `hint`
of each. Credentials are never part of a message.

```json
{"error": {"code": "not-found", "message": "...", "hint": "..."}}
```
"""

OTHER_ERRORS = (
    ("interrupted", "130, 143", "SIGINT or SIGTERM has ended the command."),
    ("out-of-memory", "1", "There was not enough memory."),
    ("unexpected", "1", "A fault of regvault; `-v` shows where."),
)


def commands(
    group: LazyGroup, parent: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        yield command, context
        if isinstance(command, LazyGroup):
            yield from commands(command, context)


def paragraphs(text: str | None) -> str:
    return inspect.cleandoc((text or "").replace("\b\n", "")).strip()


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def metavar(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return "|".join(str(choice) for choice in option.type.choices)
    return option.metavar or option.type.name.upper()


def option_row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = metavar(option)
    if value and not option._flag_needs_value:  # noqa: SLF001 (click says it nowhere else)
        names = names[:-1] + f" {value}`"
    elif value:
        names = names[:-1] + f"[={value}]`"
    extra = ""
    if option.required:
        extra = " Required."
    elif isinstance(option.default, (str, int)) and option.default and not option.is_flag:
        extra = f" Default: `{option.default}`."
    if option.envvar:
        variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        extra += " Else " + ", ".join(f"`${name}`" for name in variables) + "."
    return f"| {cell(names)} | {cell((option.help or '') + extra)} |"


def options(command: click.Command, *, common: bool) -> list[str]:
    rows = [
        option_row(param)
        for param in command.params
        if isinstance(param, click.Option)
        and not param.hidden
        and (common or param.name not in COMMON)
    ]
    return ["| Option | Means |", "|---|---|", *rows, ""] if rows else []


def usage(command: click.Command, context: click.Context) -> str:
    words = [context.command_path]
    if any(isinstance(p, click.Option) and p.name not in COMMON for p in command.params):
        words.append("[OPTIONS]")
    for param in command.params:
        if isinstance(param, click.Argument):
            name = param.metavar or (param.name or "").upper()
            dots = "..." if param.nargs != 1 and "..." not in name else ""
            words.append(f"{name}{dots}" if param.required else f"[{name}]{dots}")
    if isinstance(command, LazyGroup):
        words.append("COMMAND")
    return " ".join(words)


def command_page(command: click.Command, context: click.Context) -> list[str]:
    path = context.command_path.partition(" ")[2]
    lines = [f"## {path}" if " " not in path else f"### {path}", "", paragraphs(command.help), ""]
    lines += ["```", usage(command, context), "```", ""]
    lines += options(command, common=False)
    if isinstance(command, LazyGroup):
        lines += [f"- `{path} {name}`: {entry.help}" for name, entry in command.lazy.items()]
        lines.append("")
    if isinstance(command, Command):
        if command.examples:
            lines += ["```sh"]
            for example in command.examples:
                lines += [f"# {example.what}", example.line]
            lines += ["```", ""]
        codes = ", ".join(str(code) for code in command.exit_codes)
        lines += [f"Exit codes: {codes} ([what they mean](exit-codes.md)).", ""]
    return lines


def cli_page() -> str:
    context = click.Context(cli, info_name="regvault")
    lines = ["# The command line", "", GENERATED, ""]
    lines += [paragraphs(cli.help).partition("\n")[0], ""]
    lines += ["```", "regvault [OPTIONS] COMMAND [ARGS]...", "```", ""]
    lines += options(cli, common=True)
    lines += ["`-q`, `-v` and `--json` work before and after COMMAND.", "", INTRODUCTION]
    found = list(commands(cli, context))
    lines += ["| Command | Does |", "|---|---|"]
    for command, below in found:
        path = below.command_path.partition(" ")[2]
        summary = paragraphs(command.help).partition("\n")[0]
        lines.append(f"| [`{path}`](#{path.replace(' ', '-')}) | {cell(summary)} |")
    lines.append("")
    for command, below in found:
        lines += command_page(command, below)
    lines.append(COMPLETION)
    return "\n".join(lines).rstrip() + "\n"


def error_classes(base: type[errors.RegvaultError]) -> Iterator[type[errors.RegvaultError]]:
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from error_classes(kind)


def exit_code_page() -> str:
    lines = ["# Exit codes and errors", "", GENERATED, ""]
    lines += ["| Code | Means |", "|---|---|"]
    lines += [f"| {code} | {cell(text)} |" for code, text in errors.EXIT_CODES.items()]
    lines += ["", EXIT_CODES, ERRORS, "| `code` | Exit code | Means |", "|---|---|---|"]
    rows = {
        kind.code: (str(kind.exit_code), (kind.__doc__ or "").partition("\n")[0])
        for kind in error_classes(errors.RegvaultError)
    }
    # The base is what has no better name, not "the base of all".
    rows["failed"] = ("1", "A failure without a better name.")
    rows.update({code: (exit_code, text) for code, exit_code, text in OTHER_ERRORS})
    lines += [f"| `{code}` | {value} | {cell(text)} |" for code, (value, text) in rows.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    arguments = parser.parse_args()
    stale = False
    for path, text in ((DOCS / "cli.md", cli_page()), (DOCS / "exit-codes.md", exit_code_page())):
        present = path.read_text() if path.exists() else ""
        if present == text:
            continue
        stale = True
        if arguments.check:
            name = f"docs/{path.name}"
            sys.stderr.writelines(
                difflib.unified_diff(
                    present.splitlines(keepends=True), text.splitlines(keepends=True), name, name
                )
            )
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    if stale and arguments.check:
        print("Generated pages are out of date: run scripts/gen_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
