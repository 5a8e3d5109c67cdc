# Shared by install.sh, start.sh, stop.sh and .ci/run; sourced, not run.
# shellcheck shell=bash disable=SC2034

services_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_dir=$(cd "$services_dir/../.." && pwd)

# shellcheck source=../versions.env
. "$services_dir/../versions.env"

# Built tools live outside of the tree, by version: a fresh clone finds them again.
tools_dir=${REGVAULT_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/regvault-tools}

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# version_at_least HAVE WANT
version_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || die "needs root to run: $* (not root, and there is no sudo)"
    # Asks for a password only where somebody is there to type it.
    if [ -t 0 ]; then sudo "$@"; else sudo -n "$@"; fi
  fi
}

apt_install() {
  command -v apt-get >/dev/null ||
    die "needs apt-get (Debian, Ubuntu) to install: $*. Install these yourself elsewhere."
  say "apt-get: $*"
  as_root apt-get -q update >&2
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q install -y --no-install-recommends "$@" >&2
}
