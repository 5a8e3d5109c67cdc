#!/usr/bin/env bash
# Starts one server on a loopback port and prints where it is, as lines for eval:
#   scripts/services/start.sh registry-3 --data DIR --state DIR [--port N] [--readonly] [--no-delete]
#   scripts/services/start.sh minio --data DIR --state DIR
#   scripts/services/start.sh kafka --data DIR --state DIR
# Names: minio, kafka, registry-3, registry-2.8. The state directory gets the pid file and the log.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
exec "${PYTHON:-python3}" "$repo_dir/tests/services/by_hand.py" start "$@"
