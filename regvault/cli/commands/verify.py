"""`regvault verify`: prove what is in a vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import transfer_options, vault_at_option, vault_option
from regvault.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from regvault.cli.app import App
    from regvault.ops.verify import VerifyResult
    from regvault.ops.verify.data import Sample
    from regvault.ops.verify.report import Problem

#: Problems, and images, that are listed.
_SHOWN = 50


@command(
    "verify",
    examples=[
        ("Every hour: is everything there?", "regvault verify --quick"),
        ("Every day: is all metadata right, and every snapshot complete?", "regvault verify"),
        ("Every day a seventh of all bytes", "regvault verify --read-data=3/7"),
    ],
    exit_codes=(0, 1, 2, 4, 5, 6, 10, 12),
)
@vault_option
@vault_at_option
@click.option("--quick", is_flag=True, help="Only that every object is there, with the right size.")
@click.option(
    "--read-data",
    metavar="[=N%|n/t]",
    is_flag=False,
    flag_value="all",
    help="Also read every layer; or a random share, or the n-th of t parts.",
)
@transfer_options
@click.pass_obj
def verify(
    app: App,
    vault: str | None,
    endpoint_url: str | None,
    vault_at: str | None,
    quick: bool,
    read_data: str | None,
    threads: int | None,
    limit_upload: float | None,
    limit_download: float | None,
) -> int:
    """Prove what is in the vault, for all snapshots of all registries.

    Without options all metadata is read and hashed again, and every snapshot is walked: each blob
    that it needs lies in an object that it lists. Works on a vault that cannot be written.
    """
    from regvault.assemble import open_vault, threads_for
    from regvault.ops.verify import VerifyOptions
    from regvault.ops.verify import verify as prove
    from regvault.ops.verify.data import parse_sample

    if quick and read_data is not None:
        raise UsageError("--quick and --read-data exclude each other", hint="Leave one out.")
    sample = parse_sample(read_data) if read_data is not None else None
    where = app.vault(vault, endpoint_url=endpoint_url, at=vault_at)
    opened = open_vault(where, limit_upload=limit_upload, limit_download=limit_download)
    with app.progress() as progress:
        result = prove(
            opened,
            VerifyOptions(quick=quick, read_data=sample, threads=threads_for(where, asked=threads)),
            progress=progress,
        )
    app.console.document(result.to_json())
    _show(app, result, sample)
    return result.exit_code()


def _show(app: App, result: VerifyResult, sample: Sample | None) -> None:
    report, console = result.report, app.console
    read = f"{fmt.count(report.objects, 'object')} read, {fmt.size(report.nbytes)}"
    depth = result.depth
    if sample is not None and sample.percent is not None:
        depth = f"a sample of {sample.percent:g} % of the data"
    elif sample is not None and sample.parts > 1:
        depth = f"part {sample.part} of {sample.parts} of the data"
    if report.unopened:
        console.note(
            f"{fmt.count(report.unopened, 'part')} of what is sealed did not open with the "
            "identities that were given: only its stored bytes are proven."
        )
    if report.archived:
        console.note(
            f"{fmt.count(report.archived, 'object')} ({fmt.size(report.archived_bytes)}) lie in an "
            "archive, and were not read: what they hold is as it was proven before they went there."
        )
    if not report.count:
        what = "1 snapshot is" if result.snapshots == 1 else f"{result.snapshots} snapshots are"
        console.say(f"{what} whole ({depth}): {fmt.count(report.present, 'object')} there, {read}.")
        return
    console.say(f"The vault is damaged: {fmt.count(report.count, 'problem')} ({read}).")
    shown = report.problems[:_SHOWN]
    console.table(
        ("object", "what", "detail", "snapshots"),
        [(p.key, p.what, p.detail, ", ".join(p.snapshots) or "-") for p in shown],
    )
    for line in fmt.first((), report.count - len(shown), 0):
        console.say(line)
    lines = (f"  {repository}{image} needs {digest}" for repository, image, digest in report.images)
    for line in fmt.first(lines, len(report.images), _SHOWN):
        console.say(line)
    warning, hint = _advice(report.problems)
    console.warn(warning, hint=hint)


def _advice(problems: Iterable[Problem]) -> tuple[str, str]:
    """Say what problems mean, and what to do about them."""
    from regvault.vault.keys import CATALOG, CONDEMNED, LEASES, LOCKS, RECORDS

    keys = {CATALOG if p.what == "uncatalogued" else p.key for p in problems}

    if all(key.startswith(CATALOG) for key in keys):
        return (
            "only the catalog is damaged: every snapshot restores, but finding things is slow",
            "It is written anew by the next snapshot, or by: regvault repair",
        )
    if all(key.startswith((CATALOG, CONDEMNED, LEASES, LOCKS, RECORDS)) for key in keys):
        return (
            "no snapshot is damaged; what keeps order among them is",
            "See what can be mended, and how: regvault repair --dry-run",
        )
    return (
        "what is damaged cannot be restored; everything else can",
        (
            "The next snapshot stores again what the registry still has. Older snapshots are "
            "mended from it, or from a copy, by: regvault repair --from WHERE"
        ),
    )
