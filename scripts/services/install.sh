#!/usr/bin/env bash
# Installs the servers and clients that `make test-services` runs, at the versions of
# scripts/versions.env. Quick when everything is there already.
#
#   scripts/services/install.sh              everything
#   scripts/services/install.sh minio crane  only these
#   scripts/services/install.sh --list       names and where each is, or "missing"
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

go_tools=(crane oras registry3 minio)
maven_tools=(kafka)
apt_tools=(age jq zstd skopeo docker-registry java nginx haproxy)
# Those whose packages would start a server at once: registries on port 5000, nginx on port 80.
apt_servers=(docker-registry nginx haproxy)
# Debian keeps servers there, and not every user looks there.
PATH=$PATH:/usr/sbin

# Sets package, version and binary for a Go tool.
describe_go_tool() {
  case $1 in
    crane) package=github.com/google/go-containerregistry/cmd/crane version=$CRANE_VERSION binary=crane ;;
    oras) package=oras.land/oras/cmd/oras version=$ORAS_VERSION binary=oras ;;
    registry3) package=github.com/distribution/distribution/v3/cmd/registry version=$REGISTRY3_VERSION binary=registry ;;
    minio) package=github.com/minio/minio version=$MINIO_VERSION binary=minio ;;
    *) die "unknown tool '$1'; known: ${apt_tools[*]} ${go_tools[*]} ${maven_tools[*]}" ;;
  esac
}

# The version that an apt tool has now, or nothing.
apt_tool_version() {
  case $1 in
    age) age --version | sed 's/^v//' ;;
    jq) jq --version | sed 's/^jq-//' ;;
    zstd) zstd --version | sed -n 's/.* v\([0-9.]*\),.*/\1/p' ;;
    skopeo) skopeo --version | sed -n 's/^skopeo version \([^ ]*\).*/\1/p' ;;
    docker-registry) docker-registry --version | sed -n 's/.* v\{0,1\}\([0-9][^ ]*\)$/\1/p' ;;
    java) java -version 2>&1 | sed -n 's/.* version "\([0-9.]*\).*/\1/p' ;;
    nginx) nginx -v 2>&1 | sed -n 's,^nginx version: nginx/\([0-9.]*\).*,\1,p' ;;
    haproxy) haproxy -v | sed -n 's/^HAProxy version \([0-9.]*\).*/\1/p' ;;
  esac 2>/dev/null || true
}

apt_tool_acceptable() {
  local have
  command -v "$1" >/dev/null || return 1
  have=$(apt_tool_version "$1")
  [ -n "$have" ] || return 1
  case $1 in
    age) version_at_least "$have" "$AGE_MIN" ;;
    jq) version_at_least "$have" "$JQ_MIN" ;;
    zstd) version_at_least "$have" "$ZSTD_MIN" ;;
    skopeo) version_at_least "$have" "$SKOPEO_MIN" ;;
    java) version_at_least "$have" "$JAVA_MIN" ;;
    nginx) version_at_least "$have" "$NGINX_MIN" ;;
    haproxy) version_at_least "$have" "$HAPROXY_MIN" ;;
    docker-registry)
      version_at_least "$have" "$DOCKER_REGISTRY_MIN" && [[ $have == "$DOCKER_REGISTRY_SERIES".* ]] ;;
  esac
}

# The Debian package that brings an apt tool.
apt_package() {
  case $1 in
    java) echo default-jre-headless ;;
    *) echo "$1" ;;
  esac
}

# Runs a command that installs packages, none of which may start a server: where no systemd is there
# to mask one, /etc/init.d would.
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
  # In a shell of its own, so that the policy goes however that ends.
  (
    trap 'as_root rm -f "$policy"' EXIT
    "$@"
  )
}

install_apt_tools() {
  local tool missing=() packages=()
  for tool in "$@"; do
    if apt_tool_acceptable "$tool"; then
      say "$tool: $(apt_tool_version "$tool"), there already"
    else
      missing+=("$tool")
      packages+=("$(apt_package "$tool")")
    fi
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  for tool in "${apt_servers[@]}"; do
    if [[ " ${missing[*]} " == *" $tool "* ]] && [ -d /run/systemd/system ]; then
      # Else it would be started now, and at each boot.
      as_root systemctl mask --quiet "$tool.service"
    fi
  done
  without_services apt_install "${packages[@]}" 9>&-
  for tool in "${missing[@]}"; do
    apt_tool_acceptable "$tool" ||
      die "$tool: this system offers version '$(apt_tool_version "$tool")', which versions.env does not accept"
  done
}

check_go() {
  command -v go >/dev/null ||
    die "needs Go $GO_MIN or newer on PATH, to build: $* (https://go.dev/doc/install)"
  local have
  have=$(go env GOVERSION)
  version_at_least "${have#go}" "$GO_MIN" || die "needs Go $GO_MIN or newer, $(command -v go) is $have"
}

