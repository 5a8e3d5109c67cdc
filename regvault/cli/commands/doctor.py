"""`regvault doctor`: what would make a backup or a restore fail, before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from regvault.cli import text as fmt
from regvault.cli.audit_options import kafka_options
from regvault.cli.group import command
from regvault.cli.options import DURATION, LOCATION, vault_option

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.config.places import RegistryPlace, VaultPlace
    from regvault.ops.doctor import Diagnosis
    from regvault.policy.doctor.check import Check


@command(
    "doctor",
    examples=[
        (
            "Before the first run",
            "regvault doctor fs:/var/lib/registry --vault s3://backup/registry --new",
        ),
        (
            "On the backup's host, with its credentials",
            "regvault doctor fs:/var/lib/registry --vault s3://backup/registry --role writer",
        ),
        (
            "For monitoring",
            "regvault doctor --no-write --fail-on error --json | jq -r .status",
        ),
        (
            "The topic of audit events, and a spool",
            "regvault doctor --kafka kafka1:9092 --topic registry --spool /var/spool/regvault",
        ),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1, type=LOCATION)
@vault_option
@click.option(
    "--role",
    type=click.Choice(["any", "writer", "reader", "pruner"]),
    default="any",
    help="What the credentials are for: what such a role lacks is an error, what it may do beyond "
    "that a warning. `any` is for one person who does it all.",
)
@click.option(
    "--new", is_flag=True, help="There is no vault yet: probe the place before `regvault init`."
)
@click.option("--no-write", is_flag=True, help="Write no probes; what only they show is skipped.")
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "error"]),
    default="warning",
    help="What makes exit code 3.",
)
@kafka_options(required=False)
@click.option(
    "--dead-letter-topic", metavar="T", help="Of what the topic does not take; else TOPIC.dead."
)
@click.option(
    "--spool",
    "spools",
    metavar="DIR",
    multiple=True,
    type=click.Path(file_okay=False),
    help="A spool of audit events to look at; may be repeated.",
)
@click.option(
    "--stream-role",
    type=click.Choice(["any", "ship", "archive"]),
    default="any",
    help="What the user of Kafka is for: what such a one lacks is an error.",
)
@click.option(
    "--archive-every",
    metavar="DURATION",
    type=DURATION,
    default="1d",
    show_default=True,
    help="How often `regvault audit archive` runs: the topic has to keep records for longer.",
)
@click.pass_obj
def doctor(
    app: App,
    /,
    sources: tuple[str, ...],
    vault: str | None,
    endpoint_url: str | None,
    role: str,
    new: bool,
    no_write: bool,
    fail_on: str,
    dead_letter_topic: str | None,
    spools: tuple[str, ...],
    stream_role: str,
    archive_every: float,
    **kafka: Any,
) -> int:
    """Find what would make a backup or a restore fail, before it does.

    Looks at the vault, and at each SOURCE. Without a SOURCE it looks at the vault; without both, at
    all that the configuration has; with a SOURCE alone, at that. With --kafka and --topic, and with
    --spool, it looks at these parts of the audit stream, and at what else is named.

    Each check is ok, a warning, an error, or skipped, which is no finding. Probes are written to
    the vault below locks/probe-, and deleted where that is allowed, and to a spool; nothing is ever
    written to a source or a topic. docs/doctor.md explains each check.
    """
    from regvault.assemble.subjects import source_subject, vault_subject
    from regvault.cli.doctor_stream import named_stream
    from regvault.model.doctor import Credentials, StreamRole
    from regvault.ops.doctor import DoctorOptions, diagnose

    asked = bool(kafka["kafka"] or kafka["topic"] or spools)
    alone = asked and not sources and vault is None
    vaults, registries = ([], []) if alone else _places(app, sources, vault, endpoint_url)
    kafka["dead_letter_topic"] = dead_letter_topic
    topics, waiting = named_stream(
        app, kafka, spools, vaults, everything=not asked and not sources and vault is None
    )
    options = DoctorOptions(
        role=Credentials(role),
        write=not no_write,
        new=new,
        fail_on=fail_on,
        stream_role=StreamRole(stream_role),
        every_s=archive_every,
    )
    with app.progress() as progress:
        result = diagnose(
            [vault_subject(place) for place in vaults],
            [source_subject(place, vaults, new=new) for place in registries],
            options,
            topics=topics,
            spools=waiting,
            progress=progress,
        )
    app.console.document(result.to_json())
    _show(app, result)
    return result.exit_code()


def _places(
    app: App, sources: tuple[str, ...], vault: str | None, endpoint_url: str | None
) -> tuple[list[VaultPlace], list[RegistryPlace]]:
    """Return the vaults and the registries that are meant."""
    from dataclasses import replace

    from regvault.model.location import Role

    registries = [app.registry(text, Role.SOURCE, endpoint_url=endpoint_url) for text in sources]
    if vault is not None or (not registries and app.config is None):
        return [app.vault(vault, endpoint_url=endpoint_url)], registries
    if registries:
        return [], registries
    assert app.config is not None
    # By name: keys of the command line, or of the environment, go with each.
    vaults = [app.vault(name, endpoint_url=endpoint_url) for name in app.config.vault_places]
    registries = list(app.config.registry_places.values())
    if not vaults and not registries and not app.config.audit.shown():
        app.vault(None)  # says how a vault is named
    if endpoint_url is not None:
        registries = [replace(r, s3=replace(r.s3, endpoint_url=endpoint_url)) for r in registries]
    return vaults, registries


_LABELS = {"ok": "ok", "warning": "WARNING", "error": "ERROR", "skipped": "skipped"}
_INDENT = 2 + len("WARNING") + 2
_NAME = 28
_WIDTH = 110


def _show(app: App, result: Diagnosis) -> None:
    from shutil import get_terminal_size

    width = min(get_terminal_size((_WIDTH, 0)).columns, _WIDTH)
    for number, place in enumerate(result.places):
        if number:
            app.console.say()
        app.console.say(f"{place.subject.capitalize()} {place.location}")
        for check in place.checks:
            if check.state != "skipped":
                _entry(app, _LABELS[check.state], check.id, check.found, width)
                if check.hint:
                    _entry(app, "", "", f"-> {check.hint}", width)
        _show_skipped(app, place.checks, width)
    counts = {state: sum(check.state == state for check in result.checks) for state in _LABELS}
    said = [fmt.count(counts[state], state) for state in ("error", "warning") if counts[state]]
    said += [f"{counts['ok']} ok"] if counts["ok"] else []
    said += [f"{counts['skipped']} skipped, so not known"] if counts["skipped"] else []
    app.console.say()
    app.console.say(f"{', '.join(said)}.")


def _show_skipped(app: App, checks: list[Check], width: int) -> None:
    """Show what was skipped together: many checks are skipped for one reason."""
    reasons: dict[str, list[str]] = {}
    for check in checks:
        if check.state == "skipped":
            reasons.setdefault(check.found, []).append(check.id)
    for why, ids in reasons.items():
        name, text = (ids[0], why) if len(ids) == 1 else ("", f"{why}: {', '.join(ids)}")
        _entry(app, _LABELS["skipped"], name, text, width)


def _entry(app: App, label: str, name: str, text: str, width: int) -> None:
    from textwrap import wrap

    indent = _INDENT + _NAME
    # Names and messages come from elsewhere: nothing of them may break the line.
    lines = wrap(fmt.printable(text), max(width - indent, 40), break_on_hyphens=False) or [""]
    app.console.say(f"  {label:<{_INDENT - 2}}{name:<{_NAME}}{lines[0]}")
    for line in lines[1:]:
        app.console.say(f"{'':<{indent}}{line}")
