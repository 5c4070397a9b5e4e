#!/usr/bin/env bash
# Prints the path of the prometheus-adapter that the tests run. It is built once with Go under ~/.cache/pushcluster, with
# the libraries that its project released it with (test/harness/kube/prometheus-adapter).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'pushcluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

module=test/harness/kube/prometheus-adapter
version=$(sed -n 's|.*sigs.k8s.io/prometheus-adapter v\([0-9.]*\).*|\1|p' "$module/go.mod")
content=$(cat scripts/prometheus-adapter.sh "$module/go.mod" "$module/go.sum" | sha256sum)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster"
home="$cache/prometheus-adapter-$version-${content:0:12}"
if [ -x "$home/prometheus-adapter" ]; then echo "$home/prometheus-adapter"; exit 0; fi

command -v go >/dev/null || die "Go is needed to build prometheus-adapter $version for the tests: install golang"
mkdir -p "$home"
exec 9>"$home/lock"
flock -n 9 || { say "another process is building prometheus-adapter in $home: waiting for it"; flock 9; }
if [ ! -x "$home/prometheus-adapter" ]; then
  say "building prometheus-adapter $version in $home (once; it takes minutes)"
  began=$SECONDS
  (cd "$module" && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$home/building" sigs.k8s.io/prometheus-adapter/cmd/adapter) >&2 \
    || die "Go could not build prometheus-adapter $version"
  # Whole or not at all.
  mv -f "$home/building" "$home/prometheus-adapter"
  say "prometheus-adapter is built ($((SECONDS - began)) s)"
fi
echo "$home/prometheus-adapter"
