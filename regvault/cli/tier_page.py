"""The page of `regvault tier simulate --html`: charts as SVG, without a script."""

from __future__ import annotations

from html import escape as escaped
from typing import TYPE_CHECKING

from regvault.cli import text as fmt
from regvault.ops.tier.simulate import OPTIMUM, OURS

if TYPE_CHECKING:
    from regvault.ops.tier.simulate import Simulation

__all__ = ["page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; color: #222; }
svg { width: 100%; height: auto; } text { font: 13px system-ui, sans-serif; fill: #222; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr:nth-child(even) { background: #f4f4f4; }
"""
_TERMS = (
    "A slow read is one out of a colder class. Moves cost requests, retrieval for those back, and "
    "what is left of a class's minimum."
)
_COLOURS = {OURS: "#2f7d4f", OPTIMUM: "#888"}
_OTHER = "#5b7fb5"
_ROW, _LEFT, _WIDTH = 26, 430, 1060


def page(found: list[Simulation], notes: list[str]) -> str:
    """Return the page of one history, in HTML.

    Args:
        found: what it would have cost; all of it first, then its first months.
        notes: what one should know of the history.
    """
    whole = found[0]
    title = f"Tiering over {whole.days:.0f} days"
    about = (
        f"{fmt.count(whole.accesses, 'read')} of {fmt.count(whole.blobs, 'blob')}, "
        f"{fmt.size(whole.nbytes)}; prices {_text(whole.table.name)} of {whole.table.as_of}, "
        f"in {_text(whole.table.currency)}."
    )
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
        *(f"<p>{each}</p>" for each in (about, *map(_text, notes), _TERMS)),
    ]
    for each in found:
        parts += [f"<h2>Cost over {each.days:.0f} days</h2>", _bars(each)]
    parts += ["<h2>In numbers</h2>", _table(whole)]
    parts += ["<h2>What was thought of reads within 30 days, and what came</h2>", _thought(whole)]
    return "".join([*parts, "</body></html>\n"])


def _text(value: str) -> str:
    return escaped(fmt.inline(value))


def _bars(found: Simulation) -> str:
    most = max(way.cost for way in found.ways) or 1.0
    room = _WIDTH - _LEFT - 110
    rows = []
    for number, way in enumerate(found.ways):
        y = number * _ROW
        width = max(1.0, way.cost / most * room)
        colour = _COLOURS.get(way.name, _OTHER)
        rows.append(
            f"<text x='{_LEFT - 8}' y='{y + 17}' text-anchor='end'>{_text(way.name)}</text>"
            f"<rect x='{_LEFT}' y='{y + 4}' width='{width:.1f}' height='{_ROW - 8}' "
            f"fill='{colour}'/>"
            f"<text x='{_LEFT + width + 6:.1f}' y='{y + 17}'>{way.cost:,.2f}</text>"
        )
    height = len(rows) * _ROW
    return f"<svg viewBox='0 0 {_WIDTH} {height}' role='img'>{''.join(rows)}</svg>"


def _thought(found: Simulation) -> str:
    side, edge = 360, 40

    def at(value: float) -> float:
        return value * side

    points = [
        f"<circle cx='{edge + at(share.predicted):.1f}' cy='{side - at(share.read) + 8:.1f}' r='5' "
        f"fill='{_COLOURS[OURS]}'><title>{share.asked:,}</title></circle>"
        for share in found.calibration.shares
    ]
    return (
        f"<svg viewBox='0 0 {_WIDTH} {side + 50}' role='img'>"
        f"<rect x='{edge}' y='8' width='{side}' height='{side}' fill='none' stroke='#999'/>"
        f"<line x1='{edge}' y1='{side + 8}' x2='{edge + side}' y2='8' stroke='#bbb'/>"
        f"{''.join(points)}"
        f"<text x='{edge}' y='{side + 28}'>0</text>"
        f"<text x='{edge + side - 8}' y='{side + 28}'>1</text>"
        f"<text x='{edge + side / 2 - 50}' y='{side + 46}'>what was thought</text>"
        f"<text x='{edge - 18}' y='{side + 8}'>0</text><text x='{edge - 18}' y='20'>1</text>"
        f"<text x='{edge + side + 12}' y='20'>how many were read; each circle: a tenth of the "
        "blobs</text></svg>"
    )


def _table(found: Simulation) -> str:
    rows = [
        f"<tr><td>{_text(way.name)}</td><td>{way.cost:,.2f}</td>"
        + "".join(
            f"<td>{'' if part is None else format(part, ',.2f')}</td>"
            for part in (way.storage, way.reads, way.moves)
        )
        + "".join(
            f"<td>{'' if part is None else format(part, ',')}</td>"
            for part in (way.slow_reads, way.moved)
        )
        + "</tr>"
        for way in found.ways
    ]
    head = "<tr><th>way</th><th>cost</th><th>storage</th><th>reads</th><th>moves</th>"
    return f"<table>{head}<th>slow reads</th><th>moved</th></tr>{''.join(rows)}</table>"
