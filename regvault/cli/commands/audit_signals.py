"""`regvault audit signals`: what is out of the ordinary becomes events."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import (
    address_of,
    audit_command,
    needs_extra,
    open_spool,
    require_spool,
    spool_options,
)
from regvault.cli.signal_options import signal_options, watching_of
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regvault.audit.signals.watching import Watching
    from regvault.audit.spool import Spool
    from regvault.cli.app import App


@audit_command(
    "signals",
    examples=[
        (
            "Beside `audit tail`, with numbers for Prometheus",
            "regvault audit signals --follow --spool /var/spool/regvault --listen 127.0.0.1:9099",
        ),
        (
            "And what a registry counted, but never delivered",
            "regvault audit signals --follow --registry-metrics http://127.0.0.1:5001 ...",
        ),
    ],
    exit_codes=(0, 1, 2, 5, 6, 11),
)
@spool_options
@click.option("--follow", is_flag=True, help="Stay and look at what comes; else end soon.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Where /metrics is shown to Prometheus (--follow)."
)
@signal_options
@click.pass_obj
def signals(
    app: App,
    /,
    spool: str,
    spool_size: float,
    follow: bool,
    listen: str | None,
    **options: Any,
) -> int:
    """Notice what is out of the ordinary in a spool, and put it there as events.

    These are of action `signal`, and are shipped and archived as all others: logins that fail more
    than usual, pulls that take long, many deletions, a tag that is overwritten by somebody new, a
    pull from a network that none came from before. With --registry-metrics events that a registry
    counted and that never came become one of action `gap`, or are reconstructed from its log.

    It stands in nobody's way: once the spool is half full, events go that this has not seen yet.
    `audit serve --signals` does the same.
    """
    needs_extra("prometheus_client")
    if listen is not None and not follow:
        raise UsageError("--listen needs --follow", hint="Give both.")
    require_spool(spool)
    app.follows = follow
    opened = open_spool(spool, spool_size)
    watching = watching_of(app, opened, options)
    assert watching is not None
    with contextlib.closing(opened):
        if not follow:
            watching.once()
        else:
            with _shown(app, watching, opened, listen):
                watching.run(threading.Event())
    counts = watching.counts
    found = {
        "events": counts.events,
        "signals": dict(counts.signals),
        "gaps": counts.gaps,
        "skipped": watching.signals.skipped,
    }
    app.console.document(found)
    raised = sum(counts.signals.values())
    app.console.say(f"{fmt.count(counts.events, 'event')}, {fmt.count(raised, 'signal')}.")
    return 0


@contextlib.contextmanager
def _shown(app: App, watching: Watching, spool: Spool, listen: str | None) -> Iterator[None]:
    """Show /metrics meanwhile. Raises UsageError where that address cannot be listened at."""
    if listen is None:
        yield
        return
    from prometheus_client import CollectorRegistry, start_http_server

    from regvault.serve.signal_metrics import SignalMetrics

    host, port = address_of(listen)
    registry = CollectorRegistry()
    registry.register(SignalMetrics(watching, spool))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {listen}: {error.strerror}",
            hint="Is something else listening there?",
        ) from None
    app.console.note(f"Listening at http://{host}:{server.server_port}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
