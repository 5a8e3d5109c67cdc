"""A measurement in a process of its own, of what another process has prepared in a directory.

    python SCRIPT [COUNT]

So the memory that preparing takes is no part of what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def run(
    script: str,
    prepare: Callable[[Path, int], None],
    measure: Callable[[Path, int], dict[str, Any]],
) -> None:
    """Prepare, and print what was measured as JSON. A million of whatever it is, unless told."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        print(json.dumps(measure(Path(sys.argv[2]), count)))
        return
    with tempfile.TemporaryDirectory(prefix="regvault-bench-") as directory:
        child = os.fork()
        if not child:
            prepare(Path(directory), count)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        subprocess.run([sys.executable, script, str(count), directory], check=True)
