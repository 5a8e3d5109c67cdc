#!/usr/bin/env bash
# Stops what start.sh has started, by process id:
#   scripts/services/stop.sh --state DIR [NAME...]
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
exec "${PYTHON:-python3}" "$repo_dir/tests/services/by_hand.py" stop "$@"
