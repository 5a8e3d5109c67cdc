#!/usr/bin/env bash
# Builds the sdist, the wheel from that sdist, and uses the wheel as a stranger would:
#   scripts/wheel-test.sh PYTHON    (a Python with the packages of requirements-dev.lock)
set -euo pipefail
python=$(realpath --no-symlinks "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lock=$PWD/requirements.lock

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf dist
"$python" -m build --no-isolation --outdir dist . >"$work/build.log" 2>&1 || {
  cat "$work/build.log" >&2
  exit 1
}
wheel=$(realpath dist/*.whl)

# Only the runtime lock: an import of a development package fails here.
"$python" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --require-hashes -r "$lock"
pip install --quiet --no-deps "$wheel"
pip check

# Outside of the tree, so that only the installed package can be imported.
cd "$work"
"$work/venv/bin/regvault" --version
"$work/venv/bin/regvault" demo
echo "wheel-test: ${wheel##*/} works in a clean environment"
