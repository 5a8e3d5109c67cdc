"""Run regvault as `python -m regvault`."""

from __future__ import annotations

import sys

from regvault.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