install_go_tool() {
  local package version binary final work started=$SECONDS
  describe_go_tool "$1"
  final=$tools_dir/$1-$version
  if [ -x "$final/$binary" ]; then
    say "$1: $version, there already"
    return 0
  fi
  check_go "$1"
  say "$1: building $package@$version"
  # Built aside and renamed: an interrupted build leaves no tool that looks installed.
  work=$(mktemp -d "$tools_dir/.building-$1.XXXXXX")
  # shellcheck disable=SC2064  # the name as it is now
  trap "rm -rf '$work'" EXIT
  env -u GOOS -u GOARCH GOBIN="$work" CGO_ENABLED=0 \
    go install -trimpath -buildvcs=false -ldflags='-s -w' "$package@$version" >&2 ||
    die "$1: the build failed (above)"
  [ -x "$work/$binary" ] || die "$1: the build made no $binary"
  chmod 755 "$work"
  rm -rf "$final"
  mv -T "$work" "$final"
  trap - EXIT
  say "$1: $version, built in $((SECONDS - started)) s"
}

# Whether a directory holds Kafka's jars: all of them, each as pinned, and nothing else. Says what differs.
kafka_jars_right() {
  [ -d "$1" ] || return 1
  diff <(grep -v '^#' "$services_dir/kafka/jars.sha256") \
    <(cd "$1" && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 -r sha256sum) >&2
}

install_kafka() {
  local final=$tools_dir/kafka-$KAFKA_VERSION work started=$SECONDS
  if kafka_jars_right "$final"; then
    say "kafka: $KAFKA_VERSION, there already"
    return 0
  fi
  command -v mvn >/dev/null || apt_install maven 9>&-
  say "kafka: fetching the jars of $KAFKA_VERSION"
  work=$(mktemp -d "$tools_dir/.building-kafka.XXXXXX")
  # shellcheck disable=SC2064  # the name as it is now
  trap "rm -rf '$work'" EXIT
  # Strict checksums (-C): what came damaged is refused, not warned of.
  mvn -q -B -ntp -C -Dstyle.color=never -f "$services_dir/kafka/pom.xml" \
    -Dkafka.version="$KAFKA_VERSION" -Dslf4j.version="$SLF4J_VERSION" \
    "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DincludeScope=runtime -DoutputDirectory="$work" >&2 ||
    die "kafka: Maven did not fetch the jars (above)"
  kafka_jars_right "$work" ||
    die "kafka: the jars that came (> above) are not those of scripts/services/kafka/jars.sha256 (< above)"
  chmod 755 "$work"
  rm -rf "$final"
  mv -T "$work" "$final"
  trap - EXIT
  say "kafka: $KAFKA_VERSION, fetched in $((SECONDS - started)) s"
}

list_tools() {
  local tool package version binary
  for tool in "${apt_tools[@]}"; do
    if apt_tool_acceptable "$tool"; then
      printf '%s\t%s\t%s\n' "$tool" "$(apt_tool_version "$tool")" "$(command -v "$tool")"
    else
      printf '%s\t-\tmissing\n' "$tool"
    fi
  done
  for tool in "${go_tools[@]}"; do
    describe_go_tool "$tool"
    if [ -x "$tools_dir/$tool-$version/$binary" ]; then
      printf '%s\t%s\t%s\n' "$tool" "$version" "$tools_dir/$tool-$version/$binary"
    else
      printf '%s\t%s\tmissing\n' "$tool" "$version"
    fi
  done
  if kafka_jars_right "$tools_dir/kafka-$KAFKA_VERSION"; then
    printf 'kafka\t%s\t%s\n' "$KAFKA_VERSION" "$tools_dir/kafka-$KAFKA_VERSION"
  else
    printf 'kafka\t%s\tmissing\n' "$KAFKA_VERSION"
  fi
}

main() {
  local tool apt=() go=() maven=() package version binary
  if [ "${1:-}" = --list ]; then
    list_tools
    return
  fi
  [ $# -gt 0 ] || set -- "${apt_tools[@]}" "${maven_tools[@]}" "${go_tools[@]}"
  for tool in "$@"; do
    if [[ " ${apt_tools[*]} " == *" $tool "* ]]; then
      apt+=("$tool")
    elif [[ " ${maven_tools[*]} " == *" $tool "* ]]; then
      maven+=("$tool")
    else
      describe_go_tool "$tool"
      go+=("$tool")
    fi
  done
  mkdir -p "$tools_dir"
  # One installation at a time: two would build the same thing twice, and fight over the name.
  exec 9>"$tools_dir/.lock"
  flock 9
  # What a killed build left; nobody else builds while we hold the lock.
  rm -rf "$tools_dir"/.building-*
  [ ${#apt[@]} -eq 0 ] || install_apt_tools "${apt[@]}"
  [ ${#maven[@]} -eq 0 ] || install_kafka
  for tool in ${go[@]+"${go[@]}"}; do
    install_go_tool "$tool"
  done
}

main "$@"
