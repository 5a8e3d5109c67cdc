"""`regvault audit tail`: lines of log files into a spool."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, get_args

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import (
    PathsArgument,
    audit_command,
    needs_extra,
    open_spool,
    spool_options,
)
from regvault.model.stream import LogFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.audit.tail import Tailed
    from regvault.cli.app import App

_FORMATS = get_args(LogFormat)


@audit_command(
    "tail",
    examples=[
        (
            "The access log of a proxy before the registry, all the time",
            "regvault audit tail --follow --spool /var/spool/regvault /var/log/nginx/access.log",
        ),
        (
            "The containers of a node of Kubernetes",
            "regvault audit tail --follow --spool /var/spool/regvault '/var/log/containers/*.log'",
        ),
        (
            "What is there, rotated and compressed files too",
            "regvault audit tail --spool /var/spool/regvault '/var/log/nginx/access.log*'",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 5, 6, 11),
)
@spool_options
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="auto",
    show_default=True,
    help="What the lines are; `auto` finds it out for each line.",
)
@click.option("--follow", is_flag=True, help="Stay and read what comes; else end when all is read.")
@click.option(
    "--state",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Where is kept how far each file was read; else the directory `tail` of the spool.",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, cls=PathsArgument)
@click.pass_obj
def tail(
    app: App,
    /,
    spool: str,
    spool_size: float,
    form: str,
    follow: bool,
    state: str | None,
    paths: tuple[str, ...],
) -> int:
    """Read lines of log files into a spool, each once, as one event each.

    PATH is a file, a pattern in quotes (`*` and `**`) or `-`, which is standard input. Files may be
    renamed, copied and truncated, or compressed (.gz, .zst) when they are rotated, at any time,
    also while this command does not run: what was not read of them yet is read then. A line without
    an end waits for it.

    How far each file was read is saved once its events are durable. After a crash some lines are
    read again, with the same ids. When the spool is full nothing more is read, and nothing is
    skipped; with --follow it goes on by itself.

    Of a line of more than 1 MiB the first MiB is kept, and how long it was.
    """
    app.follows = follow
    needs_extra()
    from regvault.audit.formats.detect import FORMATS
    from regvault.audit.tail.follow import Follower
    from regvault.audit.tail.state import State

    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(contextlib.closing(open_spool(spool, spool_size)))
        kept = stack.enter_context(contextlib.closing(State(state or os.path.join(spool, "tail"))))
        if kept.lost:
            app.console.warn(
                "how far files were read was not readable",
                hint="They are read from their beginning; the ids of the lines are the same.",
            )
        follower = Follower(
            opened,
            kept,
            list(paths),
            FORMATS[form],
            follow=follow,
            warn=app.console.warn_line,
            most_open=_most_open() - 100,
        )
        with _told(app, follower.tailed):
            follower.run()
    app.console.document(follower.tailed.to_json())
    return 3 if follower.tailed.unreadable else 0


@contextlib.contextmanager
def _told(app: App, tailed: Tailed) -> Iterator[None]:
    """Say for people what was done, also where it was ended by a signal."""
    try:
        yield
    finally:
        if tailed.files or tailed.counts.lines:
            app.console.say(
                f"{fmt.count(tailed.events, 'event')} of {fmt.count(tailed.files, 'file')} are in "
                f"the spool: {fmt.count(tailed.counts.lines, 'line')}, "
                f"{fmt.size(tailed.counts.nbytes)}."
            )
        if tailed.dropped:
            app.console.warn(
                f"{fmt.count(tailed.dropped, 'event')} of standard input are not in the spool",
                hint="Put it into a file first, or use --follow, which waits.",
            )
        if tailed.lag:
            app.console.note(f"{fmt.size(tailed.lag)} are not read yet.")


def _most_open() -> int:
    """Let this process open as many files as it may; return how many those are."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft
