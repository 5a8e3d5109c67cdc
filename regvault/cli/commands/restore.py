"""`regvault restore`: bring images back."""

from __future__ import annotations

import grp
import pwd
from functools import partial
from typing import TYPE_CHECKING

import click

from regvault.cli import text as fmt
from regvault.cli.group import command
from regvault.cli.options import (
    LOCATION,
    dry_run_option,
    repo_option,
    transfer_options,
    vault_at_option,
    vault_option,
)
from regvault.cli.thawing import refused, show_thaw, thaw_command, thaw_of, thaw_prices
from regvault.errors import UsageError

if TYPE_CHECKING:
    from typing import TextIO

    from regvault.cli.app import App
    from regvault.ops.restore import RestorePlan, RestoreResult
    from regvault.ops.restore.select import Problem

#: Lines of each kind that are shown.
_SHOWN = 20


@command(
    "restore",
    examples=[
        ("Everything, newest", "regvault restore latest --to fs:/srv/registry"),
        (
            "One image of an older day, beside today's",
            "regvault restore 8 --to fs:/srv/registry --repo a/b --tag v1 --rename a/b=old/b",
        ),
        (
            "An image layout for skopeo, crane and oras",
            "regvault restore 12 --to oci:./app --repo a",
        ),
        ("What would it do?", "regvault restore '3 days ago' --to fs:/srv/registry --dry-run"),
    ],
    exit_codes=(0, 1, 2, 3, 4, 5, 6, 10, 12),
)
@click.argument("snapshot")
@vault_option
@vault_at_option
@click.option(
    "--to",
    "target",
    metavar="TARGET",
    type=LOCATION,
    required=True,
    help="Registry storage (fs:/PATH, s3://BUCKET/PREFIX), empty or in use, or oci:/PATH.",
)
@repo_option
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only this tag; repeatable.")
@click.option(
    "--digest", "digests", metavar="DIGEST", multiple=True, help="Only this manifest; repeatable."
)
@click.option("--no-referrers", is_flag=True, help="Without signatures, SBOMs and the like.")
@click.option(
    "--rename",
    "renames",
    metavar="FROM=TO",
    multiple=True,
    help="Under another name; FROM/=TO/ for all below.",
)
@click.option(
    "--trust",
    type=click.Choice(["read", "checksum", "size"]),
    default="read",
    show_default=True,
    help="What makes a blob good that is there: its bytes, the store's checksum, or its size.",
)
@click.option(
    "--overwrite",
    type=click.Choice(["never", "tags", "always"]),
    default="never",
    show_default=True,
    help="Tags that point elsewhere by now: leave them, move them back, or write all anew.",
)
@click.option(
    "--deny",
    metavar="FILE",
    type=click.File("r"),
    help="Digests never to bring back, one a line; images that need one are left out.",
)
@click.option("--owner", metavar="USER[:GROUP]", help="Of what is written; else as TARGET's root.")
@click.option("--mode", metavar="FILE,DIR", help="Octal modes, such as 640,750; else as the root.")
@click.option(
    "--thaw",
    "way",
    type=click.Choice(["bulk", "standard", "expedited"]),
    help="Have what lies in an archive thawed, restore the rest meanwhile, and wait for it. "
    "Without it a restore that needs such is refused; --dry-run shows hours and prices.",
)
@dry_run_option
@transfer_options
@click.pass_obj
def restore(
    app: App,
    snapshot: str,
    vault: str | None,
    endpoint_url: str | None,
    vault_at: str | None,
    target: str,
    repos: tuple[str, ...],
    tags: tuple[str, ...],
    digests: tuple[str, ...],
    no_referrers: bool,
    renames: tuple[str, ...],
    trust: str,
    overwrite: str,
    deny: TextIO | None,
    owner: str | None,
    mode: str | None,
    way: str | None,
    dry_run: bool,
    threads: int | None,
    limit_upload: float | None,
    limit_download: float | None,
) -> int:
    """Bring images of SNAPSHOT back into a registry's own storage.

    SNAPSHOT is [REGISTRY@]latest, a sequence number, or a time. What the target has and is good
    stays; what is wrong is replaced; tags are written last. An interrupted restore is gone on
    with by the same command, and so is one that waits for a thaw. Restart a registry that serves
    from TARGET afterwards: it caches.
    """
    from regvault.assemble import is_absent, open_target, open_vault, threads_for
    from regvault.model.classes import archives_of
    from regvault.model.location import Role
    from regvault.ops.claim import claim
    from regvault.ops.restore import RestoreOptions, Restorer
    from regvault.ops.tier.thaw import plan_thaw
    from regvault.vault.blobs import BlobReader
    from regvault.vault.catalog import Catalog, vault_cache

    check_digests(digests)
    place = app.registry(target, Role.TARGET, endpoint_url=endpoint_url)
    where = app.vault(vault, endpoint_url=endpoint_url, at=vault_at)
    count = threads_for(place, where, asked=threads)
    options = RestoreOptions(
        globs=repos,
        tags=tags,
        digests=digests,
        referrers=not no_referrers,
        renames=renames,
        trust=trust,
        overwrite=overwrite,
        deny=_denied(deny),
        threads=count,
        dry_run=dry_run,
    )
    opened = open_vault(
        where, beside=place, limit_upload=limit_upload, limit_download=limit_download
    )
    root = app.snapshot(opened, snapshot)
    one = len(repos) == 1 and not set(repos[0]) & set("*?[") and not repos[0].endswith("/")
    opening = partial(
        open_target,
        place,
        threads=count,
        owner=_owner(owner),
        modes=_modes(mode),
        full_names=not one,
    )
    command = partial(
        thaw_command,
        str(root.name),
        str(where.name or where.location),
        endpoint_url=endpoint_url,
        repos=repos,
        tags=tags,
        digests=digests,
        no_referrers=no_referrers,
    )
    # A directory is not made before it is known that there is something to restore.
    absent = is_absent(place)
    to, existing = opening(dry_run=dry_run or absent)
    catalog = Catalog(opened.store, vault_cache(app.cache_base(), opened.id), opened.seal)
    objects = opened.object_list(root)
    with app.progress() as progress, claim(opened, [root], progress):
        narrow = bool(tags or digests)
        catalog.prepare(16 if narrow else root.counts.blobs)
        reader = BlobReader(opened.store, catalog, objects)
        restorer = Restorer(opened, root, objects, reader, to, existing, options, progress)
        try:
            plan = restorer.plan()
            thaw = asker = None
            if archives_of(opened.store):
                restorer.locate(plan)
                needed = plan.objects, plan.nbytes
                thaw = plan_thaw(plan.cold, needed, thaw_prices(app), way=way)
                if plan.cold and not dry_run and (way is None or plan.untold):
                    raise refused(plan, command())
                if way is not None:
                    asker = thaw_of(opened.store, thaw, way=way, threads=count, progress=progress)
            if absent and not dry_run:
                restorer.target = opening()[0]
            result = None if dry_run else restorer.execute(plan, asker)
        finally:
            restorer.close()
            catalog.close()
    document = plan.to_json() if result is None else result.to_json()
    app.console.document(
        {**document, "thaw": None if thaw is None else thaw.to_json(), "dry_run": dry_run}
    )
    if thaw is not None and result is None:
        show_thaw(app, thaw)
    _show(app, plan, result, str(place.location))
    if result is None:
        return 3 if plan.problem_count else 0
    return result.exit_code()


