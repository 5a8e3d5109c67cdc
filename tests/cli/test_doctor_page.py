"""What doctor says has an explanation: a person looks it up by its id."""

from __future__ import annotations

import re
from pathlib import Path

from regvault.policy.doctor.check import CHECKS

PAGE = Path(__file__).parents[2] / "docs/doctor.md"


def test_every_check_is_explained_and_none_that_is_not():
    _, _, tables = PAGE.read_text().partition("## Every vault")
    ids = re.findall(r"^\| `([a-z-]+)` \|(?: [^|]+ \|){2}$", tables, re.MULTILINE)
    assert len(ids) == len(set(ids))
    assert set(ids) == set(CHECKS)
