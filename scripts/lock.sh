#!/usr/bin/env bash
# Re-makes requirements.lock, requirements-dev.lock and requirements-fuzz.lock: versions and hashes for every supported
# Python, and no index address. Versions stay as they are unless pyproject.toml or --upgrade says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/versions.env

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"

compile() {
  "$work/venv/bin/uv" pip compile --no-config --quiet --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command 'make lock' "$@" >/dev/null
}

compile pyproject.toml --output-file requirements.lock "$@"
# Constrained by the first, so that what is tested is what is shipped.
compile pyproject.toml --group dev --constraint requirements.lock \
  --output-file requirements-dev.lock "$@"
compile pyproject.toml --group fuzz --constraint requirements-dev.lock \
  --output-file requirements-fuzz.lock "$@"

if grep -nE '(https?|file)://|--(index|extra-index|find-links)' requirements*.lock >&2; then
  echo 'error: a lock file holds an address (above)' >&2
  exit 1
fi