def check_digests(digests: tuple[str, ...]) -> None:
    """Raise UsageError where one of `--digest` is none."""
    from regvault.oci.grammar import is_digest

    for digest in digests:
        if not is_digest(digest):
            raise UsageError(
                f"--digest: {digest!r} is no digest",
                hint="All of sha256:... is needed; whole digests are shown by: regvault ls --long",
            )


def _denied(file: TextIO | None) -> frozenset[str]:
    from regvault.oci.grammar import is_digest

    try:
        lines = [] if file is None else [line.split("#")[0].strip() for line in file]
    except UnicodeDecodeError:
        raise UsageError("--deny: the file is no text", hint="One sha256:... a line.") from None
    found = frozenset(line for line in lines if line)
    for line in found:
        if not is_digest(line):
            raise UsageError(f"--deny: {line!r} is no digest", hint="One sha256:... a line.")
    return found


#: To chown(2) this id means: leave it as it is.
_NO_ID = (1 << 32) - 1


def _owner(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    user, _, group = text.partition(":")
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        if not user.isdigit():
            raise UsageError(f"--owner: there is no user {user!r}", hint="Give a number.") from None
        uid = gid = int(user)
    if group:
        try:
            gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        except KeyError:
            raise UsageError(
                f"--owner: there is no group {group!r}", hint="Give a number."
            ) from None
    if not (0 <= uid < _NO_ID and 0 <= gid < _NO_ID):
        raise UsageError(f"--owner {text!r} has no such id", hint="Ids end before 4294967295.")
    return uid, gid


def _modes(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    file, _, directory = text.partition(",")
    try:
        modes = int(file, 8), int(directory, 8)
    except ValueError:
        modes = -1, -1
    if not all(0 <= mode <= 0o7777 for mode in modes):
        raise UsageError(
            f"--mode {text!r} is not two octal modes, FILE,DIR", hint="For example --mode 640,750"
        )
    return modes


#: What helps with the reasons why something does not come back.
_REASONS = {
    "missing": "`missing` was damaged at the source already; another snapshot may have it: "
    "regvault find DIGEST.",
    "purged": "`purged` was removed from all snapshots: records/amendments/ of the vault says why.",
    "sealed": "`sealed` is whole, and none of the identities that were given opens it: a recipient "
    "who was added later needs an older one's as well, both in one file.",
    "damaged": "`damaged` is wrong or gone in the vault: regvault verify.",
}


def _show(app: App, plan: RestorePlan, result: RestoreResult | None, target: str) -> None:
    console = app.console
    name = plan.snapshot.name
    tags = plan.tags if result is None else result.tags_written + result.tags_kept
    what = f"{fmt.count(plan.repositories, 'repository')}, {fmt.count(tags, 'tag')}"
    if result is None:
        console.say(
            f"Would restore {name} to {target}: {what}; write {fmt.count(plan.blobs, 'blob')}, "
            f"{fmt.size(plan.nbytes)}; check {plan.present} that are there."
        )
    else:
        console.say(
            f"Restored {name} to {target}: {what}; "
            f"wrote {fmt.count(result.blobs_written, 'blob')}, {fmt.size(result.bytes_written)}; "
            f"kept {result.blobs_kept}, replaced {result.blobs_replaced}."
        )
        if result.links_written or result.tags_written:
            written = fmt.count(result.tags_written, "tag")
            if result.links_written:
                links = fmt.count(result.links_written, "link")
                serves = "Restart a registry that serves from there: it caches."
                console.note(f"{links} and {written} are new. {serves}")
            else:
                console.note(f"{written} are new.")
    _show_moved(app, plan, result)
    if plan.purged_count:
        console.note(f"Purged from the vault, and not restored ({plan.purged_count}):")
        for line in fmt.first(map(_line, plan.purged), plan.purged_count, _SHOWN):
            console.note(line)
    if plan.problem_count:
        reasons = {problem.reason for problem in plan.problems}
        console.warn(
            f"{fmt.count(plan.problem_count, 'part')} of the snapshot cannot be restored",
            hint=" ".join(hint for reason, hint in _REASONS.items() if reason in reasons) or None,
        )
        for line in fmt.first(map(_line, plan.problems), plan.problem_count, _SHOWN):
            console.note(line)


def _show_moved(app: App, plan: RestorePlan, result: RestoreResult | None) -> None:
    """List the tags that point elsewhere at the target."""
    alone = plan.tags_moved if result is None else result.tags_moved
    back = () if result is None else result.tags_moved_back
    if alone:
        app.console.warn(
            f"{fmt.count(len(alone), 'tag')} of the target point elsewhere by now"
            + ("" if result is None else ", and were left alone"),
            hint="They are left alone without --overwrite tags, and moved back with it.",
        )
    elif back:
        app.console.note(f"{fmt.count(len(back), 'tag')} moved back, from:")
    moved = (*alone, *back)
    lines = (f"  {repository}:{tag} -> {digest}" for repository, tag, digest in moved)
    for line in fmt.first(lines, len(moved), _SHOWN):
        app.console.note(line)


def _line(problem: Problem) -> str:
    subject = problem.subject
    if problem.repository:
        joint = "" if subject.startswith(":") else "@" if ":" in subject else " "
        subject = f"{problem.repository}{joint}{subject}"
    return f"  {subject}: {problem.reason}" + (f", {problem.detail}" if problem.detail else "")
