from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# The worlds that the tests of the verbs act in, and their ways to break things.
for name in ("ops", "faults"):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / name))


def pytest_configure(config: pytest.Config) -> None:
    import figures

    figures.register(config)
