#!/usr/bin/env bash
# Prints the path of a program that the tests run. It is built once with Go under ~/.cache/pushcluster, with the libraries
# that its project released it with (a Go module of its own in test/harness/kube).
#   go-program.sh prometheus           Prometheus with discovery in Kubernetes, which Debian's is built without
#   go-program.sh prometheus-adapter
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'pushcluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

name=${1:-}
case "$name" in
  # Other discoveries bring the libraries of a dozen clouds. Without assets it has no pages, and answers queries all the same.
  prometheus) package=github.com/prometheus/prometheus/cmd/prometheus tags=remove_all_sd,enable_kubernetes_sd ;;
  prometheus-adapter) package=sigs.k8s.io/prometheus-adapter/cmd/adapter tags= ;;
  *) die "usage: scripts/go-program.sh prometheus|prometheus-adapter" ;;
esac

module=test/harness/kube/$name
version=$(sed -n "s|.*${package%/cmd/*} v\([0-9.]*\).*|\1|p" "$module/go.mod")
content=$(cat scripts/go-program.sh "$module/go.mod" "$module/go.sum" | sha256sum)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/pushcluster"
home="$cache/$name-$version-${content:0:12}"
if [ -x "$home/$name" ]; then echo "$home/$name"; exit 0; fi

command -v go >/dev/null || die "Go is needed to build $name $version for the tests: install golang"
mkdir -p "$home"
exec 9>"$home/lock"
flock -n 9 || { say "another process is building $name in $home: waiting for it"; flock 9; }
if [ ! -x "$home/$name" ]; then
  say "building $name $version in $home (once; it takes minutes)"
  began=$SECONDS
  (cd "$module" && CGO_ENABLED=0 go build -trimpath -tags "$tags" -ldflags '-s -w' -o "$home/building" "$package") >&2 \
    || die "Go could not build $name $version"
  # Whole or not at all.
  mv -f "$home/building" "$home/$name"
  say "$name is built ($((SECONDS - began)) s)"
fi
echo "$home/$name"
