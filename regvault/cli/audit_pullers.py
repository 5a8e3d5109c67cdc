"""Who pulled something: by user and address, or by image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regvault.cli.sheet import write_rows
from regvault.cli.text import inline

if TYPE_CHECKING:
    from regvault.cli.app import App
    from regvault.ops.audit.query import Events
    from regvault.ops.audit.select import Wanted

__all__ = ["show_pullers"]

_COLUMNS = ("actor", "address", "repository", "digest", "pulls", "first", "last", "tags")
_OF_IMAGE = ("repository", "digest")


@dataclass
class _Puller:
    pulls: int
    first: str
    last: str
    tags: set[str]


def show_pullers(app: App, events: Events, wanted: Wanted, *, by_image: bool, as_csv: bool) -> int:
    """Show who pulled what is asked for; return how many rows.

    Args:
        app: that shows it.
        events: all that can be asked.
        wanted: whose `digests` are what was pulled, with all that contains it.
        by_image: a row for each image, too; else one for each user and address.
        as_csv: as CSV.
    """
    pulls = replace(
        wanted, actions=wanted.actions or frozenset({"pull"}), succeeded=True, read=True
    )
    found: dict[tuple[Any, ...], _Puller] = {}
    for event in events.requests(pulls):
        key: tuple[Any, ...] = (event["actor"], event["address"])
        if by_image:
            key += (event["repository"], event["digest"])
        row = found.get(key)
        if row is None:
            row = found[key] = _Puller(0, event["time"], event["time"], set())
        row.pulls += 1
        row.first, row.last = min(row.first, event["time"]), max(row.last, event["time"])
        if event["tag"]:
            row.tags.add(event["tag"])
    rows = [_row(key, row) for key, row in sorted(found.items(), key=lambda pair: pair[1].first)]
    if as_csv:
        columns = [name for name in _COLUMNS if by_image or name not in _OF_IMAGE]
        write_rows(columns, ({**row, "tags": " ".join(row["tags"])} for row in rows))
    elif app.json:
        app.console.document({"digests": sorted(wanted.digests), "pullers": rows})
    else:
        for each in rows:
            app.console.say(_text(app, each))
        app.console.note(f"Looked for {len(wanted.digests)} digests: it, and what contains it.")
    return len(rows)


def _row(key: tuple[Any, ...], puller: _Puller) -> dict[str, Any]:
    row = dict(zip(_COLUMNS, key, strict=False))
    return {
        **row,
        "pulls": puller.pulls,
        "first": puller.first,
        "last": puller.last,
        "tags": sorted(puller.tags),
    }


def _text(app: App, row: dict[str, Any]) -> str:
    what = ""
    if "repository" in row:
        what = f"  {inline(row['repository'] or '-')}@{inline((row['digest'] or '-')[:19])}"
    tags = f"  {inline(', '.join(row['tags']))}" if row["tags"] else ""
    when = f"{app.console.time(row['first'])} to {app.console.time(row['last'])}"
    who = f"{inline(row['actor'] or '-')}  {inline(row['address'] or '-')}"
    return f"{who}{what}  {row['pulls']} times, {when}{tags}"
