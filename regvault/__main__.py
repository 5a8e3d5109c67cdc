"""Run regvault as `python -m regvault`."""

from __future__ import annotations

from regvault.cli.main import entry

if __name__ == "__main__":
    entry()
