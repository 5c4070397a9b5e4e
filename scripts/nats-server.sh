#!/usr/bin/env bash
# Prints the path of the nats-server that the tests run. It is built once with Go under ~/.cache/pushcluster.
set -euo pipefail

NATS_VERSION=2.14.8

say() { printf '%s\n' "$*" >&2; }
die() { say "pushcluster: $*"; exit 1; }

cache="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster"
home="$cache/nats-server-$NATS_VERSION"
if [ -x "$home/nats-server" ]; then echo "$home/nats-server"; exit 0; fi

command -v go >/dev/null || die "Go is needed to build nats-server $NATS_VERSION for the tests: install golang"
say "pushcluster: building nats-server $NATS_VERSION in $home (once)"
mkdir -p "$cache"
work=$(mktemp -d "$cache/nats-setup.XXXXXX")
trap 'rm -rf "$work"' EXIT
GOBIN="$work" CGO_ENABLED=0 go install "github.com/nats-io/nats-server/v2@v$NATS_VERSION" >&2 \
  || die "go could not build nats-server $NATS_VERSION"
"$work/nats-server" --version >&2 || die "the nats-server built in $work does not start on this host"
# Moves the file and not the folder, so that two simultaneous builds both succeed.
mkdir -p "$home"
mv -f "$work/nats-server" "$home/nats-server"
echo "$home/nats-server"
