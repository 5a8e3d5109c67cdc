from __future__ import annotations

import sys
from pathlib import Path

# The worlds that the tests of the verbs act in, and their ways to break things.
for name in ("ops", "faults"):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / name))
