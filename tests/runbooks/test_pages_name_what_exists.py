"""What the hand-written pages point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "docs" / "architecture.md",
    ROOT / "docs" / "doctor.md",
    ROOT / "docs" / "vault-format.md",
    ROOT / "docs" / "sealed.md",
    ROOT / "docs" / "tiering.md",
    ROOT / "restore-runbooks" / "archived-objects.md",
    ROOT / "restore-runbooks" / "cold-mount-lost.md",
    ROOT / "restore-runbooks" / "recover-without-regvault.md",
    ROOT / "restore-runbooks" / "recover-sealed-without-regvault.md",
)


def words(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", words(page), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"`[^`]*`", "", re.sub(r"\s+", " ", words(page)))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        assert not anchor or anchor in headings(other), target


def test_the_map_of_the_code_names_modules_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z0-9_*]+\.(?:py|md))`", text))
    assert len(named) > 20
    for name in named:
        found = [*(ROOT / "regvault").glob(name), *ROOT.glob(name)]
        assert found, name
    for name in re.findall(r"`((?:cli|ops|tests|model)(?:/[a-z_]+)*/)`", text):
        assert (ROOT / "regvault" / name).is_dir() or (ROOT / name).is_dir(), name
