"""`regvault scan`: find damage in a live registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import LOCATION, endpoint_option, repo_option, threads_option

if TYPE_CHECKING:
    from regvault.cli.app import App


@command(
    "scan",
    examples=[
        ("Links, manifests, and the size of every blob", "regvault scan fs:/var/lib/registry"),
        ("And every byte", "regvault scan fs:/var/lib/registry --read-data"),
    ],
    exit_codes=(0, 1, 2, 3, 6, 10, 12),
)
@click.argument("source", type=LOCATION)
@repo_option
@click.option("--read-data", is_flag=True, help="Read and hash every blob.")
@endpoint_option
@threads_option
@click.pass_obj
def scan(
    app: App,
    source: str,
    repos: tuple[str, ...],
    read_data: bool,
    endpoint_url: str | None,
    threads: int | None,
) -> int:
    """Find what is damaged in the registry at SOURCE, and what is only untidy.

    Changes nothing, and needs no vault. Damage is exit code 3; notices, such as orphans and uploads
    in flight, are normal.
    """
    from regvault.assemble import open_source, threads_for
    from regvault.model.location import Role
    from regvault.ops.scan import ScanOptions
    from regvault.ops.scan import scan as look

    place = app.registry(source, Role.SOURCE, endpoint_url=endpoint_url)
    count = threads_for(place, asked=threads)
    options = ScanOptions(globs=repos or place.repos, read_data=read_data, threads=count)
    with app.progress() as progress:
        result = look(open_source(place, threads=count), options, progress=progress)
    console = app.console
    console.document(result.to_json())
    console.say(
        f"{fmt.count(result.repositories, 'repository')}, {fmt.count(result.tags, 'tag')}, "
        f"{fmt.count(result.revisions, 'manifest')}, {fmt.count(result.blobs, 'blob')}, "
        f"{fmt.size(result.nbytes)}."
    )
    if result.orphans:
        console.say(
            f"{fmt.count(result.orphans, 'blob')} that nothing links to, "
            f"{fmt.size(result.orphan_bytes or 0)}."
        )
    shown = [(rank, f) for rank, f in result.findings if str(f.kind) != "orphan-blob"]
    if shown:
        console.table(
            ("", "repository", "kind", "subject", "image", "detail"),
            [
                (
                    "notice" if str(rank) == "notice" else "DAMAGE",
                    finding.repository or "-",
                    str(finding.kind),
                    finding.subject,
                    finding.image or "-",
                    finding.detail,
                )
                for rank, finding in shown[:200]
            ],
        )
    if result.damage:
        console.warn(
            f"{fmt.count(result.damage, 'finding')} of damage",
            hint="Bring back what is missing, and only that: regvault restore latest --to SOURCE "
            "--repo NAME --digest DIGEST. What merely could not be read needs other rights.",
        )
    else:
        console.say(
            "Nothing is damaged."
            if read_data
            else "Nothing is damaged, as far as can be told without --read-data."
        )
    return result.exit_code()
